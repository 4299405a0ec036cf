"""Compute cells one after the other, or in several processes of this machine (on a cluster: `benchmark.grid.cluster`).

This uses the standard library's `ProcessPoolExecutor` and not joblib: when a worker dies, `joblib.Parallel` ends the whole
call without saying which cell killed it, and its workers outlive a parent that was killed. Loky's executor has the same
interface as the one used here, so it would make nothing shorter.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import chain
from multiprocessing.context import BaseContext
from typing import TYPE_CHECKING, Any

import torch
from joblib import cpu_count

from osad_bench.benchmark.cell.execute import PlannedCell, execute
from osad_bench.benchmark.cell.machine import Machine
from osad_bench.benchmark.cell.provenance import provenance
from osad_bench.benchmark.cell.state import TimeLimitError
from osad_bench.benchmark.grid import guard
from osad_bench.core.text import lines
from osad_bench.results.record import Failure, Record, TestScores

if TYPE_CHECKING:
    from pathlib import Path

    from osad_bench.benchmark.grid.todo import Todo

Result = tuple[Record, "TestScores | None"]
DIED = "WorkerDied"
"""The type of the failure of a cell whose worker process is gone."""
LATE = 15.0
"""Seconds after its time limit when a cell's worker is ended."""
Results = Generator[tuple[PlannedCell, Result], None, None]


class Reporter:
    """Is told what a run does; this one ignores it, derived classes show it."""

    def plan(self, cells: Sequence[PlannedCell], todo: Todo, seconds: float | None, out: Path) -> None:
        """The plan is made; `seconds` is an estimate of what is left to compute, None without one."""

    def features(self, what: str, done: int, total: int) -> None:
        """`done` of `total` images of one view are in the cache."""

    def start(self, total: int) -> None:
        """`total` cells are about to be computed."""

    def epoch(self, cell: PlannedCell, epoch: int, epochs: int, values: dict[str, float]) -> None:
        """A cell finished training epoch `epoch` of `epochs`; `values` are its mean losses."""

    def finish(self, cell: PlannedCell, record: Record) -> None:
        """A cell is stored."""


def died(cell: PlannedCell, machine: Machine, detail: str) -> Result:
    """The failed record of a cell whose worker process is gone."""
    return failed(cell, machine, DIED, f"the worker process died ({detail}); often memory ran out: try fewer --jobs")


def failed(cell: PlannedCell, machine: Machine, kind: str, message: str) -> Result:
    """A failed record for an error outside the cell's own code; `kind` is the type of the failure."""
    failure = Failure(type=kind, message=lines(message))
    return Record(
        key=cell.key, cell=cell.cell, preset=cell.label, variant=cell.variant, status="failed", error=failure,
        provenance=provenance(machine.device),
    ), None  # fmt: skip


