"""Progress bar of the first visit to a data set, when every file must be read; later visits take seconds."""

from __future__ import annotations

import atexit
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PATIENCE = 1.0
"""Seconds of work after which progress is shown."""


class FirstVisit:
    """Shows ``progress(what, done, total)`` calls on stderr: a bar on a terminal, one line elsewhere.

    Parameters
    ----------
    name
        The data set's name, as the user knows it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._what = ""
        self._began = 0.0
        self._announced = False
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __call__(self, what: str, done: int, total: int) -> None:
        """Report that `done` of `total` files have been read."""
        if what != self._what or done <= 1:
            self._what, self._began, self._announced = what, time.monotonic(), False
        if not self._announced and done < total and time.monotonic() - self._began > PATIENCE:
            self._announced = True
            self._open(total)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done)
            if done == total:
                self._bar.stop()
                self._bar = None

    def _open(self, total: int) -> None:
        text = f"{self.name}: {self._what}, first visit"
        if not sys.stderr.isatty():
            print(f"{text}: {total} files", file=sys.stderr, flush=True)
            return
        from rich.console import Console
        from rich.errors import LiveError
        from rich.progress import Progress

        with suppress(LiveError):  # another bar is on the screen already
            bar = Progress(console=Console(stderr=True), transient=True)
            bar.start()
            atexit.register(bar.stop)  # an interruption must not leave the cursor hidden
            self._bar, self._task = bar, bar.add_task(text, total=total)
