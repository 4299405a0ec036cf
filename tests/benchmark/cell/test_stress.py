"""Contaminated normals, wrong labels, training on one group of images and testing on another."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from osad_bench.benchmark.cell.split import Split, contaminants, read_split, split, write_split
from osad_bench.core.errors import InputError
from osad_bench.datasets.base import Dataset, Sample
from osad_bench.datasets.catalogue import open_dataset
from osad_bench.results.record import Cell, Protocol
from osad_bench.results.row import options


class Grouped(Dataset):
    """A data set that is only a list: normals and two kinds of anomaly in each of two groups."""

    name, title = "grouped", "Grouped"

    def __init__(self, normals: int, anomalies: int) -> None:
        super().__init__(root=None, variant=None)
        self.sizes = normals, anomalies

    def scan(self) -> Iterator[Sample]:
        normals, anomalies = self.sizes
        for group in ("east", "west"):
            yield from (Sample(f"{group}/n/{i:04}", 0, group=group) for i in range(normals))
            yield from (Sample(f"{group}/{k}/{i:04}", 1, k, group=group) for i in range(anomalies) for k in ("a", "b"))

    def load(self, sample: Sample) -> np.ndarray:
        raise AssertionError("the protocol reads no image")

    def digest(self, sample: Sample) -> str:
        return sample.id


def labels(dataset: Dataset, names: tuple[str, ...]) -> list[int]:
    return [dataset.by_id[name].label for name in names]


data = st.builds(Grouped, st.integers(8, 40), st.integers(4, 12))
shares = st.sampled_from([0.05, 0.1, 0.2, 0.29, 0.3])


def feasible(dataset: Dataset, protocol: Protocol) -> Split:
    try:
        return split(dataset, protocol)
    except InputError:
        assume(False)
        raise


@settings(max_examples=60, deadline=None)
@given(data, st.integers(1, 6), st.integers(0, 5), shares, st.integers(0, 12), st.sampled_from(["general", "hard"]))
def test_contamination_is_the_largest_share_that_is_not_above_the_one_asked_for(
    d, shots, seed, share, reserve, setting
):
    kind = "a" if setting == "hard" else None
    protocol = Protocol(setting=setting, known_kind=kind, shots=shots, seed=seed, contamination=share, reserve=reserve)
    clean = split(d, protocol.model_copy(update={"contamination": 0.0}))
    dirty = feasible(d, protocol)
    wrong = set(dirty.train_normal) - set(clean.train_normal)
    assert set(clean.train_normal) < set(dirty.train_normal), "no normal is lost"
    assert len(wrong) / len(dirty.train_normal) <= share < (len(wrong) + 1) / (len(dirty.train_normal) + 1) + 1e-9
    assert all(d.by_id[name].label == 1 for name in wrong)
    assert not wrong & {*dirty.train_anomaly, *dirty.test_anomaly}
    assert dirty.train_anomaly == clean.train_anomaly
    assert dirty.test_normal == clean.test_normal
    if kind:
        assert {d.by_id[name].kind for name in wrong} == {kind}, "the unseen kinds stay unseen"
        assert dirty.test_anomaly == clean.test_anomaly


@settings(max_examples=40, deadline=None)
@given(data, st.integers(0, 5))
def test_a_reserve_gives_every_contamination_and_every_m_one_test_part_and_nests_the_contaminants(d, seed):
    reserve = 3 + contaminants(d, Protocol(contamination=0.2))
    assume(reserve < 4 * d.sizes[1])
    found = {
        (shots, share): split(d, Protocol(shots=shots, seed=seed, contamination=share, reserve=reserve))
        for shots in (1, 3)
        for share in (0.0, 0.1, 0.2)
    }
    assert len({one.test_anomaly for one in found.values()}) == 1
    for shots in (1, 3):
        assert found[shots, 0.0].train_normal != found[shots, 0.1].train_normal
        assert set(found[shots, 0.1].train_normal) < set(found[shots, 0.2].train_normal)
        assert found[1, 0.2].train_normal == found[3, 0.2].train_normal


@settings(max_examples=60, deadline=None)
@given(data, st.integers(1, 10), st.integers(0, 5), shares)
def test_wrong_labels_are_so_many_training_normals_in_the_place_of_known_anomalies(d, shots, seed, share):
    clean = split(d, Protocol(shots=shots, seed=seed))
    noisy = feasible(d, Protocol(shots=shots, seed=seed, mislabelled=share))
    count = math.floor(shots * share + 1e-9)
    assert count > 0
    assert labels(d, noisy.train_anomaly) == [1] * (shots - count) + [0] * count
    assert noisy.train_anomaly[:-count] == clean.train_anomaly[:-count]
    assert set(noisy.train_normal) == set(clean.train_normal) - set(noisy.train_anomaly)
    assert (noisy.test_normal, noisy.test_anomaly) == (clean.test_normal, clean.test_anomaly)


def test_more_wrong_labels_include_the_fewer():
    d = Grouped(30, 10)
    few, many = (split(d, Protocol(shots=10, mislabelled=share)).train_anomaly for share in (0.2, 0.4))
    assert set(few[-2:]) < set(many[-4:])


@settings(max_examples=60, deadline=None)
@given(
    data, st.integers(1, 4), st.integers(0, 5), st.sampled_from([None, "east", "west"]),
    st.sampled_from([None, "east", "west"]), st.integers(0, 6),
)  # fmt: skip
def test_groups_train_and_test_apart(d, shots, seed, train, test, reserve):
    parts = feasible(d, Protocol(shots=shots, seed=seed, train_group=train, test_group=test, reserve=reserve))

    def groups(*names: tuple[str, ...]) -> set[str | None]:
        return {d.by_id[name].group for part in names for name in part}

    assert groups(parts.train_normal, parts.train_anomaly) <= ({train} if train else {"east", "west"})
    expected = {test} if test else {"east", "west"} - {train}
    assert groups(parts.test_normal, parts.test_anomaly) == expected
    assert len(parts.train_anomaly) == shots


def test_training_groups_share_the_test_part_of_one_group_where_there_is_a_reserve():
    found = {
        split(Grouped(20, 9), Protocol(shots=3, reserve=3, train_group=one, test_group="west"))
        for one in ("east", "west")
    }
    assert len(found) == 2
    assert len({(one.test_normal, one.test_anomaly) for one in found}) == 1


def test_normals_of_a_group_are_divided_as_they_are_without_groups():
    d = Grouped(20, 9)
    whole, one = split(d, Protocol(shots=3)), split(d, Protocol(shots=3, train_group="east"))
    assert set(one.train_normal) == {name for name in whole.train_normal if name.startswith("east")}
    assert set(one.test_normal) == {name for name in whole.test_normal if name.startswith("west")}


def test_what_is_not_asked_for_changes_neither_key_nor_split_nor_row():
    plain = Protocol(shots=3)
    cell = Cell(dataset="d", fingerprint="f", protocol=plain, method="m", version=1, config={}, preset={})
    assert cell.key == "4fe8e0cfe63a89f867dd47c803f1957e288d191db3ee985fb3e832cd27302284", "as before there was stress"
    assert set(plain.model_dump()) == {"setting", "shots", "known_kind", "seed", "reserve", "dedup", "part"}
    assert options(dict(plain)) == ""
    stressed = Protocol(shots=3, contamination=0.1, mislabelled=0.5, train_group="east")
    assert options(dict(stressed)) == "contamination 0.1, mislabelled 0.5, train group east"
    assert Protocol.model_validate_json(stressed.model_dump_json()) == stressed


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        (Protocol(contamination=0.01), "--contamination 0.01 of 30 training normals is less than one image; use 0.033"),
        (Protocol(contamination=0.5), "36 anomalies, fewer than the 10 shots and 30 contaminants.*smaller --contamination"),
        (Protocol(mislabelled=0.05), "--mislabelled 0.05 of 10 shots is less than one label; use --shots 20 or more"),
        (Protocol(train_group="north"), "no group 'north' \\(--train-group\\); groups: east, west"),
        (Protocol(test_group="north"), "no group 'north' \\(--test-group\\)"),
        (Protocol(train_group="east", shots=19), "18 anomalies of group 'east', fewer than the 19 shots"),
    ],
)  # fmt: skip
def test_a_stress_that_cannot_be_made_is_refused_with_a_remedy(protocol, message):
    with pytest.raises(InputError, match=message):
        split(Grouped(20, 9), protocol)


@pytest.mark.parametrize("stress", [{"contamination": 0.1}, {"mislabelled": 0.5}, {"train_group": "east"}])
def test_settings_are_not_chosen_by_labels_in_doubt(stress):
    with pytest.raises(ValueError, match="validation cannot be combined"):
        Protocol(part="validation", **stress)


def test_a_stressed_split_is_exported_and_read_back(tmp_path):
    d, protocol = Grouped(20, 9), Protocol(shots=4, contamination=0.1, mislabelled=0.25, train_group="east")
    parts = split(d, protocol)
    write_split(tmp_path / "split.tsv", d, protocol, parts)
    assert read_split(tmp_path / "split.tsv")[1:] == (protocol, parts)


def test_elpv_has_its_types_of_cell_as_groups_of_normals_too():
    d = open_dataset("elpv")
    assert d.groups == ("mono", "poly")
    parts = split(d, Protocol(train_group="mono", test_group="poly"))
    assert {d.by_id[name].group for name in parts.train_normal + parts.train_anomaly} == {"mono"}
    assert {d.by_id[name].group for name in parts.test_normal + parts.test_anomaly} == {"poly"}
