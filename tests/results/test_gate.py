"""The gate on methods that were broken on purpose, on honest reruns, and on stores with gaps."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from osad_bench.results.annotate import condensed, to_github, to_junit
from osad_bench.results.baseline import Baseline, BaselineError, make_baseline, read_baseline
from osad_bench.results.gate import BAD, check, summarise
from osad_bench.results.operating import POINTS
from osad_bench.results.record import TestScores

NORMALS, ANOMALIES = 90, 60
KINDS = ("crack", "stain", "hole")
LABELS = np.r_[np.zeros(NORMALS, int), np.ones(ANOMALIES, int)]
NAMES = np.array([""] * NORMALS + [KINDS[i % 3] for i in range(ANOMALIES)])
IDS = [f"{i:03}.png" for i in range(NORMALS + ANOMALIES)]
DIFFICULTY = np.random.default_rng(99).standard_normal(NORMALS + ANOMALIES)


def trained(seed: int, training: int = 0, noise: float = 0.4) -> TestScores:
    """Scores of one training: its luck moves the separation, and adds `noise` to every image.

    Each protocol seed tests on its own nine tenths of the anomalies, as in the benchmark.
    """
    luck = np.random.default_rng([seed, training])
    separation = 2.0 + 0.15 * luck.standard_normal()
    scores = separation * LABELS + DIFFICULTY + noise * luck.standard_normal(len(LABELS))
    chosen = np.random.default_rng([seed, 7]).choice(
        np.arange(NORMALS, len(LABELS)), ANOMALIES * 9 // 10, replace=False
    )
    place = np.r_[np.arange(NORMALS), np.sort(chosen)]
    return TestScores(np.array(IDS)[place], LABELS[place], NAMES[place], scores[place])


def negated_on(kind: str, test: TestScores) -> TestScores:
    return TestScores(test.ids, test.labels, test.kinds, np.where(test.kinds == kind, -test.scores, test.scores))


def fill(
    records, change=lambda test: test, *, seeds=range(5), training=0, methods=("dra", "dpdl"), noise=0.4, **options
):
    for seed in seeds:
        for place, method in enumerate(methods):
            test = trained(seed, 100 * training + place, noise)
            records.add(method, seed=seed, scores=change(test) if method == methods[-1] else test, **options)
    return records


def run(records, baseline, **options):
    return check(records.store.root, records.frame(), baseline, **options)


def bad(findings):
    return [(finding.entry.method, finding.status, finding.kind) for finding in findings if finding.status in BAD]


@pytest.fixture
def before(make_records, tmp_path):
    records = fill(make_records(tmp_path / "before"))
    return make_baseline(records.store.root, records.frame())


@pytest.fixture
def later(make_records, tmp_path):
    return make_records(tmp_path / "later")


def test_the_same_scores_pass(before, later):
    findings = run(fill(later), before)
    assert bad(findings) == []
    assert [finding.status for finding in findings] == ["same", "same"]
    assert summarise(findings) == "passed: 2 rows, none worse"


@pytest.mark.parametrize("kind", KINDS)
def test_scores_negated_on_one_kind_are_caught_and_the_kind_is_named(before, later, kind):
    findings = bad(run(fill(later, lambda test: negated_on(kind, test)), before))
    assert ("dpdl", "fell", "") in findings
    assert ("dpdl", "fell", kind) in findings
    assert {method for method, *_ in findings} == {"dpdl"}


def test_scores_negated_on_a_rare_kind_are_caught_although_the_mean_hardly_moves(make_records, tmp_path, later):
    def rare(test):  # four of the anomalies are of a kind of their own
        kinds = test.kinds.copy()
        kinds[-4:] = "burn"
        scores = test.scores.copy()
        scores[-4:] = 4.0 + 0.05 * np.arange(4)
        return TestScores(test.ids, test.labels, kinds, scores)

    first = fill(make_records(tmp_path / "rare"), rare, methods=("dpdl",))
    findings = run(
        fill(later, lambda test: negated_on("burn", rare(test)), methods=("dpdl",)),
        make_baseline(first.store.root, first.frame()),
    )
    assert ("dpdl", "fell", "burn") in bad(findings)


def test_a_method_that_breaks_on_some_seeds_only_is_caught(before, make_records, tmp_path):
    later = make_records(tmp_path / "some")
    for seed in range(5):
        for place, method in enumerate(("dra", "dpdl")):
            test = trained(seed, place)
            broken = method == "dpdl" and seed in (1, 3)
            later.add(method, seed=seed, scores=negated_on("hole", test) if broken else test)
    assert ("dpdl", "fell", "hole") in bad(run(later, before))


def test_a_leaked_label_is_caught(before, later):
    def leak(test):
        return TestScores(test.ids, test.labels, test.kinds, test.scores + 3.0 * test.labels)

    fill(later, leak)
    findings = run(later, before)
    assert bad(findings) == [("dpdl", "leapt", "")]
    assert "as when a label leaks" in findings[0].message
    assert bad(run(later, before, accept_rise=True)) == []


def test_the_check_tells_the_operating_points_before_and_now_with_intervals(before, later):
    findings = run(fill(later, lambda test: negated_on("hole", test)), before)
    (fell,) = [finding for finding in findings if finding.status == "fell" and not finding.kind]
    assert set(fell.points) == set(POINTS)
    for name, title in POINTS.items():
        old, new, low, high = fell.points[name]
        assert 0 <= low <= new <= high <= 1
        assert (new > old) == name.startswith("alarms")
        assert f"{title} {old:.2f} to {new:.2f} [{low:.2f}, {high:.2f}]" in fell.message
    assert "(moved)" in fell.message
    (same,) = [finding for finding in findings if finding.status == "same"]
    assert "(moved)" not in same.message


def test_a_slower_loop_is_a_note_and_no_failure(before, later):
    findings = run(fill(later, total=100.0), before)
    assert bad(findings) == []
    assert {finding.status for finding in findings} == {"same", "slower"}


def test_a_modest_rise_passes_with_a_note(before, later):
    def better(test):
        return TestScores(test.ids, test.labels, test.kinds, test.scores + 0.35 * test.labels)

    findings = run(fill(later, better), before)
    assert bad(findings) == []
    assert [finding.status for finding in findings if finding.entry.method == "dpdl"] == ["rose"]
    assert "1 better" in summarise(findings)


def test_a_fall_within_the_tolerance_passes_and_the_same_fall_beyond_it_fails(before, later):
    def worse(test):
        return TestScores(test.ids, test.labels, test.kinds, test.scores - 0.5 * test.labels)

    fill(later, worse)
    assert ("dpdl", "fell", "") in bad(run(later, before))
    assert bad(run(later, before, tolerance=0.3)) == []


def _false_alarms(make_records, tmp_path, trials, before, now, **options):
    alarms = 0
    for trial in range(trials):
        first = fill(make_records(tmp_path / f"a{trial}"), training=2 * trial + 1, seeds=before, **options)
        second = fill(make_records(tmp_path / f"b{trial}"), training=2 * trial + 2, seeds=now, **options)
        baseline = make_baseline(first.store.root, first.frame())
        alarms += bool(bad(run(second, baseline, tolerance=0.0)))
    return alarms


@pytest.mark.parametrize("seeds", [range(5), range(5, 10)], ids=["retrained", "other seeds"])
def test_five_reruns_of_an_unchanged_method_raise_no_more_false_alarms_than_stated(make_records, tmp_path, seeds):
    """At tolerance 0, the strictest: at most 5 % of checks may fail, so of 30 no more than chance allows in 99 of 100 such tests."""
    alarms = _false_alarms(make_records, tmp_path, 30, range(5), seeds, methods=("dpdl",))
    assert alarms <= binom.ppf(0.99, 30, 0.05)


def test_two_seeds_that_agree_by_luck_raise_no_more_false_alarms_than_stated(make_records, tmp_path):
    """The hardest case: all noise is the training's luck, of which two seeds tell next to nothing."""
    alarms = _false_alarms(make_records, tmp_path, 60, range(2), range(2), noise=0.02)
    assert alarms <= binom.ppf(0.99, 60, 0.05)


