"""Carry out one cell: split, features, fit, scores, metrics, record."""

from __future__ import annotations

import hashlib
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from osad_bench.benchmark.cell.provenance import provenance
from osad_bench.benchmark.cell.split import Split, crossing, split
from osad_bench.benchmark.cell.training import CachedFeatures, FineTuned
from osad_bench.benchmark.features.backbones import Backbone, load_backbone
from osad_bench.benchmark.features.cache import FeatureCache
from osad_bench.benchmark.preset import Preset
from osad_bench.core.errors import InputError
from osad_bench.core.registry import methods
from osad_bench.datasets.base import Dataset
from osad_bench.datasets.catalogue import open_dataset
from osad_bench.datasets.duplicates import duplicate_groups
from osad_bench.methods.base import Context, Method, Schedule
from osad_bench.results.metrics import compute
from osad_bench.results.record import Cell, Failure, Record, SplitSummary, TestScores, Timings

EpochProgress = Callable[[int, int, dict[str, float]], None]


@dataclass(frozen=True)
class Machine:
    """Where and how cells run; nothing here may change a score on one kind of device.

    Attributes
    ----------
    data_root, cache
        Folders of the original downloads (None: the default) and of the feature cache.
    weights
        File with the backbone's weights; None for the backbone's own source.
    device
        ``cpu``, ``cuda`` or ``cuda:N``.
    threads
        CPU threads of a process that fine-tunes; None leaves torch's choice. Over cached features it is always one.
    oracle
        Also score the test part after every epoch, to measure what choosing the best test epoch would be worth.
    """

    cache: Path
    data_root: Path | None = None
    weights: Path | None = None
    device: str = "cpu"
    threads: int | None = None
    oracle: bool = False


@dataclass(frozen=True)
class PlannedCell:
    """A cell with the labels its record will carry."""

    cell: Cell
    preset: str
    variant: str
    source: str
    """The data set as it was asked for, such as folder:PATH; never part of the cell's key."""

    @property
    def title(self) -> str:
        """One line for progress and messages."""
        protocol = self.cell.protocol
        kind = f" ({protocol.known_kind})" if protocol.known_kind else ""
        variant = f" [{self.variant}]" if self.variant else ""
        return f"{self.cell.method}{variant} {self.cell.dataset} {protocol.setting}{kind} M={protocol.shots} seed {protocol.seed}"


@lru_cache(maxsize=8)
def dataset_of(name: str, data_root: Path | None) -> Dataset:
    """A data set, opened once a process."""
    return open_dataset(name, data_root)


def seed_of(key: str, purpose: str) -> int:
    """Seed below 2**63 that a cell's key fixes for one purpose."""
    return int.from_bytes(hashlib.sha256(f"{key}/{purpose}".encode()).digest()[:8], "big") >> 1


def build_method(cell: Cell) -> Method:
    """The cell's method with the cell's configuration."""
    kind: type[Method] = methods.get(cell.method)
    return kind(kind.Config(**cell.config))


def schedule_of(method: Method, preset: Preset) -> Schedule:
    """The method's published schedule with the preset's laid over it."""
    return Schedule(**((method.schedule or Schedule()).model_dump() | preset.schedule))


def preset_of(cell: Cell) -> Preset:
    """The preset that a cell was planned with."""
    return Preset(**{key: value for key, value in cell.preset.items() if key != "weights"})


def division_of(planned: PlannedCell, machine: Machine) -> Split:
    """The cell's split."""
    dataset, protocol = dataset_of(planned.source, machine.data_root), planned.cell.protocol
    return split(dataset, protocol, duplicate_groups(dataset) if protocol.dedup else ())


def open_training(
    planned: PlannedCell, method: Method, division: Split, machine: Machine
) -> CachedFeatures | FineTuned:
    """The training set of a cell; fills the cache where it lacks something."""
    cell = planned.cell
    preset = preset_of(cell)
    backbone = load_backbone(preset.backbone, machine.weights)
    generator = torch.Generator().manual_seed(seed_of(cell.key, "batches"))
    torch.manual_seed(seed_of(cell.key, "adapter"))
    kind = CachedFeatures if preset.frozen else FineTuned
    return kind(
        dataset_of(planned.source, machine.data_root),
        division,
        preset.model_copy(update={"adapter": "none"}) if method.schedule is None else preset,
        backbone,
        FeatureCache(machine.cache),
        method.pseudo_anomalies,
        generator,
        torch.device(machine.device),
    )