def threads_each(jobs: int) -> int:
    """CPU threads per cell when `jobs` cells run at once, so that all together use as many as one alone would.

    One alone uses torch's own number (``OMP_NUM_THREADS``), and no more than the cores that this process may use.
    """
    return max(1, min(torch.get_num_threads(), int(cpu_count())) // jobs)


def device_of(device: str, worker: int) -> str:
    """The device of one of several workers: for ``cuda`` the visible GPUs in turn, any other device unchanged.

    Torch counts the GPUs that ``CUDA_VISIBLE_DEVICES`` leaves visible.
    """
    return f"cuda:{worker % max(1, torch.cuda.device_count())}" if device == "cuda" else device


def _in_worker(cell: PlannedCell, machine: Machine) -> Result:
    """Execute a cell in a worker process, sending epochs back if there is a queue."""
    machine = replace(machine, device=device_of(machine.device, guard.number))
    if guard.events is not None:
        guard.events.put((cell.key, os.getpid()))

    def progress(epoch: int, epochs: int, values: dict[str, float]) -> None:
        if guard.events is not None:
            guard.events.put((cell.key, epoch, epochs, values))

    return execute(cell, machine, progress)


def _start() -> BaseContext:
    """How workers come about: forked from one process that has imported torch and nothing else, for all of them.

    A process imports torch and scikit-learn for four seconds of CPU time, which would be paid for each worker, and again after
    each that died. What is forked has no threads, no CUDA and no lock of this process. Where forking is unsafe (macOS) or
    unknown (Windows), each worker starts from nothing.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    from multiprocessing import forkserver

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "sklearn.metrics"])
    with guard.uninterrupted():
        forkserver.ensure_running()
    return context


@contextmanager
def _pool(jobs: int, events: Any) -> Iterator[ProcessPoolExecutor]:
    """Worker processes, which are gone when the context is left, finished or not."""
    context = _start()
    before = set(multiprocessing.active_children())
    begin = events, os.getpid(), context.Value("i", 0), dict(os.environ)
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=guard.begin_worker, initargs=begin)
    try:
        yield pool
    except BaseException:
        for child in set(multiprocessing.active_children()) - before:
            child.kill()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown(wait=True, cancel_futures=True)


def one_by_one(cells: Iterable[PlannedCell], machine: Machine, reporter: Reporter) -> Results:
    """Compute one cell after the other in this process; a cell is asked for when the one before it is stored."""
    for cell in cells:
        yield cell, execute(cell, machine, lambda *values, cell=cell: reporter.epoch(cell, *values))


class _Clock:
    """Ends the workers of cells that go on after their time limit: one long call, or a method that catches everything.

    Attributes
    ----------
    begun
        Cell's key to its worker's process and the moment at which it began, as the worker tells.
    ended
        Keys of the cells whose workers were ended.
    """

    def __init__(self, limit: float | None) -> None:
        self.limit, self.begun, self.ended = limit, dict[str, tuple[int, float]](), set[str]()

    def wait(self, running: Iterable[Future[Result]], cells: Iterable[PlannedCell]) -> set[Future[Result]]:
        """Wait until some are done; gives them."""
        if self.limit is None:
            return wait(running, return_when=FIRST_COMPLETED).done
        while not (done := wait(running, timeout=1.0, return_when=FIRST_COMPLETED).done):
            for key in {cell.key for cell in cells} & self.begun.keys():
                process, begun = self.begun[key]
                if time.monotonic() - begun > self.limit + LATE:
                    self.ended.add(key)
                    with suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)
        return done

    def result(self, cell: PlannedCell, machine: Machine) -> Result:
        """The failed record of a cell whose worker was ended."""
        return failed(cell, machine, TimeLimitError.__name__, f"took longer than --time-limit {self.limit:g} s")


def _together(
    waiting: Iterator[PlannedCell],
    suspects: deque[PlannedCell],
    machine: Machine,
    jobs: int,
    events: Any,
    clock: _Clock,
) -> Results:
    """Compute cells of `waiting` in `jobs` processes until all are done or a worker dies; `suspects` gets those running.

    A cell is asked for when a process is free for it, so that several runs on one store share the work.
    """
    running: dict[Future[Result], PlannedCell] = {}

    def fill() -> None:
        while len(running) < jobs and not suspects and (cell := next(waiting, None)) is not None:
            try:
                with guard.uninterrupted():
                    running[pool.submit(_in_worker, cell, machine)] = cell
            except BrokenProcessPool:
                suspects.append(cell)

    with _pool(jobs, events) as pool:
        fill()
        while running:
            for future in clock.wait(running, running.values()):
                cell = running.pop(future)
                try:
                    result = future.result()
                except (BrokenProcessPool, CancelledError):
                    if cell.key in clock.ended:
                        yield cell, clock.result(cell, machine)
                    else:
                        suspects.append(cell)
                else:
                    fill()  # no process waits until this cell is stored
                    yield cell, result


def _alone(suspects: deque[PlannedCell], machine: Machine, events: Any, clock: _Clock) -> Results:
    """Cells in a process of their own, one at a time: the one that kills it is recorded as failed."""
    while suspects:
        with _pool(1, events) as pool:
            alive = True
            while suspects and alive:
                cell = suspects.popleft()
                with guard.uninterrupted():
                    future = pool.submit(_in_worker, cell, machine)
                clock.wait([future], [cell])
                try:
                    result = future.result()
                except BrokenProcessPool as error:
                    ended = cell.key in clock.ended
                    result, alive = clock.result(cell, machine) if ended else died(cell, machine, str(error)), False
                yield cell, result


def in_processes(cells: Iterable[PlannedCell], machine: Machine, reporter: Reporter, jobs: int) -> Results:
    """Compute several cells at once; a cell whose worker dies is tried once more alone, then recorded as failed.

    Parameters
    ----------
    cells
        Each is asked for when a process is free for it.

    Yields
    ------
    cell, (record, scores)
        In the order in which the cells finish.
    """
    machine = replace(machine, threads=machine.threads or threads_each(jobs))
    by_key: dict[str, PlannedCell] = {}
    with guard.uninterrupted():  # it starts a process of multiprocessing's own
        events = _start().Queue()
    stop, clock = threading.Event(), _Clock(machine.time_limit)

    def listen() -> None:
        while not stop.is_set():
            try:
                key, *values = events.get(timeout=0.2)
            except queue.Empty:
                continue
            except (EOFError, OSError):
                return
            if len(values) == 1:
                clock.begun[key] = values[0], time.monotonic()
            else:
                reporter.epoch(by_key[key], *values)

    def asked_for() -> Iterator[PlannedCell]:
        for cell in cells:
            by_key[cell.key] = cell
            yield cell

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    waiting, suspects = asked_for(), deque[PlannedCell]()
    try:
        while (first := next(waiting, None)) is not None:
            # A worker that dies breaks its pool, and which of the running cells killed it is not told.
            yield from _together(chain([first], waiting), suspects, machine, jobs, events, clock)
            yield from _alone(suspects, machine, events, clock)
    finally:
        stop.set()
        listener.join(timeout=1)
        events.cancel_join_thread()
        events.close()
