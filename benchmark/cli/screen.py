"""What `osad-bench run` shows while it works: the plan, progress bars with time left, the table."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.progress import TaskID

from osad_bench.benchmark.cell.execute import PlannedCell
from osad_bench.benchmark.cli.bars import EVERY, Bars, shown
from osad_bench.benchmark.grid.plan import Grid
from osad_bench.benchmark.grid.run import Options, Outcome, run_grid, summarise_failures
from osad_bench.benchmark.grid.todo import Todo
from osad_bench.benchmark.grid.workers import Reporter
from osad_bench.core.errors import InputError
from osad_bench.core.text import printable
from osad_bench.results.record import Record, finite
from osad_bench.results.render import print_summary


def duration(seconds: float) -> str:
    """Write seconds as ``45 s``, ``3 min`` or ``2.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class ProgressReporter(Bars, Reporter):
    """Bars on a terminal; one line per stage and cell where there is none (a log, CI)."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.views: dict[str, TaskID] = {}
        self.cells: TaskID | None = None
        self.running: dict[str, TaskID] = {}
        self.finished, self.total = 0, 0

    def plan(self, cells: Sequence[PlannedCell], todo: Todo, seconds: float | None, out: Path) -> None:
        """Print what will be computed and about how long it takes."""
        names = Counter(cell.cell.method for cell in cells)
        data = ", ".join(dict.fromkeys(cell.cell.dataset for cell in cells))
        time_left = (
            ""
            if not todo.open
            else ", no estimate before a first run here"
            if seconds is None
            else f", about {duration(seconds)}"
        )
        self.say(
            f"{len(cells)} cells ({', '.join(f'{name} {n}' for name, n in names.items())}) on {data}, "
            f"preset {', '.join(dict.fromkeys(cell.label for cell in cells))}; {len(todo.done)} done, "
            f"{len(todo.open)} to do{time_left}; records in {out}",
            "[bold]plan[/bold]: ",
        )
        if todo.failed:
            self.say(f"{len(todo.failed)} cells failed earlier; --retry-failed computes them again")
        for message in (*todo.damaged, *todo.changed, *todo.notes):
            self.say(message, style="yellow")

    def say(self, text: str, before: str = "", style: str | None = None) -> None:
        """Print a line as it is, after a prefix with markup."""
        self.console.print(before + shown(text), style=style, highlight=False, soft_wrap=True)

    def features(self, what: str, done: int, total: int) -> None:
        """Advance the bar of one view."""
        if what not in self.views:
            self.views[what] = self.bars.add_task(shown(f"features  {what}"), total=total, note="")
        self.bars.update(self.views[what], completed=done, total=total)
        self._log(shown(f"features  {what}: {done}/{total}"), 0.0 if done == total else EVERY)
        if done == total:
            self.bars.remove_task(self.views.pop(what))

    def start(self, total: int) -> None:
        """Add the bar that counts cells."""
        self.total = total
        self.cells = self.bars.add_task("[bold]cells", total=total, note="")

    def epoch(self, cell: PlannedCell, epoch: int, epochs: int, values: dict[str, float]) -> None:
        """Advance a running cell's bar."""
        key = cell.key
        if key not in self.running:
            self.running[key] = self.bars.add_task(shown(f"  {cell.title}"), total=epochs, note="")
        self.bars.update(self.running[key], completed=epoch, note=f"loss {sum(values.values()):.3g}")

    def finish(self, cell: PlannedCell, record: Record) -> None:
        """Close a cell's bar and print its result."""
        if cell.key in self.running:
            self.bars.remove_task(self.running.pop(cell.key))
        self.finished += 1
        if self.cells is not None:
            self.bars.update(self.cells, completed=self.finished)
        if record.metrics is not None:
            text = f"AUROC {record.metrics.auroc:.3f} in {duration(record.timings.total)}"
            self._log(shown(f"[{self.finished}/{self.total}] {cell.title}: {text}"))
        elif record.error is not None:
            text = f"{cell.title}: {record.error.type}: {record.error.message}".splitlines()[0]
            self.say(text, "[red]failed[/red] ")


def work(grids: Sequence[Grid], options: Options) -> Outcome:
    """Run grids with bars on stderr; a dry run prints the cells with their state on stdout."""
    reporter = ProgressReporter(Console(stderr=True))
    with reporter.bars:
        outcome = run_grid(grids, options, reporter)
    return _planned(outcome, options)


