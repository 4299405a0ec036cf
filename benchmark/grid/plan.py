"""From a grid (methods x data sets x settings x shots x seeds) to its list of cells."""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from osad_bench.benchmark.grid.usable import method_named
from osad_bench.benchmark.preset import Preset, first_problem, load_preset, read_text
from osad_bench.core.border import foreign, said
from osad_bench.core.errors import InputError
from osad_bench.core.garbage import uncollected
from osad_bench.core.places import user_path
from osad_bench.core.registry import methods, nearest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from osad_bench.benchmark.cell.execute import PlannedCell
    from osad_bench.benchmark.cell.machine import Machine
    from osad_bench.benchmark.cell.split import Split
    from osad_bench.datasets.base import Dataset
    from osad_bench.results.record import Cell, Protocol

MOST_SEEDS = 10_000

Setting = Literal["general", "hard"]


class Grid(BaseModel):
    """What to run; a TOML file given with --config holds the same names."""

    model_config = ConfigDict(extra="forbid")

    methods: list[str | type[Any]] = Field(
        min_length=1, description="registered names, Python files that define methods, or (in Python) classes"
    )
    datasets: list[str] = Field(default=["elpv"], min_length=1, description="names, name/part, folder:PATH or csv:FILE")
    setting: list[Setting] = Field(default=["general"], min_length=1)
    shots: list[int] = Field(default=[10], min_length=1, description="M, the number of labelled anomalies in training")
    seeds: list[Annotated[int, Field(ge=0, lt=2**63)]] = Field(
        default=[0, 1, 2, 3, 4], min_length=1, description="a number n means 0 to n-1"
    )
    preset: str = Field("quick", description="quick, paper, or a TOML file")
    set: dict[str, list[Any]] = Field(
        default_factory=dict, description="METHOD.SETTING or preset setting -> values to try"
    )
    floor: str | None = Field("mahalanobis", description="reference method that is always run beside the others")
    reserve: int = Field(0, ge=0, description="keep at least this many anomalies out of the test part, whatever M is")
    same_test: bool = Field(
        False,
        description="one test part for all M and contaminations; the anomalies that the largest of them takes are left out of it",
    )
    contamination: list[Annotated[float, Field(ge=0, le=0.5)]] = Field(
        default=[0.0], min_length=1, description="shares of the training normals that are in fact anomalies"
    )
    mislabelled: list[Annotated[float, Field(ge=0, lt=1)]] = Field(
        default=[0.0], min_length=1, description="shares of the labelled anomalies that are in fact normals"
    )
    train_group: list[str] | None = Field(
        None,
        min_length=1,
        description="train only on one of these groups of images and test on the others; each: every group in turn",
    )
    test_group: list[str] | None = Field(
        None, min_length=1, description="test only on one of these groups; each: every group in turn"
    )
    dedup: bool = Field(False, description="keep one image of each group of identical images")
    validate_: bool = Field(
        False, alias="validate", description="score a part cut from the training data instead of the test part"
    )

    @field_validator("seeds", mode="before")
    @classmethod
    def _count_of_seeds(cls, value: Any) -> Any:
        if isinstance(value, int) and value < 1:
            raise ValueError("give at least one seed, or a list such as 7,8")
        if isinstance(value, int) and value > MOST_SEEDS:
            raise ValueError(f"more than {MOST_SEEDS} seeds; a single seed is written with a comma, such as 7,")
        return list(range(value)) if isinstance(value, int) else value

    @field_validator(
        "methods", "datasets", "setting", "shots", "contamination", "mislabelled", "train_group", "test_group",
        mode="before",
    )  # fmt: skip
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, (str, int, float, type)) else value

    @field_validator("floor", mode="before")
    @classmethod
    def _no_floor(cls, value: Any) -> Any:
        return None if value == "none" else value

    @field_validator("set", mode="before")
    @classmethod
    def _one_value_is_a_list(cls, value: Any) -> Any:
        return (
            {key: one if isinstance(one, list) else [one] for key, one in value.items()}
            if isinstance(value, dict)
            else value
        )


def read_grid(config: Path | None, flags: dict[str, Any]) -> Grid:
    """Make a grid from a TOML file and the command line's options, which override it.

    Raises
    ------
    InputError
        The file is missing or not TOML, or a name or value is invalid.
    """
    values: dict[str, Any] = {}
    if config is not None:
        text = read_text(config)
        try:
            values = tomllib.loads(text)
        except (ValueError, RecursionError) as error:  # TOMLDecodeError, or a number of thousands of digits
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
    """Flatten ``{"dra": {"topk": 0.2}}``, as TOML reads ``dra.topk = 0.2``, to ``{"dra.topk": 0.2}``."""
    result: dict[str, Any] = {}
    for name, value in table.items():
        result |= _flat(value, f"{above}{name}.") if isinstance(value, dict) else {above + name: value}
    return result


