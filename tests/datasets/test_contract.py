"""Every data set passes the check that a stranger's data set is asked to pass, and the check itself can fail."""

from __future__ import annotations

import random

import numpy as np
import pytest

from osad_bench.core.registry import datasets
from osad_bench.datasets.base import Dataset, DatasetError, Sample
from osad_bench.datasets.catalogue import open_dataset
from osad_bench.datasets.checks import check_dataset
from osad_bench.datasets.textures import Textures


@pytest.mark.parametrize(
    ("name", "tree"),
    [("mvtec/carpet", "mvtec"), ("aitex", "aitex"), ("mastcam", "mastcam"), ("hyper-kvasir", "hyper_kvasir")],
)
def test_readers_meet_the_contract(name, tree, request):
    root = request.getfixturevalue(tree)
    check_dataset(lambda: open_dataset(name, root))


@pytest.mark.parametrize(("name", "folder"), [("headct", "headct"), ("sdd", "sdd"), ("optical", "dagm")])
def test_readers_meet_the_contract_on_real_files(name, folder, real):
    root = real(folder).parent
    check_dataset(lambda: open_dataset(name, root))


def test_every_registered_data_set_says_what_it_is():
    for name in datasets.names():
        cls = datasets.get(name)
        assert cls.name == name
        assert cls.title
        assert cls.domain
        if cls.folders:
            assert cls.homepage.startswith("https://")
            assert cls.layout
            assert cls.licence
            assert all(folder == folder.lower() for folder in cls.folders)


class Random(Textures):
    def load(self, sample: Sample):
        return np.random.default_rng().integers(0, 256, (8, 8, 3), dtype=np.uint8)


class Shuffled(Textures):
    def scan(self):
        return random.sample(list(super().scan()), 100)


class HalfSplit(Textures):
    def scan(self):
        for sample in super().scan():
            fixed = sample.label == 0 and sample.id.endswith("0")
            yield Sample(sample.id, sample.label, sample.kind, "train" if fixed else None)


class Absolute(Textures):
    def scan(self):
        return [Sample("/" + sample.id, sample.label, sample.kind) for sample in super().scan()]


class OnlyNormals(Textures):
    def scan(self):
        return [sample for sample in super().scan() if sample.label == 0]


class Unnamed(Textures):
    name = "My Data"


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Random, "two readings give different pixels"),
        (Shuffled, "two openings list different samples"),
        (HalfSplit, "partitions of the normals"),
        (Absolute, "use a path relative"),
        (OnlyNormals, "no anomaly"),
        (Unnamed, "use a-z"),
    ],
)
def test_the_check_names_each_breach(broken, message):
    with pytest.raises(AssertionError, match=message):
        check_dataset(broken)


class Grey(Textures):
    def load(self, sample: Sample):
        return super().load(sample)[:, :, 0]


class Twice(Textures):
    def scan(self):
        return [*super().scan(), *super().scan()]


@pytest.mark.parametrize(("broken", "message"), [(Grey, r"not uint8 \(H, W, 3\)"), (Twice, "lists .* twice")])
def test_what_the_base_class_refuses(broken, message):
    with pytest.raises(DatasetError, match=message):
        check_dataset(broken)


def test_samples_are_sorted_whatever_the_scan_and_a_normal_has_no_kind():
    class Backwards(Textures):
        def scan(self):
            return reversed(list(super().scan()))

    assert Backwards().samples == Textures().samples
    assert Backwards().fingerprint == Textures().fingerprint
    with pytest.raises(DatasetError, match="an anomaly needs a kind"):
        Sample("a.png", 1)
    with pytest.raises(DatasetError, match="an anomaly needs a kind, and a normal sample has none"):
        Sample("a.png", 0, "hole")
    with pytest.raises(DatasetError, match="expected 0 .normal. or 1"):
        Sample("a.png", 2)  # type: ignore[arg-type]


def test_a_changed_reader_changes_the_fingerprint():
    class Next(Textures):
        reader = 2

    assert Next().fingerprint != Textures().fingerprint
    assert isinstance(Next(), Dataset)
