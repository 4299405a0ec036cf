from __future__ import annotations

import os
import sqlite3

import pytest

from osad_bench.datasets.catalogue import open_dataset
from osad_bench.datasets.reading import remembered as module
from osad_bench.datasets.reading.remembered import cache_file, remembered


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    """Files of a test count as unchanged at once: their time of change cannot be set back."""
    monkeypatch.setattr(module, "SETTLED_AFTER", 0.0)


@pytest.fixture
def old_files(tmp_path):
    """Twenty files, all older than a minute by their time of modification."""
    paths = [tmp_path / f"{index}.txt" for index in range(20)]
    for index, path in enumerate(paths):
        path.write_text(str(index))
        age(path)
    return paths


def age(path, seconds=60):
    then = path.stat().st_mtime_ns - int(seconds * 1e9)
    os.utime(path, ns=(then, then))


class Counting:
    """What is computed, and for which files."""

    def __init__(self):
        self.asked = []

    def __call__(self, path):
        self.asked.append(path)
        return path.read_text() + "!"


def test_a_second_visit_computes_nothing(old_files):
    first, second = Counting(), Counting()
    values = remembered("test", old_files, first)
    assert sorted(first.asked) == sorted(old_files)
    assert remembered("test", old_files, second) == values
    assert second.asked == []


@pytest.mark.parametrize("change", ["content", "time", "name"])
def test_a_changed_touched_or_renamed_file_is_computed_again(old_files, change):
    remembered("test", old_files, Counting())
    path = old_files[3]
    if change == "content":
        path.write_text("longer than before")
    elif change == "time":
        age(path, 7)
    else:
        path = old_files[3] = path.rename(path.with_name("new.txt"))
    again = Counting()
    values = remembered("test", old_files, again)
    assert again.asked == [path]
    assert values[path] == path.read_text() + "!"


def test_files_exchanged_for_others_of_the_same_size_and_time_are_computed_again(old_files):
    one, two = old_files[0], old_files[1]
    for path in (one, two):
        os.utime(path, (1e9, 1e9))
    before = remembered("test", old_files, Counting())
    assert (before[one], before[two]) == ("0!", "1!")
    one.write_text("1")
    two.write_text("0")
    for path in (one, two):
        os.utime(path, (1e9, 1e9))
    after = remembered("test", old_files, Counting())
    assert (after[one], after[two]) == ("1!", "0!")


def test_files_that_change_names_with_each_other_are_computed_again(old_files):
    one, two = old_files[0], old_files[1]
    for path in (one, two):
        os.utime(path, (1e9, 1e9))
    remembered("test", old_files, Counting())
    one.rename(one.with_name("aside"))
    two.rename(one)
    one.with_name("aside").rename(two)
    assert remembered("test", old_files, Counting())[one] == "1!"


def test_a_name_that_is_not_utf_8_is_remembered(tmp_path):
    path = tmp_path / os.fsdecode(b"Gr\xfc\xdfe.txt")
    path.write_text("a")
    remembered("test", [path], Counting())
    again = Counting()
    assert remembered("test", [path], again) == {path: "a!"}
    assert again.asked == []


def test_a_pipe_is_refused_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(OSError, match="it is no regular file"):
        remembered("test", [tmp_path / "pipe.png"], Counting())


def test_values_of_different_purposes_are_kept_apart(old_files):
    remembered("one", old_files, Counting())
    other = Counting()
    remembered("two", old_files, other)
    assert len(other.asked) == 20


def test_a_file_written_this_moment_is_not_remembered(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SETTLED_AFTER", 2.0)
    path = tmp_path / "new.txt"
    path.write_text("a")
    remembered("test", [path], Counting())
    now = path.stat().st_mtime_ns
    path.write_text("b")
    os.utime(path, ns=(now, now))  # same size, and as on a coarse clock the same time
    assert remembered("test", [path], Counting())[path] == "b!"


def test_an_interrupted_first_visit_keeps_what_it_had(old_files):
    def interrupted(done, total):
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        remembered("test", old_files, Counting(), interrupted)
    rest = Counting()
    remembered("test", old_files, rest)
    assert len(rest.asked) == 12


def test_progress_counts_the_files_that_must_be_computed(old_files):
    remembered("test", old_files[:15], Counting())
    told = []
    remembered("test", old_files, Counting(), lambda done, total: told.append((done, total)))
    assert told == [(index, 5) for index in range(1, 6)]


def test_a_damaged_or_unwritable_store_costs_time_and_nothing_else(old_files, monkeypatch, tmp_path):
    cache_file().parent.mkdir(parents=True, exist_ok=True)
    cache_file().write_bytes(b"this is no database, and longer than its header of one hundred bytes " * 3)
    assert remembered("test", old_files, Counting())[old_files[0]] == "0!"
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("OSAD_BENCH_CACHE", str(tmp_path / "a file"))
    assert remembered("test", old_files, Counting())[old_files[0]] == "0!"


def test_fingerprint_and_pixels_of_a_data_set_are_remembered(mvtec):
    for path in mvtec.rglob("*.png"):
        age(path)
    first = open_dataset("mvtec/carpet", mvtec)
    told = []
    first.progress = lambda what, done, total: told.append((what, done, total))
    before = first.fingerprint, first.pixel_digests
    assert told[10] == ("hashing files", 11, 11)
    assert told[-1] == ("comparing images", 11, 11)
    second = open_dataset("mvtec/carpet", mvtec)
    second.progress = lambda what, done, total: pytest.fail(f"{what} again")
    assert (second.fingerprint, second.pixel_digests) == before


def test_pixels_read_by_another_version_of_the_reader_are_not_remembered(mvtec):
    for path in mvtec.rglob("*.png"):
        age(path)
    open_dataset("mvtec/carpet", mvtec).pixel_digests  # noqa: B018
    with sqlite3.connect(cache_file()) as connection:
        purposes = {row[0] for row in connection.execute("select distinct purpose from files")}
    (pixels,) = (purpose for purpose in purposes if purpose.startswith("pixels"))
    import PIL

    assert PIL.__version__ in pixels
    assert "MVTec 1" in pixels
