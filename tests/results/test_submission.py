"""Submissions: whole, checked before anything is unpacked, recomputed; hostile files are one sentence."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zipfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from osad_bench.results.board import copies, enter, rows
from osad_bench.results.record import SplitSummary
from osad_bench.results.submission import (
    Manifest,
    SubmissionError,
    Verification,
    check_numbers,
    check_seeds,
    in_ranges,
    opened,
    read_verification,
    submit,
    verification_path,
)


@pytest.fixture
def store(records):
    """Four records whose splits hold what a run's hold."""
    for method in ("dra", "devnet"):
        for seed in range(2):
            record = records.add(method, seed=seed, shots=2)
            split = SplitSummary(
                digest="d" * 64,
                train_normal=100,
                train_anomaly=2,
                test_normal=60,
                test_anomaly=40,
                known=("k/1", "k/2"),
            )
            records.store.put(record.model_copy(update={"split": split}), records.store.scores(record.key))
    return records.store


@pytest.fixture
def file(store, tmp_path) -> Path:
    target = tmp_path / "mine.osad.zip"
    assert submit(store.root, target, "Mine") == 4
    return target


def states(store) -> set[str]:
    return {check.state for check in check_numbers(store)}


def rewritten(file: Path, change, resign: bool = True) -> Path:
    """The submission with its files changed by ``change(files)``, and the manifest made to fit."""
    with zipfile.ZipFile(file) as archive:
        files = {name: archive.read(name) for name in archive.namelist() if name != "submission.json"}
        manifest = archive.read("submission.json")
    change(files)
    target = file.with_name("changed.osad.zip")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        archive.writestr("submission.json", Manifest(files=digests).model_dump_json() if resign else manifest)
    return target


def test_a_submission_holds_the_records_and_scores_and_nothing_else(file, store):
    with opened(file) as submission:
        assert submission.title == "Mine"
        assert submission.store.keys() == store.keys()
        assert [one.metrics for one in submission.store] == [one.metrics for one in store]
        folder = submission.store.root
    assert not folder.exists(), "it was unpacked into a temporary folder"
    names = zipfile.ZipFile(file).namelist()
    assert {name.partition("/")[0] for name in names} == {"records", "scores", "submission.json"}


def test_sound_records_pass(file):
    with opened(file) as submission:
        assert states(submission.store) == {"ok"}


def test_the_same_store_gives_the_same_digests(file, store, tmp_path):
    submit(store.root, tmp_path / "again.osad.zip", "Mine")
    with opened(file) as one, opened(tmp_path / "again.osad.zip") as other:
        assert one.manifest.files == other.manifest.files


def test_a_submission_is_not_written_over(file, store):
    with pytest.raises(SubmissionError, match="is there already"):
        submit(store.root, file)


def test_an_empty_folder_is_no_submission(tmp_path):
    with pytest.raises(SubmissionError, match="no records"):
        submit(tmp_path, tmp_path / "x.osad.zip")


@pytest.mark.parametrize(("metric", "value"), [("auroc", 0.999), ("average_precision", 0.5), ("fpr95", 0.0)])
def test_an_invented_metric_is_found(file, metric, value):
    def change(files):
        name = next(name for name in files if name.startswith("records/"))
        record = json.loads(files[name])
        record["metrics"][metric] = value
        files[name] = json.dumps(record).encode()

    with opened(rewritten(file, change)) as submission:
        bad = [check for check in check_numbers(submission.store) if check.state == "bad"]
    assert len(bad) == 1
    assert f"{metric} is stored as {value:.6f}, but the scores give" in bad[0].message


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("known", ["image/0060.png", "k/2"], "known anomalies are among the tested images"),
        ("known", ["k/1"], "1 anomalies are known, and the protocol says 2"),
        ("test_normal", 61, "differ from those of the split"),
        ("digest", "e" * 64, "another split than"),
    ],
)
def test_a_split_that_contradicts_the_scores_or_the_others_is_found(file, field, value, message):
    def change(files):
        name = sorted(name for name in files if name.startswith("records/"))[-1]
        record = json.loads(files[name])
        record["split"][field] = value
        files[name] = json.dumps(record).encode()

    with opened(rewritten(file, change)) as submission:
        assert any(message in check.message for check in check_numbers(submission.store) if check.state == "bad")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda files: files.update({"../evil.json": b"{}"}), "is no part of a submission; nothing was unpacked"),
        (lambda files: files.update({"/etc/passwd": b"x"}), "is no part of a submission"),
        (lambda files: files.update({"records/../../x.json": b"x"}), "is no part of a submission"),
        (lambda files: files.update({"records\\ab\\x.json": b"x"}), "is no part of a submission"),
        (lambda files: files.update({"images/cat.png": b"x"}), "is no part of a submission"),
        (lambda files: files.update({f"records/ab/ab{'0' * 62}.json": b" " * (2**24 + 1)}), "unpacks to 16 MB"),
        (lambda files: files.clear(), "holds no record"),
    ],
)
def test_hostile_files_are_refused_in_one_sentence(file, change, message):
    with pytest.raises(SubmissionError, match=message) as caught, opened(rewritten(file, change)):
        pass
    assert "\n" not in str(caught.value)


