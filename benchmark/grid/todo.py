"""Compare a plan with a store: what is done, what is left, and about how long that takes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import torch

from osad_bench.benchmark.cell.execute import PlannedCell, method_class
from osad_bench.benchmark.cell.machine import Machine
from osad_bench.benchmark.cell.source import source_digest, source_file
from osad_bench.core.files import write_whole
from osad_bench.methods.base import Method
from osad_bench.results.store import NewerError, Store, StoreError


@dataclass(frozen=True)
class Todo:
    """The cells of a plan by their state in a store, with messages for the user.

    Attributes
    ----------
    done, failed, open
        Cells with an ok record, with a failed one that is left alone, and still to compute.
    damaged
        Messages about records that cannot be read; their cells are among `open`.
    changed
        Messages about methods whose source changed since their stored cells, which are among `done`.
    notes
        Messages about the data.
    """

    done: list[PlannedCell] = field(default_factory=list)
    failed: list[PlannedCell] = field(default_factory=list)
    open: list[PlannedCell] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def compare(
    cells: Sequence[PlannedCell],
    store: Store,
    retry_failed: bool = False,
    oracle: bool = False,
    recompute: Collection[str] = (),
    pixels: bool = False,
) -> Todo:
    """Sort the cells of a plan by their state in the store.

    Parameters
    ----------
    retry_failed
        Compute failed cells again.
    oracle
        Compute trained cells again whose record lacks the oracle diagnostic.
    recompute
        Names of methods all of whose cells are computed again.
    pixels
        Compute cells again whose record lacks the pixel metrics.

    Raises
    ------
    NewerError
        The store was written by a newer osad-bench.
    """
    todo, changed = Todo(), Counter[str]()
    classes: dict[str, type[Method]] = {}
    for cell in cells:
        if cell.cell.method in recompute:
            todo.open.append(cell)
            continue
        try:
            found = store.glance(cell.key)
        except NewerError:
            raise
        except StoreError as error:
            todo.damaged.append(f"{str(error).partition('. Delete')[0]}; {cell.title} is computed again")
            todo.open.append(cell)
            continue
        if found is None:
            todo.open.append(cell)
            continue
        if cell.cell.method not in classes:
            classes[cell.cell.method] = method_class(cell)
        cls = classes[cell.cell.method]
        if found.status == "failed":
            (todo.open if retry_failed else todo.failed).append(cell)
        elif not store.has_scores(cell.key):
            todo.damaged.append(f"the scores of {cell.title} are gone: computed again")
            todo.open.append(cell)
        elif (pixels and not found.pixels) or (oracle and not found.oracle and cls.schedule is not None):
            todo.open.append(cell)
        else:
            todo.done.append(cell)
            then, now = found.method_source, source_digest(cls)
            if then and now and then != now:
                changed[cell.cell.method] += 1
    for name, count in changed.items():
        todo.changed.append(
            f"{source_file(classes[name])}, or what it imports, changed since {count} stored cells of {name}: raise its version, or "
            f"compute them again with --recompute {name}"
        )
    return todo


STARTING, MOST_JOBS = 20.0, 8
"""Seconds of work below which one process is faster than several; largest number of processes (each takes 1 GiB)."""


class Timings:
    """Seconds that cells took here before, by method, data set, preset and device; used only for estimates."""

    def __init__(self, machine: Machine) -> None:
        self.path, self.device = machine.cache / "timings.json", machine.device
        self.new: dict[str, float] = {}

    def _name(self, cell: PlannedCell) -> str:
        return "|".join([cell.cell.method, cell.variant, cell.cell.dataset, cell.label, self.device])

    def _read(self) -> dict[str, float]:
        try:
            return {name: float(seconds) for name, seconds in json.loads(self.path.read_bytes()).items()}
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            return {}

    def estimate(self, cells: Sequence[PlannedCell], jobs: int = 1) -> float | None:
        """Estimated seconds for these cells, `jobs` at a time; None if one is of a sort that never ran here."""
        known = self._read()
        seconds = [known.get(self._name(cell)) for cell in cells]
        return None if None in seconds else sum(filter(None, seconds)) / jobs

    def add(self, cell: PlannedCell, seconds: float) -> None:
        """Note how long a cell took."""
        self.new[self._name(cell)] = round(seconds, 3)

    def save(self) -> None:
        """Write what was noted; if that fails, only the next estimate is lost."""
        if not self.new:
            return
        with suppress(OSError):
            write_whole(self.path, json.dumps(self._read() | self.new, indent=1).encode())


def default_jobs(cells: Sequence[PlannedCell], machine: Machine) -> int:
    """Default number of cells at a time: one per GPU; on the CPU one per core with cached features, else one.

    Also one if the work is estimated to take less time than the processes take to start.
    """
    if machine.device == "cuda":
        return max(1, min(len(cells), torch.cuda.device_count()))
    if machine.device != "cpu" or not all(cell.preset.frozen for cell in cells):
        return 1
    seconds = Timings(machine).estimate(cells)
    if seconds is not None and seconds < STARTING:
        return 1
    return max(1, min(len(cells), torch.get_num_threads(), MOST_JOBS))
