"""What `osad-bench run` shows while it works: the plan, progress bars with time left, the table."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from osad_bench.benchmark.cell.execute import Machine, PlannedCell, pick_device
from osad_bench.benchmark.grid.plan import Grid, plan
from osad_bench.benchmark.grid.run import carry_out, summarise_failures
from osad_bench.benchmark.grid.todo import Timings, Todo, compare, default_jobs
from osad_bench.benchmark.grid.workers import Reporter
from osad_bench.core.places import default_cache
from osad_bench.results.record import Record
from osad_bench.results.render import print_summary
from osad_bench.results.store import Store

QUIET = 2.0
"""Seconds in which a command says nothing of its steps."""

EVERY = 10.0
"""Seconds between two lines of a log."""


class Bars:
    """Bars for a terminal, and lines for where there is none."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=not console.is_terminal,
            transient=True,
            redirect_stdout=False,  # results may go to a file while the bars are on a terminal
            speed_estimate_period=120,
        )
        self.printed = 0.0

    def _log(self, text: str, every: float = 0.0) -> None:
        """Print a line where no bars are shown, at most one in `every` seconds."""
        if not self.console.is_terminal and time.monotonic() - self.printed >= every:
            self.printed = time.monotonic()
            self.console.print(text, highlight=False, soft_wrap=True)


class Steps(Bars):
    """The steps of a command, one after the other; what is over in `QUIET` seconds is not shown."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.begun, self.drawn = time.monotonic(), 0.0

    @contextmanager
    def step(self, what: str) -> Iterator[Callable[[int, int], None]]:
        """A bar for one step, which is gone when the step is over; give what comes how much is done, and of how much."""
        name = escape(what)
        task = self.bars.add_task(name, total=None, note="")

        def tell(done: int, total: int) -> None:
            now = time.monotonic()
            if now - self.drawn < 0.1 and done < total:  # a step may tell every record of 100,000
                return
            self.drawn = now
            self.bars.update(task, completed=done, total=total)
            if now - self.begun >= QUIET:
                self.bars.start()
                self._log(f"{name}: {done}/{total}", EVERY)

        try:
            yield tell
        finally:
            self.bars.stop()
            self.bars.remove_task(task)


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


def run_study(
    groups: Sequence[Sequence[PlannedCell]],
    store: Store,
    machine: Machine,
    *,
    jobs: int | None = None,
    retry_failed: bool = False,
    dry_run: bool = False,
) -> int:
    """Compute what the store lacks of these cells, seeds outermost; returns the number of failed cells."""
    console = Console(stderr=True)
    unique = {cell.cell.key: cell for group in groups for cell in group}
    cells = sorted(unique.values(), key=lambda cell: cell.cell.protocol.seed)
    todo = compare(cells, store, retry_failed)
    jobs = jobs or default_jobs(todo.open, machine)
    print_plan(console, cells, todo, Timings(machine).estimate(todo.open, jobs), store.root)
    if dry_run:
        for cell in cells:
            print(f"{cell.cell.key[:12]}  {'to do' if cell in todo.open else 'done ':6}  {cell.title}")
        return 0
    reporter = ProgressReporter(console)
    with reporter.bars:
        records = carry_out(todo.open, store, machine, reporter, jobs)
    failed = [record for record in records if record.status == "failed"]
    failed += [store.get(cell.cell.key) for cell in todo.failed]
    for line in summarise_failures(failed):
        console.print(f"[red]failed[/red] {line}", highlight=False, soft_wrap=True)
    return len(failed)
