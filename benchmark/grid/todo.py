"""A plan held against a store: what is done, what is left, and about how long that takes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from filelock import FileLock

from osad_bench.benchmark.cell.execute import Machine, PlannedCell
from osad_bench.core.registry import methods
from osad_bench.results.store import Store, StoreError


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
