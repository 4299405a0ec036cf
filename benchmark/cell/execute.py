"""Carry out one cell: split, features, fit, scores, metrics, record."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from osad_bench.benchmark.cell.pixels import pixels_of
from osad_bench.benchmark.cell.provenance import provenance
from osad_bench.benchmark.cell.seeds import seed_of, seed_of_normals
from osad_bench.benchmark.cell.shared import Shelf
from osad_bench.benchmark.cell.split import Split, crossing
from osad_bench.benchmark.cell.training import CachedFeatures, FineTuned, preset_for
from osad_bench.benchmark.features.backbones import load_backbone
from osad_bench.benchmark.features.cache import FeatureCache
from osad_bench.benchmark.preset import Preset
from osad_bench.core.border import foreign, message_of, traceback_of
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
    precision
        In which a backbone is fine-tuned: ``float32``, ``bfloat16``, or ``auto`` for bfloat16 where a GPU is made for it.
    threads
        CPU threads of a process that fine-tunes; None leaves torch's choice. Over cached features it is always one.
    oracle
        Also score the test part after every epoch, to measure what choosing the best test epoch would be worth.
    pixels
        Also measure the heat maps of the test part against the masks, where there are both.
    time_limit
        Seconds after which a cell fails; None for no limit. Needs a system with SIGALRM.
    """

    cache: Path
    data_root: Path | None = None
    weights: Path | None = None
    device: str = "cpu"
    precision: str = "auto"
    threads: int | None = None
    oracle: bool = False
    pixels: bool = False
    time_limit: float | None = None


@dataclass(frozen=True)
class PlannedCell:
    """A cell with all that it takes to carry it out, and the labels its record will carry.

    Attributes
    ----------
    key
        The cell's key.
    label, variant
        The preset's name with its changes, and the method's settings that differ from its defaults.
    source
        The data set as it was asked for, such as folder:PATH; never part of the cell's key.
    preset, division
        The opened preset and the split.
    method_file
        Python file that holds the method's class; None for an installed method.
    method_class
        The pickled class, for one that was handed over in Python; None for an installed method.
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
        more = f" {options(protocol)}" if options(protocol) else ""
        return (
            f"{self.cell.method}{variant} {self.cell.dataset} {protocol.setting}{kind} M={protocol.shots}{more} seed "
            f"{protocol.seed}"
        )


@lru_cache(maxsize=64)
def dataset_of(name: str, data_root: Path | None) -> Dataset:
    """A data set, opened once per process."""
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
    methods.add(name, cls)
    return name


def method_class(planned: PlannedCell) -> type[Method]:
    """The class of a cell's method, registered first where this process does not know it yet."""
    if planned.method_file is not None and planned.cell.method not in methods.names():
        register_file(planned.method_file)
    if planned.method_class is not None and planned.cell.method not in methods.names():
        import cloudpickle

        register_class(cloudpickle.loads(planned.method_class))
    cls: type[Method] = methods.get(planned.cell.method)
    return cls


def schedule_of(method: Method, preset: Preset) -> Schedule:
    """The method's published schedule with the preset's laid over it."""
    return Schedule(**((method.schedule or Schedule()).model_dump() | preset.schedule))


def _open_training(
    planned: PlannedCell, method: Method, dataset: Dataset, machine: Machine, shelf: Shelf
) -> CachedFeatures | FineTuned:
    """The training set of a cell; fills the cache where it lacks something."""
    preset = preset_for(type(method), planned.preset)
    torch.manual_seed(seed_of(planned.cell, "adapter"))
    kind = CachedFeatures if preset.frozen else FineTuned
    return kind(
        dataset,
        planned.division,
        preset,
        load_backbone(preset.backbone, machine.weights),
        FeatureCache(machine.cache),
        method.pseudo_anomalies,
        seed_of(planned.cell, "batches"),
        torch.device(machine.device),
        shelf,
        precision_of(machine),
    )


