"""The promise on false alarms: kept over many draws, and refused where the held-out normals cannot give it."""

from __future__ import annotations

import numpy as np
import pytest

from osad_bench.benchmark.decide.conformal import check, long_run, needed, p_values, smallest, threshold
from osad_bench.core.errors import InputError

DRAWS, NEW = 4000, 40


@pytest.mark.parametrize(("false_alarms", "held_out"), [(0.01, 99), (0.01, 250), (0.05, 19), (0.05, 30), (0.2, 4)])
def test_false_alarms_stay_within_the_promise_over_many_draws(false_alarms, held_out):
    random = np.random.default_rng(1)
    rates = np.empty(DRAWS)
    for draw in range(DRAWS):
        scores = np.round(random.standard_t(2, held_out + NEW), 2)  # heavy tails, and ties
        rates[draw] = (p_values(scores[:held_out], scores[held_out:]) <= false_alarms).mean()
    error = rates.std() / DRAWS**0.5
    assert rates.mean() <= false_alarms + 3 * error
    without_ties = np.floor(false_alarms * (held_out + 1)) / (held_out + 1)
    assert rates.mean() >= without_ties - 3 * error - 0.01, "the promise is not kept by never alarming"


def test_one_models_long_run_is_below_its_bound_in_95_of_100_draws():
    random, held_out, false_alarms = np.random.default_rng(2), 99, 0.05
    bound = long_run(false_alarms, held_out)
    # Scores uniform on [0, 1]: the share of normals above a threshold t is 1 - t.
    shares = [1 - threshold(random.random(held_out), false_alarms) for _ in range(DRAWS)]
    assert np.mean(np.array(shares) <= bound) == pytest.approx(0.95, abs=3 * (0.95 * 0.05 / DRAWS) ** 0.5)


@pytest.mark.parametrize("false_alarms", [0.01, 0.02, 0.05, 0.07, 0.1, 0.3, 1 / 3, 0.005])
def test_as_many_normals_as_needed_suffice_and_one_fewer_does_not(false_alarms):
    count = needed(false_alarms)
    assert smallest(count) <= false_alarms
    assert count == 1 or smallest(count - 1) > false_alarms
    check(false_alarms, count)
    if count > 1:
        with pytest.raises(InputError, match=f"at least {count} held-out normals"):
            check(false_alarms, count - 1)


def test_the_p_value_counts_the_held_out_normals_that_score_as_high():
    found = p_values(np.array([1.0, 2.0, 3.0, 4.0]), np.array([5.0, 4.0, 2.5, 0.0]))
    assert found.tolist() == [0.2, 0.4, 0.6, 1.0]


@pytest.mark.parametrize("false_alarms", [0.05, 0.1, 0.25])
def test_above_the_threshold_and_below_the_promise_are_the_same(false_alarms):
    random = np.random.default_rng(3)
    held_out = np.round(random.normal(size=57), 1)
    scores = np.concatenate([held_out, random.normal(size=200)])
    alarms = p_values(held_out, scores) <= false_alarms
    assert (alarms == (scores > threshold(held_out, false_alarms))).all()


@pytest.mark.parametrize("false_alarms", [0.0, 1.0, -0.1, 2.0, float("nan")])
def test_a_number_that_is_no_share_is_refused(false_alarms):
    with pytest.raises(InputError, match="expected a share above 0 and below 1"):
        check(false_alarms, 1000)
