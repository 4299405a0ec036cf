"""What is stored of a finished cell: the cell itself, its metrics, where the numbers came from.

A *cell* is one (data set, protocol, method with its configuration, preset). Its key is a sha256 of the canonical JSON
of exactly those things, so the same work has the same name on every machine.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timezone
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

SCHEMA_VERSION = 1


class Protocol(BaseModel):
    """How a data set is split into training and test; with the data set's fingerprint it fixes the split entirely."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    setting: Literal["general", "hard"] = Field(
        "general", description="general: known anomalies of every kind; hard: of one kind only"
    )
    shots: int = Field(10, ge=1, description="M, the number of labelled anomalies in training")
    known_kind: str | None = Field(None, description="the kind the known anomalies are drawn from (hard setting only)")
    seed: int = Field(0, ge=0, description="chooses which anomalies are known")
    reserve: int = Field(
        0, ge=0, description="leave at least this many anomalies out of the test part, so that shots share it"
    )
    dedup: bool = Field(False, description="keep one of each group of identical images")
    part: Literal["test", "validation"] = Field(
        "test", description="validation: score a part cut from the training data instead"
    )

    @model_validator(mode="after")
    def _kind_only_when_hard(self) -> Protocol:
        if (self.setting == "hard") != (self.known_kind is not None):
            raise ValueError("the hard setting needs a known kind, and the general setting has none")
        if self.part == "validation" and self.shots < 2:
            raise ValueError("validation halves the known anomalies, so it needs at least 2 shots")
        return self


class Cell(BaseModel):
    """One unit of work, and nothing of how or where it is carried out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str = Field(description="full name, such as elpv or mvtec/carpet")
    fingerprint: str = Field(description="sha256 of the data set's ids, labels, kinds and files")
    protocol: Protocol
    method: str
    version: int = Field(description="the method's own version, raised when its scores change")
    config: dict[str, Any] = Field(
        description="the method's configuration; a setting that came later is left out while at its default"
    )
    preset: dict[str, Any] = Field(description="the complete preset, its name left out")

    @property
    def key(self) -> str:
        """Hexadecimal sha256 of the canonical JSON (sorted keys, no white space)."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()


class Metrics(BaseModel):
    """Test metrics, all in [0, 1]; anomalies are the positive class."""

    model_config = ConfigDict(extra="forbid")

    auroc: float = Field(ge=0, le=1)
    average_precision: float = Field(ge=0, le=1)
    fpr95: float = Field(
        ge=0, le=1, description="false positive rate at the threshold that finds 95 % of the anomalies"
    )
    per_kind: dict[str, float] = Field(
        default_factory=dict, description="AUROC of each test kind against all test normals"
    )


class SplitSummary(BaseModel):
    """Sizes and digest of the split, and how many identical images lie on both of its sides."""

    model_config = ConfigDict(extra="forbid")

    digest: str
    train_normal: int
    train_anomaly: int
    test_normal: int
    test_anomaly: int
    crossing_duplicates: int = Field(0, description="test images whose identical copy is in training")
    known: tuple[str, ...] = Field((), description="ids of the known anomalies")


class Timings(BaseModel):
    """Wall-clock seconds of the cell's stages."""

    model_config = ConfigDict(extra="forbid")

    features: float = 0.0
    fit: float = 0.0
    score: float = 0.0
    total: float = 0.0


class Failure(BaseModel):
    """Why a cell has no metrics."""

    model_config = ConfigDict(extra="forbid")

    type: str
    message: str
    traceback: str = ""


class Provenance(BaseModel):
    """Where the numbers came from."""

    model_config = ConfigDict(extra="allow")

    project_version: str = ""
    commit: str | None = None
    python: str = ""
    packages: dict[str, str] = Field(default_factory=dict)
    platform: str = ""
    device: str = "cpu"
    threads: int = 0
    deterministic: bool = True
    weights: dict[str, str] = Field(default_factory=dict, description="sha256 of each weights file used")
    command: str = ""
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
    """

    __test__ = False  # pytest: not a test class
    __slots__ = ("ids", "kinds", "labels", "scores")

    def __init__(self, ids: Any, labels: Any, kinds: Any, scores: Any) -> None:
        self.ids = np.asarray(ids, dtype=np.str_)
        self.labels = np.asarray(labels, dtype=np.int8)
        self.kinds = np.asarray(kinds, dtype=np.str_)
        self.scores = np.asarray(scores, dtype=np.float64)
        if not self.ids.shape == self.labels.shape == self.kinds.shape == self.scores.shape or self.ids.ndim != 1:
            raise ValueError("ids, labels, kinds and scores must be one-dimensional and of one length")


class Record(BaseModel):
    """A finished cell, whether it succeeded or failed. Its test scores lie beside it (`Store.scores`)."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int = SCHEMA_VERSION
    key: str
    cell: Cell
    preset: str = Field(description="the preset's label, such as quick, or quick+image_size=64 where it was changed")
    variant: str = Field("", description="the method's settings that differ from its defaults, such as prototypes=16")
    method_title: str = Field("", description="what tables and figures call the method; empty in old records")
    method_kind: str = Field("", description="where the method comes from, such as published, ours or baseline")
    citation: str = Field("", description="what to cite for the method")
    dataset_title: str = Field("", description="what tables and figures call the data set; empty in old records")
    status: Literal["ok", "failed"]
    metrics: Metrics | None = None
    error: Failure | None = None
    split: SplitSummary | None = None
    curve: dict[str, list[float]] = Field(default_factory=dict, description="training curves, one value an epoch")
    diagnostics: dict[str, Any] = Field(default_factory=dict, description="never enters a table unlabelled")
    timings: Timings = Field(default_factory=Timings)
    peak_memory_mb: float = 0.0
    provenance: Provenance = Field(default_factory=Provenance)
    created: datetime = Field(default_factory=lambda: datetime.now(timezone.utc))

    @model_validator(mode="after")
    def _consistent(self) -> Record:
        if self.key != self.cell.key:
            raise ValueError(
                f"key {self.key[:12]} does not belong to the cell ({self.cell.key[:12]}): the record was edited"
            )
        if (self.status == "ok") != (self.metrics is not None) or (self.status == "failed") != (self.error is not None):
            raise ValueError("an ok record has metrics, a failed one an error")
        return self
