"""The programs in docs/ run: what they print stands in the documents beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PROGRAMS = sorted((Path(__file__).resolve().parents[1] / "docs").glob("*.py"))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_every_program_says_how_it_is_used(run_script, program: Path):
    assert f"usage: {program.name}" in run_script(program, "--help")


@pytest.fixture
def brainmri(tmp_path: Path) -> Path:
    """Data root with a small BrainMRI: 16 normals, two of them twice, and six anomalies."""
    generator = np.random.default_rng(0)
    for folder, count in (("no", 16), ("yes", 6)):
        (tmp_path / "brainmri" / folder).mkdir(parents=True)
        for index in range(count):
            pixels = generator.integers(0, 256, (48, 48, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "brainmri" / folder / f"{index} {folder}.jpg")
    for index in (1, 2):
        original = tmp_path / "brainmri" / "no" / f"{index} no.jpg"
        original.with_name(f"{index}0 copy.jpg").write_bytes(original.read_bytes())
    return tmp_path


def test_the_worth_of_brainmris_copies_is_measured_over_many_splits(run_script, root: Path, brainmri: Path):
    printed = run_script(root / "docs" / "brainmri_duplicates.py", "--data-root", brainmri, "--splits", 4).splitlines()
    assert [line.split(":")[0] for line in printed] == [
        "all files", "same training, test images with a copy in it left out", "--dedup",
        "effect of the copies in the test part, paired",
    ]  # fmt: skip


@pytest.mark.nightly
def test_the_worth_of_brainmris_copies_is_measured_on_the_real_images(run_script, root: Path, real_data: Path):
    printed = run_script(root / "docs" / "brainmri_duplicates.py", "--data-root", real_data, "--splits", 3)
    assert printed.startswith("all files: AUROC 0.8")
