"""Cells carried out one after the other, by processes of this machine, or on a dask cluster."""

from __future__ import annotations

import multiprocessing
import os
import queue
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from osad_bench.benchmark.cell.execute import Machine, PlannedCell, execute
from osad_bench.benchmark.cell.provenance import provenance
from osad_bench.benchmark.grid import guard
from osad_bench.core.errors import InputError
from osad_bench.core.text import lines
from osad_bench.results.record import Failure, Record, TestScores

if TYPE_CHECKING:
    from pathlib import Path

    from osad_bench.benchmark.grid.todo import Todo

Result = tuple[Record, "TestScores | None"]
Results = Generator[tuple[PlannedCell, Result], None, None]


class Reporter:
    """Hears what a run does; this one says nothing."""

    def plan(self, cells: Sequence[PlannedCell], todo: Todo, seconds: float | None, out: Path) -> None:
        """What will be computed, and an estimate of how long it takes."""

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
    return failed(
        cell, machine, "WorkerDied", f"the worker process died ({detail}); often memory ran out: try fewer --jobs"
    )


def failed(cell: PlannedCell, machine: Machine, kind: str, message: str) -> Result:
    """A failed record for what went wrong outside the cell."""
    failure = Failure(type=kind, message=lines(message))
    return Record(
        key=cell.key, cell=cell.cell, preset=cell.label, variant=cell.variant, status="failed", error=failure,
        provenance=provenance(machine.device),
    ), None  # fmt: skip


def _in_worker(cell: PlannedCell, machine: Machine) -> Result:
    """Execute in another process, sending epochs back where there is a queue."""

    def progress(epoch: int, epochs: int, values: dict[str, float]) -> None:
        if guard.events is not None:
            guard.events.put((cell.key, epoch, epochs, values))

    return execute(cell, machine, progress)


@contextmanager
def _pool(jobs: int, events: Any) -> Iterator[ProcessPoolExecutor]:
    """Worker processes, which are gone when the context is left, finished or not."""
    context = multiprocessing.get_context("spawn")
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=guard.begin_worker, initargs=(events, os.getpid()))
    try:
        yield pool
    except BaseException:
        for child in set(multiprocessing.active_children()) - before:
            child.kill()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown(wait=True, cancel_futures=True)


def one_by_one(cells: Iterable[PlannedCell], machine: Machine, reporter: Reporter) -> Results:
    """One cell after the other, in this process; a cell is asked for when the one before it is stored."""
    for cell in cells:
        yield cell, execute(cell, machine, lambda *values, cell=cell: reporter.epoch(cell, *values))


def _together(
    waiting: deque[PlannedCell], suspects: deque[PlannedCell], machine: Machine, jobs: int, events: Any
) -> Results:
    """Cells of `waiting` in `jobs` processes, until all are done or a worker dies; what then ran goes to `suspects`."""
    running: dict[Future[Result], PlannedCell] = {}
    with _pool(jobs, events) as pool:
        while running or (waiting and not suspects):
            while (
                waiting and not suspects and len(running) <= jobs
            ):  # one more than run, so that no process has to wait
                try:
                    with guard.uninterrupted():
                        future = pool.submit(_in_worker, waiting[0], machine)
                except BrokenProcessPool:
                    suspects.append(waiting.popleft())
                else:
                    running[future] = waiting.popleft()
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                cell = running.pop(future)
                try:
                    result = future.result()
                except (BrokenProcessPool, CancelledError):
                    suspects.append(cell)
                else:
                    yield cell, result


def _alone(suspects: deque[PlannedCell], machine: Machine, events: Any) -> Results:
    """Cells in a process of their own, one at a time: the one that kills it is recorded as failed."""
    while suspects:
        with _pool(1, events) as pool:
            alive = True
            while suspects and alive:
                cell = suspects.popleft()
                with guard.uninterrupted():
                    future = pool.submit(_in_worker, cell, machine)
                try:
                    result = future.result()
                except BrokenProcessPool as error:
                    result, alive = _died(cell, machine, str(error)), False
                yield cell, result


def in_processes(cells: Sequence[PlannedCell], machine: Machine, reporter: Reporter, jobs: int) -> Results:
    """Several cells at once; a cell whose worker dies is tried once more alone, then recorded as failed."""
    machine = replace(machine, threads=machine.threads or max(1, (os.cpu_count() or 1) // jobs))
    by_key = {cell.key: cell for cell in cells}
    with guard.uninterrupted():  # it starts a process of multiprocessing's own
        events = multiprocessing.get_context("spawn").Queue()
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
    waiting, suspects = deque(cells), deque[PlannedCell]()
    try:
        while waiting:
            # A worker that dies breaks its pool, and which of the running cells killed it is not told.
            yield from _together(waiting, suspects, machine, jobs, events)
            yield from _alone(suspects, machine, events)
    finally:
        stop.set()
        listener.join(timeout=1)
        events.cancel_join_thread()
        events.close()


def on_dask(cells: Sequence[PlannedCell], machine: Machine, scheduler: str | None, jobs: int) -> Results:
    """Cells on a dask cluster; dask itself retries what a dead worker had."""
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise InputError("--backend dask needs dask.distributed: pip install 'osad-bench[dask]'") from None
    if not cells:
        return
    try:
        client: Any = Client(scheduler) if scheduler else Client(n_workers=jobs, threads_per_worker=1)
    except (OSError, ValueError) as error:
        raise InputError(f"no dask scheduler answers at {scheduler} ({error}); start one with dask scheduler") from None
    with client:
        futures = {client.submit(_in_worker, cell, machine, key=cell.key, pure=False): cell for cell in cells}
        for future in as_completed(list(futures)):
            problem = future.exception()
            yield futures[future], _died(futures[future], machine, str(problem)) if problem else future.result()