def test_three_seeds_catch_a_broken_kind(make_records, tmp_path, later):
    before = fill(make_records(tmp_path / "three"), seeds=range(3))
    fill(later, lambda test: negated_on("hole", test), seeds=range(3), training=1)
    assert ("dpdl", "fell", "hole") in bad(run(later, make_baseline(before.store.root, before.frame())))


def test_other_seeds_still_catch_a_broken_method(before, later):
    findings = bad(run(fill(later, lambda test: negated_on("hole", test), seeds=range(5, 10)), before))
    assert ("dpdl", "fell", "hole") in findings


def test_a_single_other_seed_is_too_little_to_compare_and_says_so(before, later):
    findings = run(fill(later, seeds=[9]), before)
    assert {status for _, status, _ in bad(findings)} == {"missing"}
    assert "at least two on each side" in findings[0].message


def test_what_is_missing_fails_unless_allowed(before, later):
    fill(later, methods=("dra",))
    findings = run(later, before)
    assert bad(findings) == [("dpdl", "missing", "")]
    assert "5 cells in the baseline" in findings[0].message
    assert bad(run(later, before, allow_missing=True)) == []


def test_missing_seeds_are_counted(before, later):
    findings = run(fill(later, seeds=range(3)), before)
    assert {finding.message for finding in findings if finding.status == "missing"} == {
        "2 of the baseline's 5 cells are not in the store"
    }


