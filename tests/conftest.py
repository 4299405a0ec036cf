"""What all tests share: a cache of their own, small image folders, the command line as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent


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


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Real downloads beside the checkout."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real data in ../shared/data")
    return folder


@pytest.fixture
def cli(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``osad-bench`` in a process of its own, in the test's folder."""

    def run(*args: object, timeout: float = 300, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [Path(sys.executable).with_name("osad-bench"), *map(str, args)],
            cwd=tmp_path, capture_output=True, text=True, timeout=timeout,
            env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "160"} | env, check=False,
        )  # fmt: skip

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
