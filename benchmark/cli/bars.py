"""Progress of a command: bars on a terminal, lines in a log. Imports nothing heavy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from osad_bench.core.text import printable

QUIET = 2.0
"""Seconds before a command shows the first progress of its steps."""

EVERY = 10.0
"""Seconds between two lines of a log."""


class _Progress(Progress):
    """Says nothing where there is no terminal; rich itself prints an empty line at the end, up to its version 14.1."""

    def stop(self) -> None:
        if not self.disable:
            super().stop()


class Bars:
    """Progress bars on a terminal, lines in a log."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bars = _Progress(
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
        """Print a line where no bars are shown, at most one per `every` seconds."""
        if not self.console.is_terminal and time.monotonic() - self.printed >= every:
            self.printed = time.monotonic()
            self.console.print(text, highlight=False, soft_wrap=True)


class Steps(Bars):
    """The steps of a command, one after the other; those that end in its first `QUIET` seconds are not shown."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.begun, self.drawn = time.monotonic(), 0.0

    @contextmanager
    def step(self, what: str) -> Iterator[Callable[[int, int], None]]:
        """Context manager; yields ``tell(done, total)``. Shows a bar and removes it at the end."""
        name = shown(what)
        task = self.bars.add_task(name, total=None, note="")

        def tell(done: int, total: int) -> None:
            now = time.monotonic()
            if now - self.drawn < 0.1 and done < total:  # a step may call this for each of 100,000 records
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


def shown(text: object) -> str:
    """Escape rich markup and control characters of a text, so that a terminal shows them and does not obey them."""
    return escape(printable(text))
