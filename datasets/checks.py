"""Test a data set of your own against the contract in one call: ``check_dataset(lambda: MyDataset(root))``."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePosixPath

import numpy as np

from osad_bench.datasets.base import Dataset, Sample, digest_of_pixels


def check_dataset(make: Callable[[], Dataset]) -> None:
    """Open a data set twice; check that both agree, that every image can be read, and that ids, digests and masks fit.

    Parameters
    ----------
    make
        Opens the data set; called twice.

    Raises
    ------
    AssertionError
        It breaks the contract; the message says where and what is expected.
    DatasetError
        It cannot be listed or read.

    Examples
    --------
    >>> from osad_bench.datasets.textures import Textures
    >>> check_dataset(Textures)
    """
    first, second = make(), make()
    for attribute in ("name", "title"):
        assert isinstance(getattr(first, attribute, None), str), f"give {type(first).__name__} a {attribute}"
    assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*", first.name), f"name {first.name!r}: use a-z, 0-9, . _ and - only"
    assert first.samples == second.samples, "two openings list different samples: sort, and use no random numbers"
    assert any(not sample.label for sample in first.samples), "no normal sample"
    assert any(sample.label for sample in first.samples), "no anomaly"
    partitions = {sample.partition for sample in first.samples if not sample.label}
    assert partitions in ({None}, {"train", "test"}), (
        f"partitions of the normals are {partitions}; give all of them train or test, both used, or none of them any"
    )
    for sample in first.samples:
        _check_sample(sample)
        image = first.read(sample)
        assert np.array_equal(image, second.read(sample)), f"{sample.id}: two readings give different pixels"
        same = first.pixel_digests[sample.id] == digest_of_pixels(image)
        assert same, f"{sample.id}: pixel_digests is of other pixels than read() gives"
        mask = first.mask(sample)
        fits = mask is None or (mask.shape == image.shape[:2] and mask.dtype == np.bool_ and mask.any() <= sample.label)
        assert fits, f"{sample.id}: mask() gives no bool array of the image's height and width, or marks a normal image"
    assert first.fingerprint == second.fingerprint, "two openings have different fingerprints: check digest()"


def _check_sample(sample: Sample) -> None:
    path = PurePosixPath(sample.id)
    relative = bool(sample.id) and not path.is_absolute() and ".." not in path.parts and "\\" not in sample.id
    assert relative, f"id {sample.id!r}: use a path relative to the data set's folder, with /"
