"""The splits: disjoint, complete, nested, the same everywhere, and refused with a remedy where they cannot be made."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from osad_bench.benchmark.cell.split import Split, crossing, known_kinds, read_split, split, write_split
from osad_bench.core.errors import InputError
from osad_bench.datasets.base import Dataset, Sample
from osad_bench.results.record import Protocol


class Listed(Dataset):
    """A data set that is only a list."""

    name, title = "listed", "Listed"

    def __init__(self, samples: list[Sample]) -> None:
        super().__init__(root=None, variant=None)
        self.listed = samples

    def scan(self) -> Iterator[Sample]:
        yield from self.listed

    def load(self, sample: Sample) -> np.ndarray:
        raise AssertionError("the protocol reads no image")

    def digest(self, sample: Sample) -> str:
        return sample.id


class Copies(Listed):
    """Some of its images are copies of others."""

    def __init__(self, samples: list[Sample], groups: list[tuple[str, ...]]) -> None:
        super().__init__(samples)
        self.shades = {name: shade for shade, group in enumerate(groups) for name in group}

    def load(self, sample: Sample) -> np.ndarray:
        shade = self.shades.get(sample.id)
        pixels = np.zeros((4, 4, 3), dtype=np.uint8)
        if shade is None:
            pixels.flat[:] = np.frombuffer((sample.id * 8).encode()[:48], dtype=np.uint8)
        else:
            pixels[:] = shade
        return pixels


def build(normals: int, kinds: dict[str, int], partitioned: bool = False, shuffle: int = 0) -> Listed:
    samples = [
        Sample(f"n/{i:04}", 0, None, ("train" if i % 4 else "test") if partitioned else None) for i in range(normals)
    ]
    samples += [
        Sample(f"{kind}/{i:04}", 1, kind, "test" if partitioned else None)
        for kind, n in kinds.items()
        for i in range(n)
    ]
    random.Random(shuffle).shuffle(samples)
    return Listed(samples)


data = st.builds(
    build,
    normals=st.integers(8, 60),
    kinds=st.dictionaries(
        st.sampled_from(["crack", "hole", "stain", "bent"]), st.integers(3, 15), min_size=2, max_size=4
    ),
    partitioned=st.booleans(),
    shuffle=st.integers(0, 3),
)


@settings(max_examples=60, deadline=None)
@given(
    data,
    st.integers(1, 3),
    st.integers(0, 5),
    st.sampled_from(["general", "hard"]),
    st.sampled_from(["test", "validation"]),
)
def test_parts_are_disjoint_and_complete(dataset, shots, seed, setting, part):
    shots = max(shots, 2) if part == "validation" else shots
    kind = known_kinds(dataset, shots)[0] if setting == "hard" else None
    protocol = Protocol(setting=setting, shots=shots, seed=seed, known_kind=kind, part=part)
    parts = split(dataset, protocol)
    everything = [name for ids in parts.parts().values() for name in ids]
    assert len(everything) == len(set(everything))
    labels = {sample.id: sample.label for sample in dataset.samples}
    assert all(labels[name] == 0 for name in parts.train_normal + parts.test_normal)
    assert all(labels[name] == 1 for name in parts.train_anomaly + parts.test_anomaly)
    if part == "validation":
        real = split(dataset, protocol.model_copy(update={"part": "test"}))
        assert set(everything) == {*real.train_normal, *real.train_anomaly}, "validation is cut from training alone"
        return
    assert len(parts.train_anomaly) == shots
    left_out = {sample.id for sample in dataset.samples} - set(everything)
    if setting == "general":
        assert not left_out
    else:
        kinds = {sample.id: sample.kind for sample in dataset.samples}
        assert {kinds[name] for name in (*parts.train_anomaly, *left_out)} == {kind}
        assert kind not in {kinds[name] for name in parts.test_anomaly}, "the known kind's remainder is not tested"


@settings(max_examples=30, deadline=None)
@given(data, st.integers(0, 5))
def test_fewer_shots_are_nested_in_more_and_a_reserve_gives_them_one_test_part(dataset, seed):
    one = split(dataset, Protocol(shots=1, seed=seed, reserve=4))
    four = split(dataset, Protocol(shots=4, seed=seed, reserve=4))
    assert one.train_anomaly == four.train_anomaly[:1]
    assert one.test_anomaly == four.test_anomaly
    assert one.test_normal == four.test_normal


def test_the_order_of_the_files_changes_nothing():
    digests = {split(build(40, {"a": 9, "b": 7}, shuffle=order), Protocol(shots=3)).digest for order in range(5)}
    assert len(digests) == 1


def test_seeds_choose_other_anomalies_and_the_same_normals():
    dataset = build(40, {"a": 30, "b": 30})
    splits = [split(dataset, Protocol(shots=10, seed=seed)) for seed in range(5)]
    assert len({one.train_anomaly for one in splits}) == 5
    assert len({one.train_normal for one in splits}) == 1


def test_normals_without_a_partition_are_divided_as_dra_divides_sorted_names():
    dataset = build(41, {"a": 9})
    train, test = train_test_split([f"n/{i:04}" for i in range(41)], test_size=0.25, random_state=42)
    parts = split(dataset, Protocol(shots=3))
    assert set(parts.train_normal) == set(train)
    assert set(parts.test_normal) == set(test)


PROGRAM = """
from osad_bench.datasets.catalogue import open_dataset
from osad_bench.benchmark.cell.split import split
from osad_bench.results.record import Protocol
print(split(open_dataset("textures"), Protocol(shots=10, seed=3)).digest)
print(split(open_dataset("textures"), Protocol(setting="hard", known_kind="hole", shots=5, seed=1)).digest)
"""


def test_splits_are_the_same_in_every_process(capsys):
    exec(PROGRAM, {})
    other = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONHASHSEED": "1"},
    )  # fmt: skip
    assert other.stdout == capsys.readouterr().out != ""


def test_splits_of_this_version_are_those_of_every_version():
    """Published tables stand on these digests: a change of them is a change of the protocol."""
    dataset = build(40, {"a": 9, "b": 7})
    assert split(dataset, Protocol(shots=3, seed=1)).digest.startswith("001b3a4ba40d6f8f")
    assert split(dataset, Protocol(setting="hard", known_kind="b", shots=3, seed=1)).digest.startswith(
        "24fa55aa6af0519c"
    )


def test_a_split_that_is_not_disjoint_cannot_be_made():
    with pytest.raises(AssertionError, match="not disjoint"):
        Split(("a", "b"), ("c",), ("a",), ("d",))


@pytest.mark.parametrize(
    ("dataset", "protocol", "message"),
    [
        (build(40, {"a": 3, "b": 2}), Protocol(shots=10), r"5 anomalies.*use --shots 4 or fewer \(--shots 2 leaves 3 to test on\)"),
        (build(40, {"a": 3, "b": 2}), Protocol(shots=5), "none is left to test.*use --shots 4 or fewer"),
        (build(3, {"a": 30}), Protocol(shots=1), "3 normal images; at least 4"),
        (build(40, {"a": 30}), Protocol(setting="hard", known_kind="a", shots=1), "at least two kinds.*--setting general"),
        (build(40, {"a": 3, "b": 9}), Protocol(setting="hard", known_kind="a", shots=9), "3 anomalies of kind 'a'.*--shots 3"),
        (build(40, {"a": 3, "b": 9}), Protocol(setting="hard", known_kind="c", shots=1), "no anomalies of kind 'c'; kinds: a, b"),
    ],
)  # fmt: skip
def test_a_split_that_cannot_be_made_is_refused_with_a_remedy(dataset, protocol, message):
    with pytest.raises(InputError, match=message):
        split(dataset, protocol)


def test_where_no_kind_has_enough_anomalies_the_largest_possible_m_is_named():
    with pytest.raises(InputError, match="use --shots 7 or fewer"):
        known_kinds(build(40, {"a": 3, "b": 7}), 10)


def test_dedup_keeps_one_of_each_group_and_no_copy_crosses():
    groups = [("n/0001", "n/0002", "n/0003"), ("a/0000", "a/0001")]
    dataset = Copies(build(40, {"a": 9}).listed, groups)
    plain, single = (split(dataset, Protocol(shots=3, dedup=dedup)) for dedup in (False, True))
    kept = {name for ids in single.parts().values() for name in ids}
    assert [len(kept.intersection(group)) for group in groups] == [1, 1]
    assert crossing(single, groups) == 0
    assert len(kept) == sum(map(len, plain.parts().values())) - 3


def test_dedup_lets_no_order_of_names_choose_between_contradicting_labels():
    groups = [("n/0001", "a/0001"), ("n/0002", "n/0003")]
    dataset = Copies(build(40, {"a": 9}).listed, groups)
    kept = {name for ids in split(dataset, Protocol(shots=3, dedup=True)).parts().values() for name in ids}
    assert not kept & {"n/0001", "a/0001"}
    assert len(kept & {"n/0002", "n/0003"}) == 1


def test_a_split_of_odd_names_reads_back_the_same(tmp_path: Path):
    odd = ["a\tb", "c\nd", "e\\tf", "g\\", "h\r", "i\u2028j", "k\x85l", "m\udcff"]
    samples = [*build(8, {}).listed, *(Sample(f"x/{name}", 1, "a kind\tof\nits own") for name in odd)]
    dataset, protocol, path = Listed(samples), Protocol(shots=3), tmp_path / "split.tsv"
    write_split(path, dataset, protocol, split(dataset, protocol))
    assert read_split(path)[2] == split(dataset, protocol)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_split(path)[2] == split(dataset, protocol), "as Windows and git may rewrite it"


def test_crossing_counts_test_images_with_a_copy_in_training():
    parts = Split(("a", "b"), ("c",), ("d", "e"), ("f",))
    assert crossing(parts, [("a", "d", "e"), ("b", "c"), ("d", "f")]) == 2


def test_an_exported_split_reads_back_the_same_and_a_changed_one_is_refused(tmp_path: Path):
    dataset, protocol = build(40, {"a": 9, "b": 7}), Protocol(shots=3)
    path = tmp_path / "split.tsv"
    write_split(path, dataset, protocol, split(dataset, protocol))
    header, asked, back = read_split(path)
    assert (asked, back) == (protocol, split(dataset, protocol))
    assert header["fingerprint"] == dataset.fingerprint
    sound = path.read_text()
    for line in ("dataset", "fingerprint", "protocol", "digest"):
        path.write_text(sound.replace(f"# {line}: ", "# "))
        with pytest.raises(InputError, match=f"the line '# {line}: ...' is missing"):
            read_split(path)
    path.write_text(sound.replace('"shots":3', '"shots":0'))
    with pytest.raises(InputError, match="protocol.*was changed"):
        read_split(path)
    path.write_text(sound)
    path.write_text(path.read_text().replace("test_anomaly\ta\t", "train_anomaly\ta\t", 1))
    with pytest.raises(InputError, match="was changed"):
        read_split(path)
    path.write_text("hello")
    with pytest.raises(InputError, match="is not a split"):
        read_split(path)


def test_the_known_kinds_are_those_of_the_published_hard_tables_where_a_data_set_names_them():
    dataset = build(40, {"a": 9, "b": 7, "c": 8})
    assert known_kinds(dataset, 3) == ("a", "b", "c")
    dataset.hard_kinds = ("a", "c")
    assert known_kinds(dataset, 3) == ("a", "c")
