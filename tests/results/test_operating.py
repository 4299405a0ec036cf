"""Operating points, and the intervals of shares."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from osad_bench.results.operating import POINTS, alarms_at, operating_points, recall_at, share_interval
from osad_bench.results.scores import load_scores


def test_of_a_hundred_normals_one_percent_of_false_alarms_is_one():
    labels = [0] * 100 + [1] * 4
    scores = [*range(100), 97.5, 98.5, 99.5, 10]
    assert recall_at(labels, scores, 0.01) == 0.5
    assert recall_at(labels, scores, 0.05) == 0.75


def test_with_fewer_normals_than_that_there_is_no_false_alarm():
    assert recall_at([0, 0, 1, 1], [1, 2, 2, 3], 0.01) == 0.5


def test_false_alarms_at_full_recall():
    labels = [0] * 10 + [1] * 20
    scores = [*range(10), 4.5, *range(20, 39)]
    assert alarms_at(labels, scores, 0.95) == 0
    assert alarms_at(labels, scores, 1.0) == 0.5


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 8), min_size=3, max_size=40), st.lists(st.integers(0, 8), min_size=3, max_size=40))
def test_both_rates_hold_their_promise_with_ties(normals, anomalies):
    labels, scores = np.r_[np.zeros(len(normals)), np.ones(len(anomalies))], np.r_[normals, anomalies]
    for rate in (0.01, 0.05, 0.3):
        recall = recall_at(labels, scores, rate)
        best = max(
            (np.mean(np.array(anomalies) > t) for t in (-1, *normals) if np.mean(np.array(normals) > t) <= rate),
            default=0,
        )
        assert recall == pytest.approx(best)
    alarms = alarms_at(labels, scores, 0.95)
    least = min(np.mean(np.array(normals) >= t) for t in anomalies if np.mean(np.array(anomalies) >= t) >= 0.95)
    assert alarms == pytest.approx(least)


def test_the_interval_of_one_seed_is_clopper_and_pearsons():
    low, high = share_interval([9 / 12], 12)
    expected = stats.binomtest(9, 12).proportion_ci(method="exact")
    assert (low, high) == (pytest.approx(expected.low), pytest.approx(expected.high))
    assert share_interval([1.0, 1.0], 12)[0] == pytest.approx(stats.binomtest(12, 12).proportion_ci(method="exact").low)
    assert share_interval([1.0, 1.0], 12)[1] == 1.0


def test_seeds_that_disagree_widen_the_interval():
    narrow, wide = share_interval([0.7, 0.7, 0.7], 40), share_interval([0.5, 0.7, 0.9], 40)
    assert wide[0] < narrow[0] < 0.7 < narrow[1] < wide[1]


def test_operating_points_are_means_over_seeds_with_their_intervals(records):
    cells = [records.add("dra", separation=2.0, seed=seed) for seed in range(3)]
    frame = records.frame()
    (line,) = operating_points(frame, load_scores(records.store.root, frame)).to_dict("records")
    tests = [records.store.scores(cell.key) for cell in cells]
    assert line["recall_5"] == pytest.approx(np.mean([recall_at(t.labels, t.scores, 0.05) for t in tests]))
    assert (line["seeds"], line["normals"], line["anomalies"]) == (3, 60, 40)
    for name in POINTS:
        assert 0 <= line[f"{name}_low"] <= line[name] <= line[f"{name}_high"] <= 1
