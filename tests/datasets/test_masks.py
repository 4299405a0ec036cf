"""`Dataset.mask`: which pixels of a sample are defective."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from osad_bench.datasets.base import DatasetError
from osad_bench.datasets.catalogue import open_dataset
from osad_bench.datasets.reading.files import split_id


def raw(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("L") if image.mode in ("RGB", "LA") else image) != 0


def publishers_mask(name, root, sample):
    """The mask file of an anomaly, found without the readers."""
    file, box = split_id(sample.id)
    path = root / file
    if name.startswith("mvtec"):
        found = [root / f"ground_truth/{sample.kind}/{path.stem}_mask.png"]
    elif name == "aitex":
        found = sorted((root / "Mask_images").glob(f"{path.stem}_mask*.png"))
    elif name == "sdd":
        found = [path.with_name(f"{path.stem}_label.bmp")]
    else:
        found = [path.parent / "Label" / f"{path.stem}_label.PNG"]
    mask = np.logical_or.reduce([raw(one) for one in found])
    return mask if box is None else mask[box[1] : box[3], box[0] : box[2]]


@pytest.mark.parametrize(
    ("name", "folder"),
    [("mvtec/bottle", "mvtec/bottle"), ("aitex", "aitex"), ("sdd", "sdd"), ("optical", "dagm")],
)
def test_masks_of_real_files_are_the_publishers_and_mark_anomalies_alone(name, folder, real):
    root = real(folder)
    data_root = next(parent for parent in root.parents if parent.name == "data")
    dataset = open_dataset(name, data_root)
    anomalies = 0
    for sample in dataset.samples:
        mask = dataset.mask(sample)
        assert mask is not None
        assert mask.dtype == np.bool_
        assert mask.shape == dataset.read(sample).shape[:2]
        assert mask.any() == bool(sample.label), sample.id
        if sample.label:
            anomalies += 1
            assert np.array_equal(mask, publishers_mask(name, root, sample)), sample.id
    assert anomalies > 2


def test_two_masks_of_a_photograph_are_joined(aitex):
    dataset = open_dataset("aitex", aitex)
    first = dataset.mask(dataset.by_id["Defect_images/0044_019_04.png#0,0,256,256"])
    last = dataset.mask(dataset.by_id["Defect_images/0044_019_04.png#3840,0,4096,256"])
    assert first[:5, :5].all()
    assert first.sum() == 25
    assert last.sum() == 36
    narrow = dataset.mask(dataset.by_id["Defect_images/0094_027_05.png#3584,0,3796,256"])
    assert narrow.shape == (256, 212)


def test_an_anomaly_without_a_mask_and_a_data_set_without_masks_give_none(mvtec, real):
    (mvtec / "mvtec_anomaly_detection" / "carpet" / "ground_truth" / "cut" / "001_mask.png").unlink()
    dataset = open_dataset("mvtec/carpet", mvtec)
    assert dataset.mask(dataset.by_id["test/cut/001.png"]) is None
    assert dataset.mask(dataset.by_id["test/cut/000.png"]).any()
    headct = open_dataset("headct", Path(real("headct")).parent)
    assert headct.mask(headct.samples[0]) is None


def test_a_mask_of_another_size_is_refused(mvtec, draw):
    draw.mask(
        mvtec / "mvtec_anomaly_detection" / "carpet" / "ground_truth" / "cut" / "000_mask.png", 25, 16, (1, 1, 3, 3)
    )
    dataset = open_dataset("mvtec/carpet", mvtec)
    with pytest.raises(DatasetError, match=r"000_mask\.png is 25 x 16, but its image .* is 24 x 16"):
        dataset.mask(dataset.by_id["test/cut/000.png"])