def _peak_memory_mb() -> float:
    """Largest resident size this process has had, in MiB; 0 where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


class _Oracle:
    """Test AUROC after every epoch, kept apart as a diagnostic."""

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
    """Carry out a cell; an error inside it becomes a failed record.

    Returns
    -------
    record, scores
        The scores are None for a failed cell.
    """
    started = time.perf_counter()
    labels = {"key": planned.cell.key, "cell": planned.cell, "preset": planned.preset, "variant": planned.variant}
    deterministic = _make_deterministic(machine)
    weights: dict[str, str] = {}
    try:
        backbone: Backbone = load_backbone(planned.cell.preset["backbone"], machine.weights)
        weights = {backbone.name: backbone.weights}
        with _threads(planned, machine):
            parts, scores = _run(planned, machine, progress)
        parts["timings"].total = time.perf_counter() - started
        record = Record(
            **labels,
            status="ok",
            metrics=compute(scores),
            provenance=provenance(machine.device, weights, deterministic),
            **parts,
        )
    except (KeyboardInterrupt, SystemExit):
        raise
    except Exception as error:
        failure = Failure(type=type(error).__name__, message=str(error), traceback=traceback.format_exc())
        return Record(
            **labels, status="failed", error=failure, provenance=provenance(machine.device, weights, deterministic)
        ), None
    return record, scores


@contextmanager
def _threads(planned: PlannedCell, machine: Machine) -> Iterator[None]:
    """One thread over cached features, so that scores do not depend on the number of cores; fine-tuning takes more."""
    before = torch.get_num_threads()
    wanted = 1 if planned.cell.preset["frozen"] else machine.threads or before
    try:
        with threadpool_limits(wanted):
            torch.set_num_threads(wanted)
            yield
    finally:
        torch.set_num_threads(before)


def _make_deterministic(machine: Machine) -> bool:
    """Ask torch for reproducible algorithms; True when it will refuse any other."""
    strict = machine.device == "cpu"
    torch.use_deterministic_algorithms(True, warn_only=not strict)
    torch.backends.cudnn.benchmark = False
    return strict


def _run(planned: PlannedCell, machine: Machine, progress: EpochProgress | None) -> tuple[dict[str, Any], TestScores]:
    cell, dataset = planned.cell, dataset_of(planned.source, machine.data_root)
    if dataset.fingerprint != cell.fingerprint:
        raise RuntimeError(f"data set {cell.dataset} changed since the run was planned")
    division = division_of(planned, machine)
    method = build_method(cell)

    clock = time.perf_counter()
    train = open_training(planned, method, division, machine)
    timings = Timings(features=time.perf_counter() - clock)

    ids = [*division.test_normal, *division.test_anomaly]
    samples = [dataset.by_id[name] for name in ids]

    def score() -> TestScores:
        values = torch.cat([method.score(pyramid).detach().double().cpu() for pyramid in train.test()])
        if values.shape != (len(ids),):
            raise ValueError(f"{cell.method}.score returned shape {tuple(values.shape)} for {len(ids)} images")
        return TestScores(ids, [s.label for s in samples], [s.kind or "" for s in samples], values.numpy())

    curve: dict[str, list[float]] = {}

    def report(epoch: int, epochs: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            curve.setdefault(name, []).append(value)
        if progress:
            progress(epoch, epochs, values)

    oracle = _Oracle(score)
    torch.manual_seed(seed_of(cell.key, "layers"))
    context = Context(
        generator=torch.Generator().manual_seed(seed_of(cell.key, "method")),
        device=torch.device(machine.device),
        schedule=schedule_of(method, preset_of(cell)),
        progress=report,
        after_epoch=oracle.after_epoch if machine.oracle else None,
    )
    clock = time.perf_counter()
    method.fit(train, context)
    timings.fit = time.perf_counter() - clock
    clock = time.perf_counter()
    scores = score()
    timings.score = time.perf_counter() - clock
    summary = SplitSummary(
        digest=division.digest,
        crossing_duplicates=crossing(division, duplicate_groups(dataset)),
        known=division.train_anomaly,
        **{part: len(names) for part, names in division.parts().items()},
    )
    return {
        "split": summary,
        "timings": timings,
        "curve": curve,
        "diagnostics": oracle.summary(),
        "peak_memory_mb": _peak_memory_mb(),
    }, scores


def pick_device(device: str) -> str:
    """``auto`` to cuda where there is one, else cpu.

    Raises
    ------
    InputError
        A CUDA device was asked for that does not exist.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"--device {device} is not usable here ({str(error).splitlines()[0]}); use --device cpu or auto"
        ) from None
    return device
