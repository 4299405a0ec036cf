"""Pairs of `tests/perf.py` that concern the harness: stores of many records."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

from osad_bench.benchmark.cell.execute import Machine, execute
from osad_bench.benchmark.grid.plan import Grid, plan
from osad_bench.benchmark.grid.todo import compare
from osad_bench.results import index
from osad_bench.results.store import Store

Work = Callable[[], object]


def many_records(folder: Path, count: int) -> tuple[Store, list]:
    """A store of so many records of planned cells, all like one that was computed; and the cells."""
    machine = Machine(cache=folder / "cache")
    grid = Grid(methods=["mahalanobis"], datasets=["textures"], seeds=count, floor=None, set={"image_size": 64})
    cells = plan(grid, machine)
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
        assert len(compare(cells, one).done) == count

    return (
        (without(Store.frame), lambda: Store(store.root).frame()),
        (without(resume), lambda: resume(Store(store.root))),
    )
