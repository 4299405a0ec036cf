"""Notes on images that are read, but perhaps not as their owner thinks."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from osad_bench.datasets.catalogue import open_dataset
from osad_bench.datasets.inspect.preview import contact_sheet
from osad_bench.datasets.inspect.verify import verify
from osad_bench.datasets.reading.unusual import tiles_for


@pytest.fixture
def folder(tmp_path, draw):
    base = tmp_path / "mine"
    for part in ("train/good", "test/good", "test/hole"):
        for index in range(3):
            draw.image(base / part / f"{index}.png")
    return base


def notes(folder):
    report = verify(open_dataset(f"folder:{folder}"))
    assert report.sound
    return [problem.message for problem in report.problems]


def test_a_wrong_ending_is_noted_and_the_contents_are_read(folder):
    for index in (0, 1):
        (folder / "test/hole" / f"{index}.png").rename(folder / "test/hole" / f"{index}.jpg")
    assert notes(folder) == [
        "2 images are named .jpg but PNG inside, and read as that (test/hole/0.jpg, test/hole/1.jpg)"
    ]


def test_pages_beyond_the_first_are_noted(folder, draw):
    pages = [Image.fromarray(draw.pixels(24, 16)) for _ in range(2)]
    pages[0].save(folder / "train" / "good" / "scan.tif", save_all=True, append_images=pages[1:])
    assert notes(folder) == ["1 image is of several pages or frames, of which the first is read (train/good/scan.tif)"]


def test_photographs_of_a_folder_and_of_a_csv_file_are_read_upright_and_that_is_noted(folder, draw):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side
    pixels = draw.pixels(24, 16)
    Image.fromarray(np.ascontiguousarray(np.rot90(pixels))).save(folder / "test" / "good" / "photo.png", exif=exif)
    assert notes(folder) == [
        "1 image is turned upright, as the EXIF orientation says (test/good/photo.png)",
    ]
    (folder / "list.csv").write_text("path,label\ntest/good/photo.png,0\ntest/hole/0.png,1\n")
    for name in (f"folder:{folder}", f"csv:{folder / 'list.csv'}"):
        dataset = open_dataset(name)
        assert (dataset.read(dataset.by_id["test/good/photo.png"]) == pixels).all()


def test_the_orientation_is_part_of_the_fingerprint_of_users_images_alone(mvtec):
    carpet = open_dataset("mvtec/carpet", mvtec)
    own = open_dataset(f"folder:{carpet.base}")
    assert {sample.id for sample in own.samples} == {sample.id for sample in carpet.samples}
    assert own.reader == 2
    assert carpet.reader == 1
    assert own.fingerprint != carpet.fingerprint


def test_long_images_are_noted_and_the_preview_shows_them_as_methods_see_them(folder, draw):
    short = contact_sheet(open_dataset(f"folder:{folder}"), columns=2, size=32)
    for index in range(3):
        draw.image(folder / "train" / "good" / f"{index}.png", 64, 16)
        draw.image(folder / "test" / "good" / f"{index}.png", 64, 16)
    (note,) = notes(folder)
    assert note.startswith("6 images are long, and methods see them squeezed to a square")
    long = contact_sheet(open_dataset(f"folder:{folder}"), columns=2, size=32)
    assert long.height == short.height + 32 + 6
    assert "--set tiles=4 keeps their proportions" in note
    assert tiles_for(open_dataset(f"folder:{folder}")) == 4
    tiled = contact_sheet(open_dataset(f"folder:{folder}"), columns=2, size=32, tiles=4)
    assert tiled.size == long.size
    assert tiled != long
