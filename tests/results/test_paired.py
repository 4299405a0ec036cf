"""Paired tests against independent computations and against draws whose truth is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from osad_bench.results.paired import cochran_cox, delong, differences, holm, placements
from osad_bench.results.scores import load_scores
from osad_bench.results.store import load


def delong_by_definition(labels, first, second):
    """Eqs. 1 to 6 of DeLong, DeLong and Clarke-Pearson (1988) with their double sums written out."""

    def psi(x, y):
        return 1.0 if y < x else 0.5 if y == x else 0.0

    positive = [i for i, label in enumerate(labels) if label]
    negative = [i for i, label in enumerate(labels) if not label]
    m, n = len(positive), len(negative)
    v10, v01, theta = [], [], []
    for scores in (first, second):
        v10.append([sum(psi(scores[i], scores[j]) for j in negative) / n for i in positive])
        v01.append([sum(psi(scores[i], scores[j]) for i in positive) / m for j in negative])
        theta.append(sum(v10[-1]) / m)
    s10 = [
        [sum((a - theta[r]) * (b - theta[s]) for a, b in zip(v10[r], v10[s])) / (m - 1) for s in (0, 1)] for r in (0, 1)
    ]
    s01 = [
        [sum((a - theta[r]) * (b - theta[s]) for a, b in zip(v01[r], v01[s])) / (n - 1) for s in (0, 1)] for r in (0, 1)
    ]
    s = [[s10[r][q] / m + s01[r][q] / n for q in (0, 1)] for r in (0, 1)]
    return theta[0], theta[1], s[0][0] - 2 * s[0][1] + s[1][1]


few = st.integers(0, 5)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(few, few), min_size=2, max_size=12), st.lists(st.tuples(few, few), min_size=2, max_size=12))
def test_delong_equals_its_definition_with_ties(normals, anomalies):
    labels = [0] * len(normals) + [1] * len(anomalies)
    first, second = zip(*normals, *anomalies)
    a, b, variance = delong_by_definition(labels, first, second)
    test = delong(labels, first, second)
    assert (test.first, test.second) == (pytest.approx(a), pytest.approx(b))
    assert test.se**2 == pytest.approx(variance, abs=1e-12)


def test_delong_of_a_known_case():
    """Twelve images worked by hand: anomalies' placements 1, 3/4, 3/4, 1/2 against 1/2, 1, 1/4, 1/4 of four normals."""
    labels = [0, 0, 0, 0, 1, 1, 1, 1]
    first = [1, 2, 3, 4, 5, 3.5, 3.6, 2.5]
    second = [1, 2, 3, 4, 2.5, 5, 1.5, 1.6]
    above_a, _ = placements(labels, first)
    above_b, _ = placements(labels, second)
    assert above_a.tolist() == [1, 0.75, 0.75, 0.5]
    assert above_b.tolist() == [0.5, 1, 0.25, 0.25]
    assert delong(labels, first, second).difference == pytest.approx(0.25)


def test_identical_scores_differ_by_nothing():
    test = delong([0, 0, 1, 1], [1, 2, 3, 4], [1, 2, 3, 4])
    assert (test.difference, test.z, test.p) == (0, 0, 1)


def test_delong_refuses_a_single_anomaly():
    with pytest.raises(ValueError, match="two normals and two anomalies, not 3 and 1"):
        delong([0, 0, 0, 1], [1, 2, 3, 4], [1, 2, 3, 4])


def test_delong_rejects_a_true_null_as_often_as_it_says():
    generator = np.random.default_rng(0)
    labels = np.r_[np.zeros(80), np.ones(50)]
    rejected = 0
    for _ in range(600):
        shared = generator.standard_normal(130) + labels
        first, second = (shared + generator.standard_normal(130) for _ in range(2))
        rejected += delong(labels, first, second).p < 0.05
    assert 0.03 < rejected / 600 < 0.075


def test_holm_equals_statsmodels():
    p = [0.01, 0.04, 0.03, 0.005, 0.9]
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])


def _pairs(records, **changes):
    frame = records.frame()
    return differences(frame, load_scores(records.store.root, frame), **changes)


