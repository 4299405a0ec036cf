"""Compute one cell: split, features, fit, scores, metrics, record."""

from __future__ import annotations

import gc
import math
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from osad_bench.benchmark.cell.machine import Machine, precision_of
from osad_bench.benchmark.cell.pixels import pixels_of
from osad_bench.benchmark.cell.provenance import provenance
from osad_bench.benchmark.cell.seeds import seed_of, seed_of_normals
from osad_bench.benchmark.cell.shared import Shelf
from osad_bench.benchmark.cell.split import Split, crossing
from osad_bench.benchmark.cell.state import as_cells_run, time_limited
from osad_bench.benchmark.cell.training import CachedFeatures, FineTuned, preset_for
from osad_bench.benchmark.features.backbones import load_backbone
from osad_bench.benchmark.features.cache import FeatureCache
from osad_bench.benchmark.preset import Preset
from osad_bench.core.border import MOST_NAMED, foreign, message_of, name_of, traceback_of
from osad_bench.core.errors import InputError
from osad_bench.core.registry import load_file, methods
from osad_bench.core.text import lines
from osad_bench.datasets.base import Dataset
from osad_bench.datasets.catalogue import open_dataset
from osad_bench.datasets.duplicates import duplicate_groups
from osad_bench.methods.base import Context, Method, Schedule
from osad_bench.results.metrics import compute
from osad_bench.results.record import Cell, Failure, Record, SplitSummary, TestScores, Timings
from osad_bench.results.row import options

FULL = "the GPU's memory ran out: use a smaller image_size or schedule.batch, or fewer --jobs on one GPU"
"""Put before torch's own message."""

EpochProgress = Callable[[int, int, dict[str, float]], None]


@dataclass(frozen=True)
class PlannedCell:
    """A cell with everything needed to compute it, and the labels of its record.

    Attributes
    ----------
    cell
        What the key is a digest of.
    key
        The cell's key.
    label, variant
        The preset's name with its changes, and those of the method's settings that differ from the defaults.
    source
        The data set's name as it can be opened again, such as folder:PATH; never part of the cell's key.
    preset, division
        The preset and the split.
    method_file
        Python file that holds the method's class; None for an installed method.
    method_class
        The pickled class, if a class was given in Python; None for an installed method.
    """

    cell: Cell
    key: str
    label: str
    variant: str
    source: str
    preset: Preset = field(repr=False)
    division: Split = field(repr=False)
    method_file: Path | None = None
    method_class: bytes | None = field(default=None, repr=False)

    @property
    def title(self) -> str:
        """One line for progress and messages."""
        protocol = self.cell.protocol
        kind = f" ({protocol.known_kind})" if protocol.known_kind else ""
        variant = f" [{self.variant}]" if self.variant else ""
        told = options(dict(protocol))
        more = f" {told}" if told else ""
        return (
            f"{self.cell.method}{variant} {self.cell.dataset} {protocol.setting}{kind} M={protocol.shots}{more} seed "
            f"{protocol.seed}"
        )


@lru_cache(maxsize=64)
def dataset_of(name: str, data_root: Path | None) -> Dataset:
    """A data set, opened once per process.

    Raises
    ------
    DatasetError, UnknownNameError
        There is no such data set, or it cannot be opened.
    """
    return open_dataset(name, data_root)


def register_file(path: Path) -> list[str]:
    """Register the methods that a Python file defines, for this process; returns their names.

    Raises
    ------
    InputError
        The file cannot be imported, holds no method, or one without a name.
    """
    module = load_file(path)
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Method)
        and value.__module__ == module.__name__
        and not getattr(value, "__abstractmethods__", None)
        and not value.__name__.startswith("_")
    ]
    if not found:
        raise InputError(f"{path} defines no method: expected a class that derives from osad_bench.methods.base.Method")
    return list(map(register_class, found))


def register_class(cls: type[Any]) -> str:
    """Register a method's class for this process; returns its name.

    Raises
    ------
    InputError
        It has no name, or an installed method has the same.
    """
    name = getattr(cls, "name", None)
    if not isinstance(name, str) or not name:
        raise InputError(f"the method class {cls.__name__} has no name: add name = {cls.__name__.lower()!r} to it")
    name = str.__str__(name)  # not a class of its own that derives from str
    methods.add(name, cls)
    return name


def method_class(planned: PlannedCell) -> type[Method]:
    """The class of a cell's method; registers it first if this process does not know it yet."""
    if planned.method_file is not None and planned.cell.method not in methods.names():
        register_file(planned.method_file)
    if planned.method_class is not None and planned.cell.method not in methods.names():
        import cloudpickle

        register_class(cloudpickle.loads(planned.method_class))
    cls: type[Method] = methods.get(planned.cell.method)
    return cls


