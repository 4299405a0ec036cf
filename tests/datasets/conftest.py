"""Fixtures of the data set tests: small trees in the publishers' exact layout, and the real files where they are present."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """No test sees what another remembered, and none writes into the user's cache."""
    monkeypatch.setenv("OSAD_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv("OSAD_BENCH_DATA", raising=False)
    monkeypatch.delenv("OSAD_BENCH_FOLLOW_LINKS", raising=False)


@pytest.fixture
def real() -> Callable[[str], Path]:
    """Folder of a real download; skips, saying so, where this checkout has none."""

    def find(name: str) -> Path:
        if not (SHARED / name).is_dir():
            pytest.skip(f"real files of {name} are not at ../shared/data/{name} beside this checkout")
        return SHARED / name

    return find


class Draw:
    """Writes small image files; every one differs from every other."""

    def __init__(self) -> None:
        self.generator = np.random.default_rng(0)

    def pixels(self, width: int, height: int) -> np.ndarray:
        return self.generator.integers(0, 256, (height, width, 3), dtype=np.uint8)

    def image(self, path: Path, width: int = 24, height: int = 16, mode: str = "RGB") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(self.pixels(width, height)).convert(mode).save(path)
        return path

    def mask(self, path: Path, width: int = 24, height: int = 16, *boxes: tuple[int, int, int, int]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        mask = np.zeros((height, width), dtype=np.uint8)
        for left, top, right, bottom in boxes:
            mask[top:bottom, left:right] = 255
        Image.fromarray(mask).save(path)
        return path

    def bands(self, path: Path) -> Path:
        """As Mastcam: float64, 64 x 64 x 6, values 0 to 255."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, self.generator.uniform(0, 255, (64, 64, 6)))
        return path


@pytest.fixture
def draw() -> Draw:
    return Draw()


def litter(folder: Path) -> None:
    """What file managers and half-finished copies leave behind in every folder."""
    for below in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        (below / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
        (below / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
        (below / "._000.png").write_bytes(b"\0\5\x16\7")
        (below / "desktop.ini").write_text("[.ShellClassInfo]")
        (below / "readme.txt").write_text("a stray file")
    (folder / "__MACOSX").mkdir()


@pytest.fixture
def mvtec(tmp_path, draw) -> Path:
    """Data root with MVTec AD's carpet and toothbrush, laid out as the publisher ships them."""
    root = tmp_path / "data"
    for name, kinds in (("carpet", ("color", "cut")), ("toothbrush", ("defective",))):
        base = root / "mvtec_anomaly_detection" / name
        for index in range(5):
            draw.image(base / "train" / "good" / f"{index:03}.png")
        for index in range(2):
            draw.image(base / "test" / "good" / f"{index:03}.png")
            for kind in kinds:
                draw.image(base / "test" / kind / f"{index:03}.png")
                draw.mask(base / "ground_truth" / kind / f"{index:03}_mask.png", 24, 16, (2, 2, 9, 9))
        (base / "license.txt").write_text("CC BY-NC-SA 4.0")
    return root


@pytest.fixture
def aitex(tmp_path, draw) -> Path:
    """Data root with AITEX, with the oddities of the original archives."""
    root = tmp_path / "data"
    base = root / "aitex"
    for fabric in ("2306881-210020u", "2306894-210033u"):
        draw.image(base / "NODefect_images" / fabric / "0001_000_01.png", 4096, 256, "L")
    defects, masks = base / "Defect_images", base / "Mask_images"
    draw.image(defects / "0001_002_00.png", 4096, 256, "L")
    draw.mask(masks / "0001_002_00_mask.png", 4096, 256, (250, 10, 260, 20))  # across the first two patches
    draw.image(defects / "0044_019_04.png", 4096, 256, "L")
    draw.mask(masks / "0044_019_04_mask1.png", 4096, 256, (0, 0, 5, 5))
    draw.mask(masks / "0044_019_04_mask2.png", 4096, 256, (4090, 250, 4096, 256))
    draw.image(defects / "0094_027_05.png", 3796, 256, "L")
    draw.mask(masks / "0094_027_05_mask.png", 3796, 256, (3790, 0, 3796, 9))  # in the narrow last patch
    draw.image(defects / "0100_025_08.png", 4096, 256, "L")
    draw.image(defects / "0106_010_03.png", 4096, 256, "L")
    draw.mask(masks / "0106_010_03_mask.png", 4096, 256)
    return root


@pytest.fixture
def mastcam(tmp_path, draw) -> Path:
    """Data root with Mastcam; ``all`` repeats the other folders, one image lies in two of them."""
    root = tmp_path / "data"
    base = root / "mastcam"
    for part, count in (("train_typical", 5), ("validation_typical", 2), ("test_typical", 2)):
        for index in range(count):
            draw.bands(base / part / f"sol{index:04}_mcam0{index}.npy")
    for kind in ("drill-hole", "dump-pile", "veins"):
        for index in range(2):
            path = draw.bands(base / "test_novel" / kind / f"{kind}-{index}.npy")
            repeated = base / "test_novel" / "all" / path.name
            repeated.parent.mkdir(exist_ok=True)
            repeated.write_bytes(path.read_bytes())
    both = base / "test_novel" / "drill-hole" / "drill-hole-0.npy"
    (base / "test_novel" / "dump-pile" / both.name).write_bytes(both.read_bytes())
    return root


@pytest.fixture
def hyper_kvasir(tmp_path, draw) -> Path:
    """Data root with the labelled images of Hyper-Kvasir, both tracts."""
    root = tmp_path / "data"
    base = root / "labeled-images"
    for folder in (
        "lower-gi-tract/anatomical-landmarks/cecum",
        "lower-gi-tract/pathological-findings/polyps",
        "upper-gi-tract/anatomical-landmarks/pylorus",
        "upper-gi-tract/anatomical-landmarks/retroflex-stomach",
        "upper-gi-tract/anatomical-landmarks/z-line",
        "upper-gi-tract/pathological-findings/barretts",
        "upper-gi-tract/pathological-findings/esophagitis-a",
    ):
        for index in range(3):
            draw.image(base / folder / f"0{index}e7-{folder[-3:]}.jpg")
    (base / "image-labels.csv").write_text("Video file,Organ,Finding,Classification\n")
    return root


@pytest.fixture
def add_litter() -> Callable[[Path], None]:
    return litter
