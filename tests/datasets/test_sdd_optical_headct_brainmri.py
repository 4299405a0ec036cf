"""Layout variants and damage on small trees; `test_real_files.py` reads the real ones."""

from __future__ import annotations

import shutil
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from osad_bench.datasets.base import DatasetError
from osad_bench.datasets.catalogue import open_dataset
from osad_bench.datasets.inspect.verify import verify
from osad_bench.datasets.sdd import strips


@given(st.integers(1, 2000), st.integers(3, 4000))
def test_strips_cover_the_photograph_once_in_thirds(width, height):
    covered = np.zeros(height, dtype=int)
    for left, top, right, bottom in strips(width, height):
        assert (left, right) == (0, width)
        assert abs((bottom - top) - height / 3) < 1
        covered[top:bottom] += 1
    assert (covered == 1).all()


@pytest.fixture
def sdd(tmp_path, draw):
    base = tmp_path / "data" / "KolektorSDD"
    for item in ("kos01", "kos02"):
        for part in (0, 1):
            draw.image(base / item / f"Part{part}.jpg", 30, 62, "L")
            marks = [(3, 40, 9, 45)] if part else []
            draw.mask(base / item / f"Part{part}_label.bmp", 30, 62, *marks)
    return tmp_path / "data"


def test_sdd_a_strip_is_an_anomaly_where_its_part_of_the_mask_is_marked(sdd):
    dataset = open_dataset("sdd", sdd)
    assert len(dataset.samples) == 12
    # 62 rows: 0-20, 20-41, 41-62; the mark spans rows 40 to 44, so the lower two.
    assert [sample.id for sample in dataset.samples if sample.label] == [
        "kos01/Part1.jpg#0,20,30,41",
        "kos01/Part1.jpg#0,41,30,62",
        "kos02/Part1.jpg#0,20,30,41",
        "kos02/Part1.jpg#0,41,30,62",
    ]


def test_sdd_nesting_case_and_stray_files_give_the_same_fingerprint(sdd, add_litter):
    before = open_dataset("sdd", sdd).fingerprint
    (sdd / "KolektorSDD").rename(sdd / "inner")
    (sdd / "SDD").mkdir()
    (sdd / "inner").rename(sdd / "SDD" / "KolektorSDD")
    base = sdd / "SDD" / "KolektorSDD"
    (base / "kos01").rename(base / "KOS01")
    (base / "KOS01" / "Part1.jpg").rename(base / "KOS01" / "Part1.JPG")
    (base / "KOS01" / "Part1_label.bmp").rename(base / "KOS01" / "Part1_label.BMP")
    add_litter(sdd)
    (base / "kos02" / "kos08").mkdir()  # a stray folder that one public copy has
    assert open_dataset("sdd", sdd).fingerprint == before


def test_sdd_a_photograph_that_the_publisher_does_not_have_is_named(sdd, draw):
    for item in ("kos02", "kos21"):
        draw.image(sdd / "KolektorSDD" / item / "Part7.jpg", 30, 62, "L")
        draw.mask(sdd / "KolektorSDD" / item / "Part7_label.bmp", 30, 62)
    surplus = [
        problem.file for problem in open_dataset("sdd", sdd).check() if "is not in the original" in problem.message
    ]
    assert surplus == ["kos21/Part7.jpg"]


def test_sdd_missing_items_and_photographs_are_named(sdd):
    told = {problem.file: problem.message for problem in open_dataset("sdd", sdd).problems()}
    assert told[""].startswith("items are missing: kos03, kos04, ")
    assert told["kos01"].startswith("6 files (Part2.jpg, Part3.jpg, Part4.jpg, ...): is missing")


def test_sdd_a_missing_mask_is_named(sdd):
    (sdd / "KolektorSDD" / "kos02" / "Part0_label.bmp").unlink()
    with pytest.raises(DatasetError, match=r"kos02/Part0_label\.bmp: this mask is missing"):
        open_dataset("sdd", sdd).samples  # noqa: B018


def test_sdd_a_photograph_repeated_with_another_mask_is_a_duplicate_across_labels(sdd):
    base = sdd / "KolektorSDD"
    (base / "kos02" / "Part0.jpg").write_bytes((base / "kos01" / "Part1.jpg").read_bytes())
    report = verify(open_dataset("sdd", sdd))
    assert [group.parts for group in report.duplicates] == [
        ("normal",),
        ("anomaly defect", "normal"),
        ("anomaly defect", "normal"),
    ]
    assert all(group.identical_files for group in report.duplicates)


def test_sdd_equal_strips_of_one_photograph_are_equal_pixels_not_equal_files(sdd):
    stripes = np.tile(np.arange(21, dtype=np.uint8)[:, None] * 12, (3, 30))
    Image.fromarray(stripes).save(sdd / "KolektorSDD" / "kos01" / "Part0.jpg", format="PNG")
    Image.new("L", (30, 63), 0).save(sdd / "KolektorSDD" / "kos01" / "Part0_label.bmp")
    (group,) = verify(open_dataset("sdd", sdd)).duplicates
    assert [name.partition("#")[0] for name in group.ids] == ["kos01/Part0.jpg"] * 3
    assert not group.identical_files


@pytest.fixture
def dagm(tmp_path, draw):
    base = tmp_path / "data" / "DAGM"
    for name in ("Class1", "Class10"):
        for part in ("Train", "Test"):
            folder = base / name / part
            lines = ["1"]
            for index, label in enumerate((0, 1), start=1):
                draw.image(folder / f"{index:04}.PNG", mode="L")
                if label:
                    draw.mask(folder / "Label" / f"{index:04}_label.PNG", 24, 16, (1, 1, 4, 4))
                mask = f"{index:04}_label.PNG" if label else "0"
                lines.append(f"{index:04}\t{label}\t{index:04}.PNG\t0\t{mask}\t")
            (folder / "Label").mkdir(exist_ok=True)
            (folder / "Label" / "Labels.txt").write_text("\r\n".join(lines))
    return tmp_path / "data"


