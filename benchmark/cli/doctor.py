"""`osad-bench doctor`: what is here, what is missing, and how to mend it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def doctor(
    data_root: Annotated[
        Path | None, typer.Option(envvar="OSAD_BENCH_DATA", help="Folder of the data sets' original downloads.")
    ] = None,
    cache: Annotated[Path | None, typer.Option(envvar="OSAD_BENCH_CACHE", help="Folder of cached features.")] = None,
) -> int:
    """Name the device, versions, weights and data found, and the known traps of an installation. Exit code 1: a trap."""
    from osad_bench.benchmark.health import examine

    return examine(data_root, cache)
