from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from osad_bench.datasets.base import DatasetError
from osad_bench.datasets.catalogue import open_dataset
from osad_bench.datasets.inspect.verify import verify


def test_the_publishers_split_without_validation_and_without_the_repeated_folder(mastcam):
    dataset = open_dataset("mastcam", mastcam)
    assert Counter((sample.label, sample.kind, sample.partition) for sample in dataset.samples) == {
        (0, None, "train"): 5,
        (0, None, "test"): 2,
        (1, "drill-hole", "test"): 2,
        (1, "dump-pile", "test"): 3,
        (1, "veins", "test"): 2,
    }


def test_the_image_is_the_first_three_bands_without_their_fraction(mastcam):
    dataset = open_dataset("mastcam", mastcam)
    sample = dataset.by_id["test_novel/veins/veins-0.npy"]
    stored = np.load(mastcam / "mastcam" / sample.id)
    assert (dataset.read(sample) == stored[:, :, :3].astype(np.uint8)).all()


def test_an_image_in_two_folders_is_found_as_a_duplicate_across_kinds(mastcam):
    report = verify(open_dataset("mastcam", mastcam))
    (group,) = report.duplicates
    assert group.ids == ("test_novel/drill-hole/drill-hole-0.npy", "test_novel/dump-pile/drill-hole-0.npy")
    assert group.identical_files
    assert group.parts == ("test anomaly drill-hole", "test anomaly dump-pile")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"empty \(0 bytes\)"),
        (b"\x93NUMPY\x01\x00v\x00{'descr'", "is broken"),
        ("objects", "is broken"),
        ("flat", "expected \\(H, W, 3 or more\\)"),
        ("nan", "no finite numbers"),
    ],
)
def test_arrays_that_are_no_image_are_refused(mastcam, content, message):
    path = mastcam / "mastcam" / "test_novel" / "veins" / "veins-1.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        arrays = {"objects": np.array([{}]), "flat": np.zeros((64, 64)), "nan": np.full((64, 64, 6), np.nan)}
        np.save(path, arrays[content])
    dataset = open_dataset("mastcam", mastcam)
    with pytest.raises(DatasetError, match=message):
        dataset.read(dataset.by_id["test_novel/veins/veins-1.npy"])


class Malicious:
    """Unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_called_npy_is_refused_and_runs_no_code(mastcam, tmp_path):
    (mastcam / "mastcam" / "test_novel" / "veins" / "veins-1.npy").write_bytes(
        pickle.dumps(Malicious(tmp_path / "ran"))
    )
    dataset = open_dataset("mastcam", mastcam)
    with pytest.raises(DatasetError, match="veins-1.npy is broken"):
        dataset.read(dataset.by_id["test_novel/veins/veins-1.npy"])
    assert not (tmp_path / "ran").exists()


def test_a_header_that_promises_gigabytes_is_refused_without_reading_them(mastcam):
    path = mastcam / "mastcam" / "test_novel" / "veins" / "veins-1.npy"
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (30000, 30000, 3), }"
    with path.open("wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header.encode() + b"\n")
        file.truncate(30000 * 30000 * 3 + 200)  # sparse: takes no space
    dataset = open_dataset("mastcam", mastcam)
    with pytest.raises(DatasetError, match="decompression bomb"):
        dataset.read(dataset.by_id["test_novel/veins/veins-1.npy"])


def test_three_nested_archives_and_stray_files_are_read_alike(mastcam, add_litter):
    before = open_dataset("mastcam", mastcam).fingerprint
    base = mastcam / "mastcam"
    for name in ("train_typical", "test_typical", "test_novel"):
        (base / name).rename(base / "moved")
        (base / name).mkdir()
        (base / "moved").rename(base / name / name)
    add_litter(mastcam)
    assert open_dataset("mastcam", mastcam).fingerprint == before


def test_a_missing_part_is_named(mastcam):
    for path in (mastcam / "mastcam" / "test_typical").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match=r"test_typical: holds no \.npy file"):
        open_dataset("mastcam", mastcam).samples  # noqa: B018
