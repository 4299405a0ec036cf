"""What was computed from a file is remembered by the file's path, size and time, so that a second visit takes seconds."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import platformdirs

CACHE = "OSAD_BENCH_CACHE"
"""Environment variable with the cache folder."""

SETTLED_AFTER = 2.0
"""Seconds a file must have lain unchanged to be remembered: a write within its time stamp's tick would go unseen."""

_SCHEMA = """create table if not exists remembered
(purpose text, path text, size integer, mtime integer, value text, primary key (purpose, path)) without rowid"""


def cache_file() -> Path:
    """Where things are remembered: in ``$OSAD_BENCH_CACHE``, else in the user's cache folder."""
    given = os.environ.get(CACHE)
    folder = Path(given).expanduser() if given else platformdirs.user_cache_path("osad-bench", appauthor=False)
    return folder / "files.sqlite3"


@contextlib.contextmanager
def _connection() -> Iterator[sqlite3.Connection | None]:
    """The store of remembered values, or None where none can be had: it saves time and is never needed."""
    connection = None
    try:
        cache_file().parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(cache_file(), timeout=30)
        connection.execute(_SCHEMA)
    except (OSError, sqlite3.Error):
        connection = None
    try:
        yield connection
    finally:
        if connection is not None:
            connection.close()


def _known(connection: sqlite3.Connection | None, purpose: str, stats: dict[Path, tuple[int, int]]) -> dict[Path, str]:
    """Values of the files that have not changed since."""
    if connection is None:
        return {}
    found: dict[Path, str] = {}
    paths = list(stats)
    with contextlib.suppress(sqlite3.Error):
        for start in range(0, len(paths), 500):
            some = {str(path): path for path in paths[start : start + 500]}
            marks = ",".join("?" * len(some))
            query = f"select path, size, mtime, value from remembered where purpose = ? and path in ({marks})"
            for name, size, mtime, value in connection.execute(query, (purpose, *some)):
                if stats[some[name]] == (size, mtime):
                    found[some[name]] = value
    return found


def _keep(
    connection: sqlite3.Connection | None, purpose: str, stats: dict[Path, tuple[int, int]], values: dict[Path, str]
) -> None:
    """Write values down; files that changed a moment ago are left out."""
    if connection is None or not values:
        return
    settled = time.time_ns() - int(SETTLED_AFTER * 1e9)
    rows = [
        (purpose, str(path), *stats[path], value)
        for path, value in values.items()
        if value and stats[path][1] < settled
    ]
    with contextlib.suppress(sqlite3.Error), connection:
        connection.executemany("insert or replace into remembered values (?, ?, ?, ?, ?)", rows)


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
        What is computed, with its version: values of one purpose never answer for another.
    paths
        The files; each is looked at once.
    compute
        From a file to a text; called from several threads. An empty text is not remembered.
    progress
        Called as ``progress(done, total)`` over the files that must be computed.

    Raises
    ------
    OSError
        A file is missing.
    """
    stats: dict[Path, tuple[int, int]] = {}
    for path in paths:
        status = path.stat()
        stats[path] = (status.st_size, status.st_mtime_ns)
    with _connection() as connection:
        values = _known(connection, purpose, stats)
        missing: Sequence[Path] = [path for path in stats if path not in values]
        if not missing:
            return values
        fresh: dict[Path, str] = {}
        try:
            with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
                for done, (path, value) in enumerate(zip(missing, pool.map(compute, missing)), start=1):
                    fresh[path] = value
                    if progress is not None:
                        progress(done, len(missing))
        finally:  # an interrupted first visit is not lost
            _keep(connection, purpose, stats, fresh)
        return values | fresh
