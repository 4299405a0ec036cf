"""Run a grid: what is stored already is kept, the rest is computed, each finished cell is stored at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch

from osad_bench.benchmark.cell.execute import Machine, PlannedCell, dataset_of, division_of, preset_of
from osad_bench.benchmark.cell.training import needed
from osad_bench.benchmark.features.backbones import load_backbone
from osad_bench.benchmark.features.cache import FeatureCache
from osad_bench.benchmark.features.views import View
from osad_bench.benchmark.grid.todo import Timings
from osad_bench.benchmark.grid.workers import Reporter, in_processes, on_dask, one_by_one
from osad_bench.benchmark.preset import Preset
from osad_bench.core.registry import methods
from osad_bench.results.record import Record
from osad_bench.results.store import Store


def fill_cache(cells: Sequence[PlannedCell], machine: Machine, reporter: Reporter) -> None:
    """Compute every feature that the cells will read, once for all of them.

    Raises
    ------
    DatasetError
        An image cannot be read.
    """
    wanted: dict[tuple[str, str], dict[View, set[str]]] = defaultdict(lambda: defaultdict(set))
    for cell in cells:
        preset = preset_of(cell.cell)
        generators = methods.get(cell.cell.method).pseudo_anomalies
        for view, ids in needed(division_of(cell, machine), preset, generators).items():
            wanted[cell.source, preset.model_dump_json()][view].update(ids)
    for (source, settings), views in wanted.items():
        dataset, preset = dataset_of(source, machine.data_root), Preset.model_validate_json(settings)
        backbone = load_backbone(preset.backbone, machine.weights)
        for view, names in views.items():
            FeatureCache(machine.cache).rows(
                dataset, preset, backbone, sorted(names), view, torch.device(machine.device), reporter.features
            )


def carry_out(
    cells: Sequence[PlannedCell],
    store: Store,
    machine: Machine,
    reporter: Reporter | None = None,
    jobs: int = 1,
    backend: str = "local",
    scheduler: str | None = None,
) -> list[Record]:
    """Compute cells and store each as it finishes.

    Parameters
    ----------
    jobs
        Cells at a time on this machine.
    backend, scheduler
        ``local``, or ``dask`` with the scheduler's address (none: a cluster of this machine's processes).

    Returns
    -------
    list of Record
        In the order in which the cells finished.

    Raises
    ------
    DatasetError
        An image cannot be read.
    StoreError, OSError
        The store cannot be written; what is stored stays whole.
    """
    reporter, timings = reporter or Reporter(), Timings(machine)
    records: list[Record] = []
    if not cells:
        return records
    store.prepare()
    fill_cache(cells, machine, reporter)
    reporter.start(len(cells))
    if backend == "dask":
        results = on_dask(cells, machine, scheduler, jobs)
    elif jobs > 1:
        results = in_processes(cells, machine, reporter, jobs)
    else:
        results = one_by_one(cells, machine, reporter)
    for cell, (record, scores) in results:
        store.put(record, scores)
        if record.status == "ok":
            timings.add(cell, record.timings.total)
        records.append(record)
        reporter.finish(cell, record)
    return records


def summarise_failures(records: Sequence[Record]) -> list[str]:
    """One line for each distinct failure, with how many cells it struck."""
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.error is not None:
            groups[
                f"{record.cell.method} on {record.cell.dataset}: {record.error.type}: {record.error.message}"
            ].append(record)
    return [f"{len(group)} x {text}" for text, group in groups.items()]