def precision_of(machine: Machine) -> torch.dtype:
    """In which a backbone is fine-tuned.

    Raises
    ------
    InputError
        No such precision.
    """
    if machine.precision == "auto":
        device = torch.device(machine.device)
        fast = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
        return torch.bfloat16 if fast else torch.float32
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if machine.precision not in known:
        raise InputError(f"precision {machine.precision!r} is none of auto, {', '.join(known)}")
    return known[machine.precision]


def _shelf(planned: PlannedCell, method: Method, machine: Machine) -> Shelf:
    """What is kept of the cell's training normals."""
    preset = preset_for(type(method), planned.preset)
    weights = load_backbone(preset.backbone, machine.weights).weights
    device, normals = torch.device(machine.device), planned.division.train_normal
    return Shelf.of_normals(machine.cache, planned.cell.fingerprint, normals, preset, weights, device)


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
    """Carry out a cell; whatever goes wrong inside it becomes a failed record, and nothing of it reaches the next cell.

    Returns
    -------
    record, scores
        The scores are None for a failed cell.
    """
    started = time.perf_counter()
    labels: dict[str, Any] = {
        "key": planned.key,
        "cell": planned.cell,
        "preset": planned.label,
        "variant": planned.variant,
    }
    facts: dict[str, Any] = {}
    parts: dict[str, Any] = {}
    with foreign() as outcome, _time_limit(machine.time_limit), as_cells_run(planned.preset, machine) as deterministic:
        precision = torch.float32 if planned.preset.frozen else precision_of(machine)
        facts = {
            "device": machine.device,
            "deterministic": deterministic,
            "precision": str(precision).removeprefix("torch."),
        }
        backbone = load_backbone(planned.cell.preset["backbone"], machine.weights)
        facts["weights"] = {backbone.name: backbone.weights}
        cls = method_class(planned)
        facts["method"] = cls
        labels |= {"method_title": cls.title, "method_kind": cls.kind, "citation": cls.citation}
        parts, scores, pixels = _run(planned, cls, machine, progress)
        parts["metrics"] = compute(scores).model_copy(update=pixels)
        parts["timings"].total = time.perf_counter() - started
    source = provenance(**({"device": machine.device} | facts))
    if outcome.error is None:
        return Record(**labels, **parts, status="ok", provenance=source), scores
    error = outcome.error
    failure = Failure(type=type(error).__name__, message=lines(message_of(error)), traceback=lines(traceback_of(error)))
    return Record(**labels, status="failed", error=failure, provenance=source), None


@contextmanager
def _torch_as_it_was() -> Iterator[None]:
    """Put torch's global state and NumPy's random state back, whatever a method does to them."""
    grad, dtype, threads = torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads()
    strict, warn = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark, anomaly = torch.backends.cudnn.benchmark, torch.is_anomaly_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    precision, errors = torch.get_float32_matmul_precision(), np.geterr()
    children = set(multiprocessing.active_children())
    random, numpy_random = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002 (the state methods may touch)
    of_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    alive = set(threading.enumerate())
    try:
        yield
    finally:
        torch.set_grad_enabled(grad)
        torch.set_default_dtype(dtype)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict, warn_only=warn)
        torch.backends.cudnn.benchmark = benchmark
        torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
        torch.autograd.set_detect_anomaly(anomaly)
        torch.set_default_device(None)
        torch.set_float32_matmul_precision(precision)
        torch.set_flush_denormal(False)
        np.seterr(**errors)
        torch.set_rng_state(random)
        if of_gpus:
            torch.cuda.set_rng_state_all(of_gpus)
        np.random.set_state(numpy_random)  # noqa: NPY002
        for child in set(multiprocessing.active_children()) - children:
            child.kill()  # the interpreter would wait for it when the command is over
        for thread in set(threading.enumerate()) - alive:
            if not thread.daemon:  # the interpreter would wait for it when the command is over
                _LEFT_BEHIND.append(thread)


