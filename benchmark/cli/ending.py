"""How a command ends: within seconds of a signal, and even while threads are still running."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from osad_bench.core.border import said

INTERRUPTED = 130
GRACE = 4.0
"""Seconds that a command has to end by itself after a signal; then its process is ended. No record is ever half written."""

_answered = threading.Event()
"""Set when the process needs no forced end: the command is over, or handles Ctrl-C itself."""

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the command as Ctrl-C does, within `GRACE` seconds even from a long computation."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {}
    for name in _NAMES:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:  # ignored under nohup: leave it so
            before[number] = signal.signal(number, interrupt)
    try:
        with _watched(set(before)):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _watched(numbers: set[signal.Signals]) -> Iterator[None]:
    """End the process if the command does not end within `GRACE` seconds of one of these signals.

    Python runs signal handlers only between two of its own instructions, and one call of NumPy or torch may take minutes.
    But the C part of the handler writes the signal's number to a file descriptor at once, and a thread can wait for that.
    """
    if os.name != "posix":
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    _answered.clear()

    def watch() -> None:
        with suppress(OSError):  # foreign code that closes all files closes these, too
            while heard := os.read(reading, 1):
                if heard[0] in numbers and not _answered.wait(GRACE):
                    said_interrupted()
                    os._exit(INTERRUPTED)
            os.close(reading)

    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        _answered.set()
        signal.set_wakeup_fd(before)
        with suppress(OSError):
            os.close(writing)


def goes_on() -> None:
    """Cancel the forced end: the command expected this Ctrl-C and may take its time to finish."""
    _answered.set()


def said_interrupted() -> None:
    """Print that finished work is kept."""
    print("interrupted; what was computed is kept, the same command goes on from there", file=sys.stderr)


def leave(code: int) -> NoReturn:
    """End the process with this code, whatever threads and calls for the end of the process methods have left."""
    state = sys.modules.get("osad_bench.benchmark.cell.state")
    left = state is not None and state.left_behind()
    if left and code != INTERRUPTED:
        print("note: a method left a thread running; it is ended with the command", file=sys.stderr)
    if left or code == INTERRUPTED:
        sys.stdout.flush()
        sys.stderr.flush()
        util = sys.modules.get("multiprocessing.util")
        if util is not None:
            util._run_finalizers()  # semaphores and sockets of workers, which would else be warned about or left behind
        os._exit(code)
    if state is not None:
        begun = threading.Event()  # Python 3.12 starts no thread at the end of the process, so it waits from now on
        threading.Thread(target=_end_after, args=(begun, os._exit, code), daemon=True).start()
        atexit.unregister(_bound_the_end)
        atexit.register(_bound_the_end, code, begun)  # what is registered last is called first
    sys.exit(code)


def _end_after(begun: threading.Event, end: Callable[[int], NoReturn], code: int) -> None:
    begun.wait()
    time.sleep(GRACE)
    end(code)


def _bound_the_end(code: int, begun: threading.Event) -> None:
    """Let what is called at the end of the process change neither its code nor how long it takes, and fail in one line."""
    real = os._exit

    def complain(what: Any) -> None:
        with suppress(Exception):
            print(
                f"note: what a method left for the end of the command failed: {said(what.exc_value)}", file=sys.stderr
            )

    def leave_so(status: int) -> NoReturn:  # noqa: ARG001
        real(code)

    sys.unraisablehook, os._exit = complain, leave_so
    begun.set()
