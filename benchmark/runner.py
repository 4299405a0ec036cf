"""Run a grid: what is stored already is kept, the rest is computed, each finished cell is stored at once."""

from __future__ import annotations

import json
import multiprocessing
import os
import queue
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from filelock import FileLock

from osad_bench.benchmark.backbones import load_backbone
from osad_bench.benchmark.errors import InputError
from osad_bench.benchmark.execute import Machine, PlannedCell, dataset_of, division_of, execute, preset_of
from osad_bench.benchmark.features import FeatureCache, View
from osad_bench.benchmark.preset import Preset
from osad_bench.benchmark.provenance import provenance
from osad_bench.benchmark.registry import methods
from osad_bench.benchmark.training import needed
from osad_bench.results.record import Failure, Record, TestScores
from osad_bench.results.store import Store, StoreError

Result = tuple[Record, "TestScores | None"]


class Reporter:
    """Hears what a run does; this one says nothing."""

    def features(self, what: str, done: int, total: int) -> None:
        """`done` of `total` images of one view are in the cache."""

    def start(self, total: int) -> None:
        """`total` cells are about to be computed."""

    def epoch(self, cell: PlannedCell, epoch: int, epochs: int, values: dict[str, float]) -> None:
        """A cell finished a training epoch."""

    def finish(self, cell: PlannedCell, record: Record) -> None:
        """A cell is stored."""


@dataclass(frozen=True)
class Todo:
    """A plan held against a store.

    Attributes
    ----------
    done, failed, open
        Cells with an ok record, with a failed one that is left alone, and still to compute.
    damaged
        Messages about records that cannot be read; their cells are among `open`.
    """

    done: list[PlannedCell]
    failed: list[PlannedCell]
    open: list[PlannedCell]
    damaged: list[str]


def compare(cells: Sequence[PlannedCell], store: Store, retry_failed: bool = False, oracle: bool = False) -> Todo:
    """Sort the cells of a plan by what the store holds of them."""
    todo = Todo([], [], [], [])
    for cell in cells:
        key = cell.cell.key
        if key not in store:
            todo.open.append(cell)
            continue
        try:
            record = store.get(key)
        except StoreError as error:
            todo.damaged.append(f"{str(error).partition('. Delete')[0]}; {cell.title} is computed again")
            todo.open.append(cell)
            continue
        if record.status == "failed":
            (todo.open if retry_failed else todo.failed).append(cell)
        elif not store.has_scores(key):
            todo.damaged.append(f"the scores of {cell.title} are gone: computed again")
            todo.open.append(cell)
        elif oracle and "oracle" not in record.diagnostics and methods.get(cell.cell.method).schedule is not None:
            todo.open.append(cell)
        else:
            todo.done.append(cell)
    return todo


STARTING, MOST_JOBS = 20.0, 8
"""Seconds of work below which one process does it sooner than several; processes at the most (each takes 1 GiB)."""


