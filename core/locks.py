"""Locks between processes on one folder, and what to do on file systems that have none."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

_LOCKLESS: set[Path] = set()
"""Folders of which was said that they have no locks."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; where its file system has no locks, say so once per folder and go on without.

    Only for work that two processes may do at once without harm, twice the effort aside.
    """
    if problem := _refusal(path):
        if path.parent.parent not in _LOCKLESS:
            _LOCKLESS.add(path.parent.parent)
            print(
                f"note: {path.parent.parent} has no file locks ({problem}); runs that share it may compute the same features "
                "twice. Another place: --cache or OSAD_BENCH_CACHE",
                file=sys.stderr,
            )
        yield
        return
    with FileLock(path):
        yield


def _refusal(path: Path) -> str:
    """What the system says where a file cannot be locked at all; empty where it can."""
    try:
        import fcntl
    except ImportError:
        return ""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return ""  # somebody holds it: locks work
    except OSError as error:
        return error.strerror or str(error)
    else:
        return ""
    finally:
        os.close(descriptor)