def schedule_of(method: Method, preset: Preset) -> Schedule:
    """The method's published schedule, with the settings of the preset's in place of its own."""
    return Schedule(**((method.schedule or Schedule()).model_dump() | preset.schedule))


def _open_training(
    planned: PlannedCell, method: Method, dataset: Dataset, machine: Machine, shelf: Shelf
) -> CachedFeatures | FineTuned:
    """The training set of a cell; computes features that the cache lacks."""
    preset = preset_for(type(method), planned.preset)
    torch.manual_seed(seed_of(planned.cell, "adapter"))
    kind = CachedFeatures if preset.frozen else FineTuned
    backbone = load_backbone(preset.backbone, machine.weights)
    return kind(
        dataset,
        planned.division,
        preset,
        backbone,
        FeatureCache(machine.cache),
        method.pseudo_anomalies,
        seed_of(planned.cell, "batches"),
        torch.device(machine.device),
        shelf,
        torch.float32 if preset.frozen else precision_of(machine, backbone.module),
        machine.spare,
    )


def _shelf(planned: PlannedCell, method: Method, machine: Machine) -> Shelf:
    """The values kept for the cell's training normals."""
    preset = preset_for(type(method), planned.preset)
    weights = load_backbone(preset.backbone, machine.weights).weights
    device, normals = torch.device(machine.device), planned.division.train_normal
    return Shelf.of_normals(machine.cache, planned.cell.fingerprint, normals, preset, weights, device)


def _peak_memory_mb() -> float:
    """Largest resident size this process has had, in MiB; 0 where it is unknown (Windows)."""
    try:
        import resource
    except ImportError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


class _Oracle:
    """Test AUROC after every epoch, recorded only as a diagnostic."""

    def __init__(self, score: Callable[[], TestScores]) -> None:
        self.score, self.auroc = score, list[float]()

    def after_epoch(self, _epoch: int) -> None:
        self.auroc.append(compute(self.score()).auroc)

    def summary(self) -> dict[str, Any]:
        if not self.auroc:
            return {}
        best = int(np.argmax(self.auroc))
        return {
            "oracle": {
                "best_auroc": self.auroc[best],
                "best_epoch": best + 1,
                "last_auroc": self.auroc[-1],
                "auroc": self.auroc,
            }
        }


def execute(
    planned: PlannedCell, machine: Machine, progress: EpochProgress | None = None
) -> tuple[Record, TestScores | None]:
    """Compute a cell. Any error inside it becomes a failed record, and none of its state reaches the next cell.

    A cell whose fine-tuning fills a GPU's memory is computed once more with less of it (`Machine.spare`).

    Returns
    -------
    record, scores
        The scores are None for a failed cell.
    """
    started = time.perf_counter()
    record, scores = _attempt(planned, machine, progress, started)
    full = record.error is not None and record.error.message.startswith(FULL)
    if full and not planned.preset.frozen and not machine.spare:
        spared, scores = _attempt(planned, replace(machine, spare=True), progress, started)
        return (spared, scores) if spared.error is None else (record, None)
    return record, scores


def _attempt(
    planned: PlannedCell, machine: Machine, progress: EpochProgress | None, started: float
) -> tuple[Record, TestScores | None]:
    labels: dict[str, Any] = {
        "key": planned.key,
        "cell": planned.cell,
        "preset": planned.label,
        "variant": planned.variant,
    }
    facts: dict[str, Any] = {}
    parts: dict[str, Any] = {}
    with (
        foreign() as outcome,
        as_cells_run(planned.preset, machine) as deterministic,
        time_limited(machine.time_limit, time.perf_counter() - started),
    ):
        facts = {"device": machine.device, "deterministic": deterministic}
        backbone = load_backbone(planned.cell.preset["backbone"], machine.weights)
        facts["weights"] = {backbone.name: backbone.weights}
        cls = method_class(planned)
        facts["method"] = cls
        labels |= {"method_title": cls.title, "method_kind": cls.kind, "citation": cls.citation}
        if not planned.preset.frozen:
            facts["precision"] = str(precision_of(machine, backbone.module)).removeprefix("torch.")
        parts, scores, pixels = _run(planned, cls, machine, progress)
        parts["metrics"] = compute(scores).model_copy(update=pixels)
        parts["timings"].total = time.perf_counter() - started
    source = provenance(**({"device": machine.device} | facts))
    if outcome.error is None:
        return Record(**labels, **parts, status="ok", provenance=source), scores
    failure, outcome.error = _failure(outcome.error), None  # else it and this frame would keep each other alive
    return Record(**labels, status="failed", error=failure, provenance=source), None


