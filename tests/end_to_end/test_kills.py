"""Killed at any moment, a command loses nothing, and the same command goes on to the same result, bit for bit.

22 kills in every run of the tests, of commands that take milliseconds; 245 nightly, of whole runs too
(docs/reliability.md).
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from osad_bench.core.files import is_temporary
from osad_bench.core.processes import is_alive
from osad_bench.results.index import FILE
from osad_bench.results.metrics import compute
from osad_bench.results.record import Cell, Protocol, Record, TestScores
from osad_bench.results.store import Store

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and reads /proc")


def contents(store: Store) -> dict[str, tuple]:
    """What is compared of each cell: all of it but times and places."""
    found = {}
    for key in store.keys():  # noqa: SIM118
        record, test = store.get(key), store.scores(key)
        arrays = (test.ids.tolist(), test.labels.tolist(), test.kinds.tolist(), test.scores.tobytes())
        found[key] = (record.status, record.metrics, record.split, record.curve, arrays)
    return found


def filled(root: Path, count: int) -> Store:
    store, random_ = Store(root), np.random.default_rng(0)
    labels = np.repeat([0, 1], [30, 20])
    for number in range(count):
        cell = Cell(
            dataset="parts", fingerprint="f" * 64, protocol=Protocol(shots=2, seed=number % 5), method=f"m{number // 5}",
            version=1, config={}, preset={"image_size": 64},
        )  # fmt: skip
        test = TestScores(range(50), labels, np.where(labels, "bad", ""), random_.normal(size=50) + labels)
        store.put(Record(key=cell.key, cell=cell, preset="quick", status="ok", metrics=compute(test)), test)
    store.name_ablations("m0", {"without": "a=1"})
    return store


def left_behind(root: Path) -> list[Path]:
    return [path for path in root.rglob(".*") if is_temporary(path.name)]


@pytest.mark.parametrize("kills", [pytest.param(20, id="20"), pytest.param(45, id="45", marks=pytest.mark.nightly)])
def test_a_merge_killed_at_any_moment_goes_on_to_the_same_store(commands, tmp_path: Path, kills):
    whole, target, moments = filled(tmp_path / "source", 15), tmp_path / "target", random.Random(kills)
    wanted, struck = contents(whole), 0
    with commands("osad_bench.results.merge") as start:
        for _ in range(kills):
            command, most = start.start("merge", whole.root, "--into", target), moments.randrange(15)
            command.until(lambda most=most: len(Store(target).keys()) >= most)
            time.sleep(moments.uniform(0, 0.005))
            struck += command.kill() is None
            partly = contents(Store(target))
            assert {key: wanted[key] for key in partly} == partly
            start.done("merge", whole.root, "--into", target)
            assert contents(Store(target)) == wanted
            assert Store(target).ablations() == whole.ablations()
            assert left_behind(target) == []
            shutil.rmtree(target)
    assert struck > kills / 2, "most were over before they were killed"


@pytest.mark.nightly
def test_a_report_killed_at_any_moment_is_written_whole_the_next_time(commands, tmp_path: Path):
    store, out, moments = filled(tmp_path / "source", 15), tmp_path / "out", random.Random(1)

    def texts() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(out.glob("report*")) if path.suffix != ".html"}

    report = ("report", store.root, "--out", out, "--format", "md,tex,csv,html", "--no-figures")
    before = contents(store)
    with commands("osad_bench.results.report", "osad_bench.results.paired", "rich.console") as start:
        start.done(*report)
        wanted = texts()
        for _ in range(45):
            shutil.rmtree(out)
            command, most = start.start(*report), moments.randrange(5)
            command.until(lambda most=most: len(list(out.glob("*"))) >= most)
            time.sleep(moments.uniform(0, 0.01 if most else 0.5))
            command.kill()
            start.done(*report)
            assert texts() == wanted
            assert contents(store) == before


@pytest.mark.parametrize("kills", [pytest.param(2, id="2"), pytest.param(45, id="45", marks=pytest.mark.nightly)])
def test_a_compact_killed_at_any_moment_leaves_the_records_and_an_index_that_is_whole_or_none(
    commands, tmp_path: Path, kills
):
    parquet = pytest.importorskip("pyarrow.parquet")
    store, moments, struck, index = filled(tmp_path / "store", 15), random.Random(kills), 0, tmp_path / "store" / FILE
    wanted, frame = contents(store), store.frame()
    compact = ("store", "compact", store.root)
    with commands("osad_bench.benchmark.cli.bars", "osad_bench.results.store", "pyarrow.parquet") as start:
        for number in range(kills):
            if number % 2:  # by turns there was an older one, and none
                index.unlink()
            command = start.start(*compact)
            if number % 4 < 2:  # in the middle of writing
                command.until(lambda: bool(left_behind(store.root)))
                time.sleep(moments.uniform(0, 0.003))
            else:
                time.sleep(moments.uniform(0, 0.15))
            struck += command.kill() is None
            assert contents(store) == wanted
            if index.exists():
                assert parquet.read_table(index).num_rows == len(wanted)
            pd.testing.assert_frame_equal(store.frame(), frame)
            start.done(*compact)
            assert parquet.read_table(index)["key"].to_pylist() == sorted(wanted)
            assert contents(store) == wanted
            store.prepare()  # as the next run does
            assert left_behind(store.root) == []
    # Of two, on a fast machine, both may be over before.
    assert struck >= kills // 8, "nearly all were over before they were killed"


RUN = [
    "run", "--methods", "devnet", "--datasets", "textures", "--seeds", "6", "--floor", "none", "--set", "image_size=64",
    "--set", "schedule.steps=3", "--set", "schedule.epochs=20",
]  # fmt: skip
"""Six cells of a third of a second."""


def group(command, start) -> bool:
    """Like each kill below, return whether the process that was to be killed was running."""
    return command.kill() is None


def killed(pid: int) -> bool:
    """Kill one process; return whether it was running."""
    with suppress(ProcessLookupError):
        was_alive = is_alive(pid)
        os.kill(pid, signal.SIGKILL)
        return was_alive
    return False


def parent_alone(command, start) -> bool:
    workers = tuple(start.descendants(command.pid))
    struck = killed(command.pid)
    command.wait(workers, seconds=60)  # they end by themselves
    return struck


def worker_alone(command, start) -> bool:
    """The run itself goes on: it is not killed. Where it has no worker yet, its first one is killed as it begins."""

    def workers() -> list[int]:
        return [pid for child in start.descendants(command.pid) for pid in start.descendants(child)]

    command.until(lambda: bool(workers()))
    found = workers()
    struck = bool(found) and killed(random.choice(found))
    assert command.wait() == 0, command.told.read_text()
    return struck


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("kill", "jobs", "kills"),
    [(group, 1, 68), (group, 2, 14), (parent_alone, 2, 14), (worker_alone, 2, 14)],
    ids=["serial", "parallel", "parent alone", "worker alone"],
)
def test_a_run_killed_at_any_moment_goes_on_to_the_same_scores(commands, tmp_path: Path, kill: Callable, jobs, kills):
    """Each run goes on from the kill before; a store that is complete, and its cache, give way to new ones."""
    moments, out, struck, done = random.Random(jobs * 1000 + kills), tmp_path / "out", 0, 0
    with commands("osad_bench.benchmark.cli.screen", "osad_bench.benchmark.cell.execute", "timm") as start:

        def run(where: Path, cache: Path) -> list[object]:
            return [*RUN, "--jobs", jobs, "--out", where, "--cache", cache]

        start.done(*run(tmp_path / "whole", tmp_path / "cache0"))
        wanted = contents(Store(tmp_path / "whole"))
        assert len(wanted) == 6
        for number in range(kills):
            cache = tmp_path / f"cache{done + 1}"
            here = len(Store(out).keys())
            command, more = start.start(*run(out, cache)), moments.choice([0, 0, 1, 1, 2, 3])
            most = min(5, here + more)
            command.until(lambda most=most: len(Store(out).keys()) >= most)
            time.sleep(moments.uniform(0, 0.3 if more else 3))
            struck += kill(command, start)
            partly = contents(Store(out))
            assert {key: wanted[key] for key in partly} == partly
            if number == kills - 1:
                start.done(*run(out, cache))
            if contents(Store(out)) == wanted:
                done += 1
                assert left_behind(out) == []
                shutil.rmtree(out)
                shutil.rmtree(cache)
        assert not out.exists(), "the last one was run to its end"
    print(f"{struck} of {kills} were running when they were killed")
    assert done
    assert struck > kills / 4, "most were over before they were killed"


@pytest.mark.nightly
def test_eight_runs_on_one_store_share_the_work_and_give_the_same_scores(commands, tmp_path: Path):
    with commands("osad_bench.benchmark.cli.screen", "osad_bench.benchmark.cell.execute", "timm") as start:
        start.done(*RUN, "--jobs", 1, "--out", tmp_path / "alone", "--cache", tmp_path / "cache")
        runs = [
            start.start(*RUN, "--jobs", 1, "--out", tmp_path / "out", "--cache", tmp_path / "other") for _ in range(8)
        ]
        for run in runs:
            assert run.wait(seconds=600) == 0, run.told.read_text()
    assert contents(Store(tmp_path / "out")) == contents(Store(tmp_path / "alone"))
    assert left_behind(tmp_path / "out") == []
    assert not (tmp_path / "out" / "leases").exists()
