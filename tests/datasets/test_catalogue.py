"""From what a user types to a data set."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from osad_bench.core.registry import UnknownNameError
from osad_bench.datasets.base import DatasetError
from osad_bench.datasets.catalogue import expand, open_dataset, split_names


@pytest.fixture
def here(tmp_path, draw, monkeypatch):
    """The working directory, with a folder ``photos`` of the user's own."""
    for part in ("train/good", "test/good", "test/hole"):
        for index in range(3):
            draw.image(tmp_path / "photos" / part / f"{index}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_names_are_separated_by_commas_except_within_a_folder_that_is_there(here):
    (here / "line 1, left").mkdir()
    (here / "a,b,c").mkdir()
    assert split_names("elpv, mvtec/carpet,,headct") == ["elpv", "mvtec/carpet", "headct"]
    assert split_names("elpv,folder:line 1, left,headct") == ["elpv", "folder:line 1, left", "headct"]
    assert split_names("folder:a,b,c,folder:photos") == ["folder:a,b,c", "folder:photos"]
    assert split_names("folder:gone, left,elpv") == ["folder:gone", "left", "elpv"]
    assert split_names("") == []


def test_a_csv_file_with_a_comma_in_its_name_is_one_name(here):
    (here / "x,y.csv").write_text("path,label\n")
    assert split_names(f"csv:x,y.csv,csv:{here}/x,y.csv") == ["csv:x,y.csv", f"csv:{here}/x,y.csv"]


@pytest.mark.parametrize("form", ["folder:./photos/", "folder:photos/../photos", "folder:link", "folder:photos//"])
def test_every_spelling_of_a_folder_is_one_task(here, form):
    (here / "link").symlink_to("photos")
    assert expand(form) == expand("folder:photos") == [f"folder:{here / 'photos'}"]
    assert open_dataset(form).spec == open_dataset("folder:photos").spec


def test_every_spelling_of_a_csv_file_is_one_task(here):
    (here / "list.csv").write_text("path,label\n")
    assert expand("csv:./photos/../list.csv") == expand("csv:list.csv") == [f"csv:{here / 'list.csv'}"]


def test_the_working_directory_itself_has_its_own_name(here, monkeypatch):
    monkeypatch.chdir(here / "photos")
    assert open_dataset("folder:.").full_name == "folder/photos"
    assert open_dataset("folder:train/..").full_name == "folder/photos"


@pytest.mark.parametrize(
    "name", ["folder:~nosuchuser/x", "csv:~nosuchuser/x.csv", "folder:" + "a" * 300, "csv:" + "a" * 300, "folder:a\0b"]
)
def test_an_impossible_path_is_one_sentence_and_exit_code_2(cli, name):
    with pytest.raises(DatasetError):
        open_dataset(name).samples  # noqa: B018
    code, _, err = cli("datasets", "verify", name)
    assert code == 2
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("name", ["a" * 300, "~nosuchuser", "x\0y"])
def test_an_unknown_name_is_refused_whatever_it_holds(name):
    with pytest.raises(UnknownNameError, match="unknown data set"):
        open_dataset(name)


@pytest.mark.parametrize("data_root", ["a" * 300, "b\0c"])
def test_an_impossible_data_root_is_said_to_hold_nothing(data_root):
    with pytest.raises(DatasetError, match="'mvtec' is missing"):
        open_dataset("mvtec/carpet", Path(data_root))


@pytest.mark.parametrize(
    ("name", "tree"),
    [("mvtec/carpet", "mvtec"), ("aitex", "aitex"), ("mastcam", "mastcam"), ("hyper-kvasir", "hyper_kvasir")],
)
@pytest.mark.parametrize("relative", [".", "data", "./data/../data"])
def test_every_reader_works_below_a_relative_data_root(name, tree, relative, request, monkeypatch):
    root = request.getfixturevalue(tree)
    expected = open_dataset(name, root)
    monkeypatch.chdir(root if relative == "." else root.parent)
    dataset = open_dataset(name, Path(relative))
    assert dataset.fingerprint == expected.fingerprint
    assert list(dataset.problems()) == list(expected.problems())
    assert dataset.read(dataset.samples[0]).ndim == 3


@pytest.mark.parametrize(
    ("name", "folder"), [("headct", "headct"), ("sdd", "sdd"), ("optical", "dagm"), ("brainmri", "brainmri")]
)
def test_readers_of_real_files_work_below_a_relative_data_root(name, folder, real, monkeypatch):
    root = real(folder).parent
    monkeypatch.chdir(root.parent)
    dataset = open_dataset(name, Path(root.name))
    assert dataset.samples == open_dataset(name, root).samples
    assert dataset.read(dataset.samples[0]).ndim == 3


def test_the_package_exports_its_five_names_and_imports_nothing_until_one_is_used():
    code = """
import sys
import osad_bench.datasets as package
assert not {"numpy", "PIL", "pandas", "torch", "sqlite3"} & set(sys.modules), "importing the package is not light"
for name in ("open_dataset", "Dataset", "FileDataset", "Sample", "Problem"):
    assert getattr(package, name).__name__ == name
assert "pandas" not in sys.modules
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
