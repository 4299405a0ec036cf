from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from osad_bench.datasets.aitex import patches
from osad_bench.datasets.base import DatasetError
from osad_bench.datasets.catalogue import open_dataset
from osad_bench.datasets.inspect.verify import verify


def anomalies(dataset):
    return {(sample.id, sample.kind) for sample in dataset.samples if sample.label}


@given(st.integers(1, 5000), st.integers(1, 300))
def test_patches_cover_the_photograph_once(width, height):
    boxes = patches(width, height)
    covered = np.zeros(width, dtype=int)
    for left, top, right, bottom in boxes:
        assert (top, bottom) == (0, height)
        covered[left:right] += 1
    assert (covered == 1).all()
    assert all(right - left == 256 for left, _, right, _ in boxes[:-1])


def test_every_patch_of_a_photograph_without_defect_is_normal(aitex):
    dataset = open_dataset("aitex", aitex)
    normals = [sample.id for sample in dataset.samples if not sample.label]
    assert len(normals) == 2 * 16
    assert "NODefect_images/2306881-210020u/0001_000_01.png#256,0,512,256" in normals


def test_a_patch_is_an_anomaly_where_its_mask_is_not_empty_and_dropped_elsewhere(aitex):
    assert anomalies(open_dataset("aitex", aitex)) == {
        ("Defect_images/0001_002_00.png#0,0,256,256", "Broken_end"),
        ("Defect_images/0001_002_00.png#256,0,512,256", "Broken_end"),
        ("Defect_images/0044_019_04.png#0,0,256,256", "Fuzzyball"),
        ("Defect_images/0044_019_04.png#3840,0,4096,256", "Fuzzyball"),
        ("Defect_images/0094_027_05.png#3584,0,3796,256", "Knots"),
    }


def test_a_patch_holds_the_pixels_of_its_box(aitex):
    dataset = open_dataset("aitex", aitex)
    whole = np.asarray(Image.open(aitex / "aitex" / "Defect_images" / "0094_027_05.png"))
    sample = dataset.by_id["Defect_images/0094_027_05.png#3584,0,3796,256"]
    image = dataset.read(sample)
    assert image.shape == (256, 212, 3)
    assert (image[:, :, 1] == whole[:, 3584:]).all()


def test_the_publishers_photographs_without_a_mark_are_notes_not_errors(aitex):
    report = verify(open_dataset("aitex", aitex))
    notes = {problem.file for problem in report.problems if problem.severity == "note"}
    assert {"Defect_images/0100_025_08.png", "Mask_images/0106_010_03_mask.png"} <= notes
    (error,) = (problem for problem in report.problems if problem.severity == "error")
    assert "normal 32 instead of 2256" in error.message


def test_nested_archives_flat_normals_and_stray_files_are_read_alike(aitex, add_litter):
    before = anomalies(open_dataset("aitex", aitex))
    base = aitex / "aitex"
    for name in ("Defect_images", "Mask_images", "NODefect_images"):
        (base / name).rename(base / "moved")
        (base / name.lower()).mkdir()
        (base / "moved").rename(base / name.lower() / name)
    for path in (base / "defect_images" / "Defect_images").glob("*.png"):
        path.rename(path.with_suffix(".PNG"))
    add_litter(aitex)
    dataset = open_dataset("aitex", aitex)
    assert anomalies(dataset) == before
    assert len(dataset.samples) == 32 + 5


def test_any_other_missing_mask_stops_the_reader(aitex):
    (aitex / "aitex" / "Mask_images" / "0001_002_00_mask.png").unlink()
    with pytest.raises(DatasetError, match=r"Mask_images/0001_002_00_mask\.png: this mask is missing: restore"):
        open_dataset("aitex", aitex).samples  # noqa: B018


def test_a_truncated_mask_stops_the_reader_and_is_named(aitex):
    path = aitex / "aitex" / "Mask_images" / "0044_019_04_mask2.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DatasetError, match=r"Mask_images/0044_019_04_mask2\.png: .* is broken"):
        open_dataset("aitex", aitex).samples  # noqa: B018


def test_a_name_without_a_defect_code_is_not_used_and_noted(aitex, draw):
    draw.image(aitex / "aitex" / "Defect_images" / "copy of 0001.png", 512, 256, "L")
    dataset = open_dataset("aitex", aitex)
    assert len(anomalies(dataset)) == 5
    assert "Defect_images/copy of 0001.png" in {problem.file for problem in dataset.problems()}


def errors(root):
    return {problem.file: problem.message for problem in open_dataset("aitex", root).check()}


def test_a_mask_without_its_photograph_names_the_photograph(aitex):
    (aitex / "aitex" / "Defect_images" / "0001_002_00.png").unlink()
    message = errors(aitex)["Defect_images/0001_002_00.png"]
    assert message.startswith("has a mask (0001_002_00_mask.png) and is missing: restore it")
    assert not verify(open_dataset("aitex", aitex)).sound


def test_one_of_two_masks_that_is_missing_is_named(aitex):
    (aitex / "aitex" / "Mask_images" / "0044_019_04_mask2.png").unlink()
    assert errors(aitex)["Mask_images/0044_019_04_mask1.png"] == "is one of two masks: restore the other"


def test_photographs_and_masks_are_counted_exactly(aitex):
    counts = {count.part: (count.found, count.published) for count in verify(open_dataset("aitex", aitex)).counts}
    assert counts["photographs with a defect"] == (5, 106)
    assert counts["masks"] == (5, 107)
    assert counts["photographs without a defect"] == (2, 141)
    assert counts["anomaly"] == (5, 185)


def test_a_copy_without_the_photographs_of_two_masks_is_measured_by_the_papers_183(aitex):
    base = aitex / "aitex"
    for path in (base / "Defect_images" / "0044_019_04.png", *(base / "Mask_images").glob("0044_019_04_mask?.png")):
        path.unlink()
    published = open_dataset("aitex", aitex).published
    assert (published.counts["anomaly"], published.counts["photographs with a defect"]) == (183, 104)
    assert "0044_019_04 and 0097_030_03" in published.source
