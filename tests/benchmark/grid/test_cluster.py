"""A dask cluster of separate processes: a process that dies fails only its own cell, and what is stored stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from osad_bench.benchmark.cell.execute import execute
from osad_bench.benchmark.cell.machine import Machine
from osad_bench.benchmark.cell.seeds import seed_of
from osad_bench.benchmark.grid.plan import Grid, plan
from osad_bench.benchmark.grid.run import carry_out
from osad_bench.benchmark.grid.workers import Reporter
from osad_bench.results.store import Store

pytest.importorskip("distributed")

OWN = '''
"""A method that takes its time, says how many threads it has, and kills its process where a file says so."""
import os, signal, time
from pathlib import Path
import torch
from osad_bench.methods.base import Method

class Own(Method):
    name, title = "own", "Own"
    def fit(self, train, context):
        context.progress(1, 1, {"threads": torch.get_num_threads()})
        time.sleep(float(os.environ["OWN_SECONDS"]))
        if (Path(__file__).parent / f"kill {context.seed}").exists():
            os.kill(os.getpid(), signal.SIGKILL)
    def score(self, pyramid): return pyramid[0].mean((1, 2, 3))
'''


class Cluster:
    """A scheduler, and workers of `threads` CPU threads each that are started again when they die."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.processes = folder, []
        self.env = os.environ | {
            "OWN_SECONDS": "0.5", "OMP_NUM_THREADS": "1", "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
        }  # fmt: skip
        self.start_scheduler(0)

    def _start(self, *arguments: object) -> subprocess.Popen:
        command = [sys.executable, "-m", "dask", *map(str, arguments)]
        with (self.folder / "dask.log").open("a") as log:
            process = subprocess.Popen(command, cwd=self.folder, env=self.env, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def start_scheduler(self, port: int) -> None:
        file = self.folder / "scheduler.json"
        file.unlink(missing_ok=True)
        self.scheduler = self._start(
            "scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard", "--scheduler-file", file
        )
        wait_for(file.exists)
        self.address = json.loads(file.read_text())["address"]

    def start_worker(self, threads: int = 1) -> subprocess.Popen:
        return self._start(
            "worker", self.address, "--nthreads", threads, "--no-dashboard", "--local-directory", self.folder
        )

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()  # a nanny takes its worker along
        for process in self.processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_for(condition: Callable[[], object], seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_methods) -> Iterator[Cluster]:
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.setenv("OWN_SECONDS", "0")
    found = Cluster(tmp_path)
    yield found
    found.stop()


class Heard(Reporter):
    def __init__(self) -> None:
        self.epochs: dict[str, dict[str, float]] = {}

    def epoch(self, cell, epoch, epochs, values) -> None:
        self.epochs[cell.key] = values


@pytest.mark.nightly
def test_a_cell_that_kills_its_workers_fails_alone_and_the_others_have_the_same_scores(cluster, tmp_path, cache):
    machine, store, heard = Machine(cache), Store(tmp_path / "out"), Heard()
    changes = {"image_size": [32], "frozen": [False]}
    grid = Grid(methods=[str(tmp_path / "own.py")], datasets=["textures"], seeds=4, floor=None, set=changes)
    cells = plan(grid, machine)
    here = {cell.key: execute(cell, machine)[1] for cell in cells}
    (tmp_path / f"kill {seed_of(cells[1].cell, 'method', of_method=True)}").touch()
    cluster.start_worker(threads=3)
    carry_out(cells, store, machine, heard, backend="dask", scheduler=cluster.address)
    for cell in cells:
        record = store.get(cell.key)
        if cell is cells[1]:
            assert record.error is not None
            assert record.error.type == "WorkerDied"
            continue
        assert record.curve == {"threads": [3.0]}, "a cell has its worker's threads, and is alone in it"
        np.testing.assert_array_equal(store.scores(cell.key).scores, here[cell.key].scores)
    assert heard.epochs.keys() == {cell.key for cell in cells}


@pytest.mark.nightly
def test_a_worker_and_then_the_scheduler_are_killed_and_the_same_command_completes_the_run(cluster, tmp_path, cli):
    workers = [cluster.start_worker(), cluster.start_worker()]
    store = Store(tmp_path / "out")
    command = (
        "run", "--methods", "own.py", "--datasets", "textures", "--seeds", "12", "--floor", "none", "--set", "image_size=32",
        "--backend", "dask", "--scheduler", cluster.address, "--out", "out",
    )  # fmt: skip

    def kill() -> None:
        wait_for(lambda: len(store.keys()) >= 2)
        workers[0].kill()
        os.kill(child_of(workers[0].pid), signal.SIGKILL)
        reached = len(store.keys())
        wait_for(lambda: len(store.keys()) >= reached + 3)
        cluster.scheduler.kill()

    killer = threading.Thread(target=kill)
    nanny = workers[0].pid
    wait_for(lambda: child_of(nanny))
    killer.start()
    code, _, told = cli(*command)
    killer.join()
    assert code == 1
    assert told.splitlines()[-1].startswith(f"error: the dask scheduler at {cluster.address} is gone")
    assert "Traceback" not in told
    kept = {record.key: record.created for record in store}
    assert 5 <= len(kept) < 12
    assert {record.status for record in store} == {"ok"}
    assert not (store.root / "leases").exists()

    cluster.start_scheduler(int(cluster.address.rpartition(":")[2]))
    cluster.start_worker()
    assert cli(*command).returncode == 0
    assert len(store.keys()) == 12
    assert {key: store.get(key).created for key in kept} == kept


def child_of(pid: int) -> int:
    """A process that this one started last; 0 where there is none."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[-1]) if children else 0


def test_a_scheduler_that_is_not_there_is_an_error_that_says_how_to_start_one(cli):
    code, _, told = cli(
        "run", "--methods", "mahalanobis", "--datasets", "textures", "--seeds", "1", "--set", "image_size=32",
        "--backend", "dask", "--scheduler", "tcp://127.0.0.1:9", DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT="1s",
    )  # fmt: skip
    assert code == 2
    assert "no dask scheduler answers at tcp://127.0.0.1:9" in told
    assert "start one with dask scheduler" in told


def test_a_time_limit_that_dask_cannot_keep_is_refused(cli):
    code, _, told = cli(
        "run", "--methods", "mahalanobis", "--datasets", "textures", "--backend", "dask", "--time-limit", "9"
    )
    assert code == 2
    assert "--time-limit needs --backend local" in told
