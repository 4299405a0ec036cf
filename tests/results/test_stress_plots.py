"""Figures of stress: curves over shares, and matrices from group to group."""

from __future__ import annotations

import pytest

from osad_bench.results.plots import all_figures
from osad_bench.results.plots.stress import stress_curves, transfer_matrix
from osad_bench.results.scores import load_scores


def add(records, method: str, seed: int, separation: float, **stress) -> None:
    """Store a record of the factory under another protocol."""
    records.add(method, separation, seed=seed, noise=int(100 * separation))
    records.add(method, separation, seed=seed, noise=int(100 * separation), options=stress)


@pytest.mark.parametrize("share", ["contamination", "mislabelled"])
def test_a_curve_over_shares_is_among_the_figures(records, share):
    for seed in range(3):
        for method in ("dra", "devnet"):
            for level, separation in ((0.1, 1.8), (0.2, 1.4)):
                add(records, method, seed, separation, **{share: level})
    frame = records.frame()
    assert share in all_figures(frame, load_scores(records.store.root, frame))
    (axis,) = stress_curves(frame, share).axes
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["0.0", "0.1", "0.2"]
    assert len(axis.containers) == 2, "one line with intervals per method"


def test_a_matrix_from_group_to_group_is_among_the_figures(records):
    for seed in range(3):
        for train in ("mono", "poly"):
            for test in ("mono", "poly"):
                add(records, "dra", seed, 2.0 if train == test else 1.0, train_group=train, test_group=test)
    frame = records.frame()
    assert "groups" in all_figures(frame, load_scores(records.store.root, frame))
    (axis,) = transfer_matrix(frame).axes
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["mono", "poly"]
    assert sum("±" in text.get_text() for text in axis.texts) == 4


def test_without_stress_there_is_no_such_figure(records):
    for seed in range(2):
        records.add("dra", seed=seed)
    frame = records.frame()
    assert not {"contamination", "mislabelled", "groups"} & set(
        all_figures(frame, load_scores(records.store.root, frame))
    )
