"""The border around code that is not ours: plug-ins and methods, when they are imported and when they run."""

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
    """Run foreign code so that only Ctrl-C gets out of it, and the process is as it was before.

    Whatever it raises, `SystemExit` included, is kept in the `Outcome`; ``os._exit`` counts as that. The working directory,
    the environment, Python's random state, warning filters, recursion limit and garbage collection, the mask of new files,
    what signals do and the standard streams are put back. What it prints to stdout, by child processes too, goes to stderr,
    because stdout is for data.
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
    """Remember the interpreter's state, to be put back."""
    undo.callback(random.setstate, random.getstate())
    undo.callback(sys.setrecursionlimit, sys.getrecursionlimit())
    undo.callback(gc.enable if gc.isenabled() else gc.disable)
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            handler = signal.getsignal(getattr(signal, name)) if hasattr(signal, name) else None
            if handler is not None:
                undo.callback(signal.signal, getattr(signal, name), handler)


def _keep_process(undo: contextlib.ExitStack) -> None:
    """Remember the process's state, to be put back; send its standard output to its standard error."""
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
        return os.getcwd()  # noqa: PTH109 (a string, to be compared and gone back to)
    except OSError:
        return None


def message_of(error: BaseException) -> str:
    """The text of an exception as valid Unicode, whatever its ``__str__`` does, and however much it says."""
    try:
        text = str(error)
    except Exception:
        text = "(its message cannot be had: __str__ fails)"
    return _shortened(text)


def traceback_of(error: BaseException) -> str:
    """The traceback of an exception, whatever its parts do when they are shown."""
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
    """Such as ``ValueError: too few rows``; the type alone where there is no text."""
    text = message_of(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
