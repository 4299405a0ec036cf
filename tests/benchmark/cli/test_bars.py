"""Progress of long commands: seen on a terminal, sparse in a log, absent where nothing takes long."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest
from rich.console import Console

from osad_bench.benchmark.cli import bars


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""

    class Clock:
        now = 100.0

    monkeypatch.setattr(bars.time, "monotonic", lambda: Clock.now)
    return Clock


def test_a_log_gets_a_line_now_and_then_and_none_at_first(clock):
    log = io.StringIO()
    steps = bars.Steps(Console(file=log, width=80))
    with steps.step("reading [records]") as tell:
        for second in range(31):
            clock.now = 100.0 + second
            tell(second, 30)
    assert log.getvalue().splitlines() == [f"reading [records]: {second}/30" for second in (2, 12, 22)]


def test_a_command_of_a_second_says_nothing(clock):
    log = io.StringIO()
    for terminal in (False, True):
        steps = bars.Steps(Console(file=log, force_terminal=terminal))
        for what in ("reading", "writing"):
            with steps.step(what) as tell:
                clock.now += 0.5
                tell(1, 1)
    assert log.getvalue() == ""


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_bars_are_on_the_terminal_alone_and_results_go_where_they_are_sent(tmp_path):
    program = (
        "import sys; from rich.console import Console; from osad_bench.benchmark.cli import bars; bars.QUIET = 0.0\n"
        "steps = bars.Steps(Console(stderr=True))\n"
        "for what in ('testing', 'drawing'):\n"
        "    with steps.step(what) as tell:\n"
        "        tell(1, 2); print('inside'); tell(2, 2)\n"
        "    print(what, 'is over')\n"
    )
    ours, theirs = os.openpty()
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=theirs, text=True, check=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )  # fmt: skip
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert done.stdout.splitlines() == ["inside", "testing is over", "inside", "drawing is over"]
    assert "testing" in shown
    assert "drawing" in shown
    assert "2/2" in shown
    assert "left" in shown
    assert "inside" not in shown
