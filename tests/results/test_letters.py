"""Compact letters and the matrix of differences."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from osad_bench.results.letters import compact_letters, matrices
from osad_bench.results.paired import differences
from osad_bench.results.scores import load_scores
from osad_bench.results.titles import titles_of
from osad_bench.results.words import differences_for_print, in_words


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 9), st.data())
def test_two_methods_share_a_letter_exactly_where_they_are_not_told_apart(count, data):
    methods = [f"m{place}" for place in range(count)]
    pairs = [frozenset(pair) for pair in combinations(methods, 2)]
    differ = set(data.draw(st.lists(st.sampled_from(pairs), unique=True)))
    letters = compact_letters(methods, differ)
    for one, other in combinations(methods, 2):
        assert bool(set(letters[one]) & set(letters[other])) == (frozenset({one, other}) not in differ)


def test_the_best_gets_a():
    differ = {frozenset(pair) for pair in (("x", "z"), ("y", "z"))}
    assert compact_letters(["x", "y", "z"], differ) == {"x": "a", "y": "a", "z": "b"}


def test_fourteen_methods_are_one_matrix_whose_marks_are_the_verdicts_and_the_words_are_its_letters(records):
    for place in range(14):
        for seed in range(2):
            records.add(f"m{place:02}", separation=0.5 + 0.25 * place, noise=place, seed=seed)
    frame = records.frame()
    pairs = differences(frame, load_scores(records.store.root, frame))
    (matrix,) = matrices(pairs, frame, titles_of(frame)).values()
    assert len(matrix) == 14
    assert int(matrix.map(lambda text: str(text).endswith("*")).to_numpy().sum()) == int(pairs["differs"].sum())
    (text, *_) = in_words(pairs, {}, frame)
    assert all(f"{name} {letters}" in text for name, letters in zip(matrix["method"], matrix["letters"]))
    assert len(text) < 900


def test_one_seed_tells_no_methods_apart_and_methods_that_score_alike_have_no_interval(records, draw):
    """Words, letters, marks and table agree: what shows on the images of one seed is marked as that."""
    same = draw(3.0, 1)
    for name, scores in (("a", same), ("b", same), ("c", draw(0.2, 2))):
        records.add(name, scores=scores)
    frame = records.frame()
    pairs, titles = differences(frame, load_scores(records.store.root, frame)), titles_of(frame)
    (matrix,) = matrices(pairs, frame, titles).values()
    assert set(matrix["letters"]) == {"a"}
    assert [cell[-1] for cell in matrix.loc[2, ["1", "2"]]] == ["'", "'"]
    assert matrix.loc[1, "1"] == ".000"
    printed = differences_for_print(pairs, titles).set_index(["first", "second"])
    assert printed.loc[("a", "b"), "95 % interval"] == "none"
    assert printed.loc[("a", "c"), "verdict"] == "more than the images' noise, on one seed"
    (text, how) = in_words(pairs, {}, frame)
    assert "One seed is not enough" in text
    assert "that over images alone (one seed)" in how


def test_how_many_common_seeds_pairs_have_is_said(records):
    for name, seeds in (("a", 5), ("b", 5), ("c", 3)):
        for seed in range(seeds):
            records.add(name, seed=seed, noise=seeds)
    frame = records.frame()
    text, _ = in_words(differences(frame, load_scores(records.store.root, frame)), {}, frame)
    assert "With 3 to 5 common seeds, a difference below about" in text
