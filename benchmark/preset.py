"""Presets: image size, backbone, features and schedule, shared by all methods of a table."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from osad_bench.core.errors import InputError
from osad_bench.core.files import read_bounded
from osad_bench.datasets.reading.tiles import MOST_TILES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class Preset(BaseModel):
    """Everything that the cells of a table share besides the data and the protocol. A TOML file holds the same names."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    backbone: str = Field(description="a registered backbone, or any timm model name")
    frozen: bool = Field(description="true: features computed once and cached; false: fine-tuned end to end")
    image_size: int = Field(ge=32, le=4096, description="images are resized to this many pixels squared")
    tiles: int = Field(
        1,
        ge=1,
        le=MOST_TILES,
        description="number of squares that a photograph is resized to along its longer side",
    )
    scales: tuple[float, ...] = Field(
        (1.0, 0.5), min_length=1, description="image scales of the feature pyramid (nearest neighbour below 1)"
    )
    stages: tuple[int, ...] = Field(
        (-1,), min_length=1, description="backbone stages of the pyramid; -1 is the last (stride 32)"
    )
    normalise: Literal["none", "standardise", "whiten"] = Field(
        "none", description="normalisation of cached features, estimated on the training normals"
    )
    adapter: Literal["none", "linear", "residual"] = Field(
        "none", description="trainable layer over cached features, in place of fine-tuning"
    )
    adapter_width: int = Field(128, ge=1, description="channels inside or after the adapter")
    augment: Literal["none", "rotate"] = Field(
        "none", description="rotate: turn every training image by up to 180 degrees (fine-tuning only)"
    )
    pseudo_draws: int = Field(
        2, ge=1, description="cached pseudo-anomalies per generator and training normal (frozen only)"
    )
    schedule: dict[str, Any] = Field(
        default_factory=dict, description="settings that replace those of each method's published schedule"
    )

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the resized image that the backbone reads, in pixels."""
        return self.tiles * self.image_size, self.image_size

    @model_serializer(mode="wrap")
    def _without_later_settings(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out a setting that was added later while it has its default, so that keys of older cells stay."""
        values: dict[str, Any] = handler(self)
        return {name: value for name, value in values.items() if name != "tiles" or value != 1}


BUILT_IN = ("quick", "paper")


def load_preset(name: str, changes: dict[str, Any] | None = None) -> tuple[str, Preset]:
    """Read a preset and apply changes to it.

    Parameters
    ----------
    name
        `quick`, `paper`, or the path of a TOML file.
    changes
        Dotted names and values, such as ``{"image_size": 64, "schedule.epochs": 1}``.

    Returns
    -------
    label, preset
        The label is the preset's name, with the changes appended.

    Raises
    ------
    InputError
        No such preset, not TOML, or an unknown or invalid setting.
    """
    from osad_bench.methods.base import Schedule

    if name in BUILT_IN:
        text = (files("osad_bench.benchmark") / "presets" / f"{name}.toml").read_text("utf-8")
        label = name
    else:
        path = Path(name)
        if path.suffix != ".toml" or not path.is_file():
            raise InputError(f"unknown preset {name!r}; use {' or '.join(BUILT_IN)}, or the path of a TOML file")
        text, label = read_text(path), path.stem
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, or a number of thousands of digits
        raise InputError(f"preset {name} is not valid TOML: {error}") from None
    changes = changes or {}
    for key, value in changes.items():
        *path_to, last = key.split(".")
        table = values
        for part in path_to:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise InputError(f"--set {key}: {part} is a single value, {table!r}, and has no settings of its own")
        table[last] = value
    try:
        preset = Preset(**values)
    except ValidationError as error:
        raise InputError(f"preset {name}: {first_problem(error)}; settings: {', '.join(Preset.model_fields)}") from None
    try:
        Schedule(**preset.schedule)
    except ValidationError as error:
        raise InputError(
            f"preset {name}: schedule.{first_problem(error)}; settings of the schedule: {', '.join(Schedule.model_fields)}"
        ) from None
    return "+".join([label, *(f"{key}={value}" for key, value in changes.items())]), preset


def read_text(path: Path) -> str:
    """Text of a file that the user named.

    Raises
    ------
    InputError
        The file cannot be read, is too large, or is not UTF-8.
    """
    try:
        return read_bounded(path).decode("utf-8")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"cannot read {path}: it is not text in UTF-8") from None


_PLAIN = {"extra_forbidden": "no such setting", "too_short": "give at least one"}


def first_problem(error: ValidationError) -> str:
    """The first problem that pydantic found, as one line: setting, problem, value given."""
    problem = error.errors()[0]
    where = ".".join(map(str, problem["loc"])) or "the whole"
    if problem["type"] == "missing":
        return f"{where} is missing"
    text = _PLAIN.get(problem["type"], problem["msg"].removeprefix("Value error, "))
    given = repr(problem["input"])
    return f"{where}: {text} (given: {given if len(given) <= 100 else given[:80] + ' …'})"
