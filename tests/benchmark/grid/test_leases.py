"""Runs that share a store share the work, and no lease outlives its owner."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

import pytest

from osad_bench.benchmark.cell.execute import PlannedCell, execute
from osad_bench.benchmark.cell.machine import Machine
from osad_bench.benchmark.grid.leases import STALE, Leases, _born
from osad_bench.benchmark.grid.plan import Grid, plan
from osad_bench.benchmark.grid.run import carry_out
from osad_bench.benchmark.grid.workers import Reporter
from osad_bench.results.store import Store


@pytest.fixture
def other():
    """Another living process."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()


def lease(root: Path, key: str, pid: int, host: str = "", age: float = 0.0, born: str | None = None) -> None:
    path = root / "leases" / key
    path.parent.mkdir(parents=True, exist_ok=True)
    owner = {"host": host or socket.gethostname(), "pid": pid, "born": _born(pid) if born is None else born}
    path.write_text(json.dumps(owner))
    os.utime(path, (time.time() - age,) * 2)


def test_one_of_two_gets_a_lease_and_the_other_after_it_is_released(tmp_path: Path):
    one, two = Leases(tmp_path), Leases(tmp_path)
    assert one.take("a")
    assert not two.take("a")
    assert two.take("b")
    two.release("a")
    assert not two.take("a"), "only its owner releases it"
    one.release("a")
    assert two.take("a")


def test_a_lease_ends_with_its_owner(tmp_path: Path, other):
    lease(tmp_path, "a", other.pid)
    assert not Leases(tmp_path).take("a")
    other.kill()  # nobody asks how it ended
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    assert Leases(tmp_path).take("a")


@pytest.mark.parametrize(
    ("host", "age", "taken"),
    [("elsewhere", 0.0, False), ("elsewhere", 2 * STALE, True), ("", 2 * STALE, False)],
    ids=["beats", "silent", "here, alive, slow"],
)
def test_another_machines_lease_ends_when_it_is_no_longer_renewed(tmp_path: Path, other, host, age, taken):
    lease(tmp_path, "a", other.pid, host, age)
    assert Leases(tmp_path).take("a") is taken


def test_a_process_id_that_now_belongs_to_another_process_is_no_owner(tmp_path: Path, other):
    if not _born(other.pid):
        pytest.skip("this system does not tell when a process started")
    lease(tmp_path, "a", other.pid, born="1")
    assert Leases(tmp_path).take("a")


def test_a_damaged_lease_ends_after_a_while(tmp_path: Path):
    path = tmp_path / "leases" / "a"
    path.parent.mkdir()
    path.write_text("{")
    assert not Leases(tmp_path).take("a"), "it may be being written"
    os.utime(path, (time.time() - 2 * STALE,) * 2)
    assert Leases(tmp_path).take("a")


def test_what_is_held_at_the_end_is_released(tmp_path: Path):
    leases = Leases(tmp_path)

    def interrupted() -> None:
        with leases.kept_alive():
            leases.take("a")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not (tmp_path / "leases").exists()


def cells(tmp_path: Path) -> list[PlannedCell]:
    return plan(
        Grid(methods=["mahalanobis"], datasets=["textures"], seeds=3, set={"image_size": 64}), Machine(tmp_path)
    )


def test_a_cell_that_another_run_computes_is_waited_for_and_not_computed(tmp_path: Path, cache: Path, other):
    store, machine, planned = Store(tmp_path / "store"), Machine(cache), cells(cache)
    mine, theirs = planned[0], planned[1]
    record, scores = execute(theirs, machine)
    stamped = record.model_copy(update={"created": datetime.fromisoformat("2020-01-01T00:00:00+00:00")})
    lease(store.root, theirs.key, other.pid)

    def finish() -> None:
        while mine.key not in store:
            time.sleep(0.05)
        store.put(stamped, scores)
        (store.root / "leases" / theirs.key).unlink()

    thread = threading.Thread(target=finish)
    thread.start()
    records = carry_out([theirs, mine], store, machine)
    thread.join()
    assert [one.key for one in records] == [mine.key, theirs.key]
    assert store.get(theirs.key).created == stamped.created, "the other run's record stands"


def test_a_cell_whose_other_run_died_is_computed(tmp_path: Path, cache: Path, other):
    store, planned = Store(tmp_path / "store"), cells(cache)
    lease(store.root, planned[0].key, other.pid)
    threading.Timer(0.5, other.kill).start()
    threading.Timer(0.6, other.wait).start()
    records = carry_out(planned[:2], store, Machine(cache))
    assert {one.key for one in records} == {one.key for one in planned[:2]}
    assert all(one.status == "ok" for one in records)


def test_a_record_that_is_to_be_replaced_is_computed_anew(tmp_path: Path, cache: Path):
    store, planned = Store(tmp_path / "store"), cells(cache)
    (first,) = carry_out(planned[:1], store, Machine(cache))
    (second,) = carry_out(planned[:1], store, Machine(cache))
    assert second.created > first.created


class Heard(Reporter):
    """The cells that a run computes itself: their epochs are heard, those of others are not."""

    def __init__(self) -> None:
        self.keys, self.begun = set[str](), threading.Event()

    def epoch(self, cell, epoch, epochs, values) -> None:
        self.keys.add(cell.key)
        self.begun.set()


@pytest.mark.nightly
@pytest.mark.parametrize("jobs", [1, 2])
def test_two_runs_on_one_store_share_the_work_cell_by_cell(tmp_path: Path, cache: Path, jobs):
    changes = {"image_size": 64, "schedule.epochs": 20, "schedule.steps": 4}
    grid = Grid(methods=["devnet"], datasets=["textures"], seeds=24, floor=None, set=changes)
    store, machine = Store(tmp_path / "store"), Machine(cache)
    planned, first, second = plan(grid, machine), Heard(), Heard()
    thread = threading.Thread(target=carry_out, args=(planned, store, machine, first, 2))
    thread.start()
    assert first.begun.wait(240)
    records = carry_out(planned, store, machine, second, jobs)
    thread.join()
    assert first.keys
    assert second.keys, "the first run took the leases of cells that none of its processes was free for"
    assert not first.keys & second.keys
    assert {one.key for one in records} == first.keys | second.keys == {one.key for one in planned}
