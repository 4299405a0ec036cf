from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from osad_bench.benchmark.cell.split import split
from osad_bench.datasets.base import DatasetError
from osad_bench.datasets.catalogue import open_dataset
from osad_bench.datasets.elpv import ELPV
from osad_bench.datasets.inspect.verify import verify
from osad_bench.results.record import Protocol

installed = pytest.mark.skipif(
    importlib.util.find_spec("elpv_dataset") is None, reason="the registry package elpv-dataset is not installed"
)

FINGERPRINT = "53a83bd248f0cf2c4a4066a653787ad232cf697c68645cad962351dad0844348"
SPLIT = "9477c6c64de20b845c0d1ec1623d32222354f8d382ba75de52d747d66f76e5ac"
"""General setting, M = 10, seed 0."""


@installed
def test_fingerprint_and_split_are_those_of_every_record_so_far():
    dataset = open_dataset("elpv")
    assert dataset.fingerprint == FINGERPRINT
    protocol = Protocol(setting="general", shots=10, known_kind=None, seed=0, reserve=0, dedup=False, part="test")
    division = split(dataset, protocol)
    assert division.digest == SPLIT
    parts = (division.train_normal, division.train_anomaly, division.test_normal, division.test_anomaly)
    assert tuple(map(len, parts)) == (1131, 10, 377, 705)


@installed
def test_the_package_is_as_published():
    report = verify(open_dataset("elpv"))
    assert report.sound
    assert {count.part: count.found for count in report.counts}["kind mono"] == 313


@pytest.fixture
def clone(tmp_path, draw) -> Path:
    """Data root with a clone of the publisher's repository, a few cells of each probability."""
    base = tmp_path / "data" / "elpv-dataset" / "src" / "elpv_dataset" / "data"
    rows = [("0001", "0.0", "mono"), ("0002", "1.0", "mono"), ("0003", "0.3333333333333333", "poly"),
            ("0004", "1.0", "poly"), ("0005", "0.6666666666666666", "poly"), ("0006", "0.0", "poly")]  # fmt: skip
    for number, _, _ in rows:
        draw.image(base / "images" / f"cell{number}.png", mode="L")
    (base / "labels.csv").write_text("".join(f"images/cell{n}.png  {p}   {t}\n" for n, p, t in rows))
    return tmp_path / "data" / "elpv-dataset"


def test_a_clone_is_read_like_the_package_and_the_uncertain_are_dropped(clone):
    dataset = ELPV(clone)
    assert [(sample.id[-8:-4], sample.kind) for sample in dataset.samples] == [
        ("0001", None),
        ("0002", "mono"),
        ("0004", "poly"),
        ("0006", None),
    ]


def test_a_cell_that_is_gone_and_a_broken_line_are_named(clone):
    base = clone / "src" / "elpv_dataset" / "data"
    (base / "images" / "cell0004.png").unlink()
    with pytest.raises(DatasetError, match=r"images/cell0004\.png: is missing, and labels\.csv names it"):
        ELPV(clone).samples  # noqa: B018
    with (base / "labels.csv").open("a") as file:
        file.write("images/cell0007.png 1.0\n")
    problems = {problem.file: problem.message for problem in ELPV(clone).survey_problems}
    assert problems["labels.csv"].startswith("line 7: expected 'path probability type'")


def test_a_folder_without_labels_says_what_is_expected(clone):
    shutil.rmtree(clone / "src")
    with pytest.raises(DatasetError, match=r"no labels\.csv in .*expected a clone of https://"):
        ELPV(clone).samples  # noqa: B018


@installed
def test_the_uncertain_cells_are_a_validation_set_that_no_test_part_shares_an_image_with(run_script, root, tmp_path):
    run_script(root / "docs" / "elpv_uncertain.py", tmp_path)
    used = {sample.id: sample.label for sample in open_dataset(f"csv:{tmp_path / 'uncertain.csv'}").samples}
    assert (len(used), sum(used.values())) == (1131 + 106, 106)
    dataset = open_dataset("elpv")
    for seed in range(5):
        division = split(dataset, Protocol(shots=10, seed=seed))
        assert {name for name, label in used.items() if not label} == set(division.train_normal)
        assert not set(used) & {*division.test_normal, *division.test_anomaly, *division.train_anomaly}
