"""Values computed from files, remembered between visits for as long as a file stays unchanged.

A file counts as unchanged while its path, size, inode and times of modification and of change (mtime and ctime) are the
same. The time of change cannot be set back, so that files which were exchanged for others of the same size and time, as in a
reproducible archive, are read again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from osad_bench.core.places import default_cache

SETTLED_AFTER = 2.0
"""Seconds since a file's last change before it is remembered: time stamps are too coarse to show a second change at once."""

State = tuple[int, int, int, int]
"""A file's size, inode, and times of modification and of change in nanoseconds."""

_SCHEMA = """create table if not exists files (purpose text, path blob, size integer, inode text, mtime integer,
ctime integer, value text, primary key (purpose, path)) without rowid"""


def cache_file() -> Path:
    """The database, in `osad_bench.core.places.default_cache`.

    Raises
    ------
    InputError
        ``OSAD_BENCH_CACHE`` names the home folder of a user that does not exist.
    """
    return default_cache() / "files.sqlite3"


def _state(path: Path) -> State:
    """State of a regular file.

    Raises
    ------
    OSError
        It is missing, or a pipe, device, socket or folder, reading from which might never end.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file (a pipe, device, socket or folder)", str(path))
    return status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns


@contextlib.contextmanager
def _connection() -> Iterator[sqlite3.Connection | None]:
    """The database, or None where there can be none: it saves time and is never needed."""
    connection = None
    try:
        cache_file().parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(cache_file(), timeout=30)
        connection.execute(_SCHEMA)
    except (OSError, ValueError, sqlite3.Error):  # ValueError: a null byte in the path, or no such user
        connection = None
    try:
        yield connection
    finally:
        if connection is not None:
            connection.close()


def _known(connection: sqlite3.Connection | None, purpose: str, states: dict[Path, State]) -> dict[Path, str]:
    """Values of the files that have not changed since."""
    if connection is None:
        return {}
    found: dict[Path, str] = {}
    paths = list(states)
    with contextlib.suppress(sqlite3.Error):
        for start in range(0, len(paths), 500):
            some = {os.fsencode(path): path for path in paths[start : start + 500]}
            marks = ",".join("?" * len(some))
            query = f"select path, size, inode, mtime, ctime, value from files where purpose = ? and path in ({marks})"
            for name, size, inode, mtime, ctime, value in connection.execute(query, (purpose, *some)):
                if states[some[name]] == (size, int(inode), mtime, ctime):
                    found[some[name]] = value
    return found


def _keep(
    connection: sqlite3.Connection | None, purpose: str, states: dict[Path, State], values: dict[Path, str]
) -> None:
    """Write values down, except those of files that changed a moment ago."""
    if connection is None or not values:
        return
    settled = time.time_ns() - int(SETTLED_AFTER * 1e9)
    rows = []
    for path, value in values.items():
        size, inode, mtime, ctime = states[path]
        if value and max(mtime, ctime) < settled:
            # The inode as text: some file systems number beyond the 63 bits of SQLite's integers.
            rows.append((purpose, os.fsencode(path), size, str(inode), mtime, ctime, value))
    with contextlib.suppress(sqlite3.Error, OverflowError), connection:
        connection.executemany("insert or replace into files values (?, ?, ?, ?, ?, ?, ?)", rows)


def remembered(
    purpose: str,
    paths: Iterable[Path],
    compute: Callable[[Path], str],
    progress: Callable[[int, int], None] | None = None,
) -> dict[Path, str]:
    """Value of `compute` for each file, computed only for files that are new or have changed.

    Parameters
    ----------
    purpose
        What is computed, with its version: values of different purposes are kept apart.
    paths
        The files; each is looked at once.
    compute
        From a file to a text; called from several threads. An empty text is not remembered.
    progress
        Called as ``progress(done, total)`` over the files that must be computed.

    Raises
    ------
    OSError
        A file is missing, or it is a pipe, device, socket or folder.
    """
    states = {path: _state(path) for path in paths}
    with _connection() as connection:
        values = _known(connection, purpose, states)
        missing: Sequence[Path] = [path for path in states if path not in values]
        if not missing:
            return values
        fresh: dict[Path, str] = {}
        pool = ThreadPoolExecutor(max_workers=os.cpu_count())
        try:
            for done, (path, value) in enumerate(zip(missing, pool.map(compute, missing)), start=1):
                fresh[path] = value
                if progress is not None:
                    progress(done, len(missing))
        finally:  # an interrupted first visit keeps what it has computed, and does not wait for the rest
            pool.shutdown(wait=False, cancel_futures=True)
            _keep(connection, purpose, states, fresh)
        return values | fresh
