"""A plan held against a store: what is done, what is left, and about how long that takes."""

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
    """A plan held against a store.

    Attributes
    ----------
    done, failed, open
        Cells with an ok record, with a failed one that is left alone, and still to compute.
    damaged
        Messages about records that cannot be read; their cells are among `open`.
    changed
        Messages about methods whose source is another one than that of their stored cells, which are among `done`.
    notes
        What a user should know of the data.
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
    """Sort the cells of a plan by what the store holds of them.

    Parameters
    ----------
    retry_failed
        Failed cells are to be computed again.
    oracle
        So are cells whose record lacks the oracle diagnostic.
    recompute
        Names of methods, all of whose cells are to be computed again.
    pixels
        So are cells whose record does not say how its heat maps were measured.
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
"""Seconds of work below which one process does it sooner than several; processes at the most (each takes 1 GiB)."""


class Timings:
    """Seconds that cells took here before, by method, data set, preset and device; for estimates only."""

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
        """Seconds for these cells; None when one of them is of a sort never run here."""
        known = self._read()
        seconds = [known.get(self._name(cell)) for cell in cells]
        return None if None in seconds else sum(filter(None, seconds)) / jobs

    def add(self, cell: PlannedCell, seconds: float) -> None:
        """Note how long a cell took."""
        self.new[self._name(cell)] = round(seconds, 3)

    def save(self) -> None:
        """Write what was noted; a disk that cannot take it costs the next estimate and nothing else."""
        if not self.new:
            return
        with suppress(OSError):
            write_whole(self.path, json.dumps(self._read() | self.new, indent=1).encode())


def default_jobs(cells: Sequence[PlannedCell], machine: Machine) -> int:
    """Cells at a time where nobody said: one per GPU; on the CPU one per core over cached features, else one.

    One as well where the work is known to take less time than the processes take to start.
    """
    if machine.device == "cuda":
        return max(1, min(len(cells), torch.cuda.device_count()))
    if machine.device != "cpu" or not all(cell.preset.frozen for cell in cells):
        return 1
    seconds = Timings(machine).estimate(cells)
    if seconds is not None and seconds < STARTING:
        return 1
    return max(1, min(len(cells), torch.get_num_threads(), MOST_JOBS))