def test_a_failed_cell_fails(before, later):
    fill(later, seeds=range(4))
    for method in ("dra", "dpdl"):
        later.add(
            method, seed=4, error="out of memory" if method == "dpdl" else None, scores=trained(4, method == "dpdl")
        )
    findings = run(later, before)
    assert ("dpdl", "failed", "") in bad(findings)
    assert any("out of memory" in finding.message for finding in findings)


def test_other_images_are_not_compared(before, later):
    findings = run(fill(later, fingerprint="0" * 64), before)
    assert {status for _, status, _ in bad(findings)} == {"other data"}


def test_of_two_versions_of_a_method_the_last_made_is_checked(before, later):
    """A store keeps what it has: the records of the version before must not hide that the new one is broken."""
    fill(later, lambda test: negated_on("hole", test), version=2)
    frame = fill(later, version=1).frame()
    made_first = frame["version"] == 1
    frame.loc[made_first, "created"] = frame.loc[made_first, "created"] - pd.Timedelta(days=1)
    assert ("dpdl", "fell", "hole") in bad(check(later.store.root, frame, before))
    assert len(make_baseline(later.store.root, frame).cells) == len(before.cells)


def test_rows_that_the_baseline_lacks_cost_nothing(before, later):
    fill(later, methods=("dra", "dpdl", "ahl"))
    for path in later.store.root.glob("scores/*/*.npz"):
        if later.store.get(path.stem).cell.method == "ahl":
            path.unlink()
    assert bad(run(later, before)) == []


def test_a_new_method_is_a_note(before, later):
    findings = run(fill(later, methods=("dra", "dpdl", "ahl")), before)
    assert [finding.entry.method for finding in findings if finding.status == "new"] == ["ahl"]
    assert bad(findings) == []


def test_many_new_rows_are_told_as_a_number(before, later):
    fill(later, methods=("dra", "dpdl", *(f"method{place}" for place in range(9))), seeds=[0])
    findings = run(later, before)
    shown = condensed(findings)
    assert sum(finding.status == "new" for finding in findings) == 9
    new = [finding.message for finding in shown if finding.status == "new"]
    assert len(new) == 5
    assert new[-1] == "1 cells that the baseline lacks, which also lacks 4 further rows"
    assert [f for f in shown if f.status != "new"] == [f for f in findings if f.status != "new"]


def test_the_hard_setting_is_compared_by_its_kinds(make_records, tmp_path, later):
    first = make_records(tmp_path / "hard")
    for records, change in ((first, lambda t: t), (later, lambda t: negated_on("crack", t))):
        for seed in range(5):
            for kind in ("stain", "hole"):
                records.add("dra", seed=seed, setting="hard", known_kind=kind, scores=change(trained(seed)))
    findings = bad(run(later, make_baseline(first.store.root, first.frame())))
    assert ("dra", "fell", "crack") in findings


def test_a_baseline_survives_its_file_and_keeps_the_aucs(before, tmp_path):
    file = tmp_path / "baseline.json"
    file.write_text(before.dump(), encoding="utf-8")
    assert read_baseline(file) == before
    assert file.stat().st_size < 900 * len(before.cells)
    assert isinstance(before, Baseline)


@pytest.mark.parametrize("text", ["", "{}", '{"format": "osad-bench baseline 9"}', "[1]"])
def test_what_is_no_baseline_is_named_with_the_remedy(tmp_path, text):
    (tmp_path / "b.json").write_text(text)
    with pytest.raises(BaselineError, match=r"b\.json is not a baseline .*osad-bench baseline DIR >"):
        read_baseline(tmp_path / "b.json")


def test_a_store_without_finished_cells_makes_no_baseline(records):
    records.add("dra", error="boom")
    with pytest.raises(BaselineError, match="no finished test cell"):
        make_baseline(records.store.root, records.frame())


def test_junit_and_github_say_what_the_findings_say(before, later):
    findings = run(fill(later, lambda test: negated_on("hole", test)), before)
    tree = ElementTree.fromstring(to_junit(findings).encode())
    assert int(tree.get("failures")) == len(tree.findall(".//failure")) == 1
    assert int(tree.get("tests")) == len(tree.findall("testcase")) == 2
    assert len(tree.find(".//failure").text.splitlines()) == len(bad(findings))
    lines = to_github(findings).splitlines()
    assert len(lines) == len([finding for finding in findings if finding.status != "same"])
    assert all(line.startswith("::error title=osad-bench%3A fell::dpdl on elpv") for line in lines)


