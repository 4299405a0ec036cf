"""``model.json`` of a fitted model and the tensors beside it: written whole, checked when they are read."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from osad_bench.benchmark.cell.execute import register_file
from osad_bench.benchmark.preset import Preset, first_problem
from osad_bench.core.errors import InputError
from osad_bench.core.files import open_regular, read_bounded
from osad_bench.core.registry import UnknownNameError, methods
from osad_bench.methods.base import Method
from osad_bench.methods.saving import State
from osad_bench.results.record import Count, Moment, Provenance, Settings, Text

FORMAT: Literal[1] = 1
ABOUT, METHOD, BELOW, CALIBRATION = "model.json", "method.safetensors", "below.safetensors", "calibration.safetensors"
MOST_ABOUT = 2**26
"""Bytes of a model's JSON file: the names of 300,000 images take 20 MB."""


Aspect = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class FittedTo(BaseModel):
    """The images that a model was made from; counts and names, never pixels.

    Attributes
    ----------
    normals, calibration
        Normals that the method was fitted to, and those held out for the p-values. Disjoint, and no image twice.
    anomalies
        Known anomalies by kind; all were fitted to.
    copies, contradictory
        Images left out: further copies of an image, and images that are labelled both normal and anomaly.
    split
        Sha256 of the lists of ids.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: Text
    title: Text
    fingerprint: Text
    normals: Count
    calibration: Count
    anomalies: dict[Text, Count]
    copies: Count = 0
    contradictory: Count = 0
    split: Text = ""
    upright: bool = Field(
        False, description="photographs are turned as their EXIF orientation says before they are read"
    )
    aspects: tuple[Aspect, Aspect] | None = Field(
        None, description="smallest and largest width / height of the normals; None in a model that does not know them"
    )


class About(BaseModel):
    """What ``model.json`` holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = FORMAT
    method: Text
    method_title: Text
    method_version: int
    method_config: Settings
    method_file: Text = Field("", description="Python file of the method, where it was of no package")
    preset_label: Text
    preset: Preset = Field(
        description="as the method reads it: with its own stages, without an adapter it cannot train"
    )
    backbone: Text
    weights: Text = Field(description="sha256 of the backbone's weights file")
    shapes: tuple[tuple[int, int, int], ...] = Field(description="(C, H, W) of each map that the method reads")
    seed: int
    fitted_to: FittedTo
    provenance: Provenance
    created: Moment = Field(default_factory=lambda: datetime.now(timezone.utc))
    files: dict[Literal["method.safetensors", "below.safetensors", "calibration.safetensors"], str] = Field(
        default_factory=dict, description="sha256 of the other files"
    )
    digest: Text = Field("", description="sha256 of all else that this file holds: `digest_of`")


def digest_of(about: dict[str, Any]) -> str:
    """Sha256 of what ``model.json`` holds, its own digest left out: an image size that was changed would change scores."""
    rest = {name: value for name, value in about.items() if name != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def read_about(folder: Path) -> About:
    """What the ``model.json`` of a folder holds.

    Raises
    ------
    InputError
        There is none, a newer version made it, or it is damaged.
    """
    try:
        text = read_bounded(folder / ABOUT, MOST_ABOUT)
    except OSError as error:
        raise InputError(
            f"{folder} is no model ({ABOUT}: {error.strerror}); expected a folder made by osad-bench fit"
        ) from None
    try:
        value = json.loads(text)
        if isinstance(value, dict) and isinstance(value.get("format"), int) and value["format"] > FORMAT:
            raise InputError(f"{folder} was made by a newer osad-bench (format {value['format']}): update this one")
        about = About.model_validate(value)
        if about.digest != digest_of(value):
            raise InputError(
                f"{folder / ABOUT} is damaged or was changed: its digest is not that of what it holds. "
                "Copy the folder again, or fit it anew"
            )
        return about
    except ValidationError as error:
        raise InputError(f"{folder / ABOUT} is damaged: {first_problem(error)}. Fit it anew") from None
    except InputError:
        raise
    except (ValueError, RecursionError):
        raise InputError(f"{folder / ABOUT} is damaged: it is no JSON. Fit it anew") from None


def read_state(folder: Path, name: Any, about: About) -> State:
    """The tensors of one of the other files.

    Raises
    ------
    InputError
        It is not there, not the file that ``model.json`` names, or holds NaN.
    """
    path = folder / name
    try:
        with open_regular(path) as stream:
            sha = hashlib.sha256()
            while block := stream.read(2**20):  # in blocks: another file may be of any size
                sha.update(block)
            if sha.hexdigest() != about.files.get(name):
                raise InputError(
                    f"{path} is damaged: it is not the file that {ABOUT} names. Copy the folder again, or fit it anew"
                )
            stream.seek(0)
            data = stream.read()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Copy the whole folder") from None
    try:
        state: dict[str, Tensor] = load(data)
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{path} is no safetensors file ({error}). Fit it anew") from None
    for tensor, value in state.items():
        if value.is_floating_point() and value.isnan().any():
            raise InputError(f"{path} is damaged: {tensor} holds values that are no numbers (NaN). Fit it anew")
    return state


def method_of(about: About, method_file: Path | None) -> Method:
    """The method that a model was fitted with, not yet fitted.

    Raises
    ------
    InputError
        It is not here, or in another version.
    """
    if method_file is not None and about.method not in methods.names():
        found = register_file(method_file)
        if about.method not in found:
            raise InputError(
                f"{method_file} defines {', '.join(found)}, and the model needs the method {about.method!r}"
            )
    package, version = about.provenance.method_package, about.provenance.method_package_version
    needs = (
        f"the file {about.method_file} (give it with --method-file)" if about.method_file else f"{package} {version}"
    )
    if about.method not in methods.names():
        remedy = "" if about.method_file else f": pip install {package}=={version}"
        raise InputError(f"the model needs the method {about.method!r} of {needs}, which is not here{remedy}")
    try:
        cls = methods.get(about.method)
        config = cls.Config(**about.method_config)
    except UnknownNameError as error:
        raise InputError(f"the model needs the method {about.method!r} of {needs}: {error}") from None
    except ValidationError as error:
        raise InputError(
            f"the model needs another version of {about.method} ({first_problem(error)}), of {needs}"
        ) from None
    if cls.version != about.method_version:
        raise InputError(
            f"the model was fitted by version {about.method_version} of {about.method}, and version {cls.version} is here: "
            f"fit it anew, or install what it needs, {needs}"
        )
    method: Method = cls(config)
    return method
