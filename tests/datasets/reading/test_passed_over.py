"""Nothing that lies in a data set's folder is left out in silence."""

from __future__ import annotations

import os

import pytest

from osad_bench.datasets.catalogue import open_dataset
from osad_bench.datasets.inspect.verify import verify
from osad_bench.datasets.reading import images


@pytest.fixture
def folder(tmp_path, draw):
    base = tmp_path / "mine"
    for part in ("train/good", "test/good", "test/hole"):
        for index in range(4):
            draw.image(base / part / f"{index}.png")
    return base


def passed_over(folder):
    return {
        problem.file: (problem.severity, problem.message) for problem in open_dataset(f"folder:{folder}").passed_over
    }


def test_a_folder_of_images_alone_passes_nothing_over(folder):
    assert passed_over(folder) == {}
    assert verify(open_dataset(f"folder:{folder}")).sound


@pytest.mark.parametrize("ending", ["heic", "HEIF", "gif", "NEF", "jxl"])
def test_images_of_endings_that_are_not_read_are_counted_and_named(folder, ending, monkeypatch):
    monkeypatch.setattr(images, "suffixes_read", lambda: images.SUFFIXES)
    monkeypatch.setattr("osad_bench.datasets.reading.files.suffixes_read", lambda: images.SUFFIXES)
    for index in (0, 1):
        (folder / "test/hole" / f"{index}.png").rename(folder / "test/hole" / f"IMG_{index}.{ending}")
    severity, message = passed_over(folder)["test/hole"]
    assert severity == "error"
    assert message.startswith(f"2 images are passed over (2 .{ending.lower()}: IMG_0.{ending}, IMG_1.{ending})")
    assert not verify(open_dataset(f"folder:{folder}")).sound


@pytest.mark.parametrize("below", ["test/hole/2024-05", "train/good/camera1", "train/bad", "test/hole/a/b/c"])
def test_images_in_folders_that_are_not_read_are_counted_and_named(folder, below, draw):
    for index in range(7):
        draw.image(folder / below / f"{index}.jpg")
    ((where, (severity, message)),) = passed_over(folder).items()
    assert below.startswith(where)
    assert severity == "error"
    assert "7 images in this folder are passed over (7 .jpg: " in message
    assert "expected train/good, test/good and test/<kind>" in message


def test_where_all_images_of_a_kind_lie_in_subfolders_each_is_named(folder, draw):
    for day in ("monday", "tuesday"):
        draw.image(folder / "test" / "scratch" / day / "1.png")
    (message,) = [message for where, (_, message) in passed_over(folder).items() if where == "test/scratch"]
    assert "2 images in this folder are passed over (2 .png: monday/1.png, tuesday/1.png)" in message


def test_an_empty_kind_is_named(folder):
    (folder / "test" / "dent").mkdir()
    severity, message = passed_over(folder)["test/dent"]
    assert (severity, message.partition(";")[0]) == ("note", "is empty and not used")


def test_images_beside_train_and_test_are_a_note_and_masks_are_none(folder, draw):
    draw.image(folder / "validation" / "good" / "0.png")
    draw.image(folder / "ground_truth" / "hole" / "0_mask.png")
    ((where, (severity, _)),) = passed_over(folder).items()
    assert (where, severity) == ("validation", "note")


def test_other_files_are_a_note_and_litter_is_none(folder, add_litter):
    add_litter(folder)
    (folder / "train" / "good" / "notes.docx").write_bytes(b"PK")
    assert passed_over(folder) == {"train/good": ("note", "1 other file is passed over (notes.docx)")}


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.mknod(path, 0o140600)])
def test_a_pipe_or_socket_among_the_images_is_named_and_never_read(folder, make):
    make(folder / "train" / "good" / "p.png")
    dataset = open_dataset(f"folder:{folder}")
    assert len(dataset.samples) == 12
    (problem,) = dataset.passed_over
    assert problem.message.endswith("no regular file (a pipe, device, socket or folder): p.png")
    assert verify(dataset).fingerprint is not None


def test_a_link_to_a_folder_that_is_not_read_is_named_and_not_followed(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (folder / "train" / "good" / "more").symlink_to(folder)
    assert passed_over(folder)["train/good"] == ("note", "1 other file is passed over (more)")


def test_a_fatal_problem_and_its_cause_are_told_together(folder):
    (folder / "train" / "good").rename(folder / "aside")
    (folder / "train" / "good").mkdir()
    (folder / "aside").rename(folder / "train" / "good" / "camera1")
    problems = {problem.file: problem.message for problem in verify(open_dataset(f"folder:{folder}")).problems}
    assert "there is no image in" in problems["train/good"] or "4 images" in problems["train/good"]
    assert any("4 images in this folder are passed over" in message for message in problems.values())


def test_published_sets_name_what_is_beside_them_as_a_note(mvtec, draw):
    draw.image(mvtec / "mvtec_anomaly_detection" / "carpet" / "train" / "good" / "old" / "1.png")
    (problem,) = open_dataset("mvtec/carpet", mvtec).passed_over
    assert (problem.severity, problem.file) == ("note", "train/good/old")


def test_a_csv_file_passes_nothing_over_as_it_says_which_images_are_meant(folder, draw):
    (folder / "list.csv").write_text("path,label\ntrain/good/0.png,0\ntest/hole/0.png,1\n")
    assert open_dataset(f"csv:{folder / 'list.csv'}").passed_over == ()


@pytest.mark.parametrize("target", ["nowhere.png", "z.png", "/dev/zero"])
def test_a_link_that_leads_to_no_image_is_an_error_that_names_it(folder, target):
    (folder / "train" / "good" / "z.png").symlink_to(target)
    report = verify(open_dataset(f"folder:{folder}"))
    assert not report.sound
    assert any("z.png" in str(problem) for problem in report.problems)