def test_changed_added_and_removed_files_are_noticed(file):
    def edit(files):
        name = next(name for name in files if name.startswith("records/"))
        files[name] = files[name] + b" "

    with (
        pytest.raises(SubmissionError, match="was changed after the submission was made"),
        opened(rewritten(file, edit, resign=False)),
    ):
        pass
    with (
        pytest.raises(SubmissionError, match="added or taken away"),
        opened(rewritten(file, lambda files: files.pop(next(iter(files))), resign=False)),
    ):
        pass


def lying(file: Path) -> None:
    """The central directory says 10 bytes, and 50 MB come out."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("submission.json", b" " * 50_000_000)
    content = bytearray(file.read_bytes())
    directory = content.rindex(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = struct.pack("<I", 10)
    file.write_bytes(content)


def nested(file: Path) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("submission.json", "[" * 1_000_000)


@pytest.mark.parametrize(
    "make",
    [
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(b"PK\x03\x04 and then nothing"),
        lambda file: file.write_text("hello"),
        lambda file: file.mkdir(),
        lambda file: os.mkfifo(file) if hasattr(os, "mkfifo") else file.mkdir(),
        lying,
        nested,
    ],
)
def test_what_is_no_submission_is_one_sentence(tmp_path, make):
    file = tmp_path / "x.osad.zip"
    make(file)
    with pytest.raises(SubmissionError) as caught, opened(file):
        pass
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("osad_bench.results.submission.MOST_BYTES", 2**20)
    file = tmp_path / "x.osad.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("submission.json", "{}")
        archive.writestr(f"scores/00/{'0' * 64}.npz", b"\0" * 2**21)
    with pytest.raises(SubmissionError, match="unpacks to 0.0 GB, expected at most"), opened(file):
        pass


def test_a_verification_counts_for_the_file_it_was_made_of_alone(file):
    with opened(file) as submission:
        checks = [(what, "ok", "", "dra", "f") for what in ("metrics", "splits", "rerun")]
        found = Verification(sha256=submission.digest, checks=checks)
        verification_path(file).write_text(found.model_dump_json())
        assert read_verification(submission) == found
        verification_path(file).write_text(found.model_copy(update={"sha256": "0"}).model_dump_json())
        assert read_verification(submission) is None


@pytest.mark.parametrize(
    ("checks", "verified", "why"),
    [
        ([("metrics", "ok"), ("splits", "ok"), ("rerun", "ok")], True, ""),
        ([("metrics", "ok"), ("splits", "ok"), ("rerun", "unchecked")], False, "no cell of it was run again"),
        ([("metrics", "ok"), ("splits", "unchecked"), ("rerun", "ok")], False, "its splits were not checked"),
        ([("metrics", "bad"), ("metrics", "ok"), ("splits", "ok"), ("rerun", "ok")], False, "metrics: m"),
    ],
)
def test_a_method_is_verified_where_numbers_splits_and_a_rerun_are_right(checks, verified, why):
    found = Verification(sha256="", checks=[(what, state, "m", "dra", "f") for what, state in checks])
    assert found.of_method("dra", "f")[0] == verified
    assert found.of_method("dra", "f")[1].startswith(why)
    assert not found.of_method("devnet", "f")[0], "another method is not verified by it"
    assert not found.of_method("dra", "g")[0], "nor is the method on other images"


def test_seeds_that_are_not_there_are_told_and_not_called_wrong(file):
    def change(files):
        for name in sorted(files):
            cell = json.loads(files[name])["cell"] if name.startswith("records/") else None
            if cell and (cell["method"], cell["protocol"]["seed"]) == ("dra", 0):
                del files[name], files[name.replace("records", "scores").replace("json", "npz")]

    with opened(file) as submission:
        assert check_seeds(submission.store) == []
    with opened(rewritten(file, change)) as submission:
        (found,) = check_seeds(submission.store)
    assert found.state == "unchecked"
    assert "dra on elpv" in found.message
    assert "not there: seeds 0; whether they were left out is not known" in found.message
    assert in_ranges({0, 1, 3, 7}, 9) == "2, 4 to 6, 8 to 9"


def test_a_damaged_record_of_a_submission_is_told_by_the_submissions_name(file):
    def change(files):
        name = next(name for name in files if name.startswith("records/"))
        files[name] = files[name].replace(b'"dra"', b'"dpdl"').replace(b'"devnet"', b'"dpdl"')

    forged = rewritten(file, change)
    with pytest.raises(SubmissionError, match="the record was edited") as caught, opened(forged) as submission:
        check_numbers(submission.store)
    assert str(caught.value).startswith(f"{forged}: damaged record records/")
    assert "run the same command" not in str(caught.value)


@pytest.fixture
def board_of(records_at, tmp_path):
    """``board_of(NAME={"seeds": ..., ...}, ...)``: the rows of a board of submissions of one method each."""

    def of(**submissions) -> tuple[list, list[str]]:
        entered = []
        with ExitStack() as stack:
            for number, (title, facts) in enumerate(submissions.items()):
                records = records_at(tmp_path / title)
                for seed in facts.pop("seeds", range(3)):
                    records.add(
                        facts.get("method", "dra"), seed=seed, **{k: v for k, v in facts.items() if k != "method"}
                    )
                target = tmp_path / f"{title}.osad.zip"
                submit(records.store.root, target, title)
                entered.append(enter(stack.enter_context(opened(target)), number))
        return rows(entered), copies(entered)

    return of


def test_no_submission_names_the_methods_or_the_data_of_another(board_of):
    (row,), _ = board_of(honest={}, liar={"method": "devnet", "method_title": "DRA", "dataset_title": "MVTec"})
    assert row["title"].startswith("elpv,"), "they do not agree what the data set is called"
    assert {one["method"] for one in row["others"]} == {"DRA", "DRA (devnet)"}


def test_one_lucky_seed_is_not_first_and_seeds_that_were_chosen_are_told(board_of):
    (row,), _ = board_of(one={"seeds": [4], "separation": 4.0}, some={"seeds": [1, 3]}, all={})
    entries = row["others"]
    assert [one["submission"] for one in entries][-1] == "one"
    assert {one["submission"]: one["seeds"] for one in entries} == {
        "one": "1 (seed 4)",
        "some": "2 (seeds 1, 3)",
        "all": "3",
    }


def test_verified_and_other_entries_of_a_row_stand_together_though_another_preset_has_the_name(board_of, tmp_path):
    found, _ = board_of(
        mine={}, other={"method": "devnet"}, changed={"method": "devnet", "preset_config": {"image_size": 64}}
    )
    assert [len(row["others"]) for row in found] == [1, 2] or [len(row["others"]) for row in found] == [2, 1]
    path = verification_path(tmp_path / "mine.osad.zip")
    with opened(tmp_path / "mine.osad.zip") as mine, opened(tmp_path / "changed.osad.zip") as changed:
        checks = [(what, "ok", "", "dra", "f" * 64) for what in ("metrics", "splits", "rerun")]
        path.write_text(Verification(sha256=mine.digest, checks=checks).model_dump_json())
        with opened(tmp_path / "other.osad.zip") as other:
            found = rows([enter(one, number) for number, one in enumerate((mine, other, changed))])
    assert sorted((len(row["verified"]), len(row["others"])) for row in found) == [(0, 1), (1, 1)]


def test_records_that_stand_in_two_submissions_are_told(board_of, records_at, tmp_path):
    _, said = board_of(mine={}, other={"method": "devnet"})
    assert said == ["", ""]
    submit(tmp_path / "mine", tmp_path / "copied.osad.zip", "Copied")
    with opened(tmp_path / "mine.osad.zip") as mine, opened(tmp_path / "copied.osad.zip") as copied:
        assert copies([enter(mine, 0), enter(copied, 1)])[0] == "3 of Copied (copied.osad.zip)"
