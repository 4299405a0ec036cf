"""Run grids: stored cells are kept, the others are computed, and each finished cell is stored at once.

`run_grid` is behind ``osad-bench run``, ``ablate``, ``sweep`` and ``advise``, and behind Python's
`osad_bench.benchmark.run`.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from osad_bench.benchmark.cell.execute import PlannedCell, dataset_of, method_class
from osad_bench.benchmark.cell.machine import Machine, known_precision, pick_device
from osad_bench.benchmark.cell.provenance import commit
from osad_bench.benchmark.cell.source import source_digest
from osad_bench.benchmark.cell.training import needed, preset_for
from osad_bench.benchmark.features.backbones import load_backbone
from osad_bench.benchmark.features.cache import FeatureCache
from osad_bench.benchmark.features.views import View
from osad_bench.benchmark.grid.cluster import on_dask
from osad_bench.benchmark.grid.leases import LOOK, Leases, computed, made
from osad_bench.benchmark.grid.notes import notes_on
from osad_bench.benchmark.grid.plan import Grid, plan
from osad_bench.benchmark.grid.todo import Timings, Todo, compare, default_jobs
from osad_bench.benchmark.grid.workers import Reporter, failed, in_processes, one_by_one
from osad_bench.benchmark.preset import Preset
from osad_bench.core.errors import InputError
from osad_bench.core.places import default_cache, user_path
from osad_bench.core.text import printable
from osad_bench.results.record import Record
from osad_bench.results.registered import FrozenCell, FrozenPlan
from osad_bench.results.store import NewerError, Store, StoreError, foreign_files

BACKENDS = ("local", "dask")


@dataclass(frozen=True)
class Options:
    """Where and how a grid is run; defaults are the command line's.

    Attributes
    ----------
    out
        Folder of the store; cells already in it are kept.
    jobs
        Cells computed at once; None for one per GPU, or on the CPU one per core with cached features, else one.
    device
        ``cpu``, ``cuda``, ``cuda:N``, or ``auto`` for cuda if there is a GPU.
    precision
        Number format of fine-tuning: ``float32``, ``bfloat16``, or ``auto`` for bfloat16 on GPUs and CPUs where it is faster.
    backend, scheduler
        ``local``, or ``dask`` with the scheduler's address (None: a cluster of processes on this machine); see
        docs/clusters.md.
    weights, data_root, cache
        File with the backbone's weights, folder of the downloads, folder of cached features; None for the defaults.
    retry_failed
        Compute failed cells again.
    recompute
        Names of methods whose cells are computed again.
    oracle
        Also record the best test epoch's AUROC, as a diagnostic only.
    pixels
        Also measure the heat maps against the data set's masks: pixel AUROC and AUPRO.
    time_limit
        Seconds after which a cell is stopped and fails; None for no limit. Only with the backend ``local``.
    dry_run
        Plan and compare with the store, but compute nothing.
    """

    out: Path | str = Path("osad-results")
    jobs: int | None = None
    device: str = "auto"
    precision: str = "auto"
    backend: str = "local"
    scheduler: str | None = None
    weights: Path | str | None = None
    data_root: Path | str | None = None
    cache: Path | str | None = None
    retry_failed: bool = False
    recompute: Sequence[str] = ()
    oracle: bool = False
    pixels: bool = False
    time_limit: float | None = None
    dry_run: bool = False

    def machine(self) -> Machine:
        """The machine that these options describe.

        Raises
        ------
        InputError
            There is no such device or precision, or a path starts with ``~NAME`` of an unknown user.
        """
        return Machine(
            cache=default_cache() if self.cache is None else user_path(self.cache),
            data_root=None if self.data_root is None else user_path(self.data_root),
            weights=None if self.weights is None else user_path(self.weights),
            # On a cluster the workers need the device, not this machine.
            device=self.device if self.backend == "dask" and self.device != "auto" else pick_device(self.device),
            precision=known_precision(self.precision),
            oracle=self.oracle,
            pixels=self.pixels,
            time_limit=self.time_limit,
        )


@dataclass(frozen=True)
class Outcome:
    """The result of `run_grid`.

    Attributes
    ----------
    store
        The store, with a record of every cell unless it was a dry run.
    groups
        The cells of each grid.
    todo
        Done and open cells at the start of the run.
    records
        Records of the cells computed in this run, in the order in which they finished.
    """

    store: Store
    groups: list[list[PlannedCell]]
    todo: Todo
    records: list[Record]

    @property
    def cells(self) -> list[PlannedCell]:
        """The cells of all grids, each once, seeds outermost."""
        unique = {cell.key: cell for group in self.groups for cell in group}
        return sorted(unique.values(), key=lambda cell: cell.cell.protocol.seed)

    def all_records(self) -> list[Record]:
        """Records of all cells, including those stored by earlier runs."""
        return [*self.records, *(self.store.get(cell.key) for cell in [*self.todo.done, *self.todo.failed])]


def run_grid(grids: Sequence[Grid], options: Options, reporter: Reporter | None = None) -> Outcome:
    """Plan grids, compute what the store lacks of them, and store each cell as it finishes.

    Parameters
    ----------
    grids
        Cells that several grids share are computed once.
    options
        Where and how to compute.
    reporter
        Is told about the plan and about progress; None for no reports.

    Raises
    ------
    InputError, UnknownNameError, DatasetError
        The request cannot be carried out; raised before anything is computed.
    StoreError, OSError
        The store cannot be written; what is stored stays whole.
    osad_bench.benchmark.grid.cluster.ClusterError
        The cluster's scheduler is gone, or its workers cannot run cells; what is stored stays.
    """
    if options.backend not in BACKENDS:
        raise InputError(f"--backend {options.backend}: expected {' or '.join(BACKENDS)}")
    if options.backend == "dask" and options.time_limit is not None:
        raise InputError("--time-limit needs --backend local: dask runs cells in a thread, which nothing can interrupt")
    reporter, machine, store = reporter or Reporter(), options.machine(), Store(user_path(options.out))
    outcome = Outcome(store, [plan(grid, machine) for grid in grids], Todo(), [])
    cells = outcome.cells
    planned = {cell.cell.method for cell in cells}
    if unknown := [name for name in options.recompute if name not in planned]:
        raise InputError(f"--recompute {unknown[0]}: the methods of this run are {', '.join(sorted(planned))}")
    todo = compare(cells, store, options.retry_failed, options.oracle, options.recompute, options.pixels)
    todo.notes.extend([*notes_on(cells, machine), *foreign_files(store.root)])
    jobs = options.jobs or default_jobs(todo.open, machine)
    reporter.plan(cells, todo, Timings(machine).estimate(todo.open, jobs), store.root)
    records = (
        []
        if options.dry_run
        else carry_out(todo.open, store, machine, reporter, jobs, options.backend, options.scheduler)
    )
    return Outcome(store, outcome.groups, todo, records)


def fill_cache(cells: Sequence[PlannedCell], machine: Machine, reporter: Reporter) -> None:
    """Compute every feature that the cells will read, once for all of them.

    Raises
    ------
    DatasetError
        An image cannot be read.
    """
    wanted: dict[tuple[str, str], dict[View, set[str]]] = defaultdict(lambda: defaultdict(set))
    seen = set()
    for cell in cells:
        method = method_class(cell)
        preset = preset_for(method, cell.preset)
        read = (
            cell.source,
            preset.image_size,
            preset.tiles,
            preset.backbone,
            preset.stages,
            method.pseudo_anomalies,
            id(cell.division),
        )
        if read in seen:
            continue
        seen.add(read)
        for view, ids in needed(cell.division, preset, method.pseudo_anomalies).items():
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
        ``local``, or ``dask`` with the scheduler's address (None: a cluster of this machine's processes).

    Returns
    -------
    list of Record
        In the order in which the cells finished, including those that another run on the same store computed meanwhile.

    Raises
    ------
    DatasetError
        An image cannot be read.
    StoreError, OSError
        The store cannot be written; what is stored stays whole.
    osad_bench.benchmark.grid.cluster.ClusterError
        See `run_grid`.
    """
    reporter, timings = reporter or Reporter(), Timings(machine)
    records: list[Record] = []
    if not cells:
        return records
    store.prepare()
    if not machine.device.startswith("cuda") or torch.cuda.is_available():  # otherwise the workers do it
        fill_cache(cells, machine, reporter)
    reporter.start(len(cells))
    leases, left = Leases(store.root), list(cells)
    before = {cell.key: made(cell.key, store) for cell in cells}
    with leases.kept_alive():
        while left:
            mine = leases.mine(left, store, before)
            if backend == "dask":
                results = on_dask(mine, machine, reporter, scheduler, jobs)
            elif (
                jobs > 1 or machine.time_limit is not None
            ):  # what does not end by itself can be ended in a process alone
                results = in_processes(mine, machine, reporter, jobs)
            else:
                results = one_by_one(mine, machine, reporter)
            try:
                for cell, (record, scores) in results:
                    try:
                        store.put(record, scores)
                    except NewerError:
                        raise
                    except StoreError as error:  # the record could not be read back
                        record, scores = failed(cell, machine, "NotStorable", str(error))
                        store.put(record, scores)
                    leases.release(cell.key)
                    if record.status == "ok":
                        timings.add(cell, record.timings.total)
                    records.append(record)
                    reporter.finish(cell, record)
            finally:
                timings.save()
                results.close()
            left = [cell for cell in leases.elsewhere if not computed(cell.key, store, before)]
            open_keys = {cell.key for cell in left}
            for cell in leases.elsewhere:
                if cell.key not in open_keys:
                    records.append(store.get(cell.key))
                    reporter.finish(cell, records[-1])
            if left:
                time.sleep(LOOK)
    return records


def freeze_plan(grid: Grid, outcome: Outcome) -> FrozenPlan:
    """Make a frozen plan of a dry run, as proof of what was planned before there were results."""
    from importlib.metadata import version

    cells = {
        cell.key: FrozenCell(title=printable(cell.title), method_source=source_digest(method_class(cell)))
        for cell in outcome.cells
    }
    asked = grid.model_dump(mode="json", exclude={"methods"}, exclude_defaults=True)
    names = sorted({cell.cell.method for cell in outcome.cells})
    return FrozenPlan(
        project_version=version("osad-bench"), commit=commit(), grid={"methods": names, **asked}, cells=cells
    )


def summarise_failures(records: Sequence[Record]) -> list[str]:
    """One line per distinct failure, with the number of cells that had it."""
    groups: dict[str, int] = defaultdict(int)
    for record in records:
        if record.error is not None:
            groups[f"{record.cell.method} on {record.cell.dataset}: {record.error.type}: {record.error.message}"] += 1
    return [f"{count} x {text}" for text, count in groups.items()]
