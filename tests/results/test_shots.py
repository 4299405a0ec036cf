"""The curve over M: which methods learn nothing, from which M training pays, and the figure."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from osad_bench.results.paired import differences
from osad_bench.results.plots import all_figures, save, shots_curves
from osad_bench.results.record import TestScores
from osad_bench.results.scores import load_scores
from osad_bench.results.shots import Paying, curves, paying, shots_in_words, untrained

SHOTS = (1, 5, 20)


def fill(records, gains: dict[str, list[float]], seeds: int = 5):
    """A method of the floor, whose scores are those of its seed at every M, and others that gain on it with M."""
    hard = np.random.default_rng(0).normal(0, 1, 400)
    labels = np.repeat([0, 1], 200)
    ids = [str(i) for i in range(400)]
    for seed in range(seeds):
        for place, shots in enumerate(SHOTS):
            for number, (method, gain) in enumerate({"mahalanobis": [0.0] * 3, **gains}.items()):
                noise = np.random.default_rng([number, seed]).normal(0, 0.3, 400)
                values = (1.5 + gain[place]) * labels + hard + noise
                records.add(
                    method,
                    shots=shots,
                    seed=seed,
                    reserve=20,
                    scores=TestScores(ids, labels, np.where(labels, "mono", ""), values),
                )
    return records.frame()


def test_a_method_that_is_the_same_at_every_m_learns_nothing_from_known_anomalies(records):
    frame = fill(records, {"dra": [0.0, 0.5, 1.0]})
    assert list(untrained(frame).values()) == [["mahalanobis"]]


def test_training_pays_from_the_m_from_which_on_it_is_better_at_every_m(records):
    frame = fill(records, {"dra": [-0.5, 0.6, 1.0], "devnet": [-0.4, -0.3, -0.2]})
    words = shots_in_words(frame, differences(frame, load_scores(records.store.root, frame)))
    assert len(words) == 1
    assert "training pays from M = 5 for DRA" in words[0] or "training pays from M = 5 for dra" in words[0]
    assert "not shown to pay for" in words[0]


@pytest.mark.parametrize(
    ("better", "start"), [((1, 5, 20), 1), ((5, 20), 5), ((20,), 20), ((), None), ((1, 5), None), ((1, 20), 20)]
)
def test_a_win_that_a_larger_m_takes_back_does_not_count(better, start):
    assert Paying("dra", SHOTS, better).start == start


def test_one_loses_where_one_of_several_references_is_not_beaten():
    line = {"first": "dra", "shots": 5, "differs": True, "difference": 0.1, "seeds": 5}
    pairs = pd.DataFrame([line | {"second": "a"}, line | {"second": "b", "differs": False}])
    assert paying(pairs, ["a", "b"]) == [Paying("dra", (5,), ())]


def test_without_one_test_part_it_says_what_is_needed(records):
    for shots in SHOTS:
        for seed in range(3):
            records.add("mahalanobis", shots=shots, seed=seed, noise=shots)
            records.add("dra", shots=shots, seed=seed, noise=shots + 1)
    frame = records.frame()
    (words,) = shots_in_words(frame, differences(frame, load_scores(records.store.root, frame)))
    assert "run --same-test" in words


def test_intervals_are_students_over_the_seeds_and_within_zero_and_one(records):
    frame = fill(records, {"dra": [0.0, 0.5, 6.0]})
    found = curves(frame)
    assert found["low"].min() >= 0
    assert found["high"].max() <= 1
    line = found[(found["method"] == "dra") & (found["shots"] == 5)].iloc[0]
    values = frame[(frame["method"] == "dra") & (frame["shots"] == 5)]["auroc"]
    assert line["high"] - line["mean"] == pytest.approx(2.776445 * values.std() / np.sqrt(5))


def test_the_figure_is_drawn_with_the_others_from_three_m_on(records, tmp_path):
    frame = fill(records, {"dra": [-0.5, 0.6, 1.0], "devnet": [-0.4, -0.3, -0.2]})
    scores = load_scores(records.store.root, frame)
    assert "shots" in all_figures(frame, scores)
    assert "shots" not in all_figures(frame[frame["shots"] != 5], scores)
    figure = shots_curves(frame, scores)
    assert len(figure.axes) == 2
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["1", "5", "20"]
    assert all(path.stat().st_size > 1000 for path in save(figure, tmp_path / "shots"))
