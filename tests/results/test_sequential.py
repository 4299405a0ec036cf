"""Looks while seeds come in: published boundaries, the error rate kept, and what seeds cannot decide."""

from __future__ import annotations

import numpy as np
import pytest

from osad_bench.results.paired import delong
from osad_bench.results.sequential import Compared, boundaries, follow, image_variance, spent

LOOKS = range(5, 51, 5)


def test_boundaries_are_those_of_lan_and_demets():
    """O'Brien-Fleming-like spending, five looks, two-sided 0.05, as the package ldbounds prints them."""
    expected = [4.8769, 3.3570, 2.6803, 2.2898, 2.0310]
    assert boundaries([0.2, 0.4, 0.6, 0.8, 1.0], 0.05) == pytest.approx(expected, abs=1e-3)


def test_one_look_is_the_usual_test():
    assert spent(1.0, 0.05) == pytest.approx(0.05)
    assert boundaries([1.0], 0.05) == pytest.approx([1.959964], abs=1e-5)


def test_boundaries_keep_the_error_rate_of_a_brownian_motion():
    times = [0.1, 0.25, 0.3, 0.55, 0.9, 1.0]
    limits = np.array(boundaries(times, 0.05))
    steps = np.sqrt(np.diff([0.0, *times]))
    paths = (np.random.default_rng(0).standard_normal((200_000, len(times))) * steps).cumsum(axis=1)
    crossed = (np.abs(paths / np.sqrt(times)) >= limits).any(axis=1).mean()
    assert crossed == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / 200_000))


@pytest.mark.parametrize("of_images", [0.0, 0.05, 1.0])
def test_two_equal_methods_are_called_different_no_more_often_than_allowed(of_images):
    """Variances are estimated at each look; peeking with Student's test at the same looks errs far more often."""
    random, runs = np.random.default_rng(1), 400
    wrong = 0
    for _ in range(runs):
        differences = random.normal(0, 1, 50) + random.normal(0, np.sqrt(of_images))
        wrong += follow(differences, lambda _: of_images, LOOKS, 50, 0.05).state in ("first", "second")
    assert wrong / runs <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / runs)


def test_a_clear_difference_is_found_early_and_its_side_is_right():
    random = np.random.default_rng(2)
    found = [follow(random.normal(-2, 1, 50), lambda _: 0.001, LOOKS, 50, 0.05) for _ in range(40)]
    assert {one.state for one in found} == {"second"}
    assert np.median([one.looks[-1].seeds for one in found]) <= 20


def test_where_the_images_decide_it_stops_and_says_that_seeds_do_not_help():
    verdict = follow(np.random.default_rng(3).normal(0.01, 0.001, 50), lambda _: 0.02**2, LOOKS, 50, 0.05)
    assert verdict.state == "hopeless"
    assert verdict.looks[-1].seeds == 5
    assert verdict.needed is None


def test_the_seeds_that_a_difference_needs_give_it_the_power():
    random = np.random.default_rng(4)
    needed = follow(random.normal(0.5, 1, 400), lambda _: 0.0, [400], 400, 0.05).needed
    assert needed is not None
    means = random.normal(0.5, 1, (4000, needed)).mean(axis=1)
    assert (np.abs(means) * np.sqrt(needed) > 1.96).mean() == pytest.approx(0.8, abs=0.12)


def test_methods_that_do_not_differ_at_all_stop_at_once():
    verdict = follow([0.0] * 50, lambda _: 0.0, LOOKS, 50, 0.05)
    assert (verdict.state, len(verdict.looks)) == ("hopeless", 1)
    assert verdict.looks[0].identical


def compared(random: np.random.Generator, shared: np.ndarray) -> Compared:
    labels = np.repeat([0, 1], [60, 40])
    first, second = (labels + shared + random.normal(0, 0.5, 100) for _ in range(2))
    return Compared([str(i) for i in range(100)], labels.tolist(), first.tolist(), second.tolist())


def test_the_images_share_of_one_cell_is_delongs():
    random = np.random.default_rng(5)
    cell = compared(random, random.normal(0, 1, 100))
    assert np.sqrt(image_variance([cell])) == pytest.approx(delong(cell.labels, cell.first, cell.second).se, rel=1e-6)


def test_the_images_share_of_a_cell_that_is_there_twice_is_that_of_the_cell():
    random = np.random.default_rng(6)
    cell = compared(random, random.normal(0, 1, 100))
    assert image_variance([cell, cell]) == pytest.approx(image_variance([cell]))


def test_repeated_intervals_are_differences_that_an_auroc_can_have():
    look = follow([0.9, -0.9, 0.8, 0.7, -0.6], lambda _: 0.1, [2, 5], 5, 0.05).looks[0]
    assert -1 <= look.interval[0] < look.interval[1] <= 1
