"""Names of files, folders and kinds may hold anything; ids and messages hold nothing that breaks a file or a terminal."""

from __future__ import annotations

import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from osad_bench.datasets.base import DatasetError, Problem, Sample, as_named, one_line
from osad_bench.datasets.catalogue import open_dataset
from osad_bench.datasets.inspect.verify import verify

ODD = [
    b"a\tb",
    b"a\nb",
    b"Gr\xfc\xdfe",
    b"\x1b[31mred",
    b"cr\rlf",
    "line\u2028end".encode(),
    "\u202egnp".encode(),
    b"$x^2$",
    b"100%",
]


@pytest.fixture
def folder(tmp_path, draw):
    base = tmp_path / "mine"
    for part in ("train/good", "test/good", "test/hole"):
        for index in range(3):
            draw.image(base / part / f"{index}.png")
    return base


@given(st.text(st.characters(codec=None, exclude_characters="/\0", exclude_categories=[]), min_size=1))
def test_one_line_gives_printable_text_and_leaves_its_own_result_unchanged(text):
    once = one_line(text)
    assert one_line(once) == once
    assert not {unicodedata.category(character) for character in once} & {"Cc", "Cs", "Zl", "Zp"}
    assert once.encode("utf-8")


@given(st.binary(min_size=1))
def test_as_named_gives_back_the_bytes_of_a_file_name(name):
    text = os.fsdecode(name)
    if "%" not in text:
        assert os.fsencode(as_named(one_line(text))) == name


def test_codes_of_other_characters_stay_as_they_are():
    assert as_named(one_line("50%20off\t%41.png")) == "50%20off\t%41.png"


@pytest.mark.parametrize("name", ODD)
def test_a_file_of_any_name_is_listed_hashed_and_read(folder, name):
    (folder / "test" / "hole" / "0.png").rename(folder / "test" / "hole" / os.fsdecode(name + b".png"))
    dataset = open_dataset(f"folder:{folder}")
    assert len(dataset.samples) == 9
    assert all(sample.id == one_line(sample.id) for sample in dataset.samples)
    assert [dataset.read(sample).shape for sample in dataset.samples] == [(16, 24, 3)] * 9
    assert len(dataset.pixel_digests) == 9
    report = verify(dataset)
    assert report.sound
    assert report.fingerprint == dataset.fingerprint


@pytest.mark.parametrize("name", ODD)
def test_a_kind_and_a_data_set_of_any_name_are_listed(folder, name):
    (folder / "test" / "hole").rename(folder / "test" / os.fsdecode(name))
    place = folder.rename(folder.parent / os.fsdecode(name))
    dataset = open_dataset(f"folder:{place}")
    assert dataset.kinds == (one_line(os.fsdecode(name)),)
    assert dataset.full_name == f"folder/{one_line(os.fsdecode(name))}"
    assert open_dataset(dataset.spec).fingerprint == dataset.fingerprint


def test_two_names_that_would_be_one_id_are_refused(folder, draw):
    draw.image(folder / "test" / "hole" / "a\tb.png")
    draw.image(folder / "test" / "hole" / "a%09b.png")
    with pytest.raises(DatasetError, match=r"lists 'test/hole/a%09b\.png' twice"):
        open_dataset(f"folder:{folder}").samples  # noqa: B018


def test_messages_and_problems_are_one_line():
    assert str(DatasetError("image a\nb is broken")) == "image a%0Ab is broken"
    assert Problem("error", "a\nb", "c\x1bd") == Problem("error", "a%0Ab", "c%1Bd")
    assert Sample("a\tb.png", 1, "c\nd") == Sample("a%09b.png", 1, "c%0Ad")


def test_a_broken_image_of_an_odd_name_is_named_in_one_line_on_the_command_line(folder, cli):
    (folder / "test" / "hole" / "a\n::error::forged\x1b[31m.png").write_bytes(b"no image")
    code, out, err = cli("datasets", "verify", f"folder:{folder}")
    assert code == 1
    assert "a%0A::error::forged%1B[31m.png" in out
    assert "\x1b" not in out + err
    assert not [line for line in out.splitlines() if line.startswith("::")]


def test_a_csv_file_may_name_any_file(folder):
    Image.new("RGB", (5, 5)).save(folder / "a\tb.png")
    (folder / "list.csv").write_text('path,label\n"a\tb.png",0\ntest/hole/0.png,1\n')
    dataset = open_dataset(f"csv:{folder / 'list.csv'}")
    assert dataset.read(dataset.by_id["a%09b.png"]).shape == (5, 5, 3)
