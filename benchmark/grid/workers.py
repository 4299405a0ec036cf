"""Cells carried out one after the other, by processes of this machine, or on a dask cluster."""

from __future__ import annotations

import multiprocessing
import os
import queue
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from osad_bench.benchmark.cell.execute import Machine, PlannedCell, execute
from osad_bench.benchmark.cell.provenance import provenance
from osad_bench.core.errors import InputError
from osad_bench.results.record import Failure, Record, TestScores

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


def one_by_one(
    cells: Sequence[PlannedCell], machine: Machine, reporter: Reporter
) -> Iterator[tuple[PlannedCell, Result]]:
    """One cell after the other, in this process."""
    for cell in cells:
        yield cell, execute(cell, machine, lambda *values, cell=cell: reporter.epoch(cell, *values))


def in_processes(
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


def on_dask(
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
