"""Fit a method to all images of a data set, hold out normals for its p-values, and keep it as a model.

The fit is the benchmark's own (`cell.execute.fit_method`): the same seeds, preset, adapter and normaliser as a cell with
that training part. All anomalies are known. Of the normals some are held out at random, so that false alarms can be
bounded: the final model is not fitted to them (split conformal, see `conformal`). Copies of an image are used once, as a
copy on both sides would make the bound wrong; images that are labelled both normal and anomaly are left out.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from osad_bench.benchmark.cell.execute import EpochProgress, PlannedCell, dataset_of, fit_method, method_class
from osad_bench.benchmark.cell.machine import Machine
from osad_bench.benchmark.cell.provenance import provenance
from osad_bench.benchmark.cell.split import Split
from osad_bench.benchmark.cell.state import as_cells_run
from osad_bench.benchmark.cell.training import CachedFeatures, preset_for
from osad_bench.benchmark.decide.about import About, FittedTo
from osad_bench.benchmark.decide.conformal import needed
from osad_bench.benchmark.decide.model import Below, Fitted
from osad_bench.benchmark.decide.words import counted
from osad_bench.benchmark.features.backbones import load_backbone
from osad_bench.benchmark.features.cache import in_threads
from osad_bench.benchmark.grid.plan import Grid, plan, read_grid
from osad_bench.benchmark.grid.run import Options, fill_cache
from osad_bench.benchmark.grid.workers import Reporter
from osad_bench.core.border import foreign, said
from osad_bench.core.errors import InputError
from osad_bench.datasets.base import Dataset
from osad_bench.datasets.duplicates import contradictions, surplus_copies
from osad_bench.methods.base import Method
from osad_bench.methods.saving import UnsavableError
from osad_bench.results.record import Protocol

FEWEST = 4
"""Smallest number of normals to fit a method to."""

USUAL = 0.01
"""Share of false alarms that enough normals are held out for by default, if the data allow it."""


class FitError(RuntimeError):
    """The method failed on these images; the message says how."""


def to_hold_out(normals: int) -> int:
    """Default number of normals to hold out: a quarter, or what a promise of `USUAL` needs if more, but at most half."""
    return max(round(normals / 4), min(needed(USUAL), normals // 2))


def left_out(dataset: Dataset) -> tuple[set[str], set[str]]:
    """Ids of surplus copies of images, and of images that are labelled both normal and anomaly.

    Raises
    ------
    DatasetError
        An image cannot be read; the message names it.
    """
    contradictory = {name for group in contradictions(dataset) for name in group}
    return set(surplus_copies(dataset)) - contradictory, contradictory


def aspects(dataset: Dataset, names: Sequence[str]) -> tuple[float, float]:
    """Smallest and largest width / height of images.

    Raises
    ------
    DatasetError
        An image cannot be read.
    """

    def of(name: str) -> float:
        height, width, *_ = dataset.read(dataset.by_id[name]).shape
        return float(width / height)

    found = [one for _, one in in_threads(names, of)]
    return min(found), max(found)


def division(dataset: Dataset, calibrate: int | None, seed: int) -> Split:
    """Divide a data set: all anomalies and most normals to fit to, the other normals to calibrate on.

    Parameters
    ----------
    dataset
        Its images are read once, to find copies; copies and contradictory labels are left out.
    calibrate
        Normals to hold out; None for `to_hold_out`, 0 for none.
    seed
        Decides which normals are held out.

    Returns
    -------
    Split
        Its test part holds the held-out normals and no anomaly.

    Raises
    ------
    InputError
        There is no anomaly, or too few normals remain to fit to.
    DatasetError
        An image cannot be read.
    """
    unused = set().union(*left_out(dataset))
    used = [sample for sample in dataset.samples if sample.id not in unused]
    normals = [sample.id for sample in used if sample.label == 0]
    anomalies = [sample.id for sample in used if sample.label == 1]
    if not anomalies:
        raise InputError(f"{dataset.full_name} has no anomaly to learn from: label at least one")
    held = to_hold_out(len(normals)) if calibrate is None else calibrate
    if len(normals) - held < FEWEST:
        raise InputError(
            f"{dataset.full_name} has {counted(len(normals), 'different normal')}; with {held} held out for calibration, "
            f"{max(0, len(normals) - held)} are left to fit to, and at least {FEWEST} are needed: add normals, or hold out "
            "fewer (--calibrate)"
        )
    order = np.random.default_rng(seed).permutation(len(normals))
    mixed = [normals[index] for index in order]
    return Split(tuple(sorted(mixed[held:])), tuple(anomalies), tuple(sorted(mixed[:held])), ())


def plan_fit(
    method: str | type[Method], data: str, machine: Machine, *, calibrate: int | None = None, **request: Any
) -> PlannedCell:
    """Plan a fit as one cell.

    Parameters
    ----------
    method, data
        A registered name, a Python file or a class; a data set's name, ``folder:PATH`` or ``csv:FILE``.
    calibrate
        See `division`.
    **request
        ``preset``, ``set`` and ``seed``, as for a run.

    Raises
    ------
    InputError, UnknownNameError, DatasetError
        The request cannot be carried out.
    """

    def divide(grid: Grid, dataset: Dataset) -> list[tuple[Protocol, Split]]:
        parts = division(dataset, calibrate, grid.seeds[0])
        return [(Protocol(shots=len(parts.train_anomaly), seed=grid.seeds[0]), parts)]

    seed = request.pop("seed", 0)
    grid = read_grid(None, {"methods": [method], "datasets": [data], "seeds": [seed], "floor": None, **request})
    cells = plan(grid, machine, divide)
    if len(cells) != 1:
        names = sorted({cell.cell.method for cell in cells})
        what = f"the methods {', '.join(names)}" if len(names) > 1 else "several settings or data sets"
        raise InputError(f"a model is one method with one value per setting on one data set, but this asks for {what}")
    return cells[0]


def fit_cell(planned: PlannedCell, machine: Machine, progress: EpochProgress | None = None) -> Fitted:
    """Fit a cell's method to its training part, and score the normals of its test part for the p-values.

    Fine-tuning is in float32, because `score` computes in float32 and its scores are compared with those of the held-out normals.
    On the same machine the scores are those of a cell that is run with ``--precision float32``, to the last bit.

    Raises
    ------
    FitError
        The method failed on these images, or its scores are not finite.
    InputError
        The fitted method cannot be saved without pickle.
    DatasetError
        An image cannot be read.
    """
    cls, machine, parts = method_class(planned), replace(machine, precision="float32"), planned.division
    shapes = aspects(dataset_of(planned.source, machine.data_root), [*parts.train_normal, *parts.test_normal])
    with foreign() as outcome, as_cells_run(planned.preset, machine) as deterministic:
        fitting = fit_method(planned, cls, machine, progress)
        fitting.method.state()
        test = fitting.score()
        calibration = test.scores[test.labels == 0]
        if not np.isfinite(calibration).all():
            raise FloatingPointError("scores of held-out normals are not finite: the method diverged")
    if isinstance(outcome.error, UnsavableError):
        raise InputError(f"{planned.cell.method} cannot be kept as a model: {outcome.error}") from outcome.error
    if outcome.error is not None:
        raise FitError(f"{planned.title}: {said(outcome.error)}") from outcome.error
    dataset, train = fitting.dataset, fitting.train
    preset = preset_for(cls, planned.preset)
    backbone = load_backbone(preset.backbone, machine.weights)
    below: nn.Module = Below(train.normalisers, train.adapters) if isinstance(train, CachedFeatures) else train.trunk
    copies, contradictory = left_out(dataset)
    about = About(
        method=cls.name, method_title=cls.title, method_version=cls.version, method_config=planned.cell.config,
        method_file=_file_of(planned, cls), preset_label=planned.label, preset=preset, backbone=backbone.name,
        weights=backbone.weights, shapes=tuple(train.shapes), seed=planned.cell.protocol.seed,
        fitted_to=FittedTo(
            dataset=dataset.full_name, title=dataset.title, fingerprint=dataset.fingerprint,
            normals=len(parts.train_normal), calibration=len(calibration),
            anomalies=dict(Counter(dataset.by_id[name].kind or "" for name in parts.train_anomaly)),
            copies=len(copies), contradictory=len(contradictory), split=parts.digest,
            upright=bool(getattr(dataset, "upright", False)),
            aspects=shapes,
        ),
        provenance=provenance(machine.device, {backbone.name: backbone.weights}, deterministic, cls, machine.precision),
    )  # fmt: skip
    return Fitted(about, fitting.method, below.eval(), calibration, machine)


def _file_of(planned: PlannedCell, cls: type[Method]) -> str:
    """Name of the Python file of a method that belongs to no package; empty for an installed one."""
    if planned.method_file is None and planned.method_class is None:
        return ""
    return Path(getattr(sys.modules.get(cls.__module__), "__file__", None) or f"{cls.__name__}.py").name


def fit(
    method: str | type[Method],
    data: str,
    *,
    calibrate: int | None = None,
    reporter: Reporter | None = None,
    bars: Callable[[], AbstractContextManager[Any]] = nullcontext,
    **request: Any,
) -> Fitted:
    """Fit a method to a data set.

    Parameters
    ----------
    method
        A registered name, a Python file that defines a method, or a class.
    data
        A data set's name, ``folder:PATH`` or ``csv:FILE``.
    calibrate
        Number of normals to hold out for the p-values, 0 for none; None for `to_hold_out`.
    reporter, bars
        Told about progress; a context that shows it.
    **request
        ``preset``, ``set``, ``seed``; and ``device``, ``weights``, ``data_root``, ``cache`` of
        `osad_bench.benchmark.grid.run.Options`.

    Raises
    ------
    InputError, UnknownNameError, DatasetError
        The request cannot be carried out; the message says what to do.
    FitError
        The method failed on these images.
    """
    reporter = reporter or Reporter()
    places = {name: request.pop(name) for name in ("device", "weights", "data_root", "cache") if name in request}
    machine = Options(**places).machine()
    planned = plan_fit(method, data, machine, calibrate=calibrate, **request)
    with bars():
        fill_cache([planned], machine, reporter)
        reporter.start(1)
        return fit_cell(planned, replace(machine, time_limit=None), lambda *values: reporter.epoch(planned, *values))