def test_one_split_is_tested_by_delong_too(records):
    first = records.add("dra", separation=1.5)
    second = records.add("dpdl", separation=3.0)
    (line,) = _pairs(records).to_dict("records")
    a, b = (records.store.scores(record.key) for record in (second, first))
    expected = delong(a.labels, a.scores, b.scores)
    assert (line["first"], line["second"]) == ("dpdl", "dra")
    assert line["difference"] == pytest.approx(expected.difference)
    assert line["delong_p"] == pytest.approx(expected.p)
    assert (line["low"], line["high"]) == (
        pytest.approx(expected.interval()[0], abs=0.02),
        pytest.approx(expected.interval()[1], abs=0.02),
    )


def test_scores_may_be_loaded_one_row_at_a_time(records):
    for dataset in ("elpv", "aitex"):
        for method in ("dra", "dpdl"):
            records.add(method, dataset=dataset)
    frame, asked = records.frame(), []

    def some(part):
        asked.append(sorted(part["dataset"]))
        return load_scores(records.store.root, part)

    pd.testing.assert_frame_equal(differences(frame, some), _pairs(records))
    assert asked == [["aitex", "aitex"], ["elpv", "elpv"]]


def test_a_long_computation_reports_its_progress(records):
    for dataset in ("elpv", "aitex"):
        for method in ("dra", "dpdl"):
            records.add(method, dataset=dataset)
    told = {"load": [], "scores": [], "differences": []}

    def to(name):
        return lambda done, total: told[name].append((done, total))

    frame = load(records.store.root, to("load"))
    differences(frame, load_scores(records.store.root, frame, to("scores")), tell=to("differences"))
    assert told["load"] == told["scores"] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert told["differences"] == [(2, 4), (4, 4)]


def test_seeds_that_only_one_method_has_are_not_compared(records):
    for seed in range(4):
        records.add("dra", seed=seed)
    for seed in (2, 3, 4):
        records.add("dpdl", seed=seed)
    (line,) = _pairs(records).to_dict("records")
    assert line["seeds"] == 2


def test_methods_without_a_common_seed_are_compared_by_their_means(records):
    aucs = {
        method: [records.add(method, separation=separation, seed=seed).metrics.auroc for seed in seeds]
        for method, separation, seeds in (("dra", 1.0, (0, 1, 2)), ("dpdl", 3.0, (3, 4)))
    }
    (line,) = _pairs(records).to_dict("records")
    assert not line["paired"]
    assert line["difference"] == pytest.approx(np.mean(aucs["dpdl"]) - np.mean(aucs["dra"]))
    assert line["seeds"] == 2


def test_one_seed_each_without_a_common_one_is_too_little_to_compare(records):
    records.add("dra", seed=0)
    records.add("dpdl", seed=1)
    assert _pairs(records).empty


def test_intervals_and_corrected_verdicts_always_agree_and_stay_where_a_difference_can_be(records):
    for place, method in enumerate(("dra", "dpdl", "ahl", "flos", "devnet", "saoe")):
        for seed in range(2):
            records.add(method, separation=0.6 * place, noise=place, seed=seed)
    lines = _pairs(records)
    assert len(lines) == 15
    assert set(lines["family"]) == {15}
    outside = (lines["low"] > 0) | (lines["high"] < 0)
    assert (outside == lines["differs"]).all()
    assert lines["differs"].any()
    assert not lines["differs"].all()
    assert lines["low"].min() >= -1
    assert lines["high"].max() <= 1


def test_cochran_and_coxs_test_with_one_part_is_students():
    assert cochran_cox(2.0, [(1.0, 4.0)]) == pytest.approx(stats.t.sf(2.0, 4))
    assert 2 * cochran_cox(1.96, [(0.5, 1e9), (0.5, 1e9)]) == pytest.approx(0.05, abs=1e-4)


def test_of_many_pairs_of_equal_methods_no_more_than_stated_are_called_different():
    """Four methods of equal true AUC, three seeds, six pairs: at most 5 % of the tables may show any difference."""
    generator, wrong, trials = np.random.default_rng(5), 0, 100
    labels = np.r_[np.zeros(60, int), np.ones(40, int)]
    for _ in range(trials):
        difficulty = generator.standard_normal(100)
        rows, parts = [], []
        for method in "abcd":
            for seed in range(3):
                strength = 1.5 + 0.3 * generator.standard_normal()
                scores = strength * labels + difficulty + 0.5 * generator.standard_normal(100)
                rows.append({"key": f"{method}{seed}", "method": method, "seed": seed})
                parts.append(
                    pd.DataFrame({"key": f"{method}{seed}", "image": range(100), "label": labels, "score": scores})
                )
        frame = pd.DataFrame(rows).assign(
            status="ok", part="test", preset="quick", settings="s", options="", dataset="d", fingerprint="f", variant="",
            version=1, config="", known_kind="", setting="general", shots=10, created=0,
        )  # fmt: skip
        wrong += bool(differences(frame, pd.concat(parts))["differs"].any())
    assert wrong <= stats.binom.ppf(0.99, trials, 0.05)


