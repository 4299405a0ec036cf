from __future__ import annotations

from collections import Counter

import pytest

from osad_bench.datasets.base import DatasetError
from osad_bench.datasets.catalogue import open_dataset


def test_landmarks_of_the_upper_tract_are_normal_and_its_findings_the_kinds(hyper_kvasir):
    dataset = open_dataset("hyper-kvasir", hyper_kvasir)
    assert Counter(sample.kind for sample in dataset.samples) == {None: 9, "barretts": 3, "esophagitis-a": 3}
    assert not any("lower" in sample.id for sample in dataset.samples)


def test_another_nesting_and_uppercase_endings_give_the_same_fingerprint(hyper_kvasir, tmp_path, add_litter):
    before = open_dataset("hyper-kvasir", hyper_kvasir).fingerprint
    other = tmp_path / "other"
    (other / "HyperKvasir" / "hyper-kvasir-labeled-images").mkdir(parents=True)
    inner = other / "HyperKvasir" / "hyper-kvasir-labeled-images" / "labeled-images"
    (hyper_kvasir / "labeled-images").rename(inner)
    for path in (inner / "upper-gi-tract" / "anatomical-landmarks" / "z-line").iterdir():
        path.rename(path.with_suffix(".JPG"))
    add_litter(other)
    assert open_dataset("hyper-kvasir", other).fingerprint == before


def test_an_empty_landmark_is_a_note_and_no_landmark_at_all_an_error(hyper_kvasir):
    landmarks = hyper_kvasir / "labeled-images" / "upper-gi-tract" / "anatomical-landmarks"
    for path in (landmarks / "pylorus").iterdir():
        path.unlink()
    dataset = open_dataset("hyper-kvasir", hyper_kvasir)
    assert len(dataset.samples) == 12
    assert [problem.severity for problem in dataset.problems()] == ["note"]
    for path in landmarks.rglob("*.jpg"):
        path.unlink()
    with pytest.raises(DatasetError, match="anatomical-landmarks: holds no image"):
        open_dataset("hyper-kvasir", hyper_kvasir).samples  # noqa: B018
