"""How a command ends: soon after a signal, whatever it is doing."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from osad_bench.benchmark.cli import ending

LONG = """
import hashlib, threading
from osad_bench.benchmark.cli import ending
with ending.ended_by_signals():
    threading.Timer(1, print, ["ready"], {"flush": True}).start()  # when the call below is under way
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # one call of half an hour, as NumPy and torch have of minutes
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no such signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["terminated", "ctrl-c"])
def test_a_signal_ends_a_command_in_the_middle_of_one_long_call(number):
    running = subprocess.Popen(
        [sys.executable, "-c", LONG], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests run in the background ignore it
    )  # fmt: skip
    try:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        running.send_signal(number)
        _, told = running.communicate(timeout=120)  # a bound for one that hangs, no measure
    finally:
        running.kill()
    assert running.returncode == 130
    assert told == "interrupted; what was computed is kept, the same command goes on from there\n"


class Answered(threading.Event):
    """Tells when the watching thread has decided."""

    def __init__(self) -> None:
        super().__init__()
        self.decided = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        found = super().wait(1)
        self.decided.set()
        return found


@pytest.mark.parametrize("answers", [True, False])
def test_a_command_that_goes_on_after_a_signal_is_left_alone(monkeypatch, capsys, answers):
    ended: list[int] = []
    monkeypatch.setattr(ending.os, "_exit", ended.append)
    monkeypatch.setattr(ending, "_answered", Answered())
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with ending.ended_by_signals():
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
            if answers:
                ending.goes_on()
            assert ending._answered.decided.wait(60)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended == ([] if answers else [130])


LEFT = """
import atexit, os, sys, time, types
from osad_bench.benchmark.cli import ending
ending.GRACE = 0.2
sys.modules["osad_bench.benchmark.cell.state"] = types.SimpleNamespace(left_behind=bool)  # as after a cell
atexit.register({what})
atexit.register(lambda: 1 / 0)
ending.leave(3)
"""


@pytest.mark.parametrize("what", ["lambda: os._exit(0)", "lambda: time.sleep(600)"])
def test_what_methods_left_for_the_end_changes_neither_the_exit_code_nor_how_long_it_takes(what):
    done = subprocess.run([sys.executable, "-c", LEFT.format(what=what)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 3
    assert (
        done.stderr
        == "note: what a method left for the end of the command failed: ZeroDivisionError: division by zero\n"
    )


def test_a_plug_in_that_ends_the_process_does_not_end_the_command_well(cli, monkeypatch):
    from osad_bench.datasets import catalogue

    monkeypatch.setattr(catalogue, "expand", lambda name: sys.exit(0))
    code, _, told = cli("datasets", "preview", "elpv")
    assert (code, told) == (1, "error: the code of a plug-in ended the command (SystemExit: 0)\n")