class Timings:
    """Seconds a cell took here before, by method, data set, preset and device; for estimates only."""

    def __init__(self, machine: Machine) -> None:
        self.path, self.device = machine.cache / "timings.json", machine.device

    def _name(self, cell: PlannedCell) -> str:
        return "|".join([cell.cell.method, cell.variant, cell.cell.dataset, cell.preset, self.device])

    def _read(self) -> dict[str, float]:
        try:
            return {name: float(seconds) for name, seconds in json.loads(self.path.read_bytes()).items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def estimate(self, cells: Sequence[PlannedCell], jobs: int = 1) -> float | None:
        """Seconds for these cells; None when one of them is of a sort never run here."""
        known = self._read()
        seconds = [known.get(self._name(cell)) for cell in cells]
        return None if None in seconds else sum(filter(None, seconds)) / jobs

    def add(self, cell: PlannedCell, seconds: float) -> None:
        """Note how long a cell took."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path.with_suffix(".lock")):
            temporary = self.path.with_suffix(".tmp")
            temporary.write_text(json.dumps(self._read() | {self._name(cell): round(seconds, 3)}, indent=1))
            temporary.replace(self.path)


def default_jobs(cells: Sequence[PlannedCell], machine: Machine) -> int:
    """Cells at a time where nobody said: one a core over cached features, one where the backbone is trained.

    One as well where the work is known to take less time than the processes take to start.
    """
    if machine.device != "cpu" or not all(cell.cell.preset["frozen"] for cell in cells):
        return 1
    seconds = Timings(machine).estimate(cells)
    if seconds is not None and seconds < STARTING:
        return 1
    return max(1, min(len(cells), torch.get_num_threads(), MOST_JOBS))


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


def _died(cell: PlannedCell, machine: Machine, detail: str) -> Result:
    """The failed record of a cell whose worker process is gone."""
    failure = Failure(
        type="WorkerDied", message=f"the worker process died ({detail}); often memory ran out: try fewer --jobs"
    )
    return Record(
        key=cell.cell.key, cell=cell.cell, preset=cell.preset, variant=cell.variant, status="failed", error=failure,
        provenance=provenance(machine.device, {}, False),
    ), None  # fmt: skip


def _in_worker(cell: PlannedCell, machine: Machine, events: Any) -> Result:
    """Execute in another process, sending epochs back where there is a queue."""

    def progress(epoch: int, epochs: int, values: dict[str, float]) -> None:
        if events is not None:
            events.put((cell.cell.key, epoch, epochs, values))

    return execute(cell, machine, progress)


@contextmanager
def _pool(jobs: int) -> Iterator[Executor]:
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _collect(futures: dict[Future[Result], PlannedCell]) -> Iterator[tuple[PlannedCell, Future[Result]]]:
    """Futures in the order in which they finish."""
    waiting = set(futures)
    while waiting:
        finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        for future in finished:
            yield futures[future], future


def _serial(cells: Sequence[PlannedCell], machine: Machine, reporter: Reporter) -> Iterator[tuple[PlannedCell, Result]]:
    for cell in cells:
        yield cell, execute(cell, machine, lambda *values, cell=cell: reporter.epoch(cell, *values))


def _processes(
    cells: Sequence[PlannedCell], machine: Machine, reporter: Reporter, jobs: int
) -> Iterator[tuple[PlannedCell, Result]]:
    """Several cells at once; a cell whose worker dies is tried once more alone, then recorded as failed."""
    machine = replace(machine, threads=machine.threads or max(1, (os.cpu_count() or 1) // jobs))
    by_key = {cell.cell.key: cell for cell in cells}
    with multiprocessing.get_context("spawn").Manager() as manager:
        events: Any = manager.Queue()
        stop = threading.Event()

        def listen() -> None:
            while not stop.is_set():
                try:
                    key, *values = events.get(timeout=0.2)
                except queue.Empty:
                    continue
                except (EOFError, OSError):
                    return
                reporter.epoch(by_key[key], *values)

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        try:
            suspects: list[PlannedCell] = []
            with _pool(jobs) as pool:
                for cell, future in _collect({pool.submit(_in_worker, cell, machine, events): cell for cell in cells}):
                    try:
                        yield cell, future.result()
                    except (BrokenProcessPool, CancelledError):
                        suspects.append(cell)  # a dead worker breaks the pool: which cell killed it shows below
            for cell in suspects:
                with _pool(1) as pool:
                    try:
                        result = pool.submit(_in_worker, cell, machine, events).result()
                    except BrokenProcessPool as error:
                        result = _died(cell, machine, str(error))
                yield cell, result
        finally:
            stop.set()
            listener.join(timeout=1)


def _dask(
    cells: Sequence[PlannedCell], machine: Machine, scheduler: str | None, jobs: int
) -> Iterator[tuple[PlannedCell, Result]]:
    """Cells on a dask cluster; dask itself retries what a dead worker had."""
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise InputError("--backend dask needs dask.distributed: pip install 'osad-bench[dask]'") from None
    client: Any = Client(scheduler) if scheduler else Client(n_workers=jobs, threads_per_worker=1)
    with client:
        futures = {
            client.submit(_in_worker, cell, machine, None, key=cell.cell.key, pure=False): cell for cell in cells
        }
        for future in as_completed(list(futures)):
            error = future.exception()
            yield futures[future], _died(futures[future], machine, str(error)) if error else future.result()


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
        results = _dask(cells, machine, scheduler, jobs)
    elif jobs > 1:
        results = _processes(cells, machine, reporter, jobs)
    else:
        results = _serial(cells, machine, reporter)
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
