from __future__ import annotations

import pytest

from osad_bench.datasets.base import DatasetError
from osad_bench.datasets.catalogue import open_dataset


@pytest.fixture
def photos(tmp_path, draw):
    base = tmp_path / "photos"
    for index in range(4):
        draw.image(base / "train" / "good" / f"{index}.JPG")
        draw.image(base / "test" / "good" / f"{index}.png")
        draw.image(base / "test" / "scratch" / f"s {index}.bmp")
    return base


def test_names_stay_the_users_own(photos):
    dataset = open_dataset(f"folder:{photos}")
    assert "train/good/0.JPG" in dataset.by_id
    assert "test/scratch/s 3.bmp" in dataset.by_id
    assert dataset.full_name == "folder/photos"
    assert open_dataset(dataset.spec).fingerprint == dataset.fingerprint


def test_two_files_whose_endings_differ_in_case_alone_are_two_samples(photos, draw):
    draw.image(photos / "train" / "good" / "0.jpg")
    assert len(open_dataset(f"folder:{photos}").samples) == 13


def test_the_fingerprint_is_of_names_and_bytes_not_of_place_or_time(photos, tmp_path):
    before = open_dataset(f"folder:{photos}").fingerprint
    photos.rename(tmp_path / "elsewhere")
    assert open_dataset(f"folder:{tmp_path / 'elsewhere'}").fingerprint == before
    changed = tmp_path / "elsewhere" / "test" / "good" / "0.png"
    changed.write_bytes(changed.read_bytes() + b"\0")
    assert open_dataset(f"folder:{tmp_path / 'elsewhere'}").fingerprint != before


@pytest.mark.parametrize("missing", ["train/good", "test/good", "test/scratch"])
def test_a_missing_part_is_named_with_the_expected_layout(photos, missing):
    for path in (photos / missing).iterdir():
        path.unlink()
    (photos / missing).rmdir()
    with pytest.raises(DatasetError, match=r"expected train/good, test/good and test/<kind>"):
        open_dataset(f"folder:{photos}").samples  # noqa: B018


def test_no_path_and_no_folder_are_refused_with_the_form_to_use(tmp_path):
    with pytest.raises(DatasetError, match="--datasets folder:PATH"):
        open_dataset("folder").samples  # noqa: B018
    with pytest.raises(DatasetError, match="there is no such folder"):
        open_dataset(f"folder:{tmp_path / 'nowhere'}").samples  # noqa: B018
