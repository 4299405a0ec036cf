"""The cache folder: what is in it, the least recently used goes first, and a run beside it loses nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from osad_bench.benchmark.features.holdings import holdings, remove, size_of, too_much, used
from osad_bench.benchmark.features.rows import kept_rows
from osad_bench.core.errors import InputError


def fill(root: Path, name: str, rows: int = 4, when: float = 0.0) -> Path:
    """One part of a data set of that name, used `when` seconds after 1970."""
    identity = {"fingerprint": name, "image_size": 32, "view": [None, 0], "format": 1}
    kept(root / "features" / name, identity, rows)
    (root / "names").mkdir(exist_ok=True)
    (root / "names" / name).write_text(name.replace("-", "/"))
    os.utime(root / "features" / name / "meta.json", (when, when))
    return root / "features" / name


def kept(folder: Path, identity: dict, rows: int = 4) -> list[np.ndarray]:
    wanted = np.arange(rows)
    values = np.ones((rows, 4096), dtype=np.float32)
    return kept_rows(
        folder, identity, rows, wanted, lambda: [("float32", [4096])], lambda some: iter([(some, [values])])
    )


def names(root: Path) -> list[str]:
    return [part.dataset for part in holdings(root)]


def test_the_parts_are_listed_by_data_set_with_their_sizes(cli, tmp_path):
    fill(tmp_path, "elpv")
    fill(tmp_path, "mvtec-tile")
    code, out, _ = cli("cache", OSAD_BENCH_CACHE=str(tmp_path))
    assert code == 0
    assert "elpv" in out
    assert "mvtec/tile" in out
    assert "32 px" in out
    code, out, _ = cli("cache", "--json", OSAD_BENCH_CACHE=str(tmp_path))
    parts = [json.loads(line) for line in out.splitlines()]
    assert {part["dataset"]: part["sort"] for part in parts} == {"elpv": "features", "mvtec/tile": "features"}
    assert all(65_000 < part["size"] < 200_000 for part in parts)


def test_what_was_not_used_for_longest_goes_first(cli, tmp_path):
    for age, name in enumerate(["c", "a", "b"]):
        fill(tmp_path, name, when=1000.0 + age)
    one = holdings(tmp_path)[0].size
    assert names(tmp_path) == ["c", "a", "b"]
    assert [part.dataset for part in too_much(holdings(tmp_path), 2 * one)] == ["c"]
    used(tmp_path / "features" / "c")
    done = cli("cache", "--max-size", f"{(one * 2.5) / 1000:.0f}KB", OSAD_BENCH_CACHE=str(tmp_path))
    assert done.returncode == 0
    assert names(tmp_path) == ["b", "c"]
    assert "removed 1 parts" in done.stderr


def test_one_data_set_is_cleared_with_its_classes_and_an_unknown_one_is_refused(cli, tmp_path):
    for name in ("elpv", "mvtec-tile", "mvtec-wood"):
        fill(tmp_path, name)
    assert cli("cache", "--clear", "mvtec", OSAD_BENCH_CACHE=str(tmp_path)).returncode == 0
    assert names(tmp_path) == ["elpv"]
    code, _, told = cli("cache", "--clear", "elpw", OSAD_BENCH_CACHE=str(tmp_path))
    assert code == 2
    assert "did you mean elpv?" in told


def test_what_a_run_is_writing_stays(cli, tmp_path):
    folder = fill(tmp_path, "elpv")
    with FileLock(folder / "lock"):
        code, _, told = cli("cache", "--clear", "all", OSAD_BENCH_CACHE=str(tmp_path))
    assert code == 1
    assert f"kept {folder}" in told
    assert names(tmp_path) == ["elpv"]


def test_what_a_run_has_open_it_reads_to_the_end_and_then_makes_anew(tmp_path):
    folder = fill(tmp_path, "elpv")
    identity = json.loads((folder / "meta.json").read_text())["identity"]
    (mapped,) = kept(folder, identity)
    (part,) = holdings(tmp_path)
    assert remove(part)
    assert not folder.exists()
    assert mapped.sum() == 4 * 4096
    (again,) = kept(folder, identity)
    assert again.sum() == 4 * 4096


@pytest.mark.parametrize("moment", ["computing", "reading"])
def test_a_part_that_is_removed_while_it_is_asked_for_is_made_anew(tmp_path, moment):
    folder = fill(tmp_path, "elpv")
    identity = json.loads((folder / "meta.json").read_text())["identity"]
    removed = []

    def once() -> None:
        if not removed:
            removed.append(folder.rename(tmp_path / "aside"))

    class Wanted(np.ndarray):
        """Rows that are looked up just when the part goes."""

        def __getitem__(self, index):
            once()
            return np.asarray(self)[index]

    def compute(some):
        once()
        return iter([(some, [np.ones((len(some), 4096), dtype=np.float32)])])

    if moment == "computing":
        (folder / "done.u8").write_bytes(bytes(4))
        wanted = np.arange(4)
    else:
        wanted = np.arange(4).view(Wanted)
    (found,) = kept_rows(folder, identity, 4, wanted, lambda: [("float32", [4096])], compute)
    assert removed
    assert found.sum() == 4 * 4096


@pytest.mark.parametrize(
    ("text", "size"), [("20GB", 20 * 10**9), ("500 m", 5 * 10**8), ("1.5tb", 15 * 10**11), ("7", 7)]
)
def test_sizes_are_read_as_they_are_written(text, size):
    assert size_of(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1GB", "3 GiB"])
def test_other_sizes_are_refused(text):
    with pytest.raises(InputError, match="expected a size such as 20GB"):
        size_of(text)