def work_until(
    grid: Grid, options: Options, until: str | None, between: Sequence[str] | None, max_seeds: int
) -> Outcome:
    """Run a grid until its question is answered, and print the state after each look.

    Raises
    ------
    InputError
        `until` or `between` has no valid value.
    """
    from osad_bench.benchmark.grid.until import Answer, Question, run_until

    if until != "decided":
        raise InputError(f"--until {until}: expected decided" if until else "--between goes with --until decided")
    if between is not None and len(between) != 2:
        raise InputError(f"--between {','.join(between)}: expected two methods, such as dra,devnet")
    question = Question((between[0], between[1]) if between else None, max_seeds)
    reporter = ProgressReporter(Console(stderr=True))

    def tell(answers: Sequence[Answer]) -> None:
        for one in answers:
            if one.state == "open":
                reporter.say(f"{one.row}: open after {one.seeds} seeds, {one.best} leads")

    with reporter.bars:
        outcome, answers = run_until(grid, options, question, reporter, tell)
    for one in answers:
        reporter.say(one.in_words(question))
    return _planned(outcome, options)


def _planned(outcome: Outcome, options: Options) -> Outcome:
    """Print the cells of a dry run with their state."""
    if options.dry_run:
        states = {cell.key: state for state in ("open", "failed", "done") for cell in getattr(outcome.todo, state)}
        for cell in outcome.cells:
            state = states[cell.key].replace("open", "to do")
            print(printable(f"{cell.key[:12]}  {state:6}  {cell.title}"))
    return outcome


def frame_of(outcome: Outcome) -> pd.DataFrame:
    """Return the records of a run's cells, including those stored by earlier runs."""
    frame = outcome.store.frame()
    mine: pd.DataFrame = frame[frame["key"].isin({cell.key for cell in outcome.cells})]
    return mine


def show_results(outcome: Outcome, *, as_json: bool) -> int:
    """Print a run's table (or its cells as JSON lines), notes on copies and small test parts, and failures.

    Returns the exit code.
    """
    console, frame = Console(stderr=True), frame_of(outcome)
    _print_results(console, outcome, frame, as_json)
    for sentence in (*_copies(frame), *few_images(frame)):
        console.print(shown(sentence), highlight=False, soft_wrap=True)
    return say_failures(console, outcome, frame)


def say_failures(console: Console, outcome: Outcome, frame: pd.DataFrame) -> int:
    """Print one line per distinct failure; return the exit code."""
    failures = summarise_failures([outcome.store.get(key) for key in frame.loc[frame["status"] == "failed", "key"]])
    for line in failures:
        console.print(f"[red]failed[/red] {shown(line)}", highlight=False, soft_wrap=True)
    if failures:
        console.print(
            "the failed cells' tracebacks are in their records; --retry-failed computes them again", highlight=False
        )
    return 1 if failures else 0


def _copies(frame: pd.DataFrame) -> list[str]:
    """Return a sentence per data set whose test part holds copies of training images."""
    most = frame.groupby("dataset")["crossing_duplicates"].max()
    return [
        f"{name}: up to {count} test images have an identical copy in training; --dedup keeps one of each, which also "
        "changes the split"
        for name, count in most[most > 0].items()
    ]


FEW = 20
"""Test normals or anomalies below which a run says how coarse its AUROCs are."""


def few_images(frame: pd.DataFrame) -> list[str]:
    """Return a sentence per data set whose test part is so small that one image can decide between methods."""
    sizes: dict[str, tuple[int, int]] = {}
    parts = frame.loc[frame["split_digest"].notna(), ["dataset", "test_normal", "test_anomaly"]].drop_duplicates()
    for name, *size in parts.itertuples(index=False):
        normal, anomalous = map(int, size)
        if min(normal, anomalous) < FEW:
            sizes[name] = min((normal, anomalous), sizes.get(name, (normal, anomalous)), key=min)
    return [
        f"{name}: tested on {normal} normals and {anomalous} anomalies only: one image moves an AUROC by up to "
        f"{1 / min(normal, anomalous):.2f}. Compare over more seeds, and trust no difference that report calls noise."
        for name, (normal, anomalous) in sorted(sizes.items())
    ]


def _print_results(console: Console, outcome: Outcome, frame: pd.DataFrame, as_json: bool) -> None:
    if as_json:
        for row in frame.drop(columns=["curve", "config", "preset_config"]).to_dict("records"):
            print(json.dumps(finite(row), default=str, allow_nan=False))
        return
    show_validation = outcome.cells[0].cell.protocol.part == "validation"
    if show_validation:
        console.print(
            "[yellow]validation part, cut from the training data: for choosing settings, not for reporting[/yellow]"
        )
        frame = frame.assign(part="test")
    sys.stderr.flush()
    print_summary(frame, Console())
    if not show_validation:
        console.print(
            shown(f"next: osad-bench report {outcome.store.root}  (writes Markdown, LaTeX, CSV and a plot)"),
            highlight=False,
            soft_wrap=True,
        )
