"""Where things lie on this machine when the command line does not say."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

CACHE = "OSAD_BENCH_CACHE"
"""Environment variable with the folder of cached features."""


def default_cache() -> Path:
    """Folder of cached features: ``$OSAD_BENCH_CACHE``, else the user's cache folder."""
    if given := os.environ.get(CACHE):
        return Path(given).expanduser()
    return platformdirs.user_cache_path("osad-bench", appauthor=False)
