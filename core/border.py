"""The border around code that is not ours: plug-ins and methods, when they are imported and when they run."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass
class Outcome:
    """How foreign code ended: `error` is what it raised, None where it returned."""

    error: BaseException | None = None


@contextlib.contextmanager
def foreign() -> Iterator[Outcome]:
    """Run foreign code so that only Ctrl-C gets out of it, and the process is as it was before.

    Whatever it raises, `SystemExit` included, is kept in the `Outcome`. The working directory, Python's random state and
    the warning filters are put back; what it prints to stdout goes to stderr, because stdout is for data.
    """
    outcome, folder, state = Outcome(), _folder(), random.getstate()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
            try:
                yield outcome
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                outcome.error = error
    finally:
        random.setstate(state)
        if folder is not None and _folder() != folder:
            os.chdir(folder)


def _folder() -> str | None:
    """The working directory; None where it was removed."""
    try:
        return os.getcwd()  # noqa: PTH109 (a string, to be compared and gone back to)
    except OSError:
        return None


def message_of(error: BaseException) -> str:
    """The text of an exception as valid Unicode, whatever its ``__str__`` does."""
    try:
        text = str(error)
    except Exception:
        text = "(its message cannot be had: __str__ fails)"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def said(error: BaseException) -> str:
    """Such as ``ValueError: too few rows``; the type alone where there is no text."""
    text = message_of(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
