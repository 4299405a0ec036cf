"""What all tests share: a cache of their own, small image folders, the command line as a user runs it."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache as cache_results
from importlib.metadata import distribution
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure() -> None:
    """Refuse to test with metadata of another state of the project: plug-ins and commands are found through it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    groups = {**project["entry-points"], "console_scripts": project["scripts"]}
    wanted = {(group, name, value) for group, points in groups.items() for name, value in points.items()}
    found = distribution("osad-bench")
    if found.version != project["version"] or wanted != {(p.group, p.name, p.value) for p in found.entry_points}:
        where = found.locate_file("osad_bench.egg-info")
        remedy = f"remove {where}" if Path(str(where)).is_dir() else "run pip install -e . again"
        pytest.exit(f"the installed osad-bench does not have pyproject.toml's version and entry points: {remedy}", 4)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Features of the tests go to a temporary folder, shared by the tests of one process."""
    os.environ["OSAD_BENCH_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _few_threads() -> None:
    """The machine's cores are shared by several test processes."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture
def cache() -> Path:
    return Path(os.environ["OSAD_BENCH_CACHE"])


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


def code_blocks(page: Path, language: str) -> list[str]:
    """The fenced code blocks of a page in a language such as ``python``, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Real downloads beside the checkout."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real data in ../shared/data")
    return folder


class Done(NamedTuple):
    """A command that has ended: ``done.stderr``, or ``code, out, err = done``."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def cli(tmp_path: Path) -> Callable[..., Done]:
    """Run ``osad-bench`` in this process, in the test's folder: ``cli("run", "--methods", "dra", NO_COLOR="1")``.

    A process of its own would import torch again, 4 s each time. What the command changes in this one is undone. Tests of
    what only a process has (signals, its end, what it imports, a full disk) start one.
    """

    from osad_bench.benchmark.cli import main

    def run(*arguments: object, folder: Path = tmp_path, **env: str) -> Done:
        defaults = {"OMP_NUM_THREADS": "1", "COLUMNS": "160"}
        return run_here(["osad-bench", *map(str, arguments)], folder, defaults | env, main)

    return run


def run_here(command: list[str], folder: Path, env: dict[str, str], main: Callable[[], object]) -> Done:
    """Call `main` in this process as if in one of its own."""
    with ExitStack() as undo:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            undo.callback(signal.signal, number, signal.getsignal(number))
        undo.callback(os.chdir, Path.cwd())
        os.chdir(folder)
        undo.enter_context(patch.dict(os.environ, env))
        undo.enter_context(patch.object(sys, "argv", command))
        undo.enter_context(patch.object(os, "_exit", sys.exit))  # the command's end is not that of the tests
        undo.enter_context(warnings_on_stderr())
        out, err = (undo.enter_context(redirected(name, number)) for name, number in (("stdout", 1), ("stderr", 2)))
        try:
            main()
            code: object = 0
        except SystemExit as end:
            code = end.code
        except BaseException:
            traceback.print_exc()  # as the interpreter does
            code = 1
        return Done(code if isinstance(code, int) else int(code is not None), out(), err())


@contextmanager
def redirected(name: str, number: int) -> Iterator[Callable[[], str]]:
    """Send a standard stream to a file, for this process and those it starts; yields what reads the file."""
    with tempfile.TemporaryFile() as file, ExitStack() as undo:
        kept = os.dup(number)
        undo.callback(os.close, kept)
        undo.callback(os.dup2, kept, number)
        os.dup2(file.fileno(), number)
        stream = undo.enter_context(open(number, "w", encoding="utf-8", closefd=False))
        undo.enter_context(patch.object(sys, name, stream))

        def read() -> str:
            stream.flush()
            file.seek(0)
            return file.read().decode()

        yield read


@contextmanager
def warnings_on_stderr() -> Iterator[None]:
    """Show warnings as Python does by default; pytest collects them instead."""
    with warnings.catch_warnings():
        warnings.resetwarnings()
        for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", kind)
        warnings.showwarning = lambda *given: print(warnings.formatwarning(*given[:4]), end="", file=sys.stderr)
        yield


@pytest.fixture(scope="session")
def descendants() -> Callable[[int], list[int]]:
    """Process ids of all children of a process, theirs included (Linux)."""

    def of(pid: int) -> list[int]:
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            return []
        return [one for child in map(int, children) for one in (child, *of(child))]

    return of


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Install a package of examples/ from a copy, as a stranger's would be, without the network; gives its folder."""

    @cache_results
    def install(name: str) -> Path:
        work = tmp_path_factory.mktemp(name)
        shutil.copytree(
            ROOT / "examples" / name, work / "source", ignore=shutil.ignore_patterns("__pycache__", "tests")
        )
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
             "--target", work / "target", work / "source"],
            check=True,
        )  # fmt: skip
        return work / "target"

    return install


@pytest.fixture
def plug_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """Make the packages of a folder visible, with their entry points, to this process and to those it starts."""
    from osad_bench.core import registry

    def forget() -> None:
        for known in vars(registry).values():
            if isinstance(known, registry.Registry):
                vars(known).pop("_points", None)

    def show(folder: Path) -> None:
        monkeypatch.syspath_prepend(folder)
        monkeypatch.setenv("PYTHONPATH", str(folder))
        forget()

    yield show
    monkeypatch.undo()
    forget()


@pytest.fixture
def run_script(tmp_path: Path) -> Callable[..., str]:
    """Run a Python file as ``python FILE ARGUMENTS`` in this process; gives what it printed."""

    def run(script: Path, *arguments: object) -> str:
        command = [str(script), *map(str, arguments)]
        done = run_here(command, tmp_path, {}, lambda: runpy.run_path(str(script), run_name="__main__"))
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def draw(seed: int, size: int = 48, spot: tuple[int, int, int] | None = None) -> np.ndarray:
    """A grainy grey image, with a coloured spot where one is asked for."""
    generator = np.random.default_rng(seed)
    image = generator.normal(128, 12, (size, size, 3)).clip(0, 255).astype(np.uint8)
    if spot:
        y, x = generator.integers(4, size - 16, 2)
        image[y : y + 12, x : x + 12] = spot
    return image


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder in MVTec layout: 12 + 6 normals, 6 anomalies each of red and blue."""
    folder = tmp_path / "photos"
    for part, count, spot in [
        ("train/good", 12, None),
        ("test/good", 6, None),
        ("test/red", 6, (200, 30, 30)),
        ("test/blue", 6, (30, 30, 200)),
    ]:
        (folder / part).mkdir(parents=True)
        for index in range(count):
            pixels = draw(hash_of(part) + index, spot=spot)
            Image.fromarray(pixels).save(folder / part / f"{index:03}.png")
    return folder


def hash_of(text: str) -> int:
    """A small number that a text fixes, the same in every process."""
    return sum(text.encode()) * 1000
