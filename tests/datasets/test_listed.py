from __future__ import annotations

import pytest

from osad_bench.datasets.base import DatasetError
from osad_bench.datasets.catalogue import open_dataset


@pytest.fixture
def table(tmp_path, draw):
    """Writes a CSV file beside four images and opens it as a data set."""
    folder = tmp_path / "mine"
    for name in ("a.png", "b.png", "sub/c.PNG", "sub/d.png"):
        draw.image(folder / name)

    def write(text: str, encoding: str = "utf-8"):
        path = folder / "list.csv"
        path.write_text(text, encoding=encoding)
        return open_dataset(f"csv:{path}")

    return write


def rows(dataset):
    return [(sample.id, sample.label, sample.kind, sample.partition) for sample in dataset.samples]


def test_path_label_kind_and_partition(table):
    dataset = table(
        "path,label,kind,partition\na.png,0,,train\nb.png,0,,test\nsub/c.PNG,1,hole,test\nsub/d.png,1,cut,\n"
    )
    assert rows(dataset) == [
        ("a.png", 0, None, "train"),
        ("b.png", 0, None, "test"),
        ("sub/c.PNG", 1, "hole", "test"),
        ("sub/d.png", 1, "cut", None),
    ]
    assert dataset.full_name == "csv/list"
    assert [dataset.read(sample).shape for sample in dataset.samples] == [(16, 24, 3)] * 4


def test_a_spreadsheets_file_with_byte_order_mark_spaces_and_backslashes(table):
    dataset = table("Path, Label, Note\r\na.png,normal,x\r\n sub\\c.PNG ,Anomaly,y\r\n,,\r\n", encoding="utf-8-sig")
    assert rows(dataset) == [("a.png", 0, None, None), ("sub/c.PNG", 1, "anomaly", None)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.png,2,", "line 2: label '2'; expected 0 or normal, 1 or anomaly"),
        ("a.png,0,hole", "line 2: a normal image with kind 'hole'"),
        ("a.png,1,hole,validation", "line 2: partition 'validation'; expected train, test or nothing"),
        ("gone.png,0,", "line 2: there is no file 'gone.png'"),
        ("a.png,0,\na.png,1,hole", "line 3: 'a.png' is already in line 2"),
        ("sub/../a.png,0,\na.png,0,", "line 3: 'a.png' is already in line 2"),
        ("sub,0,", "line 2: 'sub' is a folder; expected an image file"),
        (",0,", "line 2: '' is a folder"),
        ("../secret.png,0,", "out of .*mine. Copy the file there, or set OSAD_BENCH_FOLLOW_LINKS=1"),
        ("/etc/hostname,0,", "leads to /etc/hostname, out of"),
    ],
)
def test_a_wrong_line_is_named_with_what_was_expected(table, line, message):
    with pytest.raises(DatasetError, match=message):
        table(f"path,label,kind,partition\n{line}\n").samples  # noqa: B018


def test_other_columns_another_encoding_and_an_empty_file_are_refused(table):
    with pytest.raises(DatasetError, match=r"expected path,label,kind\[,partition\]"):
        table("file;label\na.png;0\n").samples  # noqa: B018
    with pytest.raises(DatasetError, match="no CSV file in UTF-8"):
        table("path,label,kind\nä.png,0,\n", encoding="latin-1").samples  # noqa: B018
    with pytest.raises(DatasetError, match="expected path,label"):
        table("").samples  # noqa: B018
    with pytest.raises(DatasetError, match="is empty"):
        table("path,label,kind\n").samples  # noqa: B018


def test_a_path_out_of_the_folder_is_followed_when_asked(table, tmp_path, draw, monkeypatch):
    draw.image(tmp_path / "outside.png")
    monkeypatch.setenv("OSAD_BENCH_FOLLOW_LINKS", "1")
    dataset = table("path,label\na.png,0\n../outside.png,1\n")
    assert dataset.read(dataset.by_id["../outside.png"]).shape == (16, 24, 3)
