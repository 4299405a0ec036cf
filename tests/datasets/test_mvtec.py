from __future__ import annotations

import shutil
from collections import Counter

import pytest

from osad_bench.core.registry import UnknownNameError
from osad_bench.datasets.base import DatasetError
from osad_bench.datasets.catalogue import expand, open_dataset
from osad_bench.datasets.inspect.verify import verify


def numbers(dataset):
    return Counter((sample.label, sample.kind, sample.partition) for sample in dataset.samples)


def test_a_class_has_the_publishers_split_and_its_folders_as_kinds(mvtec):
    assert numbers(open_dataset("mvtec/carpet", mvtec)) == {
        (0, None, "train"): 5,
        (0, None, "test"): 2,
        (1, "color", "test"): 2,
        (1, "cut", "test"): 2,
    }


def test_mvtec_stands_for_its_fifteen_classes():
    tasks = expand("mvtec")
    assert len(tasks) == 15
    assert {"mvtec/carpet", "mvtec/metal_nut", "mvtec/zipper"} <= set(tasks)


@pytest.mark.parametrize(
    ("given", "told"), [("carpt", "did you mean mvtec/carpet"), ("sofa", "known: mvtec/bottle, mvtec/cable")]
)
def test_an_unknown_class_is_refused_with_those_like_it_or_all(mvtec, given, told):
    with pytest.raises(UnknownNameError, match=f"mvtec/{given}.*{told}"):
        open_dataset(f"mvtec/{given}", mvtec).samples  # noqa: B018


@pytest.mark.parametrize("nesting", ["mvtec_anomaly_detection/mvtec_anomaly_detection", "MVTec/inner"])
def test_nested_folders_and_uppercase_endings_give_the_same_fingerprint(mvtec, tmp_path, nesting):
    before = open_dataset("mvtec/carpet", mvtec).fingerprint
    other = tmp_path / "other"
    (other / nesting).parent.mkdir(parents=True)
    (mvtec / "mvtec_anomaly_detection").rename(other / nesting)
    base = other / nesting / "carpet"
    base.rename(other / nesting / "Carpet")
    for path in (other / nesting / "Carpet" / "train").rglob("*.png"):
        path.rename(path.with_suffix(".PNG"))
    after = open_dataset("mvtec/carpet", other)
    assert after.fingerprint == before
    assert [after.read(sample).shape for sample in after.samples] == [(16, 24, 3)] * 11


def test_stray_files_and_empty_folders_change_nothing(mvtec, add_litter):
    before = open_dataset("mvtec/carpet", mvtec).fingerprint
    add_litter(mvtec)
    (mvtec / "mvtec_anomaly_detection" / "carpet" / "test" / "hole").mkdir()
    dataset = open_dataset("mvtec/carpet", mvtec)
    assert dataset.fingerprint == before
    assert dataset.kinds == ("color", "cut")
    assert [problem.file for problem in dataset.problems()] == ["test/hole"]


def test_what_macos_adds_to_an_archive_is_not_taken_for_the_data(mvtec):
    before = open_dataset("mvtec/carpet", mvtec).fingerprint
    outer = mvtec / "mvtec_anomaly_detection"
    outer.rename(mvtec / "z")
    outer.mkdir()
    (mvtec / "z").rename(outer / "z")
    shadow = outer / "__MACOSX" / "carpet" / "train" / "good"
    shadow.mkdir(parents=True)
    (shadow / "._000.png").write_bytes(b"\0\5\x16\7")
    assert open_dataset("mvtec/carpet", mvtec).fingerprint == before


def test_a_missing_folder_of_normals_is_named_with_the_expected_layout(mvtec):
    good = mvtec / "mvtec_anomaly_detection" / "carpet" / "train" / "good"
    for path in good.iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match="train/good: there is no image.*expected train/good"):
        open_dataset("mvtec/carpet", mvtec).samples  # noqa: B018


def test_verify_finds_missing_wrong_sized_empty_and_broken_masks(mvtec, draw):
    masks = mvtec / "mvtec_anomaly_detection" / "carpet" / "ground_truth"
    (masks / "color" / "000_mask.png").unlink()
    draw.mask(masks / "color" / "001_mask.png", 25, 16, (1, 1, 3, 3))
    draw.mask(masks / "cut" / "000_mask.png", 24, 16)
    (masks / "cut" / "001_mask.png").write_bytes(b"")
    report = verify(open_dataset("mvtec/carpet", mvtec))
    found = {problem.file: (problem.severity, problem.message) for problem in report.problems}
    assert found["ground_truth/color/000_mask.png"] == (
        "error",
        "this mask is missing: restore it from the original download",
    )
    assert "is 25 x 16, but its image" in found["ground_truth/color/001_mask.png"][1]
    assert found["ground_truth/cut/000_mask.png"][0] == "note"
    assert "empty (0 bytes)" in found["ground_truth/cut/001_mask.png"][1]
    assert not report.sound


def test_verify_compares_with_the_published_counts(mvtec):
    report = verify(open_dataset("mvtec/toothbrush", mvtec))
    counts = {count.part: (count.found, count.published) for count in report.counts}
    assert counts["train normal"] == (5, 60)
    assert counts["anomaly"] == (2, 30)
    assert counts["kinds"] == (1, 1)
    assert not report.sound


@pytest.mark.parametrize(("gone", "files"), [("ground_truth", 4), ("ground_truth/cut", 2)])
def test_a_missing_folder_of_masks_is_one_problem(mvtec, gone, files):
    shutil.rmtree(mvtec / "mvtec_anomaly_detection" / "carpet" / gone)
    (problem,) = open_dataset("mvtec/carpet", mvtec).problems()
    assert (problem.severity, problem.file) == ("error", gone)
    assert problem.message.startswith(f"this folder is missing, and with it {files} files (")
