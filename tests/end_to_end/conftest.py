"""Commands as processes of their own that can be killed, each started within milliseconds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from osad_bench.core.processes import is_alive

SERVER = """
import json, os, signal, sys
from importlib import import_module
from osad_bench.benchmark.cli import main
for module in sys.argv[1:]:
    import_module(module)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a command ended: it says so itself
for line in sys.stdin:
    task = json.loads(line)
    pid = os.fork()
    if pid:
        print(pid, flush=True)
        continue
    os.setsid()
    os.chdir(task["folder"])
    os.environ.update(task["env"])
    for name in ("SIGCHLD", "SIGINT", "SIGHUP", "SIGTERM"):
        signal.signal(getattr(signal, name), signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL)
    told = os.open(task["told"], os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0), os.dup2(told, 1), os.dup2(told, 2)
    sys.argv = ["osad-bench", *task["arguments"]]
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    except BaseException:
        import traceback
        traceback.print_exc()
        code = 70
    with open(task["told"] + ".code", "w") as stream:
        stream.write(str(code))
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(0)
"""


class Command:
    """A command that runs: its process id, and how it ended."""

    def __init__(self, pid: int, told: Path) -> None:
        self.pid, self.told = pid, told

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something has come true, or the process is over."""
        while is_alive(self.pid) and not condition():
            time.sleep(0.002)

    def kill(self) -> int | None:
        """Kill the process with all that it started; gives the exit code of one that was over before."""
        for kill in (os.killpg, os.kill):  # its group is its own a moment after it has begun
            with suppress(ProcessLookupError):
                kill(self.pid, signal.SIGKILL)
        return self.wait()

    def wait(self, pids: tuple[int, ...] = (), seconds: float = 300) -> int | None:
        """Wait until the process (and `pids`) are gone; gives the exit code, None where it was killed."""
        end = time.monotonic() + seconds  # a bound for one that hangs, no measure
        while any(map(is_alive, (self.pid, *pids))):
            assert time.monotonic() < end, f"processes do not end: {self.told.read_text()}"
            time.sleep(0.005)
        code = self.told.with_name(f"{self.told.name}.code")
        said = code.read_text() if code.exists() else ""  # empty: killed as it was about to be written
        return int(said) if said else None


class Commands:
    """Starts commands by forking a process that has imported what they need."""

    def __init__(self, process: subprocess.Popen, folder: Path, descendants: Callable[[int], list[int]]) -> None:
        self.process, self.folder, self.descendants, self.count = process, folder, descendants, 0

    def start(self, *arguments: object, **env: str) -> Command:
        self.count += 1
        told = self.folder / f"told{self.count}"
        task = {
            "arguments": list(map(str, arguments)), "folder": str(self.folder), "told": str(told),
            "env": {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"} | env,
        }  # fmt: skip
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()
        return Command(int(self.process.stdout.readline()), told)

    def done(self, *arguments: object, **env: str) -> str:
        """Run a command to its end, which must be a good one; gives what it said."""
        command = self.start(*arguments, **env)
        code, told = command.wait(), command.told.read_text()
        assert code == 0, told
        return told


@pytest.fixture
def commands(tmp_path: Path, descendants: Callable[[int], list[int]]) -> Callable:
    """Context manager: ``with commands("osad_bench.results.merge") as c: c.start("merge", ...)``."""

    @contextmanager
    def serve(*modules: str) -> Iterator[Commands]:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER, *modules], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"},
        )  # fmt: skip
        try:
            yield Commands(process, tmp_path, descendants)
        finally:
            left = descendants(process.pid)
            process.stdin.close()
            process.wait(60)
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, 9)

    return serve
