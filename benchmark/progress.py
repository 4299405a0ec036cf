"""What `osad-bench run` shows while it works: the plan, progress bars with time left, the table."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import TaskID

from osad_bench.benchmark.bars import EVERY, Bars
from osad_bench.benchmark.errors import InputError
from osad_bench.benchmark.execute import Machine, PlannedCell
from osad_bench.benchmark.paths import default_cache
from osad_bench.benchmark.plan import Grid, plan
from osad_bench.benchmark.runner import (
    Reporter,
    Timings,
    Todo,
    carry_out,
    compare,
    default_jobs,
    summarise_failures,
)
from osad_bench.results.record import Record
from osad_bench.results.store import Store
from osad_bench.results.tables import print_summary


def duration(seconds: float) -> str:
    """Such as ``45 s``, ``3 min`` or ``2.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class ProgressReporter(Bars, Reporter):
    """Bars on a terminal; a line a stage and cell where there is none (a log, CI)."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.views: dict[str, TaskID] = {}
        self.cells: TaskID | None = None
        self.running: dict[str, TaskID] = {}
        self.finished, self.total = 0, 0

    def features(self, what: str, done: int, total: int) -> None:
        """Advance the bar of one view."""
        if what not in self.views:
            self.views[what] = self.bars.add_task(f"features  {what}", total=total, note="")
        self.bars.update(self.views[what], completed=done, total=total)
        self._log(f"features  {what}: {done}/{total}", 0.0 if done == total else EVERY)
        if done == total:
            self.bars.remove_task(self.views.pop(what))

    def start(self, total: int) -> None:
        """Open the bar of cells."""
        self.total = total
        self.cells = self.bars.add_task("[bold]cells", total=total, note="")

    def epoch(self, cell: PlannedCell, epoch: int, epochs: int, values: dict[str, float]) -> None:
        """Advance a running cell's bar."""
        key = cell.cell.key
        if key not in self.running:
            self.running[key] = self.bars.add_task(escape(f"  {cell.title}"), total=epochs, note="")
        self.bars.update(self.running[key], completed=epoch, note=f"loss {sum(values.values()):.3g}")

    def finish(self, cell: PlannedCell, record: Record) -> None:
        """Close a cell's bar and print its result."""
        if cell.cell.key in self.running:
            self.bars.remove_task(self.running.pop(cell.cell.key))
        self.finished += 1
        if self.cells is not None:
            self.bars.update(self.cells, completed=self.finished)
        if record.metrics is not None:
            text = f"AUROC {record.metrics.auroc:.3f} in {duration(record.timings.total)}"
            self._log(escape(f"[{self.finished}/{self.total}] {cell.title}: {text}"))
        elif record.error is not None:
            text = f"{cell.title}: {record.error.type}: {record.error.message}".splitlines()[0]
            self.console.print(f"[red]failed[/red] {escape(text)}", highlight=False, soft_wrap=True)


def print_plan(console: Console, cells: Sequence[PlannedCell], todo: Todo, estimate: float | None, out: Path) -> None:
    """Say what will be computed and about how long it takes."""
    names = Counter(cell.cell.method for cell in cells)
    data = ", ".join(dict.fromkeys(cell.cell.dataset for cell in cells))
    left = f"{len(todo.open)} to do"
    time_left = (
        ""
        if not todo.open
        else ", no estimate before a first run here"
        if estimate is None
        else f", about {duration(estimate)}"
    )
    console.print(
        f"[bold]plan[/bold]: {len(cells)} cells ({', '.join(f'{name} {n}' for name, n in names.items())}) on {data}, "
        f"preset {', '.join(dict.fromkeys(cell.preset for cell in cells))}; {len(todo.done)} done, {left}{time_left}; records in {out}",
        highlight=False,
        soft_wrap=True,
    )
    if todo.failed:
        console.print(f"{len(todo.failed)} cells failed earlier; --retry-failed computes them again", highlight=False)
    for message in todo.damaged:
        console.print(f"[yellow]{message}[/yellow]", highlight=False, soft_wrap=True)


