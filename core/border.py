"""Isolation of code that is not ours (plug-ins and methods) while it is imported and while it runs."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

MOST_SAID = 20_000
"""Characters of an error's message or traceback that are kept; the middle of a longer one is left out."""


@dataclass
class Outcome:
    """How foreign code ended: `error` is what it raised, None where it returned."""

    error: BaseException | None = None


@contextlib.contextmanager
def foreign() -> Iterator[Outcome]:
    """Context manager for foreign code: only Ctrl-C gets out, and the process's state is restored afterwards.

    Yields an `Outcome`, which keeps whatever the code raises, `SystemExit` included; a call of ``os._exit`` is turned into
    `SystemExit`. Restored are the working directory, the environment, the umask, the standard streams and, of Python, the
    random state, warning filters, recursion limit, garbage collection and (in the main thread) signal handlers. What the
    code or its child processes print to stdout goes to stderr, because stdout is for data.
    """
    outcome = Outcome()
    with contextlib.ExitStack() as undo:
        _keep_interpreter(undo)
        _keep_process(undo)
        undo.enter_context(warnings.catch_warnings())
        undo.enter_context(contextlib.redirect_stderr(sys.stderr))
        undo.enter_context(contextlib.redirect_stdout(sys.stderr))
        try:
            yield outcome
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            outcome.error = error


def _keep_interpreter(undo: contextlib.ExitStack) -> None:
    """Register callbacks that restore the interpreter's state."""
    undo.callback(random.setstate, random.getstate())
    undo.callback(sys.setrecursionlimit, sys.getrecursionlimit())
    undo.callback(gc.enable if gc.isenabled() else gc.disable)
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            handler = signal.getsignal(getattr(signal, name)) if hasattr(signal, name) else None
            if handler is not None:
                undo.callback(signal.signal, getattr(signal, name), handler)


def _keep_process(undo: contextlib.ExitStack) -> None:
    """Register callbacks that restore the process's state, and redirect its standard output to its standard error."""
    if (folder := _folder()) is not None:
        undo.callback(lambda: None if _folder() == folder else os.chdir(folder))
    environment = dict(os.environ)
    undo.callback(lambda: None if os.environ == environment else _set_environment(environment))
    mask = os.umask(0)
    os.umask(mask)
    undo.callback(os.umask, mask)
    with contextlib.suppress(OSError, ValueError):  # a closed stream
        sys.stdout.flush()
        kept = os.dup(1)
        undo.callback(os.close, kept)
        undo.callback(os.dup2, kept, 1)
        os.dup2(2, 1)
    real, process, thread = os._exit, os.getpid(), threading.get_ident()

    def leave(status: int) -> NoReturn:
        if (os.getpid(), threading.get_ident()) == (process, thread):
            raise SystemExit(status)
        real(status)  # a process that the code forked, or a thread of ours

    os._exit = leave
    undo.callback(setattr, os, "_exit", real)


def _set_environment(environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)


def _folder() -> str | None:
    """The working directory; None where it was removed."""
    try:
        return os.getcwd()  # noqa: PTH109 (a string, to compare and to return to)
    except OSError:
        return None


def message_of(error: BaseException) -> str:
    """The text of an exception as valid Unicode, shortened to about `MOST_SAID` characters; never raises."""
    try:
        text = str(error)
    except Exception:
        text = "(no message: its __str__ fails)"
    return _shortened(text)


def traceback_of(error: BaseException) -> str:
    """The traceback of an exception as valid Unicode, shortened to about `MOST_SAID` characters; never raises."""
    try:
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    except Exception:
        text = f"{''.join(traceback.format_tb(error.__traceback__))}(the rest cannot be shown)"
    return _shortened(text)


def _shortened(text: str) -> str:
    if len(text) > MOST_SAID:
        half = MOST_SAID // 2
        text = f"{text[:half]}\n[{len(text) - 2 * half} characters left out]\n{text[-half:]}"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def said(error: BaseException) -> str:
    """Type and text of an exception, such as ``ValueError: too few rows``; the type alone where there is no text."""
    text = message_of(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
