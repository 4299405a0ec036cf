"""Seeds until the question is answered: with real runs that are stopped, and with records of known differences."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from osad_bench.benchmark.grid.asked import Asked, check, earlier, write
from osad_bench.benchmark.grid.plan import read_grid
from osad_bench.benchmark.grid.run import Options
from osad_bench.benchmark.grid.until import Question, answer, run_until
from osad_bench.core.errors import InputError
from osad_bench.results.metrics import compute
from osad_bench.results.record import Cell, Protocol, Record, TestScores
from osad_bench.results.store import Store

SMALL = {
    "datasets": ["textures"],
    "set": {"image_size": [64], "scales": [[1.0]], "schedule.epochs": [1], "schedule.steps": [2]},
}


def filled(root: Path, separations: dict[str, float], seeds: int) -> tuple[Store, set[str]]:
    """A store of methods whose scores separate 300 normals and 300 anomalies by so much; images are shared."""
    store, keys = Store(root), set[str]()
    hard = np.random.default_rng(0).normal(0, 1, 600)
    labels = np.repeat([0, 1], 300)
    for place, (method, separation) in enumerate(separations.items()):
        for seed in range(seeds):
            noise = np.random.default_rng([place, seed]).normal(0, 0.3, 600)
            scores = TestScores(
                [f"{i}" for i in range(600)], labels, np.where(labels, "a", ""), separation * labels + hard + noise
            )
            cell = Cell(
                dataset="d",
                fingerprint="f",
                protocol=Protocol(seed=seed),
                method=method,
                version=1,
                config={},
                preset={},
            )
            store.put(Record(key=cell.key, cell=cell, preset="quick", status="ok", metrics=compute(scores)), scores)
            keys.add(cell.key)
    return store, keys


def test_the_best_of_three_methods_is_found_and_named(tmp_path):
    store, keys = filled(tmp_path, {"good": 2.0, "fair": 1.6, "poor": 1.0}, 10)
    (found,) = answer(store, keys, Question(most=50), 5)
    assert (found.state, found.best) == ("decided", "good")
    assert set(found.rivals) == {"fair", "poor"}
    words = found.in_words(Question(most=50))
    assert "decided with 10 seeds: good is better than fair" in words
    assert "at most 5% of such questions" in words


def test_two_equal_methods_are_not_told_apart_and_the_reason_is_given(tmp_path):
    store, keys = filled(tmp_path, {"one": 1.5, "other": 1.5}, 20)
    (found,) = answer(store, keys, Question(most=20), 5)
    assert found.state == "hopeless"
    assert "not decided with 15 seeds, and unlikely to be decided with 20" in found.in_words(Question(most=20))


def test_a_named_pair_is_asked_about_alone(tmp_path):
    store, keys = filled(tmp_path, {"one": 1.5, "other": 1.5, "poor": 0.5}, 10)
    (found,) = answer(store, keys, Question(("one", "poor")), 5)
    assert (found.state, found.best, list(found.rivals)) == ("decided", "one", ["poor"])


def test_more_methods_make_a_stricter_test_of_each_pair(tmp_path):
    """Of k methods a pair is tested at 2 alpha / k, two-sided."""
    store, keys = filled(tmp_path, {f"m{i}": 1.5 - 0.2 * i for i in range(6)}, 5)
    (best,) = answer(store, keys, Question(), 5)
    (pair,) = answer(store, keys, Question(("m0", "m1")), 5)
    assert best.rivals["m1"].looks[0].boundary > pair.rivals["m1"].looks[0].boundary


def test_failed_seeds_move_no_look_and_the_last_look_is_the_last(tmp_path):
    """What was looked at after five seeds, of which one had failed, is not looked at again with five."""
    store, keys = filled(tmp_path, {"one": 1.5, "other": 1.48}, 10)
    left = keys - {record.key for record in store if record.cell.method == "one" and record.cell.protocol.seed == 3}
    (found,) = answer(store, left, Question(("one", "other"), most=10), 5, 10)
    assert [look.seeds for look in found.rivals[next(iter(found.rivals))].looks] == [4, 9]
    assert found.rivals[next(iter(found.rivals))].looks[-1].share == 1, (
        "no error rate is kept for a look that never comes"
    )


def test_a_method_without_results_keeps_the_question_open_and_is_named(tmp_path):
    store, keys = filled(tmp_path, {"good": 2.0, "poor": 1.0}, 10)
    (found,) = answer(store, keys, Question(), 5, 10, ["good", "poor", "gone"])
    assert (found.state, found.best, found.missing) == ("hopeless", "good", ("gone",))
    words = found.in_words(Question())
    assert (
        "good leads. Too few cells of gone have results to be compared. Taken one by one, it is better than poor"
        in words
    )
    assert "at most 3.3% of such statements are wrong" in words


def test_a_question_keeps_its_rule_and_a_second_question_is_called_exploratory(tmp_path):
    asked = [
        Asked(place="row", methods=methods, between=len(methods) == 2, step=5, most=20, alpha=0.05)
        for methods in (("a", "b", "c"), ("a", "b"))
    ]
    assert check(tmp_path, asked) == []
    write(tmp_path, [], asked[:1], Question(most=20), [])
    assert check(tmp_path, asked) == asked[:1]
    with pytest.raises(InputError, match="was asked with --seeds 5 --max-seeds 20, and its error rate is spent"):
        check(tmp_path, [asked[0].model_copy(update={"most": 40})])
    assert earlier(asked[0], asked[:1]) == ""
    assert earlier(asked[1], asked[:1]) == "which of a, b, c is the best"
    assert earlier(asked[1].model_copy(update={"place": "other"}), asked[:1]) == ""
    write(tmp_path, asked[:1], asked, Question(("a", "b"), 20), [])
    assert check(tmp_path, asked) == asked, "the first question is still known"
    (tmp_path / "until.json").write_text("{")
    with pytest.raises(InputError, match="which looks were taken is unknown"):
        check(tmp_path, asked)


def test_a_run_stops_when_it_is_decided_and_goes_on_from_what_is_stored(tmp_path, cache):
    grid = read_grid(None, {"methods": ["mahalanobis", "devnet"], "floor": None, "seeds": 2, **SMALL, "shots": [5]})
    options = Options(out=tmp_path / "store", jobs=1)
    outcome, answers = run_until(grid, options, Question(most=4))
    assert len(answers) == 1
    assert answers[0].state in ("decided", "hopeless")
    assert len({cell.cell.protocol.seed for cell in outcome.cells}) in (2, 4)
    written = json.loads((tmp_path / "store" / "until.json").read_text())
    assert written["answers"][0]["words"] == answers[0].in_words(Question(most=4))
    again, same = run_until(grid, options, Question(most=4))
    assert same == answers
    assert not again.records, "nothing is computed twice"
    with pytest.raises(InputError, match="was asked with --seeds 2 --max-seeds 4"):
        run_until(grid, options, Question(most=6))
    _, named = run_until(grid, options, Question(("devnet", "mahalanobis"), most=4))
    assert named[0].in_words(Question(most=4)).endswith("had been answered before this one was asked.")


@pytest.mark.parametrize(
    ("request_", "question", "message"),
    [
        ({"methods": ["devnet"], "seeds": [3, 4]}, Question(), "--until decided adds seeds by itself"),
        ({"methods": ["devnet"], "seeds": 1}, Question(), "2 or more"),
        ({"methods": ["devnet"], "floor": None}, Question(), "devnet is the only one"),
        ({"methods": ["devnet"]}, Question(most=3), "--max-seeds 3: expected at least the 5 of --seeds"),
        ({"methods": ["devnet"]}, Question(("devnet", "dra")), "--between dra: the methods of this run are devnet, mahalanobis"),
        ({"methods": ["devnet"], "validate": True}, Question(), "leave --validate out"),
    ],
)  # fmt: skip
def test_a_question_that_cannot_be_asked_is_refused_before_any_work(tmp_path, request_, question, message):
    grid = read_grid(None, {**SMALL, **request_})
    with pytest.raises(InputError, match=message):
        run_until(grid, Options(out=tmp_path / "store"), question)
    assert not (tmp_path / "store").exists()
