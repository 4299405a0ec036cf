"""Equal images, and equal images whose labels contradict each other."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from osad_bench.benchmark.cell.split import split
from osad_bench.datasets.catalogue import open_dataset
from osad_bench.datasets.duplicates import contradictions, duplicate_groups, surplus_copies
from osad_bench.datasets.inspect.verify import verify
from osad_bench.results.record import Protocol


@pytest.fixture
def folder(tmp_path, draw):
    base = tmp_path / "mine"
    for part, count in (("train/good", 6), ("test/good", 3), ("test/hole", 5)):
        for index in range(count):
            draw.image(base / part / f"{index}.png")
    return base


def copy(folder, source, target):
    with Image.open(folder / source) as image:
        image.save(folder / target, compress_level=0)  # other bytes, same pixels


def test_groups_are_computed_once_for_each_data_set(folder, monkeypatch):
    copy(folder, "train/good/0.png", "train/good/copy.png")
    dataset = open_dataset(f"folder:{folder}")
    groups = duplicate_groups(dataset)
    assert groups == (("train/good/0.png", "train/good/copy.png"),)
    assert duplicate_groups(dataset) is groups


def test_of_copies_with_one_label_the_first_stays(folder):
    copy(folder, "train/good/0.png", "train/good/copy.png")
    dataset = open_dataset(f"folder:{folder}")
    assert contradictions(dataset) == ()
    assert surplus_copies(dataset) == {"train/good/copy.png"}


@pytest.mark.parametrize("target", ["test/aaa/0.png", "test/zzz/0.png"])
def test_of_a_picture_with_two_labels_none_stays_whatever_the_names(folder, target):
    (folder / target).parent.mkdir()
    copy(folder, "test/good/1.png", target)
    dataset = open_dataset(f"folder:{folder}")
    both = {"test/good/1.png", target}
    assert [set(group) for group in contradictions(dataset)] == [both]
    assert surplus_copies(dataset) == both
    parts = split(dataset, Protocol(shots=2, seed=0, dedup=True)).parts()
    assert not both & set(sum(parts.values(), ()))


def test_verify_calls_a_picture_with_two_labels_an_error_that_names_both(folder):
    copy(folder, "train/good/2.png", "test/hole/same.png")
    report = verify(open_dataset(f"folder:{folder}"))
    (problem,) = report.problems
    assert not report.sound
    assert (problem.severity, problem.file) == ("error", "test/hole/same.png")
    assert "same picture as train/good/2.png: labelled both an anomaly (hole) and normal" in problem.message


def test_blank_images_are_a_note_and_no_duplicates(folder, cli):
    for index in range(30):
        Image.fromarray(np.full((16, 24, 3), 255, np.uint8)).save(folder / "train" / "good" / f"blank{index:02}.png")
    report = verify(open_dataset(f"folder:{folder}"))
    assert (report.duplicates, report.blank, report.sound) == ((), 30, True)
    (note,) = report.problems
    assert note.message.startswith("30 samples are blank, of one and the same colour (train/good/blank00.png, ")
    code, out, _ = cli("datasets", "verify", f"folder:{folder}", "--strict")
    assert code == 0
    assert max(map(len, out.splitlines())) < 300


def test_no_line_of_verify_is_long_however_many_copies_there_are(folder, cli):
    for index in range(200):
        copy(folder, "train/good/0.png", f"train/good/copy{index:03}.png")
    code, out, _ = cli("datasets", "verify", f"folder:{folder}")
    assert code == 0
    assert "197 more" in out
    assert max(map(len, out.splitlines())) < 300
