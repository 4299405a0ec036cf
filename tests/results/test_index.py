"""The index beside the records: the same frame as from the records, and never trusted over them."""

from __future__ import annotations

import os
import sys
import time

import pandas as pd
import pytest

from osad_bench.core.errors import InputError
from osad_bench.results import index, store
from osad_bench.results.columns import FLAT
from osad_bench.results.index import FILE, Index
from osad_bench.results.store import Store, StoreError

pytest.importorskip("pyarrow")


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count at once as they lie there; else only two seconds after they were written."""
    monkeypatch.setattr(index, "SETTLED", -1.0)


@pytest.fixture
def filled(records):
    records.add("dra", seed=1, diagnostics={"oracle": {"best_auroc": 0.9}})
    records.add("dpdl", setting="hard", known_kind="mono", variant="prototypes=16", version=2, citation="Näme, 2025")
    records.add("dra", dataset="mvtec/carpet", error="broke\nhere", reserve=3, dedup=True)
    return records.store


def path_of(store: Store, key: str):
    return store.root / "records" / key[:2] / f"{key}.json"


def from_index(store: Store) -> set[str]:
    """Keys whose rows the index vouches for."""
    found, keys = Index.read(store.root), store.keys()
    stamps = {key: index.Stamp.of(path_of(store, key).stat()) for key in keys}
    return set() if found is None else {key for key in keys if found.fresh(key, stamps[key])}


def test_the_frame_is_the_same_from_records_and_from_the_index(filled, settled):
    before = filled.frame()
    keys = filled.keys()
    glances = list(map(filled.glance, keys))
    path, count = filled.compact()
    assert (path, count) == (filled.root / FILE, 3)
    assert from_index(filled) == set(filled.keys())
    pd.testing.assert_frame_equal(filled.frame(), before)
    assert list(map(Store(filled.root).glance, keys)) == glances
    assert filled.glance("0" * 64) is None


def test_what_changed_is_read_from_its_record_whatever_its_size_and_time(filled, settled):
    filled.compact()
    key = filled.keys()[0]
    path = path_of(filled, key)
    found = path.stat()
    text = path.read_text("utf-8")
    path.write_text(text.replace('"peak_memory_mb": 0.0', '"peak_memory_mb": 7.0'), "utf-8")
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert path.stat().st_size == found.st_size
    assert from_index(filled) == set(filled.keys()) - {key}
    frame = filled.frame().set_index("key")
    assert frame.loc[key, "peak_memory_mb"] == 7.0
    path.unlink()
    assert filled.keys() == list(filled.frame()["key"])
    path.write_text(text[:100], "utf-8")
    with pytest.raises(StoreError, match="damaged record"):
        filled.frame()


def test_a_file_that_has_just_been_written_is_not_vouched_for(filled):
    filled.compact()
    assert from_index(filled) == set()
    assert len(filled.frame()) == 3


@pytest.mark.parametrize("content", [b"", b"PAR1 no table PAR1"])
def test_a_damaged_index_is_ignored(filled, settled, content):
    (filled.root / FILE).write_bytes(content)
    assert len(filled.frame()) == 3
    assert filled.glance(filled.keys()[0]) is not None


@pytest.mark.parametrize("text", ["no JSON", "[]", "[" * 100_000], ids=["text", "list", "deep"])
def test_an_index_with_impossible_provenance_is_as_none_for_a_run(filled, settled, text):
    columns, _, _ = filled._rows()
    broken = columns | {"provenance": [text] * 3}
    keys = filled.keys()
    stamps = {key: index.Stamp.of(path_of(filled, key).stat()) for key in keys}
    index.write_index(filled.root, broken, stamps, time.time())
    assert Store(filled.root).glance(keys[0]) == index.Glance.of(filled.get(keys[0]))


def test_an_index_of_another_version_is_as_none(filled, settled, monkeypatch):
    filled.compact()
    monkeypatch.setattr(index, "FORMAT", "another")
    assert Index.read(filled.root) is None


def test_reading_many_records_also_writes_the_index(filled, settled, monkeypatch):
    filled.frame()
    assert not (filled.root / FILE).exists()
    monkeypatch.setattr(store, "WORTH", 3)
    filled.frame()
    assert from_index(filled) == set(filled.keys())


def test_the_command_writes_a_table_that_others_read(filled, cli):
    code, out, told = cli("store", "compact", filled.root)
    assert (code, out) == (0, "")
    assert told.startswith(f"wrote {filled.root / FILE}: 3 records, ")
    table = pd.read_parquet(filled.root / FILE)
    assert set(FLAT) < set(table.columns)
    assert sorted(table["method"]) == ["dpdl", "dra", "dra"]
    assert table["created"].dt.year.min() >= 2020


def test_without_pyarrow_records_are_read_and_compact_says_what_to_install(filled, settled, cli, monkeypatch):
    filled.compact()
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert len(filled.frame()) == 3
    with pytest.raises(InputError, match=r"pip install 'osad-bench\[parquet\]'"):
        filled.compact()


def test_texts_of_an_index_that_are_damaged_are_as_none(filled, settled):
    import pyarrow as pa
    from pyarrow import parquet

    path, count = filled.compact()
    table = parquet.read_table(path)
    place = table.column_names.index("provenance")
    parquet.write_table(table.set_column(place, "provenance", pa.array(["[" * 100_000] * count)), path)
    key = filled.keys()[0]
    assert Store(filled.root).glance(key) == index.Glance.of(filled.get(key))
