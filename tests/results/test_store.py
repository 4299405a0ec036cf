"""Stores: merged, damaged, written by many, and still quick with many records."""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from osad_bench.results import load
from osad_bench.results.merge import merge
from osad_bench.results.record import Cell
from osad_bench.results.store import Store, StoreError
from osad_bench.results.tables import tables


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
def test_a_finished_record_goes_before_a_failed_one(make_records, tmp_path, finished_first):
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


def test_a_damaged_file_of_names_says_what_to_do(records):
    records.add("dra")
    (records.store.root / "ablations").mkdir()
    (records.store.root / "ablations" / "dra.json").write_text("[1")
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
    guide = Path(__file__).parents[2] / "docs" / "results.md"
    blocks = re.findall(r"```python\n(.*?)```", guide.read_text("utf-8"), flags=re.DOTALL)
    assert len(blocks) == 2
    monkeypatch.chdir(tmp_path)
    exec("\n".join(blocks).replace('"DIR"', repr(str(records.store.root))), {})
    assert (tmp_path / "roc.pdf").stat().st_size > 1000