def test_optical_pools_classes_and_parts(dagm):
    dataset = open_dataset("optical", dagm)
    assert Counter(sample.kind for sample in dataset.samples) == {None: 4, "Class1": 2, "Class10": 2}
    assert {sample.partition for sample in dataset.samples} == {None}


def test_optical_names_the_missing_folders_in_one_problem(dagm):
    shutil.rmtree(dagm / "DAGM" / "Class10" / "Train")
    (missing,) = open_dataset("optical", dagm).problems()
    named = ", ".join(f"Class{number}" for number in range(2, 10))
    assert missing.message == f"folders are missing: {named}, Class10/Train; restore them from the original download"


def test_optical_doubled_class_folders_and_lowercase_endings_give_the_same_fingerprint(dagm, add_litter):
    before = open_dataset("optical", dagm).fingerprint
    base = dagm / "DAGM"
    (base / "Class1").rename(base / "inner")
    (base / "Class1").mkdir()
    (base / "inner").rename(base / "Class1" / "Class1")
    for path in (base / "Class10").rglob("*.PNG"):
        path.rename(path.with_suffix(".png"))
    add_litter(dagm)
    assert open_dataset("optical", dagm).fingerprint == before


def test_optical_missing_labels_images_and_masks_are_named(dagm):
    test = dagm / "DAGM" / "Class1" / "Test"
    (test / "Label" / "0002_label.PNG").unlink()
    problems = list(open_dataset("optical", dagm).problems())
    assert ("error", "Class1/Test/Label/0002_label.PNG") in [(problem.severity, problem.file) for problem in problems]
    (test / "0002.PNG").unlink()
    with pytest.raises(DatasetError, match=r"Class1/Test/0002\.PNG: is missing, and Labels\.txt names it"):
        open_dataset("optical", dagm).samples  # noqa: B018
    (test / "Label" / "Labels.txt").unlink()
    with pytest.raises(DatasetError, match=r"Class1/Test: has no Label/Labels\.txt"):
        open_dataset("optical", dagm).samples  # noqa: B018


@pytest.fixture
def headct(tmp_path, draw):
    base = tmp_path / "data" / "headct"
    for index in range(4):
        draw.image(base / "head_ct" / "head_ct" / f"{index:03}.png")
    (base / "labels.csv").write_text("id, hemorrhage\n0,1\n1,1\n2,0\n3,0\n")
    return tmp_path / "data"


@pytest.mark.parametrize("layout", ["head_ct/head_ct", "head_ct", "."])
def test_headct_whatever_the_nesting_has_the_same_fingerprint(headct, layout, add_litter):
    before = open_dataset("headct", headct).fingerprint
    base = headct / "headct"
    (base / "head_ct").rename(base / "moved")
    for path in (base / "moved" / "head_ct").iterdir():
        (base / layout).mkdir(parents=True, exist_ok=True)
        path.rename(base / layout / path.name)
    add_litter(headct)
    assert open_dataset("headct", headct).fingerprint == before


def test_headct_a_missing_slice_a_broken_row_and_an_unlisted_slice_are_named(headct, draw):
    base = headct / "headct"
    draw.image(base / "head_ct" / "head_ct" / "009.png")
    dataset = open_dataset("headct", headct)
    assert len(dataset.samples) == 4
    assert [problem.file for problem in dataset.problems()] == ["head_ct/head_ct/009.png"]
    (base / "head_ct" / "head_ct" / "002.png").unlink()
    with pytest.raises(DatasetError, match=r"002\.png: is missing, and labels\.csv names it"):
        open_dataset("headct", headct).samples  # noqa: B018
    (base / "labels.csv").write_text("id, hemorrhage\n0,yes\n")
    with pytest.raises(DatasetError, match="line 2: expected 'id,0' or 'id,1', got '0,yes'"):
        open_dataset("headct", headct).samples  # noqa: B018


@pytest.fixture
def brainmri(tmp_path, draw):
    base = tmp_path / "data" / "archive" / "brain_tumor_dataset"
    for index in range(4):
        draw.image(base / "no" / f"{index} no.jpeg")
        draw.image(base / "yes" / f"Y{index}.JPG")
    (tmp_path / "data" / "archive").rename(tmp_path / "data" / "BrainMRI")
    return tmp_path / "data"


def test_brainmri_nested_in_the_archives_folder(brainmri):
    dataset = open_dataset("brainmri", brainmri)
    assert Counter(sample.kind for sample in dataset.samples) == {None: 4, "tumor": 4}
    assert "yes/Y0.jpg" in dataset.by_id
    assert dataset.read(dataset.by_id["yes/Y0.jpg"]).shape == (16, 24, 3)


def test_brainmri_the_archives_second_copy_of_all_images_is_not_read_twice(brainmri, draw):
    base = brainmri / "BrainMRI"
    for name in ("no", "yes"):
        (base / name).mkdir()
        for path in (base / "brain_tumor_dataset" / name).iterdir():
            (base / name / path.name).write_bytes(path.read_bytes())
    assert len(open_dataset("brainmri", brainmri).samples) == 8


def test_brainmri_an_empty_folder_is_named(brainmri):
    for path in (brainmri / "BrainMRI" / "brain_tumor_dataset" / "yes").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match="yes: holds no image"):
        open_dataset("brainmri", brainmri).samples  # noqa: B018
