"""A folder of photographs, and models fitted to it once for all tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from osad_bench.benchmark.decide.fit import fit
from osad_bench.benchmark.decide.model import Fitted

SMALL = {"image_size": [64], "schedule.epochs": [1], "schedule.steps": [2]}
SLOW = {
    "ahl.outer_epochs": [1], "ahl.history": [1], "ahl.batch": [12],
    "ahl-devnet.outer_epochs": [1], "ahl-devnet.history": [1], "ahl-devnet.batch": [12],
}  # fmt: skip
"""Settings of methods that have a schedule of their own."""


def grain(seed: int, spot: bool = False) -> Image.Image:
    """A grainy grey part, taller than wide, with a dark spot where one is asked for."""
    random = np.random.default_rng(seed)
    pixels = random.normal(140, 14, (80, 56, 3)).clip(0, 255).astype(np.uint8)
    if spot:
        top, left = random.integers(4, 64), random.integers(4, 40)
        pixels[top : top + 12, left : left + 12] = (40, 20, 20)
    return Image.fromarray(pixels)


@pytest.fixture(scope="session")
def settings() -> Callable[[str], dict[str, list[object]]]:
    """Small settings of a method: ``settings("dra")``."""

    def of(method: str) -> dict[str, list[object]]:
        return SMALL | {name: value for name, value in SLOW.items() if name.startswith(f"{method}.")}

    return of


@pytest.fixture(scope="session")
def part() -> Callable[..., Image.Image]:
    """Draw one photograph: ``part(seed, spot=True)``."""
    return grain


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 + 12 normals, 8 anomalies of two kinds; one of each lies on its side, with the EXIF orientation that says so."""
    folder = tmp_path_factory.mktemp("user") / "parts"
    seed = 0
    for name, count, spot in [
        ("train/good", 24, False),
        ("test/good", 12, False),
        ("test/hole", 5, True),
        ("test/burr", 3, True),
    ]:
        (folder / name).mkdir(parents=True)
        for index in range(count):
            seed += 1
            image = grain(seed, spot)
            if index == 1:
                exif = Image.Exif()
                exif[0x0112] = 6
                image.rotate(90, expand=True).save(folder / name / f"{index:02}.png", exif=exif)
            else:
                image.save(folder / name / f"{index:02}.png")
    return folder


@pytest.fixture(scope="session")
def fitted(parts: Path, settings: Callable[[str], dict[str, list[object]]]) -> Callable[..., Fitted]:
    """Fit a method to `parts`, each once: ``fitted("devnet")``."""
    made: dict[tuple[str, int], Fitted] = {}

    def make(method: str, calibrate: int = 12) -> Fitted:
        if (method, calibrate) not in made:
            made[method, calibrate] = fit(method, f"folder:{parts}", calibrate=calibrate, set=settings(method))
        return made[method, calibrate]

    return make