def test_a_junit_test_keeps_its_name_when_its_result_changes(before, make_records, tmp_path):
    def names(records):
        tree = ElementTree.fromstring(to_junit(run(records, before)).encode())
        return [(case.get("classname"), case.get("name")) for case in tree.findall("testcase")]

    good = names(fill(make_records(tmp_path / "good")))
    for number, change in enumerate((lambda test: negated_on("hole", test), lambda test: test)):
        worse = fill(
            make_records(tmp_path / f"worse{number}"), change, methods=("dra", "dpdl") if not number else ("dra",)
        )
        assert names(worse) == good


def test_another_data_set_of_the_same_name_is_another_row(make_records, tmp_path):
    first, later = make_records(tmp_path / "two"), make_records(tmp_path / "two later")
    for fingerprint in ("a" * 64, "b" * 64):
        fill(first, methods=("dra",), fingerprint=fingerprint)
    baseline = make_baseline(first.store.root, first.frame())
    assert len(baseline.cells) == 10
    fill(later, lambda test: negated_on("hole", test), methods=("dra",), fingerprint="a" * 64)
    fill(later, methods=("dra",), fingerprint="b" * 64)
    findings = run(later, baseline)
    assert {finding.entry.row.fingerprint for finding in findings if finding.status == "fell"} == {"a" * 64}
    assert {finding.entry.row.fingerprint for finding in findings if finding.status == "same"} == {"b" * 64}


def test_other_settings_under_one_preset_name_are_not_compared(before, later):
    findings = run(fill(later, preset_config={"image_size": 32, "preset": "quick"}), before)
    assert {status for _, status, _ in bad(findings)} == {"other settings"}
    assert "the preset quick has other settings" in findings[0].message
    names = [case.get("name") for case in ElementTree.fromstring(to_junit(findings).encode()).findall("testcase")]
    assert len(names) == len(set(names)), "the row with the other settings is no second test of the same name"


def test_a_baseline_without_cells_is_refused(before, tmp_path):
    text = before.model_copy(update={"cells": []}).dump()
    (tmp_path / "b.json").write_text(text)
    with pytest.raises(BaselineError, match=r"has no cells, so that it compares nothing; make one with"):
        read_baseline(tmp_path / "b.json")


@pytest.mark.parametrize("ranks", ["!!!!", "AAAA", "eJxLTEoGAAJNASc=", "eJxjYGAAAAADAAE=", "", "é"])
def test_damaged_ranks_are_named_as_such(before, tmp_path, ranks):
    cells = [before.cells[0].model_copy(update={"ranks": ranks}), *before.cells[1:]]
    (tmp_path / "b.json").write_text(before.model_copy(update={"cells": cells}).dump())
    with pytest.raises(BaselineError, match=r"b\.json is not a baseline .*ranks of the scores are damaged at cells\.0"):
        read_baseline(tmp_path / "b.json")


def test_a_baseline_that_holds_a_cell_twice_is_refused(before, tmp_path):
    (tmp_path / "b.json").write_text(before.model_copy(update={"cells": [*before.cells, before.cells[0]]}).dump())
    with pytest.raises(BaselineError, match="stands in it 2 times"):
        read_baseline(tmp_path / "b.json")


def test_the_first_baselines_with_reserve_and_dedup_are_read(before, tmp_path):
    old = json.loads(before.dump())
    for cell in old["cells"]:
        del cell["options"]
        cell |= {"reserve": 3, "dedup": True}
    (tmp_path / "b.json").write_text(json.dumps(old))
    assert read_baseline(tmp_path / "b.json").cells[0].options == "reserve 3, without duplicates"


def test_hostile_names_stay_inside_junit_and_annotations(make_records, tmp_path, later):
    name = 'a<b>&"\x01%\n::error::x'
    first = make_records(tmp_path / "first")
    first.add("dra", dataset=name, scores=trained(0))
    later.add("dra", scores=trained(0))
    findings = run(later, make_baseline(first.store.root, first.frame()))
    assert ElementTree.fromstring(to_junit(findings).encode()) is not None
    assert sum(line.startswith("::error") for line in to_github(findings).splitlines()) == 1


def test_names_of_a_strangers_baseline_are_shown_as_text(before, tmp_path):
    text = before.dump().replace('"method":"', '"method":"\\u001b[2J\\n::error::')
    (tmp_path / "baseline.json").write_text(text)
    (cell, *_) = read_baseline(tmp_path / "baseline.json").cells
    assert cell.entry.title.startswith("\\x1b[2J\\n::error::")
