"""Many cells in one process: what it holds does not grow with the number of cells."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from osad_bench.benchmark.cell.machine import Machine
from osad_bench.benchmark.grid.plan import plan, read_grid
from osad_bench.benchmark.grid.run import carry_out
from osad_bench.benchmark.grid.workers import Reporter
from osad_bench.results.store import Store


def held() -> tuple[float, int, int]:
    """MiB of memory, open files and threads of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return (
        pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        len(list(Path("/proc/self/fd").iterdir())),
        threading.active_count(),
    )


class Watch(Reporter):
    def __init__(self) -> None:
        self.held: list[tuple[float, int, int]] = []

    def finish(self, cell, record) -> None:
        assert record.status == "ok", record.error
        self.held.append(held())


@pytest.mark.nightly
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_five_hundred_cells_leave_memory_files_and_threads_as_after_fifty(tmp_path: Path, cache: Path):
    tiny = {"image_size": [32], "schedule.epochs": [1], "schedule.steps": [2]}
    request = {
        "methods": ["devnet", "mahalanobis"],
        "datasets": ["textures"],
        "shots": [2],
        "seeds": 250,
        "floor": None,
    }
    cells = plan(read_grid(None, request | {"set": tiny}), Machine(cache))
    assert len(cells) == 500
    watch = Watch()
    carry_out(cells, Store(tmp_path / "out"), Machine(cache), watch)
    (before, files, threads), (after, *now) = watch.held[50], watch.held[-1]
    print(f"after 50 cells {before:.0f} MiB, after 500 {after:.0f} MiB; {now[0]} files, {now[1]} threads")
    assert now == [files, threads]
    assert after - before < 50
