"""Stores: merged, damaged, written by many, and still quick with many records."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from osad_bench.results import load
from osad_bench.results.merge import merge
from osad_bench.results.record import SCHEMA_VERSION, Cell, Protocol
from osad_bench.results.store import NewerError, Store, StoreError
from osad_bench.results.tables import tables
from tests.conftest import code_blocks

_spec = importlib.util.spec_from_file_location("results_conftest", Path(__file__).with_name("conftest.py"))
factory = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(factory)
make_record, draw_scores = factory.make_record, factory.draw_scores


def test_merging_is_copying_and_copying_by_hand_gives_the_same_frame(make_records, tmp_path):
    first, second = make_records(tmp_path / "a"), make_records(tmp_path / "b")
    for seed in range(2):
        first.add("dra", seed=seed)
        second.add("dpdl", seed=seed)
    second.store.name_ablations("dpdl", {"without M_r": "residual=False"})
    copied, conflicts = merge([tmp_path / "a", tmp_path / "b"], tmp_path / "merged")
    assert (copied, conflicts) == (4, [])
    for source in ("a", "b"):
        shutil.copytree(tmp_path / source, tmp_path / "by hand", dirs_exist_ok=True)
    one, other = (load(tmp_path / name).drop(columns="provenance") for name in ("merged", "by hand"))
    assert one.astype(str).equals(other.astype(str))
    assert Store(tmp_path / "merged").ablations() == {("dpdl", "residual=False"): "without M_r"}
    for key in one["key"]:
        assert len(Store(tmp_path / "merged").scores(key).scores) == 100


@pytest.mark.parametrize(
    "stress", [{}, {"contamination": 0.1, "train_group": "grün"}, {"mislabelled": 0.0, "dedup": True}]
)
def test_a_cells_key_is_the_digest_of_its_written_form_in_sorted_order(stress):
    protocol = Protocol(setting="hard", known_kind="Kratzer ü", shots=3, **stress)
    config = {"rate": 1e-05, "stages": (-2, -1), "nested": {"b": None, "a": [1.0, True]}}
    cell = Cell(
        dataset="d", fingerprint="f", protocol=protocol, method="m", version=1, config=config, preset={"size": 320}
    )
    written = json.dumps(json.loads(cell.model_dump_json()), sort_keys=True, separators=(",", ":"))
    assert cell.key == hashlib.sha256(written.encode()).hexdigest()


def test_the_same_cell_with_another_result_is_a_conflict_and_the_first_stays(make_records, tmp_path):
    kept = make_records(tmp_path / "a").add("dra", separation=1.0)
    dropped = make_records(tmp_path / "b").add("dra", separation=2.0)
    copied, (conflict,) = merge([tmp_path / "a", tmp_path / "b"], tmp_path / "merged")
    assert copied == 1
    assert conflict.key == kept.key == dropped.key
    assert f"AUROC {kept.metrics.auroc:.6f} and {dropped.metrics.auroc:.6f}" in conflict.message
    assert (conflict.kept, conflict.dropped) == (tmp_path / "a", tmp_path / "b")
    assert Store(tmp_path / "merged").get(kept.key).metrics == kept.metrics


@pytest.mark.parametrize("finished_first", [True, False])
def test_a_finished_record_is_preferred_to_a_failed_one(make_records, tmp_path, finished_first):
    make_records(tmp_path / "ok").add("dra")
    failed = make_records(tmp_path / "failed").add("dra", error="boom")
    order = ["ok", "failed"] if finished_first else ["failed", "ok"]
    _, conflicts = merge([tmp_path / name for name in order], tmp_path / "merged")
    assert conflicts == []
    assert Store(tmp_path / "merged").get(failed.key).status == "ok"


def test_merging_twice_changes_nothing(make_records, tmp_path):
    make_records(tmp_path / "a").add("dra")
    assert merge([tmp_path / "a"], tmp_path / "merged") == (1, [])
    assert merge([tmp_path / "a"], tmp_path / "merged") == (0, [])


def test_a_folder_without_records_is_named(tmp_path):
    with pytest.raises(StoreError, match="no records in"):
        merge([tmp_path], tmp_path / "merged")
    with pytest.raises(StoreError, match="no records in"):
        load(tmp_path)


def test_a_damaged_record_names_its_file_and_the_remedy(records):
    record = records.add("dra")
    path = records.store.root / "records" / record.key[:2] / f"{record.key}.json"
    path.write_text(path.read_text()[:200])
    with pytest.raises(StoreError, match=rf"damaged record .*{record.key}\.json.*Delete the file"):
        records.frame()


def test_an_edited_record_is_refused(records):
    record = records.add("dra")
    path = records.store.root / "records" / record.key[:2] / f"{record.key}.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 3'))
    with pytest.raises(StoreError, match="the record was edited"):
        records.frame()


def test_a_record_written_before_a_field_was_added_is_read(records):
    record = records.add("dra")
    path = records.store.root / "records" / record.key[:2] / f"{record.key}.json"
    old = json.loads(path.read_text())
    for name in ("diagnostics", "curve", "peak_memory_mb", "timings", "variant"):
        del old[name]
    del old["split"]["known"]
    path.write_text(json.dumps(old))
    frame = records.frame()
    assert frame.loc[0, "known"] == ()
    assert frame.loc[0, "auroc"] == record.metrics.auroc


def test_unfinished_files_of_a_killed_writer_are_passed_over(records):
    record = records.add("dra")
    folder = records.store.root / "records" / record.key[:2]
    (folder / f".{record.key}.json.123.tmp").write_text("{")
    assert len(records.frame()) == 1


def record_path(store, record) -> Path:
    return store.root / "records" / record.key[:2] / f"{record.key}.json"


def test_a_record_of_a_newer_osad_bench_is_neither_read_nor_overwritten(records):
    record = records.add("dra")
    path = record_path(records.store, record)
    newer = {"schema_version": SCHEMA_VERSION + 1, "something": "new"}
    path.write_text(json.dumps(newer))
    for use in (lambda: records.store.get(record.key), records.frame, lambda: records.store.put(record)):
        with pytest.raises(NewerError, match="made by a newer osad-bench"):
            use()
    assert json.loads(path.read_text()) == newer


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("metrics", "auroc"), "NaN"),
        (("metrics", "auroc"), "1.5"),
        (("metrics", "per_kind"), '{"a": Infinity}'),
        (("timings", "fit"), "-Infinity"),
        (("timings", "fit"), "-1"),
        (("peak_memory_mb",), "NaN"),
        (("cell", "config"), '{"rate": NaN}'),
        (("cell", "protocol", "contamination"), "NaN"),
        (("cell", "protocol", "seed"), "18446744073709551616"),
        (("split", "test_normal"), "-1"),
        (("split", "train_normal"), "1e999"),
        (("created",), '"9999-12-31T23:59:59+14:00"'),
        (("status",), '"done"'),
    ],
)
def test_a_value_that_no_record_can_have_is_damage_and_named(records, where, value):
    record = records.add("dra")
    text = json.loads(record.model_dump_json())
    inner = text
    for name in where[:-1]:
        inner = inner[name]
    inner[where[-1]] = "HERE"
    path = record_path(records.store, record)
    path.write_text(json.dumps(text).replace('"HERE"', value))
    with pytest.raises(StoreError, match=rf"damaged record .*{record.key}\.json.*Delete the file"):
        records.frame()


def test_curves_that_are_not_finite_are_kept_with_gaps(records):
    record = records.add("dra", curve={"loss": [1.0, float("nan"), float("inf")]})
    assert records.store.get(record.key).curve == {"loss": [1.0, None, None]}


def test_every_verb_names_foreign_files_and_passes_over_them(records, tmp_path, cli):
    for method in ("dra", "dpdl"):
        for seed in range(2):
            record = records.add(method, seed=seed)
    path, root = record_path(records.store, record), records.store.root
    for name in (f"._{path.name}", f"{record.key} (1).json", f"{record.key}.json.icloud"):
        shutil.copy(path, path.with_name(name))
    (root / "records" / ".DS_Store").write_text("x")
    base = cli("baseline", root)
    (tmp_path / "baseline.json").write_text(base.stdout)
    said = [
        base,
        cli("check", root, "--against", "baseline.json"),
        cli("report", root, "--no-figures", "--out", "out"),
        cli("merge", root, "--into", "merged"),
        cli("submit", root, "--out", "s.osad.zip"),
        cli("power", root, "--out", "power"),
    ]
    assert [done.returncode for done in said] == [0] * 6, said
    for done in said:
        assert f"passed over in {root}: " in done.stderr
        assert "and 1 more (copies or files of another program" in done.stderr
    assert len(Store(tmp_path / "merged").keys()) == 4


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"scores": np.array([0.1, np.nan])}, "a score is not finite"),
        ({"scores": np.array(["0.1", "0.2"])}, "scores are of type <U3"),
        ({"scores": np.array([1j, 2j])}, "scores are of type complex128"),
        ({"scores": np.array([0.1])}, "damaged scores"),
        ({"labels": np.array([0, 256])}, "a label is neither 0 nor 1"),
        ({"labels": np.array([0, 0.5])}, "labels are of type float64"),
        ({"ids": np.array(["a", "a"])}, "it holds an image twice"),
        ({"ids": np.array([b"a", b"b"])}, "ids are of type |S1"),
        ({"ids": np.array(["a", None], dtype=object)}, "damaged scores"),
        ({"kinds": np.array([["", "x"]])}, "damaged scores"),
    ],
)
def test_scores_that_make_no_sense_are_damage(records, arrays, message):
    record = records.add("dra")
    path = records.store.root / "scores" / record.key[:2] / f"{record.key}.npz"
    sound = {
        "ids": np.array(["a", "b"]),
        "labels": np.array([0, 1]),
        "kinds": np.array(["", "x"]),
        "scores": np.zeros(2),
    }
    np.savez_compressed(path, **(sound | arrays))
    with pytest.raises(StoreError, match=re.escape(message)):
        records.store.scores(record.key)


def test_a_bomb_among_the_scores_is_not_unpacked(records, monkeypatch):
    record = records.add("dra")
    monkeypatch.setattr("osad_bench.results.packed.MOST_BYTES", 2**20)
    path = records.store.root / "scores" / record.key[:2] / f"{record.key}.npz"
    np.savez_compressed(path, ids=np.zeros(2**18))
    with pytest.raises(StoreError, match="they unpack to 0.0 GB"):
        records.store.scores(record.key)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders here")
def test_pipes_and_endless_records_are_refused_and_not_waited_for(records, monkeypatch):
    record = records.add("dra")
    monkeypatch.setattr("osad_bench.results.store.MOST_TEXT", 100)
    with pytest.raises(StoreError, match="larger than"):
        records.store.get(record.key)
    for path in (record_path(records.store, record), records.store._scores_path(record.key)):
        path.unlink()
        os.mkfifo(path)
    with pytest.raises(StoreError, match="no regular file"):
        records.store.get(record.key)
    with pytest.raises(StoreError, match="no regular file"):
        records.store.scores(record.key)


class Killed(BaseException):
    """What a test raises where a process would have been killed."""


@pytest.mark.parametrize("replaces", [False, True])
def test_wherever_a_write_stops_a_record_stands_beside_its_own_scores(records, monkeypatch, replaces):
    """The writer is stopped before each thing that it asks of the file system."""
    if replaces:
        records.add("dra", separation=1.0)

    def contents(store):
        return {one.key: (one.metrics.auroc, store.scores(one.key).scores.sum()) for one in store}

    before = contents(records.store)
    new, test = make_record("dra", scores=draw_scores(3.0, 5)), draw_scores(3.0, 5)
    after = {new.key: (new.metrics.auroc, test.scores.sum())}
    steps = 0

    def counted(of, name):
        real = getattr(of, name)

        def call(*arguments, **options):
            nonlocal steps
            if steps == stop:
                raise Killed
            steps += 1
            return real(*arguments, **options)

        return call

    outcomes = []
    for stop in range(100):
        steps = 0
        copy = records.store.root.with_name(f"copy{stop}")
        if records.store.root.exists():
            shutil.copytree(records.store.root, copy)
        with monkeypatch.context() as patched:
            for of, name in ((os, "fsync"), (Path, "replace"), (Path, "open"), (Path, "unlink"), (Path, "mkdir")):
                patched.setattr(of, name, counted(of, name))
            try:
                Store(copy).put(new, test)
                finished = True
            except Killed:
                finished = False
        found = contents(Store(copy))
        assert found in (before, {}, after)
        outcomes.append(found == after)
        if finished:
            break
        Store(copy).put(new, test)
        assert Store(copy).get(new.key) == new
        assert (Store(copy).scores(new.key).scores == test.scores).all()
    assert finished
    assert len(outcomes) > 6
    assert outcomes[-1]
    assert not outcomes[0]


def test_names_of_ablations_of_several_stores_are_put_together(make_records, tmp_path):
    for name, names in (("a", {"one": "x=1", "two": "x=2"}), ("b", {"first": "x=1", "three": "x=3"})):
        make_records(tmp_path / name).add("dra", seed=ord(name))
        Store(tmp_path / name).name_ablations("dra", names)
    merge([tmp_path / "a", tmp_path / "b"], tmp_path / "m")
    assert Store(tmp_path / "m").ablations() == {("dra", "x=1"): "one", ("dra", "x=2"): "two", ("dra", "x=3"): "three"}


@pytest.mark.parametrize("text", ["[1", "[" * 100_000, "[]", "9" * 5_000])
def test_a_damaged_file_of_names_says_what_to_do(records, text):
    records.add("dra")
    (records.store.root / "ablations").mkdir()
    (records.store.root / "ablations" / "dra.json").write_text(text)
    with pytest.raises(StoreError, match=r"damaged file .*dra\.json: delete it"):
        records.frame()


def test_thousands_of_records_read_and_tabulate_within_seconds(records, tmp_path):
    """2,000 here; 100,000 took 50 times as long when measured (docs/results.md)."""
    template = json.loads(records.add("dra").model_dump_json())
    for number in range(2000):
        template["cell"]["protocol"]["seed"] = number % 20
        template["cell"]["dataset"] = f"set{number // 20 % 10}"
        template["cell"]["method"] = f"method{number // 200}"
        template["key"] = key = Cell.model_validate(template["cell"]).key
        path = tmp_path / "many" / "records" / key[:2] / f"{key}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(template))
    start = time.process_time()
    frame = load(tmp_path / "many")
    (table,) = tables(frame)
    assert time.process_time() - start < 10
    assert len(frame) == 2000
    assert len(table.blocks[0].rows) == 10
    assert np.isfinite(frame["auroc"]).all()


def test_the_python_of_the_guide_runs(records, monkeypatch, tmp_path):
    for dataset in ("elpv", "aitex"):
        for method in ("dra", "dpdl"):
            for seed in range(2):
                records.add(method, dataset=dataset, seed=seed)
    blocks = code_blocks(Path(__file__).parents[2] / "docs" / "results.md", "python")
    assert len(blocks) == 2
    monkeypatch.chdir(tmp_path)
    exec("\n".join(blocks).replace('"DIR"', repr(str(records.store.root))), {})
    assert (tmp_path / "roc.pdf").stat().st_size > 1000
