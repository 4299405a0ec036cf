"""From a grid (methods by data sets by settings by shots by seeds) to the list of cells."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from osad_bench.benchmark.preset import Preset, first_problem, load_preset, read_text
from osad_bench.core.errors import InputError
from osad_bench.core.registry import methods, nearest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from osad_bench.benchmark.cell.execute import Machine, PlannedCell
    from osad_bench.datasets.base import Dataset
    from osad_bench.results.record import Protocol

Setting = Literal["general", "hard"]


class Grid(BaseModel):
    """What to run; a TOML file given with --config holds the same names."""

    model_config = ConfigDict(extra="forbid")

    methods: list[str] = Field(min_length=1, description="registered names")
    datasets: list[str] = Field(default=["elpv"], min_length=1, description="names, name/part, folder:PATH or csv:FILE")
    setting: list[Setting] = Field(default=["general"], min_length=1)
    shots: list[int] = Field(default=[10], min_length=1, description="M, labelled anomalies in training")
    seeds: list[int] = Field(default=[0, 1, 2, 3, 4], min_length=1, description="a number n means 0 to n-1")
    preset: str = Field("quick", description="quick, paper, or a TOML file")
    set: dict[str, list[Any]] = Field(
        default_factory=dict, description="METHOD.SETTING or preset setting -> values to try"
    )
    floor: str | None = Field("mahalanobis", description="reference method that is always run beside the others")
    reserve: int = Field(0, ge=0, description="leave at least this many anomalies out of the test part at every M")
    dedup: bool = Field(False, description="keep one of each group of identical images")
    validate_: bool = Field(
        False, alias="validate", description="score a part cut from the training data instead of the test part"
    )

    @field_validator("seeds", mode="before")
    @classmethod
    def _count_of_seeds(cls, value: Any) -> Any:
        if isinstance(value, int) and value < 1:
            raise ValueError("give at least one, or a list such as 7,8")
        return list(range(value)) if isinstance(value, int) else value

    @field_validator("methods", "datasets", "setting", "shots", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, (str, int)) else value

    @field_validator("set", mode="before")
    @classmethod
    def _one_value_is_a_list(cls, value: Any) -> Any:
        return (
            {key: one if isinstance(one, list) else [one] for key, one in value.items()}
            if isinstance(value, dict)
            else value
        )


def read_grid(config: Path | None, flags: dict[str, Any]) -> Grid:
    """A grid from a TOML file and the command line's flags, which override it.

    Raises
    ------
    InputError
        The file is missing or not TOML, or a name or value is invalid.
    """
    values: dict[str, Any] = {}
    if config is not None:
        try:
            values = tomllib.loads(read_text(config))
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"{config} is not valid TOML: {error}") from None
    changes = values.pop("set", {})
    if not isinstance(changes, dict):
        raise InputError(f"{config}: set: expected a table such as [set] with dra.topk = 0.2 (given: {changes!r})")
    changes = _flat(changes) | flags.pop("set", {})
    try:
        return Grid(**(values | flags), set=changes)
    except ValidationError as error:
        names = [field.alias or name for name, field in Grid.model_fields.items()]
        told = config is None and error.errors()[0]["type"] != "extra_forbidden"
        known = "" if told else f"; settings: {', '.join(names)}"
        raise InputError(f"{'--' if config is None else f'{config}: '}{first_problem(error)}{known}") from None


def _flat(table: dict[str, Any], above: str = "") -> dict[str, Any]:
    """``{"dra": {"topk": 0.2}}``, which is how TOML reads ``dra.topk = 0.2``, to ``{"dra.topk": 0.2}``."""
    result: dict[str, Any] = {}
    for name, value in table.items():
        result |= _flat(value, f"{above}{name}.") if isinstance(value, dict) else {above + name: value}
    return result


def parse_change(text: str, option: str = "--set") -> tuple[str, list[Any]]:
    """``a.b=1,2`` to ``("a.b", [1, 2])``: JSON values, or else strings; commas inside brackets do not separate."""
    name, equals, given = text.partition("=")
    if not equals or not name or not given:
        raise InputError(f"{option} {text}: expected NAME=VALUE or NAME=VALUE,VALUE,…, such as dpdl.prototypes=16,32")
    parts, depth = [""], 0
    for character in given:
        depth += (character in "[{") - (character in "]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character

    def value(part: str) -> Any:
        try:
            return json.loads(part)
        except json.JSONDecodeError:
            return part

    return name.strip(), [value(part.strip()) for part in parts]


def _variants(name: str, changes: dict[str, list[Any]]) -> list[tuple[str, dict[str, Any]]]:
    """(label, complete configuration) of a method for every combination of the changes that concern it."""
    kind = methods.get(name)
    mine = {key.removeprefix(f"{name}."): values for key, values in changes.items()}
    default = kind.Config().model_dump(mode="json")
    result: dict[str, dict[str, Any]] = {}
    for combination in itertools.product(*mine.values()):
        chosen = dict(zip(mine, combination))
        try:
            config = kind.Config(**chosen).model_dump(mode="json")
        except ValidationError as error:
            known = ", ".join(kind.Config.model_fields) or "none"
            raise InputError(f"--set {name}.…: {first_problem(error)}; settings of {name}: {known}") from None
        changed = [f"{key}={value}" for key, value in config.items() if key not in default or value != default[key]]
        result[", ".join(changed)] = config
    return list(result.items())


def protocols(grid: Grid, dataset: Dataset) -> list[Protocol]:
    """Every way in which a grid divides a data set, each of which can be carried out.

    Raises
    ------
    InputError
        The data set has too few normals or anomalies, or too few kinds.
    """
    from osad_bench.benchmark.cell.split import known_kinds, split
    from osad_bench.datasets.duplicates import duplicate_groups
    from osad_bench.results.record import Protocol

    groups = duplicate_groups(dataset) if grid.dedup else ()
    found = []
    for setting, shots, seed in itertools.product(grid.setting, grid.shots, grid.seeds):
        kinds = known_kinds(dataset, max(shots, grid.reserve)) if setting == "hard" else (None,)
        for kind in kinds:
            try:
                protocol = Protocol(
                    setting=setting, shots=shots, known_kind=kind, seed=seed, reserve=grid.reserve,
                    dedup=grid.dedup, part="validation" if grid.validate_ else "test",
                )  # fmt: skip
            except ValidationError as error:
                raise InputError(first_problem(error)) from None
            split(dataset, protocol, groups)
            found.append(protocol)
    return found


def _check_change(key: str, running: Sequence[str], asked: Sequence[str]) -> None:
    """Refuse a change that would reach neither a method of the run nor the preset."""
    first, *rest = key.split(".")
    if (first in running and rest) or first in Preset.model_fields:
        return
    if first in running:
        raise InputError(
            f"--set {key}: {first} is a method; expected {first}.SETTING (osad-bench methods show {first})"
        )
    if first in methods.names():
        raise InputError(f"--set {key}: the method {first} is not among --methods {','.join(asked)}")
    hint = nearest(first, [*running, *Preset.model_fields])
    raise InputError(f"--set {key}: {first!r} is no method of this run and no setting of the preset; {hint}")


def plan(grid: Grid, machine: Machine) -> list[PlannedCell]:
    """All cells of a grid, seeds outermost, so that an interrupted run still compares like with like.

    Raises
    ------
    InputError, UnknownNameError, DatasetError
        Whatever is wrong with the request shows here, before any work is done.
    """
    from osad_bench.benchmark.cell.execute import PlannedCell, dataset_of
    from osad_bench.benchmark.features.backbones import load_backbone
    from osad_bench.benchmark.features.extractor import pyramid_shapes
    from osad_bench.datasets.catalogue import expand
    from osad_bench.results.record import Cell

    names = list(dict.fromkeys([*grid.methods, *([grid.floor] if grid.floor else [])]))
    variants = {
        name: _variants(name, {k: v for k, v in grid.set.items() if k.startswith(f"{name}.")}) for name in names
    }
    shared = {key: values for key, values in grid.set.items() if key.split(".")[0] not in names}
    for key in grid.set:
        _check_change(key, names, grid.methods)
    presets = [load_preset(grid.preset, dict(zip(shared, values))) for values in itertools.product(*shared.values())]

    cells = []
    for label, preset in presets:
        backbone = load_backbone(preset.backbone, machine.weights)
        pyramid_shapes(preset, backbone)
        settled = preset.model_dump(mode="json") | {"weights": backbone.weights}
        for name in dict.fromkeys(part for asked in grid.datasets for part in expand(asked)):
            dataset = dataset_of(name, machine.data_root)
            for protocol, method in itertools.product(protocols(grid, dataset), names):
                for variant, config in variants[method]:
                    cell = Cell(
                        dataset=dataset.full_name, fingerprint=dataset.fingerprint, protocol=protocol, method=method,
                        version=methods.get(method).version, config=config, preset=settled,
                    )  # fmt: skip
                    cells.append(PlannedCell(cell, label, variant, dataset.spec))
    return cells
