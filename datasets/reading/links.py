"""Whether links, and paths in a CSV file, may lead out of the folder that the user named."""

from __future__ import annotations

import os

FOLLOW_LINKS = "OSAD_BENCH_FOLLOW_LINKS"
"""Environment variable: 1 lets links and CSV paths lead out of the data root and out of a data set's folder."""


def links_allowed() -> bool:
    """Whether the user has set ``OSAD_BENCH_FOLLOW_LINKS=1``."""
    return os.environ.get(FOLLOW_LINKS) == "1"
