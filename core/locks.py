"""Locks between processes that share a folder, and a fallback for file systems without locks."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

_LOCKLESS: set[Path] = set()
"""Folders for which the note on missing locks was printed."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Context manager: hold the lock file `path`. Where its file system has no locks, say so once per folder and go on.

    Only for work that two processes may do at the same time without harm, except that it is done twice.
    """
    if problem := _refusal(path):
        if path.parent.parent not in _LOCKLESS:
            _LOCKLESS.add(path.parent.parent)
            print(
                f"note: {path.parent.parent} has no file locks ({problem}); runs that share it may compute the same features "
                "twice; choose another folder with --cache or OSAD_BENCH_CACHE",
                file=sys.stderr,
            )
        yield
        return
    with FileLock(path):
        yield


def _refusal(path: Path) -> str:
    """The system's message where files cannot be locked at all; empty where they can."""
    try:
        import fcntl
    except ImportError:
        return ""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return ""  # another process holds it, so locks work
    except OSError as error:
        return error.strerror or str(error)
    else:
        return ""
    finally:
        os.close(descriptor)
