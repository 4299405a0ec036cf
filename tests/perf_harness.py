"""What the harness costs besides the methods: plans and stores of many records.

    python tests/perf_harness.py [--records 100000]

plans so many cells, writes a record for each, and times the first load (no index yet), a load by the index and a run that
finds all of them done. The pairs of stores that `tests/perf.py` times are here, too.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from osad_bench.benchmark.cell.execute import PlannedCell, execute
from osad_bench.benchmark.cell.machine import Machine
from osad_bench.benchmark.grid.plan import Grid, plan
from osad_bench.benchmark.grid.todo import compare
from osad_bench.results import index
from osad_bench.results.store import Store

Work = Callable[[], object]


METHODS = ("mahalanobis", "whitened", "evidence", "patchcore", "dra", "devnet")


def many_cells(folder: Path, count: int, methods: Sequence[str] = METHODS) -> list[PlannedCell]:
    """A plan of at least so many cells."""
    shots = [5, 1]
    seeds = -(-count // (len(methods) * len(shots)))
    grid = Grid(
        methods=list(methods), datasets=["textures"], seeds=seeds, shots=shots, floor=None, set={"image_size": 64}
    )
    return plan(grid, Machine(cache=folder / "cache"))


def many_records(folder: Path, count: int) -> tuple[Store, list[PlannedCell]]:
    """A store of at least so many records of planned cells, all like one that was computed; and the cells."""
    machine = Machine(cache=folder / "cache")
    cells = many_cells(folder, count)
    record = json.loads(execute(cells[0], machine)[0].model_dump_json())
    store = Store(folder / f"store {count}")
    for cell in cells:
        record |= {"key": cell.key, "cell": cell.cell.model_dump(mode="json")}
        path = store.root / "records" / cell.key[:2] / f"{cell.key}.json"
        scores = store.root / "scores" / cell.key[:2] / f"{cell.key}.npz"
        for file in (path, scores):
            file.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record, indent=1), "utf-8")
        scores.touch()
    return store, cells


@cache
def index_pairs(folder: Path, count: int = 1500) -> tuple[tuple[Work, Work], tuple[Work, Work]]:
    """Records read one by one against the index: the frame of all, and a run that finds all of its cells done."""
    store, cells = many_records(folder, count)
    before, index.SETTLED = index.SETTLED, -1.0  # the records were written a moment ago
    indexed = Store(store.root)
    indexed.compact()
    index.SETTLED = before
    table = store.root / index.FILE
    aside = table.with_suffix(".aside")

    def without(work: Callable[[Store], object]) -> Work:
        def run() -> None:
            table.rename(aside)
            try:
                work(Store(store.root))
            finally:
                aside.rename(table)

        return run

    def resume(one: Store) -> None:
        assert len(compare(cells, one).done) == len(cells)

    return (
        (without(Store.frame), lambda: Store(store.root).frame()),
        (without(resume), lambda: resume(Store(store.root))),
    )


def told(what: str, work: Callable[[], object]) -> None:
    wall, start = time.perf_counter(), time.process_time()
    work()
    seconds, passed = time.process_time() - start, time.perf_counter() - wall
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{what}: {seconds:.1f} s of processor time, {passed:.1f} s passed, {memory:.0f} MB at most so far", flush=True
    )


LOADED = """
import sys, time
from pathlib import Path
from osad_bench.results.store import Store

wall, start = time.perf_counter(), time.process_time()
Store(Path(sys.argv[1])).frame()
seconds, passed = time.process_time() - start, time.perf_counter() - wall
(memory,) = (line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(f"{seconds:.1f} s of processor time, {passed:.1f} s passed, {int(memory) / 1024:.0f} MB")
"""
"""Loads a store in a process that has done nothing else, so that the memory is that of the load."""


def main() -> None:
    """Print processor time, wall-clock time and the largest memory so far of each step."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--records", type=int, default=100_000)
    given = parser.parse_args()

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        many_cells(folder, 1)  # what a plan reads first
        told(f"plan of {given.records} cells", lambda: many_cells(folder, given.records))
        store, cells = many_records(folder, given.records)
        time.sleep(index.SETTLED)
        for what in ("first load", "load by the index"):
            print(f"{what} of {len(cells)} records: ", end="", flush=True)
            subprocess.run([sys.executable, "-c", LOADED, store.root], check=True)
        told(f"run that finds {len(cells)} cells done", lambda: compare(cells, Store(store.root)))


if __name__ == "__main__":
    main()
