"""Processes: no worker outlives its parent, an interruption ends at once, and a dead worker fails its own cell alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import pytest

from osad_bench.benchmark.grid import workers as grid_workers
from osad_bench.benchmark.grid.workers import device_of, threads_each
from osad_bench.core.processes import is_alive
from osad_bench.results.store import Store

SLOW = [
    "run", "--methods", "devnet", "--datasets", "textures", "--shots", "2", "--seeds", "4", "--floor", "none", "--jobs", "2",
    "--set", "image_size=32", "--set", "schedule.epochs=100000", "--set", "schedule.steps=1", "--out", "out",
]  # fmt: skip

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def waits_for(condition, seconds: float) -> bool:
    """Whether a condition comes true in time; the time is a bound for a hung process, not a measure."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return False


@pytest.fixture
def running(tmp_path: Path, descendants):
    """A run with two workers, its group its own; what it says goes to the file ``told``."""
    with (tmp_path / "told").open("w") as told:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("osad-bench"), *SLOW], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=told,
            start_new_session=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
            preexec_fn=lambda: [signal.signal(one, signal.SIG_DFL) for one in (signal.SIGINT, signal.SIGHUP)],
        )  # fmt: skip
    try:
        # The resource tracker, the process that forks the workers, and two workers.
        assert waits_for(lambda: len(descendants(process.pid)) >= 4, 240), (tmp_path / "told").read_text()
        yield process
    finally:
        left = [process.pid, *descendants(process.pid)]
        for pid in left:
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        process.wait()


INTERRUPTED = "interrupted; what was computed is kept, the same command goes on from there"


def test_no_process_is_left_when_the_main_one_is_killed(running: subprocess.Popen, descendants):
    workers = descendants(running.pid)
    running.kill()
    running.wait(60)
    assert waits_for(lambda: not any(map(is_alive, workers)), 30), [pid for pid in workers if is_alive(pid)]


@pytest.mark.parametrize(
    ("number", "send"),
    [
        pytest.param(signal.SIGTERM, os.kill, id="main process terminated"),
        pytest.param(signal.SIGINT, os.killpg, id="ctrl-c"),
        pytest.param(signal.SIGHUP, os.killpg, id="terminal gone", marks=pytest.mark.nightly),
    ],
)
def test_an_interruption_is_one_sentence_and_leaves_no_process(
    running: subprocess.Popen, descendants, tmp_path: Path, number, send
):
    workers, before = descendants(running.pid), (tmp_path / "told").read_text()
    send(running.pid, number)
    assert running.wait(60) == 130
    assert waits_for(lambda: not any(map(is_alive, workers)), 30), [pid for pid in workers if is_alive(pid)]
    after = (tmp_path / "told").read_text()[len(before) :]
    assert "Traceback" not in after
    assert after.splitlines()[-1] == INTERRUPTED
    assert list(Store(tmp_path / "out").root.rglob("*.tmp")) == []


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_each_signal_that_ends_a_command_interrupts_it(name):
    from osad_bench.benchmark.cli.ending import ended_by_signals

    number = getattr(signal, name)
    ignored = signal.signal(number, signal.SIG_DFL)
    try:
        with pytest.raises(KeyboardInterrupt), ended_by_signals():
            signal.raise_signal(number)
    finally:
        signal.signal(number, ignored)


@pytest.mark.parametrize(
    ("device", "devices"),
    [("cuda", ["cuda:0", "cuda:1", "cuda:2", "cuda:0"]), ("cuda:1", ["cuda:1"] * 4), ("cpu", ["cpu"] * 4)],
)
def test_workers_take_the_visible_gpus_in_turn(monkeypatch: pytest.MonkeyPatch, device, devices):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)  # as CUDA_VISIBLE_DEVICES=2,5,7 would have it
    assert [device_of(device, worker) for worker in range(4)] == devices


def test_jobs_share_the_threads_that_one_alone_would_have(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.get_num_threads", lambda: 8)
    for cores, jobs, threads in [(16, 1, 8), (16, 3, 2), (4, 2, 2), (4, 8, 1)]:
        monkeypatch.setattr(grid_workers, "cpu_count", lambda cores=cores: cores)
        assert threads_each(jobs) == threads


def test_the_worker_of_a_cell_that_goes_on_after_its_time_limit_is_ended():
    clock, worker, future = grid_workers._Clock(1.0), subprocess.Popen(["sleep", "600"]), Future()
    clock.begun["late"] = worker.pid, time.monotonic() - 2 - grid_workers.LATE
    clock.begun["early"] = os.getpid(), time.monotonic()
    threading.Thread(target=lambda: future.set_result(worker.wait())).start()
    assert clock.wait([future], [SimpleNamespace(key="early"), SimpleNamespace(key="late")]) == {future}
    assert (future.result(), clock.ended) == (-signal.SIGKILL, {"late"})


STUBBORN = """
import time
from osad_bench.methods.base import Method
class Stubborn(Method):
    name = title = "stubborn"
    def score(self, pyramid): return pyramid[0].mean((1, 2, 3))
    def fit(self, train, context):
        while True:
            try: time.sleep(1)
            except BaseException: pass
"""


@pytest.mark.nightly
def test_a_method_that_catches_everything_is_ended_by_the_time_limit_alone(cli, tmp_path: Path):
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    done = cli(
        "run", "--methods", "stubborn.py,devnet", "--datasets", "textures", "--seeds", "1", "--floor", "none", "--set",
        "image_size=32", "--set", "schedule.epochs=1", "--jobs", "1", "--time-limit", "30", "--out", "out",
    )  # fmt: skip
    records = {record.cell.method: record for record in Store(tmp_path / "out")}
    assert done.returncode == 1
    assert records["stubborn"].error.message == "took longer than --time-limit 30 s"
    assert records["devnet"].status == "ok"
