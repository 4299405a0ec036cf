"""Cells on a dask cluster: workers on other machines, the same records.

A worker computes one cell at a time with all the CPU threads it was given, as torch's settings and random numbers belong to
the whole process. A cell whose worker dies is tried again by another one. When dask gives a cell up
(``distributed.scheduler.allowed-failures``), another cell may have killed its workers: it is tried once more while nothing
else runs, and then recorded as failed.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from osad_bench.benchmark.cell.execute import PlannedCell, execute
from osad_bench.benchmark.cell.machine import Machine
from osad_bench.benchmark.grid.workers import DIED, Reporter, Result, Results, died, failed, threads_each
from osad_bench.core.border import message_of, name_of
from osad_bench.core.errors import InputError

AHEAD = 2
"""Cells handed to the cluster per worker: one that runs, and one that waits, so that an adaptive cluster grows."""
COUNTED = 2.0
"""Seconds between two looks at how many workers there are."""

_ONE_AT_A_TIME = threading.Lock()


class ClusterError(RuntimeError):
    """The cluster cannot go on with the run; the message says what is kept and what to do."""


def _on_worker(cell: PlannedCell, machine: Machine, expected: str, topic: str) -> Result:
    """Execute a cell in a dask worker, sending epochs back as events of `topic`."""
    from distributed import get_worker

    if (found := version("osad-bench")) != expected:
        raise ImportError(f"osad-bench {found} is installed there, but {expected} here")
    worker = get_worker()

    def progress(epoch: int, epochs: int, values: dict[str, float]) -> None:
        worker.log_event(topic, (cell.key, epoch, epochs, values))

    with _ONE_AT_A_TIME:
        return execute(cell, replace(machine, threads=machine.threads or worker.state.nthreads), progress)


@contextmanager
def _client(scheduler: str | None, jobs: int) -> Iterator[Any]:
    """A client of the scheduler, or of a cluster of processes on this machine; dask's own log is silenced."""
    try:
        from distributed import Client
    except ImportError:
        raise InputError("--backend dask needs dask.distributed: pip install 'osad-bench[dask]'") from None
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        client = (
            Client(scheduler, set_as_default=False)
            if scheduler
            else Client(n_workers=jobs, threads_per_worker=threads_each(jobs), set_as_default=False)
        )
    except (OSError, ValueError) as error:
        logger.setLevel(before)
        raise InputError(f"no dask scheduler answers at {scheduler} ({error}); start one with dask scheduler") from None
    try:
        with client:
            yield client
    finally:
        logger.setLevel(before)


def on_dask(
    cells: Iterable[PlannedCell], machine: Machine, reporter: Reporter, scheduler: str | None, jobs: int
) -> Results:
    """Compute cells on a dask cluster, `AHEAD` per worker at a time.

    Parameters
    ----------
    cells
        Each is asked for when the cluster has room for it.
    scheduler
        Its address; None starts a cluster of `jobs` processes here.

    Yields
    ------
    cell, (record, scores)
        In the order in which the cells finish.

    Raises
    ------
    InputError
        No scheduler answers, or dask is not installed.
    ClusterError
        The scheduler is gone, or the workers cannot run cells at all.
    """
    waiting = iter(cells)
    first = next(waiting, None)
    if first is None:
        return
    by_key = {first.key: first}

    def epoch(event: Any) -> None:
        _, (key, *values) = event
        reporter.epoch(by_key[key], *values)

    with _client(scheduler, jobs) as client:
        from distributed import as_completed

        topic = f"osad-bench-{uuid.uuid4().hex}"
        client.subscribe_topic(topic, epoch)
        room = _Room(client)
        running: dict[Any, PlannedCell] = {}
        suspects, alone = deque[PlannedCell](), set[str]()
        done = as_completed(loop=client.loop)

        def hand_over(cell: PlannedCell) -> None:
            by_key[cell.key] = cell
            key = f"{cell.key}-{topic}-{cell.key in alone}"
            with _gone_is_told(scheduler):
                future = client.submit(_on_worker, cell, machine, version("osad-bench"), topic, key=key, pure=False)
                done.add(future)
            running[future] = cell

        def fill() -> None:
            if suspects and not running:
                alone.add(suspects[0].key)
                hand_over(suspects.popleft())
            if suspects or any(cell.key in alone for cell in running.values()):
                return
            with _gone_is_told(scheduler):
                most = room.cells()
            while len(running) < most and (cell := next(waiting, None)) is not None:
                hand_over(cell)

        hand_over(first)
        fill()
        while running:
            with _gone_is_told(scheduler):
                future = next(done)
            cell = running.pop(future)
            with _gone_is_told(scheduler):
                result = _result(future, cell, machine)
            given_up = result[0].error is not None and result[0].error.type == DIED
            if given_up and cell.key not in alone:
                suspects.append(cell)
                fill()
                continue
            fill()
            yield cell, result


def _result(future: Any, cell: PlannedCell, machine: Machine) -> Result:
    """A cell's record and scores; a failed record if its workers died."""
    from distributed import KilledWorker

    try:
        result: Result = future.result()
    except KilledWorker as error:
        return died(cell, machine, str(error))
    except (OSError, CancelledError):
        raise
    except (ImportError, AttributeError) as error:
        raise ClusterError(
            f"the dask workers cannot run cells ({error}): install the same osad-bench, and the same plug-ins, on all of them"
        ) from None
    except Exception as error:
        return failed(cell, machine, name_of(error), message_of(error))
    return result


@contextmanager
def _gone_is_told(scheduler: str | None) -> Iterator[None]:
    """Turn what dask raises when its scheduler is gone into a `ClusterError`."""
    try:
        yield
    except (OSError, CancelledError) as error:
        where = f" at {scheduler}" if scheduler else ""
        raise ClusterError(
            f"the dask scheduler{where} is gone ({type(error).__name__}); what was computed is kept: start it again, and "
            "run the same command again"
        ) from None


class _Room:
    """How many cells the cluster gets at a time."""

    def __init__(self, client: Any) -> None:
        self.client, self.workers, self.looked, self.told = client, 0, 0.0, False

    def cells(self) -> int:
        """`AHEAD` cells per worker there is now; at least `AHEAD`, for a cluster that grows with its work."""
        if time.monotonic() - self.looked > COUNTED:
            self.workers, self.looked = len(self.client.nthreads()), time.monotonic()
        if not self.workers and not self.told:
            self.told = True
            print("note: the dask cluster has no workers yet; the run waits for one", file=sys.stderr)
        return AHEAD * max(1, self.workers)