def parse_change(text: str, option: str = "--set") -> tuple[str, list[Any]]:
    """Read ``a.b=1,2`` as ``("a.b", [1, 2])``: JSON values, or else strings; commas inside brackets do not separate.

    Raises
    ------
    InputError
        The text is not NAME=VALUE; the message names the option.
    """
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
        except (ValueError, RecursionError):  # not JSON, a number of thousands of digits, or brackets without end
            return part

    return name.strip(), [value(part.strip()) for part in parts]


def variants_of(name: str, changes: dict[str, list[Any]]) -> list[tuple[str, dict[str, Any]]]:
    """(label, complete configuration) of a method for every combination of the changes that concern it.

    Raises
    ------
    InputError, UnknownNameError
        The method has no such setting or value, or there is no such method.
    """
    kind = method_named(name)
    own = {key.removeprefix(f"{name}."): values for key, values in changes.items() if key.startswith(f"{name}.")}
    default = kind.Config().model_dump(mode="json")
    result: dict[str, dict[str, Any]] = {}
    for combination in itertools.product(*own.values()):
        chosen = dict(zip(own, combination))
        with foreign() as outcome:
            config = kind.Config(**chosen).model_dump(mode="json")
        if (error := outcome.error) is not None:
            known = ", ".join(kind.Config.model_fields) or "none"
            problem = first_problem(error) if isinstance(error, ValidationError) else said(error)
            raise InputError(f"--set {name}.…: {problem}; settings of {name}: {known}") from None
        changed = [f"{key}={value}" for key, value in config.items() if value != default[key]]
        result[", ".join(changed)] = config
    return list(result.items())


def protocols(grid: Grid, dataset: Dataset) -> list[Protocol]:
    """Every protocol of a grid on a data set: by setting, kind, shots, stress and seed.

    Raises
    ------
    InputError
        The data set has too few normals or anomalies, too few kinds, or none of the groups.
    """
    from osad_bench.benchmark.cell.split import contaminants, known_kinds
    from osad_bench.results.record import Protocol

    def protocol(**values: Any) -> Protocol:
        try:
            return Protocol(dedup=grid.dedup, part="validation" if grid.validate_ else "test", **values)
        except ValidationError as error:
            raise InputError(first_problem(error)) from None

    stress: list[dict[str, Any]] = [
        dict(zip(("contamination", "mislabelled", "train_group", "test_group"), values))
        for values in itertools.product(
            grid.contamination, grid.mislabelled, _groups(grid.train_group, dataset), _groups(grid.test_group, dataset)
        )
    ]
    taken = [(shots, contaminants(dataset, protocol(shots=shots, **one))) for shots in grid.shots for one in stress]
    reserve = max(grid.reserve, *map(sum, taken)) if grid.same_test else grid.reserve
    found = []
    for setting, (shots, one) in itertools.product(grid.setting, itertools.product(grid.shots, stress)):
        wanted = max(shots + contaminants(dataset, protocol(shots=shots, **one)), reserve)
        kinds = known_kinds(dataset, wanted, one["train_group"]) if setting == "hard" else (None,)
        found += [
            protocol(setting=setting, shots=shots, known_kind=kind, seed=seed, reserve=reserve, **one)
            for seed, kind in itertools.product(grid.seeds, kinds)
        ]
    return found


def _groups(asked: list[str] | None, dataset: Dataset) -> Sequence[str | None]:
    """The groups of a data set that were asked for, with ``each`` replaced by all of them; (None,) if none was."""
    if asked is None:
        return (None,)
    if "each" in asked and not dataset.groups:
        raise InputError(f"{dataset.full_name} has no groups of images to train or test on apart")
    return list(dict.fromkeys(name for one in asked for name in (dataset.groups if one == "each" else [one])))


def splits(grid: Grid, dataset: Dataset) -> list[tuple[Protocol, Split]]:
    """`protocols` of a grid on a data set, each with its split.

    Raises
    ------
    InputError, DatasetError
        See `protocols` and `osad_bench.benchmark.cell.split.split`.
    """
    from osad_bench.benchmark.cell.split import split

    return [(protocol, split(dataset, protocol)) for protocol in protocols(grid, dataset)]


def _check_change(key: str, running: Sequence[str], asked: Sequence[object]) -> None:
    """Check that a change concerns a method of the run or the preset."""
    first, *rest = key.split(".")
    if (first in running and rest) or first in Preset.model_fields:
        return
    if first in running:
        raise InputError(
            f"--set {key}: {first} is a method; expected {first}.SETTING (osad-bench methods show {first})"
        )
    if first in methods.names():
        raise InputError(f"--set {key}: the method {first} is not among --methods {','.join(map(str, asked))}")
    hint = nearest(first, [*running, *Preset.model_fields])
    raise InputError(f"--set {key}: {first!r} is neither a method of this run nor a setting of the preset; {hint}")


