"""What is stored of a finished cell: the cell itself, its metrics, and where the numbers came from.

A *cell* is one (data set, protocol, method with its configuration, preset). Its key is a sha256 of the canonical JSON
of exactly these, so the same work has the same key on every machine.

A record can be a stranger's file, so every value is checked here: numbers are finite and fit 64 bits, times have a zone.
"""

from __future__ import annotations

import hashlib
import json
import math
from datetime import datetime, timezone
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic_core import CoreSchema, to_jsonable_python
from pydantic_core.core_schema import json_or_python_schema, no_info_before_validator_function

SCHEMA_VERSION = 2
"""Version of the records written here; older ones can be read. New in 2: titles, citation, source and package of the method."""


def storable(text: str) -> str:
    """`text` with lone surrogates, which UTF-8 cannot hold, written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _text(value: Any) -> Any:
    return storable(value) if isinstance(value, str) else value


def finite(value: Any) -> Any:
    """`value` with None for each number in it that is not finite, as JSON has no such numbers; tuples become lists."""
    if isinstance(value, dict):
        return {name: finite(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(one) for one in value]
    return None if isinstance(value, (float, np.floating)) and not math.isfinite(value) else value


def _is_finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_is_finite, value))
    return not isinstance(value, (float, np.floating)) or math.isfinite(value)


def _all_finite(value: Any) -> Any:
    if not _is_finite(value):
        raise ValueError("a number is infinite or not a number, expected finite ones")
    return value


def _in_utc(value: datetime) -> datetime:
    """A moment in UTC; one without a time zone is taken for UTC.

    Raises
    ------
    ValueError
        The year is not between 1970 and 2200.
    """
    if not 1970 <= value.year <= 2200:
        raise ValueError(f"the year is {value.year}, expected 1970 to 2200")
    return value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value.astimezone(timezone.utc)


class _Storable:
    """Annotation of a text: `storable` where it comes from Python; JSON cannot hold a lone surrogate, so its texts stay in Rust."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        text = handler(source)
        return json_or_python_schema(text, no_info_before_validator_function(_text, text))


