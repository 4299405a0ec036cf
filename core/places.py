"""Default folders on this machine, for when the command line names none."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import platformdirs

from osad_bench.core.errors import InputError

CACHE = "OSAD_BENCH_CACHE"
"""Environment variable with the folder of cached features."""
DATA_ROOT = "OSAD_BENCH_DATA"
"""Environment variable with the folder that holds the downloads."""


def default_cache() -> Path:
    """Folder of cached features: ``$OSAD_BENCH_CACHE``, else the user's cache folder; raises as `user_path` does."""
    if given := os.environ.get(CACHE):
        return user_path(given)
    return _of_user(platformdirs.user_cache_path)


def default_data_root() -> Path:
    """Folder of the downloads: ``$OSAD_BENCH_DATA``, else the user's data folder; raises as `user_path` does."""
    if given := os.environ.get(DATA_ROOT):
        return user_path(given)
    return _of_user(platformdirs.user_data_path) / "data"


def user_path(text: str | Path) -> Path:
    """A path as a user writes it, ``~`` and ``~NAME`` expanded.

    Raises
    ------
    InputError
        There is no such user, or the user has no home folder.
    """
    try:
        return Path(text).expanduser()
    except (RuntimeError, KeyError):
        raise InputError(f"{text}: no home folder is known for this user; write the path out") from None


def _of_user(place: Callable[..., Path]) -> Path:
    """The user's folder; one for temporary files where there is no home folder, as in a container without passwd entry."""
    try:
        path = place("osad-bench", appauthor=False)
    except RuntimeError:  # platformdirs from 4.4 on; before that, the path begins with "~"
        path = Path("~", "osad-bench")
    if path.parts[0].startswith("~"):
        user = os.getuid() if hasattr(os, "getuid") else "user"
        return Path(tempfile.gettempdir(), f"osad-bench-{user}")
    return path