Divide = Callable[[Grid, "Dataset"], "list[tuple[Protocol, Split]]"]
"""Gives every protocol of a grid on a data set, with its split."""


@uncollected()
def plan(grid: Grid, machine: Machine, divide: Divide | None = None) -> list[PlannedCell]:
    """All cells of a grid, seeds outermost, so that an interrupted run still compares like with like.

    Parameters
    ----------
    divide
        How data sets are divided; None for `splits`, the benchmark's way. Records of cells that are divided otherwise must
        never be put into a store of the benchmark, as their keys do not show it.

    Raises
    ------
    InputError, UnknownNameError, DatasetError
        The request cannot be carried out; nothing is computed before this is known.
    """
    from osad_bench.benchmark.cell.execute import PlannedCell, dataset_of
    from osad_bench.benchmark.features.backbones import load_backbone
    from osad_bench.benchmark.features.extractor import pyramid_shapes
    from osad_bench.datasets.catalogue import expand
    from osad_bench.results.record import Cell

    origins = _registered(grid.methods)
    names = list(dict.fromkeys([*origins, *([grid.floor] if grid.floor else [])]))
    variants = {name: variants_of(name, grid.set) for name in names}
    shared = {key: values for key, values in grid.set.items() if key.split(".")[0] not in names}
    for key in grid.set:
        _check_change(key, names, grid.methods)
    presets = [load_preset(grid.preset, dict(zip(shared, values))) for values in itertools.product(*shared.values())]

    cells: dict[str, PlannedCell] = {}
    for label, preset in presets:
        backbone = load_backbone(preset.backbone, machine.weights)
        pyramid_shapes(preset, backbone)
        settled = preset.model_dump(mode="json") | {"weights": backbone.weights}
        for name in dict.fromkeys(part for asked in grid.datasets for part in expand(asked)):
            dataset = dataset_of(name, machine.data_root)
            divisions = (divide or splits)(grid, dataset)
            family = []
            for method, variant, config in ((name, *one) for name in names for one in variants[name]):
                cell = Cell(
                    dataset=dataset.full_name, fingerprint=dataset.fingerprint, protocol=divisions[0][0], method=method,
                    version=methods.get(method).version, config=config, preset=settled,
                )  # fmt: skip
                family.append((dict(cell), _around_protocol(cell), variant, origins.get(method, {})))
            source = dataset.spec
            for protocol, division in divisions:
                text = _canonical(protocol.model_dump(mode="json")).encode()
                for fields, (before, after), variant, origin in family:
                    key = hashlib.sha256(before + text + after).hexdigest()
                    if key not in cells:  # a folder given twice, in two spellings, is one data set
                        cell = Cell.model_construct(
                            **(fields | {"protocol": protocol})
                        )  # its parts are validated already
                        cells[key] = PlannedCell(cell, key, label, variant, source, preset, division, **origin)
    return sorted(cells.values(), key=lambda planned: planned.cell.protocol.seed)


def _canonical(value: Any) -> str:
    """Return a value as the JSON that `Cell.key` hashes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _around_protocol(cell: Cell) -> tuple[bytes, bytes]:
    """The text before and after the protocol in the JSON that `Cell.key` hashes; it is the same for all protocols."""
    parts = sorted(cell.model_dump(mode="json", exclude={"protocol"}).items())
    before = "".join(f"{_canonical(name)}:{_canonical(value)}," for name, value in parts if name < "protocol")
    after = "".join(f",{_canonical(name)}:{_canonical(value)}" for name, value in parts if name > "protocol")
    return f'{{{before}"protocol":'.encode(), f"{after}}}".encode()


def _registered(asked: Sequence[Any]) -> dict[str, dict[str, Any]]:
    """Names of the methods asked for, each with what another process needs to find it: nothing, a file or a class."""
    from osad_bench.benchmark.cell.execute import register_class, register_file

    found: dict[str, dict[str, Any]] = {}
    for one in asked:
        if isinstance(one, type):
            import cloudpickle

            name = register_class(one)
            with foreign() as outcome:
                found[name] = {"method_class": cloudpickle.dumps(one)}
            if outcome.error is not None:
                raise InputError(
                    f"the class {one.__name__} cannot be handed to another process ({said(outcome.error)}): write it into a "
                    f"file, and give that file's path in its place"
                ) from None
        elif one.endswith(".py"):
            path = user_path(one).absolute()
            for name in register_file(path):
                if found.get(name, {}).get("method_file", path) != path:
                    raise InputError(f"{one} and {found[name]['method_file']} both define a method called {name!r}")
                found[name] = {"method_file": path}
        else:
            found[one] = {}
    return found
