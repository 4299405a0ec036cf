"""The readers on the real files beside the checkout; each test skips, saying so, where they are absent."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from osad_bench.benchmark.cell.split import crossing, split
from osad_bench.datasets.catalogue import open_dataset
from osad_bench.datasets.duplicates import duplicate_groups
from osad_bench.datasets.inspect.verify import verify
from osad_bench.datasets.reading.files import split_id
from osad_bench.results.record import Protocol


def kinds(dataset):
    return Counter(sample.kind for sample in dataset.samples)


def all_images(dataset):
    images = [dataset.read(sample) for sample in dataset.samples]
    assert all(image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 for image in images)
    return images


def test_headct_all_200_slices(real):
    dataset = open_dataset("headct", real("headct").parent)
    assert kinds(dataset) == {None: 100, "hemorrhage": 100}
    # Ids 0 to 99 are the anomalies.
    assert {int(sample.id[-7:-4]) < 100 for sample in dataset.samples if sample.label} == {True}
    assert max(image.shape[1] for image in all_images(dataset)) == 821
    modes = Counter(Image.open(dataset.path(sample)).mode for sample in dataset.samples)
    assert modes == {"RGB": 188, "RGBA": 12}


def test_headct_is_as_published_and_has_one_pair_that_only_decoding_shows(real):
    report = verify(open_dataset("headct", real("headct").parent))
    assert report.sound
    (pair,) = report.duplicates
    assert pair.ids == ("head_ct/head_ct/188.png", "head_ct/head_ct/189.png")
    assert not pair.identical_files


def test_brainmri_all_253_images_of_every_mode_and_name(real):
    dataset = open_dataset("brainmri", real("brainmri").parent)
    assert kinds(dataset) == {None: 98, "tumor": 155}
    all_images(dataset)
    modes = Counter(Image.open(dataset.path(sample)).mode for sample in dataset.samples)
    assert modes == {"RGB": 217, "L": 30, "RGBA": 5, "P": 1}
    disguised = [sample.id for sample in dataset.samples if Image.open(dataset.path(sample)).format == "PNG"]
    assert len([name for name in disguised if not name.endswith(".png")]) == 6


def test_brainmri_has_25_surplus_copies_in_22_groups_and_is_otherwise_as_published(real):
    report = verify(open_dataset("brainmri", real("brainmri").parent))
    assert report.sound
    assert (len(report.duplicates), report.surplus) == (22, 25)
    assert all(group.identical_files and len(group.parts) == 1 for group in report.duplicates)


def test_brainmri_copies_cross_the_default_split_and_dedup_leaves_none(real):
    dataset = open_dataset("brainmri", real("brainmri").parent)
    groups = duplicate_groups(dataset)
    plain = Protocol(setting="general", shots=10, known_kind=None, seed=0, reserve=0, dedup=False, part="test")
    assert crossing(split(dataset, plain), groups) == 11
    deduped = split(dataset, plain.model_copy(update={"dedup": True}))
    assert crossing(deduped, groups) == 0
    assert sum(len(ids) for ids in deduped.parts().values()) == 228


def test_sdd_strips_tile_each_photograph_and_follow_its_mask(real):
    root = real("sdd")
    dataset = open_dataset("sdd", root.parent)
    assert kinds(dataset) == {None: 47, "defect": 7}
    heights: Counter = Counter()
    for sample in dataset.samples:
        name, box = split_id(sample.id)
        mask = np.asarray(Image.open(root / name.replace(".jpg", "_label.bmp")))[box[1] : box[3], box[0] : box[2]]
        assert mask.any() == bool(sample.label), sample.id
        assert dataset.read(sample).shape == (box[3] - box[1], 500, 3)
        heights[name] += box[3] - box[1]
    assert dict(heights) == {name: Image.open(root / name).height for name in heights}
    assert len(heights) == 18


def test_optical_reads_the_labels_and_its_masks_fit(real):
    dataset = open_dataset("optical", real("dagm").parent)
    assert kinds(dataset) == {None: 12, "Class1": 12}
    assert {image.shape for image in all_images(dataset)} == {(512, 512, 3)}
    (incomplete,) = dataset.problems()
    assert incomplete.message.startswith("folders are missing: Class2, Class3, ")
    assert "Class10, Class1/Train; restore them" in incomplete.message
    labels = (real("dagm") / "Class1" / "Test" / "Label" / "Labels.txt").read_text().split("\n")[1:]
    expected = {fields[2].lower(): int(fields[1]) for fields in map(str.split, labels) if fields}
    assert {sample.id.rpartition("/")[2].lower(): sample.label for sample in dataset.samples} == expected


@pytest.mark.parametrize("name", ["sdd", "dagm"])
def test_a_part_of_a_data_set_is_read_but_called_incomplete(real, name):
    report = verify(open_dataset({"dagm": "optical"}.get(name, name), real(name).parent))
    assert not report.sound
    errors = [problem.message for problem in report.problems if problem.severity == "error"]
    assert any("are missing: " in message for message in errors)
    assert sum("counts are not those published" in message for message in errors) == 1
    assert len(errors) <= 8
