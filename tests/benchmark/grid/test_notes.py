"""What a run says of the data before it computes anything."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from osad_bench.benchmark.cell.execute import dataset_of
from osad_bench.benchmark.cell.machine import Machine
from osad_bench.benchmark.grid.notes import notes_on
from osad_bench.benchmark.grid.plan import plan, read_grid


@pytest.fixture(autouse=True)
def _opened_anew() -> None:
    dataset_of.cache_clear()


def notes(tmp_path: Path, photos: Path, shots: int = 2) -> list[str]:
    request = {"methods": ["mahalanobis"], "datasets": [f"folder:{photos}"], "shots": [shots], "seeds": 1}
    machine = Machine(tmp_path / "cache")
    return notes_on(plan(read_grid(None, request), machine), machine)


def test_a_sound_folder_has_no_notes(tmp_path: Path, photos: Path):
    assert notes(tmp_path, photos) == []


def test_images_that_are_not_read_are_counted_and_named(tmp_path: Path, photos: Path):
    (photos / "test" / "red" / "2024-05").mkdir()
    shutil.move(photos / "test" / "red" / "000.png", photos / "test" / "red" / "2024-05")
    (note,) = notes(tmp_path, photos)
    assert "2024-05" in note


def test_a_picture_with_two_labels_is_named_with_both_files(tmp_path: Path, photos: Path):
    shutil.copy(photos / "train" / "good" / "001.png", photos / "test" / "blue" / "copy.png")
    (note,) = notes(tmp_path, photos)
    assert "test/blue/copy.png and train/good/001.png are the same picture" in note


def test_an_m_that_leaves_too_few_to_test_on_is_told_with_one_that_does(tmp_path: Path, photos: Path):
    (note,) = notes(tmp_path, photos, shots=10)
    assert "M = 10 of 12 anomalies leaves 2 to test on, which tells little; --shots 6 leaves 6" in note


def test_where_no_other_m_leaves_more_none_is_proposed(tmp_path: Path, photos: Path):
    for path in [*sorted((photos / "test" / "red").iterdir())[2:], *sorted((photos / "test" / "blue").iterdir())[1:]]:
        path.unlink()
    (note,) = notes(tmp_path, photos, shots=1)
    assert note.endswith("M = 1 of 3 anomalies leaves 2 to test on, which tells little")