Text = Annotated[str, _Storable()]
Count = Annotated[int, Field(ge=0, le=2**53)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Settings = Annotated[dict[str, Any], AfterValidator(_all_finite)]
Moment = Annotated[datetime, AfterValidator(_in_utc)]


class Protocol(BaseModel):
    """How a data set is split into training and test; together with the data set's fingerprint it determines the split."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    setting: Literal["general", "hard"] = Field(
        "general", description="general: known anomalies of every kind; hard: of one kind only"
    )
    shots: int = Field(10, ge=1, le=2**53, description="M, the number of labelled anomalies in training")
    known_kind: Text | None = Field(None, description="the kind the known anomalies are drawn from (hard setting only)")
    seed: int = Field(0, ge=0, le=2**63 - 1, description="chooses which anomalies are known")
    reserve: int = Field(
        0, ge=0, le=2**53, description="leave at least this many anomalies out of the test part, so that shots share it"
    )
    dedup: bool = Field(False, description="keep one of each group of identical images")
    part: Literal["test", "validation"] = Field(
        "test", description="validation: score a part cut from the training data instead"
    )
    contamination: float = Field(
        0.0, ge=0, le=0.5, allow_inf_nan=False, description="share of the training normals that are in truth anomalies"
    )
    mislabelled: float = Field(
        0.0, ge=0, lt=1, allow_inf_nan=False, description="share of the known anomalies that are in truth normals"
    )
    train_group: Text | None = Field(
        None,
        min_length=1,
        description="train on normals and known anomalies of this group alone, and test on the other groups",
    )
    test_group: Text | None = Field(None, min_length=1, description="test on this group alone")

    @model_validator(mode="after")
    def _consistent(self) -> Protocol:
        if (self.setting == "hard") != (self.known_kind is not None):
            raise ValueError("the hard setting needs a known kind, and the general setting has none")
        if self.part == "validation" and self.shots < 2:
            raise ValueError("validation halves the known anomalies, so it needs at least 2 shots")
        if self.part == "validation" and any(getattr(self, name) for name in STRESS):
            raise ValueError(
                f"validation cannot be combined with {', '.join(STRESS)}: its own labels would be in doubt"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_unused_stress(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        return {name: value for name, value in values.items() if name not in STRESS or value}


STRESS = ("contamination", "mislabelled", "train_group", "test_group")
"""Options of a protocol that make the task harder. Unused ones are not written, so that cells without them keep the keys that
they had before these options existed."""


_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=to_jsonable_python).encode


class Cell(BaseModel):
    """One unit of work, independent of how and where it is carried out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: Text = Field(description="full name, such as elpv or mvtec/carpet")
    fingerprint: Text = Field(description="sha256 of the data set's ids, labels, kinds and files")
    protocol: Protocol
    method: Text
    version: int = Field(description="the method's own version, raised when its scores change")
    config: Settings = Field(
        description="the method's configuration; a setting added later is left out while it is at its default"
    )
    preset: Settings = Field(description="the complete preset without its name")

    @property
    def key(self) -> str:
        """Hexadecimal sha256 of the canonical JSON (sorted keys, no white space)."""
        protocol = {name: value for name, value in vars(self.protocol).items() if name not in STRESS or value}
        text = _canonical(vars(self) | {"protocol": protocol})
        return hashlib.sha256(text.encode()).hexdigest()


class Metrics(BaseModel):
    """Test metrics, all in [0, 1]; anomalies are the positive class."""

    model_config = ConfigDict(extra="forbid")

    auroc: Share
    average_precision: Share
    fpr95: Share = Field(description="false positive rate at the threshold that finds 95 % of the anomalies")
    per_kind: dict[Text, Share] = Field(
        default_factory=dict, description="AUROC of each test kind against all test normals"
    )
    pixel_auroc: Share | None = Field(None, description="of the heat maps' pixels (run --pixels); None: not measured")
    aupro: Share | None = Field(
        None, description="overlap with defective regions up to 30 % false positive pixels; None: not measured"
    )

    @model_serializer(mode="wrap")
    def _without_unmeasured(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        return {name: value for name, value in values.items() if value is not None}


class SplitSummary(BaseModel):
    """Sizes and digest of the split, its known anomalies, and how many images are on both of its sides."""

    model_config = ConfigDict(extra="forbid")

    digest: Text
    train_normal: Count
    train_anomaly: Count
    test_normal: Count
    test_anomaly: Count
    crossing_duplicates: Count = Field(0, description="test images whose identical copy is in training")
    known: tuple[Text, ...] = Field((), description="ids of the known anomalies")


class Timings(BaseModel):
    """Wall-clock seconds of the cell's stages."""

    model_config = ConfigDict(extra="forbid")

    features: Amount = 0.0
    fit: Amount = 0.0
    score: Amount = 0.0
    total: Amount = 0.0


class Failure(BaseModel):
    """Why a cell has no metrics."""

    model_config = ConfigDict(extra="forbid")

    type: Text
    message: Text
    traceback: Text = ""


class Provenance(BaseModel):
    """Where the numbers came from: code, packages, machine and command."""

    model_config = ConfigDict(extra="allow")

    project_version: str = ""
    commit: str | None = None
    python: str = ""
    packages: dict[str, str] = Field(default_factory=dict)
    platform: str = ""
    device: Text = "cpu"
    threads: int = 0
    deterministic: bool = True
    precision: str = Field("float32", description="number type in which the backbone was fine-tuned")
    weights: dict[str, str] = Field(default_factory=dict, description="sha256 of each weights file used")
    command: Text = ""
    method_source: str = Field("", description="digest of the method's source files")
    method_package: str = Field("", description="distribution that the method comes from")
    method_package_version: str = ""


class TestScores:
    """Scores of the test images, in the split's order.

    Attributes
    ----------
    ids, kinds
        String arrays of shape (n,); the kind of a normal image is the empty string.
    labels
        int8 array of shape (n,), 0 normal, 1 anomaly.
    scores
        float64 array of shape (n,), higher = more anomalous.

    Raises
    ------
    ValueError
        The arrays are not one-dimensional and of one length.
    """

    __test__ = False  # pytest: not a test class
    __slots__ = ("ids", "kinds", "labels", "scores")

    def __init__(self, ids: Any, labels: Any, kinds: Any, scores: Any) -> None:
        self.ids = _names(ids)
        self.labels = np.asarray(labels, dtype=np.int8)
        self.kinds = _names(kinds)
        self.scores = np.asarray(scores, dtype=np.float64)
        if not self.ids.shape == self.labels.shape == self.kinds.shape == self.scores.shape or self.ids.ndim != 1:
            raise ValueError("ids, labels, kinds and scores must be one-dimensional and of one length")


def _names(values: Any) -> np.ndarray:
    names = np.asarray(values, dtype=np.str_)
    try:
        "".join(names.ravel()).encode()
    except UnicodeEncodeError:
        return np.asarray([storable(name) for name in names.ravel()], dtype=np.str_).reshape(names.shape)
    return names


class Record(BaseModel):
    """A finished cell, whether it succeeded or failed. Its test scores lie beside it (`Store.scores`)."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int = SCHEMA_VERSION
    key: str
    cell: Cell
    preset: Text = Field(description="the preset's label, such as quick, or quick+image_size=64 where it was changed")
    variant: Text = Field("", description="the method's settings that differ from its defaults, such as prototypes=16")
    method_title: Text = Field("", description="what tables and figures call the method; empty in old records")
    method_kind: Text = Field("", description="where the method comes from, such as published, ours or baseline")
    citation: Text = Field("", description="what to cite for the method")
    dataset_title: Text = Field("", description="what tables and figures call the data set; empty in old records")
    status: Literal["ok", "failed"]
    metrics: Metrics | None = None
    error: Failure | None = None
    split: SplitSummary | None = None
    curve: Annotated[dict[Text, list[float | None]], BeforeValidator(finite)] = Field(
        default_factory=dict, description="training curves, one value per epoch; None where it was not finite"
    )
    diagnostics: Annotated[dict[str, Any], BeforeValidator(finite)] = Field(
        default_factory=dict, description="further measurements, which no table shows without saying what they are"
    )
    timings: Timings = Field(default_factory=Timings)
    peak_memory_mb: Amount = 0.0
    provenance: Provenance = Field(default_factory=Provenance)
    created: Moment = Field(default_factory=lambda: datetime.now(timezone.utc))

    @model_validator(mode="after")
    def _consistent(self) -> Record:
        if self.key != self.cell.key:
            raise ValueError(
                f"key {self.key[:12]} does not belong to the cell ({self.cell.key[:12]}): the record was edited"
            )
        if (self.status == "ok") != (self.metrics is not None) or (self.status == "failed") != (self.error is not None):
            raise ValueError(
                "a record with status ok has metrics and no error, and a failed one an error and no metrics"
            )
        return self