_LEFT_BEHIND: list[threading.Thread] = []


def left_behind() -> bool:
    """Whether a thread that a method started would keep this process from ending."""
    return any(thread.is_alive() for thread in _LEFT_BEHIND)


class TimeLimitError(BaseException):
    """A cell took longer than its time limit; no Exception, so that a method's own handlers do not swallow it."""


@contextmanager
def _time_limit(seconds: float | None) -> Iterator[None]:
    """Raise `TimeLimitError` in this thread after so many seconds."""
    if seconds is None or not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def over(*_: object) -> None:
        raise TimeLimitError(f"took longer than --time-limit {seconds:g} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def as_cells_run(preset: Preset, machine: Machine) -> Iterator[bool]:
    """Torch set up as for every cell, and put back as it was; yields whether torch refuses what is not reproducible."""
    with _torch_as_it_was():
        deterministic = _make_deterministic(preset, machine)
        with _threads(preset, machine):
            yield deterministic


@contextmanager
def _threads(preset: Preset, machine: Machine) -> Iterator[None]:
    """One thread over cached features, so that scores do not depend on the number of cores; fine-tuning takes more."""
    before = torch.get_num_threads()
    wanted = 1 if preset.frozen else machine.threads or before
    try:
        with threadpool_limits(wanted):
            torch.set_num_threads(wanted)
            yield
    finally:
        torch.set_num_threads(before)


def _make_deterministic(preset: Preset, machine: Machine) -> bool:
    """Ask torch for reproducible algorithms; True when it will refuse any other."""
    strict = machine.device == "cpu"
    # Torch would fill each new tensor with NaN, to show who reads what was never written: twice the writing of a backbone.
    torch.utils.deterministic.fill_uninitialized_memory = preset.frozen  # type: ignore[attr-defined]
    if not strict:  # cuBLAS reads it when it is first used
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=not strict)
    torch.backends.cudnn.benchmark = False
    return strict


@dataclass
class Fitting:
    """A method that has been fitted, with what lies below it and what its record tells of the fit.

    Attributes
    ----------
    curve
        Training curves, one value per epoch.
    oracle
        Test AUROC after every epoch; empty unless it was asked for.
    """

    planned: PlannedCell
    dataset: Dataset
    method: Method
    train: CachedFeatures | FineTuned
    timings: Timings
    curve: dict[str, list[float]] = field(default_factory=dict)
    oracle: dict[str, Any] = field(default_factory=dict)

    def score(self) -> TestScores:
        """Scores of the split's test part."""
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
        Whatever the method raises, and RuntimeError where the data set changed since the cell was planned.
    """
    cell, dataset = planned.cell, dataset_of(planned.source, machine.data_root)
    if dataset.fingerprint != cell.fingerprint:
        raise RuntimeError(f"data set {cell.dataset} changed since the run was planned")
    method = cls(cls.Config(**cell.config))

    clock = time.perf_counter()
    shelf = _shelf(planned, method, machine)
    train = _open_training(planned, method, dataset, machine, shelf)
    timings = Timings(features=time.perf_counter() - clock)
    fitting = Fitting(planned, dataset, method, train, timings)
    curve = fitting.curve

    def report(epoch: int, epochs: int, values: dict[str, float]) -> None:
        told = {str(name): float(value) for name, value in values.items()}  # a tensor would go to another process, too
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
            "diagnostics": fitting.oracle | ({} if about is None else {"pixels": about}),
            "peak_memory_mb": _peak_memory_mb(),
            "dataset_title": fitting.dataset.title,
        },
        scores,
        pixels,
    )


def pick_device(device: str) -> str:
    """``auto`` to cuda where there is one, else cpu.

    Raises
    ------
    InputError
        A CUDA device was asked for that does not exist.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"--device {device} is not usable here ({str(error).splitlines()[0]}); use --device cpu or auto"
        ) from None
    return device
