"""Isolation of code that is not ours (plug-ins and methods) while it is imported and while it runs."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NoReturn

from osad_bench.core.errors import InputError
from osad_bench.core.kept import PROCESS, kept

MOST_SAID = 20_000
"""Characters of an error's message or traceback that are kept; the middle of a longer one is left out."""
MOST_NAMED = 200
"""Likewise of the name of an error's class."""


@dataclass
class Outcome:
    """How foreign code ended: `error` is what it raised, None where it returned."""

    error: BaseException | None = None


@contextlib.contextmanager
def foreign() -> Iterator[Outcome]:
    """Context manager for foreign code: only Ctrl-C gets out, and the process's state is restored afterwards.

    Whatever it raises, `SystemExit` included, is kept in the `Outcome`; ``os._exit`` counts as that. What `core.kept` lists
    is put back, and so are warning filters and the standard streams. What it prints to stdout, by child processes too, goes
    to stderr, because stdout is for data. A process that it forks ends here at the latest.
    """
    outcome, process = Outcome(), os.getpid()
    with contextlib.ExitStack() as undo:
        undo.enter_context(kept(PROCESS))
        _keep_files(undo)
        leave = _guard_exit()
        undo.enter_context(warnings.catch_warnings())
        shared: Any = None if sys.stderr is None else _Unclosable(sys.stderr)  # None: it was closed from the start
        undo.enter_context(contextlib.redirect_stderr(shared))
        undo.enter_context(contextlib.redirect_stdout(shared))
        try:
            yield outcome
        except BaseException as error:
            if type(error) is KeyboardInterrupt and os.getpid() == process:
                raise
            outcome.error = error
        if os.getpid() != process:
            leave(1)


@contextlib.contextmanager
def plugged(what: str, thing: object) -> Iterator[None]:
    """Ask a plug-in's class or function for something: whatever it raises becomes one sentence, the end of the process too.

    Lighter than `foreign`: what it does to the process stays. Errors of osad-bench's own classes and of the system are
    sentences already, and those of a built-in `thing` are bugs, which keep their traceback.

    Parameters
    ----------
    what
        Such as ``data set 'mine'``.
    thing
        The class, its instance or the function.

    Raises
    ------
    InputError
        It raised something; the message names `what`.
    """
    try:
        yield
    except (KeyboardInterrupt, OSError):
        raise
    except BaseException as error:
        if _is_ours(type(error)) or _is_ours(thing):
            raise
        raise InputError(f"{what} fails in the code that registers it: {said(error)}") from error


def _is_ours(thing: object) -> bool:
    return str(getattr(thing, "__module__", "")).partition(".")[0] == "osad_bench"


def _keep_files(undo: contextlib.ExitStack) -> None:
    """Keep what standard input, output and error are; send standard output to standard error meanwhile."""
    for number in (0, 1, 2):
        with contextlib.suppress(OSError):  # a closed one
            copy = os.dup(number)
            undo.callback(_put_file, copy, number)
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
    with contextlib.suppress(OSError):
        os.dup2(2, 1)


def _put_file(copy: int, number: int) -> None:
    with contextlib.suppress(OSError):
        os.dup2(copy, number)
        os.close(copy)


class _Unclosable:
    """A stream that foreign code may write to, but neither close nor set up anew."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._stream, name)
        return _Unclosable(value) if name == "buffer" else value

    def __enter__(self) -> _Unclosable:
        return self

    def __exit__(self, *_: TracebackType | object) -> None:
        """Stay open."""

    def close(self) -> None:
        """Stay open."""

    def detach(self) -> _Unclosable:
        """Stay whole."""
        return self

    def reconfigure(self, **_: object) -> None:
        """Stay as it is."""


def _guard_exit() -> Callable[[int], NoReturn]:
    """Let ``os._exit`` raise `SystemExit` in this process and thread; gives the real one. `kept` puts it back."""
    real, process, thread = os._exit, os.getpid(), threading.get_ident()

    def leave(status: int) -> NoReturn:
        if (os.getpid(), threading.get_ident()) == (process, thread):
            raise SystemExit(status)
        real(status)  # a process that the code forked, or a thread of ours

    os._exit = leave
    return real


def message_of(error: BaseException) -> str:
    """The text of an exception as valid Unicode, shortened to about `MOST_SAID` characters; never raises."""
    try:
        text = str.__str__(str(error))  # not a class of its own that derives from str
    except BaseException:
        text = "(no message: its __str__ fails)"
    return _shortened(text)


def traceback_of(error: BaseException) -> str:
    """The traceback of an exception as valid Unicode, shortened to about `MOST_SAID` characters; never raises."""
    try:
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    except BaseException:
        text = "(it cannot be shown)"
        with contextlib.suppress(BaseException):
            text = f"{''.join(traceback.format_tb(error.__traceback__))}(the rest cannot be shown)"
    return _shortened(text)


def name_of(error: BaseException) -> str:
    """The name of an exception's class, whatever its metaclass makes of it, and however long it is."""
    return _shortened(type.__dict__["__name__"].__get__(type(error)), MOST_NAMED)


def _shortened(text: str, most: int = MOST_SAID) -> str:
    if len(text) > most:
        half = most // 2
        text = f"{text[:half]}\n[{len(text) - 2 * half} characters left out]\n{text[-half:]}"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def said(error: BaseException) -> str:
    """Type and text of an exception, such as ``ValueError: too few rows``; the type alone where there is no text."""
    text = message_of(error)
    return f"{name_of(error)}: {text}" if text else name_of(error)
