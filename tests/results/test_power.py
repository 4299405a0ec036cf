"""Seeds that a difference needs: against a simulation of the very test, and as a table."""

from __future__ import annotations

import numpy as np
import pytest

from osad_bench.results.paired import cochran_cox, differences
from osad_bench.results.power import estimated_from, power, power_table, seeds_needed, smallest_difference, spreads
from osad_bench.results.scores import load_scores
from osad_bench.results.titles import titles_of


@pytest.mark.parametrize(
    ("difference", "seeds", "spread", "images", "pairs"),
    [(0.02, 5, 0.01, 2e-5, 1), (0.03, 3, 0.01, 1e-5, 1), (0.03, 10, 0.02, 4e-5, 6), (0.0, 5, 0.01, 2e-5, 1)],
)
def test_the_power_is_how_often_the_test_finds_the_difference(difference, seeds, spread, images, pairs):
    generator, found, trials = np.random.default_rng(1), 0, 1500
    for _ in range(trials):
        values = difference + spread * generator.standard_normal(seeds)
        mean = values.mean() + np.sqrt(images) * generator.standard_normal()
        parts = [(images, 1e6), (values.var(ddof=1) / seeds, seeds - 1)]
        found += 2 * pairs * cochran_cox(abs(mean), parts) < 0.05
    assert power(difference, seeds, spread, images, pairs) == pytest.approx(found / trials, abs=0.035)


def test_more_seeds_are_needed_for_smaller_differences_and_none_are_enough_below_the_noise_of_the_images():
    needed = [seeds_needed(value, 0.01, 1e-5) for value in (0.05, 0.02, 0.012, 0.005)]
    assert needed[:3] == sorted(needed[:3])
    assert needed[3] is None


def test_the_smallest_difference_is_found_with_the_power_asked_for():
    value = smallest_difference(7, 0.012, 2e-5, pairs=3)
    assert power(value, 7, 0.012, 2e-5, pairs=3) == pytest.approx(0.8, abs=1e-3)


def test_where_nothing_varies_any_difference_is_found_and_none_where_there_is_none():
    assert power(0.0, 5, 0.0, 0.0, pairs=3) == 0
    assert power(1e-4, 5, 0.0, 0.0, pairs=3) == 1
    assert smallest_difference(5, 0.0, 0.0, pairs=3) == pytest.approx(0, abs=1e-4)


def test_the_spread_is_that_of_the_paired_differences(records):
    aucs = {}
    for seed in range(4):
        for method, separation in (("dra", 1.2), ("dpdl", 1.9)):
            aucs[method, seed] = records.add(method, separation=separation, seed=seed).metrics.auroc
    records.add("ahl", seed=9)
    frame = records.frame()
    pairs = differences(frame, load_scores(records.store.root, frame))
    (line,) = spreads(pairs).to_dict("records")
    own = np.array([aucs["dpdl", seed] - aucs["dra", seed] for seed in range(4)])
    assert line["spread"] == pytest.approx(own.std(ddof=1))
    table = power_table(pairs, titles_of(frame), [0.3], [5])
    assert list(table["data set"]) == ["ELPV"]
    assert int(table["seeds for 0.3"].iloc[0]) >= 2


def test_how_far_an_estimate_may_be_off_is_said_for_the_seeds_that_there_are():
    assert estimated_from(5) == "from 5 seeds: the true one is 0.6 to 2.9 times as large"
    assert "0.4 to 31.9 times" in estimated_from(2)