def pick_device(device: str) -> str:
    """``auto`` to cuda where there is one, else cpu.

    Raises
    ------
    InputError
        A CUDA device was asked for that does not exist.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"--device {device} is not usable here ({str(error).splitlines()[0]}); use --device cpu or auto"
        ) from None
    return device


def run_with_progress(
    grid: Grid,
    *,
    out: Path,
    jobs: int | None,
    device: str,
    backend: str,
    scheduler: str | None,
    weights: Path | None,
    data_root: Path | None,
    cache: Path | None,
    retry_failed: bool,
    oracle: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Plan, run and show; returns the exit code."""
    console = Console(stderr=True)
    machine = Machine(cache or default_cache(), data_root, weights, pick_device(device), oracle=oracle)
    store = Store(out)
    with console.status("reading the data sets"):
        cells = plan(grid, machine)
        todo = compare(cells, store, retry_failed, oracle)
    jobs = jobs or default_jobs(todo.open, machine)
    print_plan(console, cells, todo, Timings(machine).estimate(todo.open, jobs), out)
    if dry_run:
        for cell in cells:
            state = "to do" if cell in todo.open else "failed" if cell in todo.failed else "done"
            print(f"{cell.cell.key[:12]}  {state:6}  {cell.title}")
        return 0
    reporter = ProgressReporter(console)
    with reporter.bars:
        records = carry_out(todo.open, store, machine, reporter, jobs, backend, scheduler)
    failed = [record for record in records if record.status == "failed"]
    stored = [store.get(cell.cell.key) for cell in [*todo.done, *todo.failed]]
    _print_results(console, store, cells, as_json)
    every = [*records, *stored]
    duplicates = {
        (record.cell.dataset, record.split.crossing_duplicates)
        for record in every
        if record.split and record.split.crossing_duplicates
    }
    for name in sorted({name for name, _ in duplicates}):
        most = max(n for other, n in duplicates if other == name)
        console.print(
            f"{escape(name)}: up to {most} test images have an identical copy in training; --dedup keeps one of each, which also draws another split",
            highlight=False,
        )
    for sentence in few_images(every):
        console.print(escape(sentence), highlight=False, soft_wrap=True)
    for line in summarise_failures([record for record in every if record.status == "failed"]):
        console.print(f"[red]failed[/red] {escape(line)}", highlight=False, soft_wrap=True)
    if failed or todo.failed:
        console.print(
            "the failed cells' tracebacks are in their records; --retry-failed computes them again", highlight=False
        )
        return 1
    return 0


FEW = 20
"""Test normals or anomalies below which a run says how coarse its AUROCs are."""


def few_images(records: Sequence[Record]) -> list[str]:
    """A sentence for each data set whose test part is so small that one image decides between methods."""
    sizes: dict[str, tuple[int, int]] = {}
    for record in records:
        if record.split and min(record.split.test_normal, record.split.test_anomaly) < FEW:
            size = record.split.test_normal, record.split.test_anomaly
            sizes[record.cell.dataset] = min(size, sizes.get(record.cell.dataset, size), key=min)
    return [
        f"{name}: tested on {normal} normals and {anomalous} anomalies only: one image moves an AUROC by up to "
        f"{1 / min(normal, anomalous):.2f}. Compare over more seeds, and believe no difference that report calls noise."
        for name, (normal, anomalous) in sorted(sizes.items())
    ]


def _print_results(console: Console, store: Store, cells: Sequence[PlannedCell], as_json: bool) -> None:
    keys = {cell.cell.key for cell in cells}
    frame = store.frame()
    frame = frame[frame["key"].isin(keys)]
    if as_json:
        for row in frame.drop(columns=["curve", "config", "preset_config"]).to_dict("records"):
            print(json.dumps(row, default=str))
        return
    show_validation = cells[0].cell.protocol.part == "validation"
    if show_validation:
        console.print(
            "[yellow]validation part, cut from the training data: for choosing settings, not for reporting[/yellow]"
        )
        frame = frame.assign(part="test")
    sys.stderr.flush()
    print_summary(frame, Console())
    if not show_validation:
        console.print(
            f"next: osad-bench report {store.root}  (writes Markdown, LaTeX, CSV and a plot)",
            highlight=False,
            soft_wrap=True,
        )