def test_a_variant_is_compared_with_its_own_default_alone(records):
    for method, variant in (
        ("dra", ""),
        ("dpdl", ""),
        ("dpdl", "a=1"),
        ("dpdl", "a=2"),
        ("ahl", "b=1"),
        ("ahl", "b=2"),
    ):
        records.add(method, variant=variant)
    lines = _pairs(records)
    assert sorted(zip(lines["first"], lines["second"])) == [
        ("ahl b=1", "ahl b=2"),
        ("dpdl", "dpdl a=1"),
        ("dpdl", "dpdl a=2"),
        ("dpdl", "dra"),
    ]


def test_variants_in_the_store_take_no_power_from_the_comparison_of_methods(records):
    for seed in range(3):
        for method, separation in (("dra", 1.5), ("dpdl", 1.9), ("ahl", 1.7)):
            records.add(method, separation=separation, seed=seed)
    alone = _pairs(records)
    for seed in range(3):
        for variant in ("a=1", "a=2", "a=3", "a=4"):
            records.add("dpdl", separation=1.9, noise=int(variant[-1]), seed=seed, variant=variant)
        records.add("dra", separation=1.2, seed=seed, variant="b=1")
    both = _pairs(records)
    among = both[~both["first"].str.contains("=") & ~both["second"].str.contains("=")]
    pd.testing.assert_frame_equal(among.reset_index(drop=True), alone)
    assert alone["p"].between(0.0001, 0.9).any()  # a correction for more pairs would show

    frame, scores = records.frame(), load_scores(records.store.root, records.frame())
    for method, count in (("dra", 1), ("dpdl", 4)):  # each study as if it stood alone
        study = both[(both["first"] == method) & both["second"].str.contains("=")]
        assert len(study) == count
        expected = differences(frame[frame["method"].str.startswith(method)], scores)
        pd.testing.assert_frame_equal(study.reset_index(drop=True), expected)


def test_the_hard_setting_is_compared_by_its_mean_over_common_kinds(records):
    aucs = {}
    for seed in range(3):
        for kind in ("mono", "poly"):
            for method, separation in (("dra", 1.0), ("dpdl", 1.4)):
                record = records.add(method, separation=separation, setting="hard", known_kind=kind, seed=seed)
                aucs[method, seed, kind] = record.metrics.auroc
    (line,) = _pairs(records).to_dict("records")
    expected = np.mean([aucs["dpdl", s, k] - aucs["dra", s, k] for s in range(3) for k in ("mono", "poly")])
    assert line["difference"] == pytest.approx(expected)
    assert (line["seeds"], line["kinds"]) == (3, 2)


def test_the_interval_covers_the_true_difference_when_images_and_seeds_both_vary():
    """Two methods of equal true AUC; each seed of each shifts its own separation: the truth is a difference of 0."""
    generator, covered, trials = np.random.default_rng(3), 0, 120
    labels = np.r_[np.zeros(60, int), np.ones(40, int)]
    for _ in range(trials):
        difficulty = generator.standard_normal(100)
        rows, parts = [], []
        for method in ("a", "b"):
            for seed in range(5):
                strength = 1.5 + 0.3 * generator.standard_normal()
                scores = strength * labels + difficulty + 0.5 * generator.standard_normal(100)
                key = f"{method}{seed}"
                rows.append({"key": key, "method": method, "seed": seed})
                parts.append(pd.DataFrame({"key": key, "image": range(100), "label": labels, "score": scores}))
        frame = pd.DataFrame(rows).assign(
            status="ok", part="test", preset="quick", settings="s", options="", dataset="d", fingerprint="f", variant="",
            version=1, config="", known_kind="", setting="general", shots=10, created=0,
        )  # fmt: skip
        (line,) = differences(frame, pd.concat(parts)).to_dict("records")
        covered += line["low"] <= 0 <= line["high"]
    assert covered / trials >= 0.92