def _failure(error: BaseException) -> Failure:
    """An error as a record holds it; if a GPU's memory ran out, this also frees what the cell held of it."""
    message = message_of(error)
    full = issubclass(type(error), torch.cuda.OutOfMemoryError)
    if full:
        message = f"{FULL} ({' '.join(message.split())})"
    failure = Failure(type=lines(name_of(error)), message=lines(message), traceback=lines(traceback_of(error)))
    with suppress(Exception):  # an odd error
        traceback.clear_frames(error.__traceback__)  # they hold the network and its gradients, and files of features
    if full:
        gc.collect()
        torch.cuda.empty_cache()
    return failure


@dataclass
class Fitting:
    """A fitted method, with its training set and what its record says of the fit.

    Attributes
    ----------
    curve
        Training curves, one value per epoch.
    oracle
        Diagnostics of the test AUROC after every epoch; empty unless `Machine.oracle` is set.
    """

    planned: PlannedCell
    dataset: Dataset
    method: Method
    train: CachedFeatures | FineTuned
    timings: Timings
    curve: dict[str, list[float]] = field(default_factory=dict)
    oracle: dict[str, Any] = field(default_factory=dict)

    def score(self) -> TestScores:
        """Scores of the split's test part, normals first, with labels and kinds."""
        ids = [*self.planned.division.test_normal, *self.planned.division.test_anomaly]
        samples = [self.dataset.by_id[name] for name in ids]
        values = self.train.scores(self.method)
        return TestScores(ids, [s.label for s in samples], [s.kind or "" for s in samples], values.numpy())


def fit_method(
    planned: PlannedCell, cls: type[Method], machine: Machine, progress: EpochProgress | None = None
) -> Fitting:
    """Fit a cell's method to its training part; call it inside `as_cells_run`.

    Raises
    ------
    Exception
        Whatever the method raises; FloatingPointError if it reports a value that is not finite; RuntimeError if the data set
        changed since the cell was planned.
    """
    cell, dataset = planned.cell, dataset_of(planned.source, machine.data_root)
    if dataset.fingerprint != cell.fingerprint:
        raise RuntimeError(f"data set {cell.dataset} changed since the run was planned; run the same command again")
    method = cls(cls.Config(**cell.config))

    clock = time.perf_counter()
    shelf = _shelf(planned, method, machine)
    train = _open_training(planned, method, dataset, machine, shelf)
    timings = Timings(features=time.perf_counter() - clock)
    fitting = Fitting(planned, dataset, method, train, timings)
    curve = fitting.curve

    def report(epoch: int, epochs: int, values: dict[str, float]) -> None:
        # Texts and numbers: a tensor would go to another process, too.
        told = {str(name)[:MOST_NAMED]: float(value) for name, value in values.items()}
        for name, value in told.items():
            if not math.isfinite(value):
                raise FloatingPointError(f"{name} is {value} in epoch {epoch} of {epochs}")
            curve.setdefault(name, []).append(value)
        if progress:
            progress(int(epoch), int(epochs), told)

    oracle = _Oracle(fitting.score)
    torch.manual_seed(seed_of(cell, "layers", of_method=True))
    context = Context(
        seed=seed_of(cell, "method", of_method=True),
        device=torch.device(machine.device),
        schedule=schedule_of(method, planned.preset),
        progress=report,
        after_epoch=oracle.after_epoch if machine.oracle else None,
        seed_of_normals=seed_of_normals(cell, planned.division.train_normal),
        keep=shelf.of_method(cls).keep,
    )
    clock = time.perf_counter()
    method.fit(train, context)
    timings.fit = time.perf_counter() - clock
    fitting.oracle = oracle.summary()
    return fitting


def _run(
    planned: PlannedCell, cls: type[Method], machine: Machine, progress: EpochProgress | None
) -> tuple[dict[str, Any], TestScores, dict[str, float]]:
    fitting = fit_method(planned, cls, machine, progress)
    clock = time.perf_counter()
    scores = fitting.score()
    fitting.timings.score = time.perf_counter() - clock
    pixels, about = pixels_of(fitting) if machine.pixels else ({}, None)
    spared = {"spared_gpu_memory": True} if machine.spare else {}
    summary = SplitSummary(
        digest=planned.division.digest,
        crossing_duplicates=crossing(planned.division, duplicate_groups(fitting.dataset)),
        known=planned.division.train_anomaly,
        **{part: len(names) for part, names in planned.division.parts().items()},
    )
    return (
        {
            "split": summary,
            "timings": fitting.timings,
            "curve": fitting.curve,
            "diagnostics": fitting.oracle | ({} if about is None else {"pixels": about}) | spared,
            "peak_memory_mb": _peak_memory_mb(),
            "dataset_title": fitting.dataset.title,
        },
        scores,
        pixels,
    )
