from __future__ import annotations

from osad_bench.datasets.base import Problem
from osad_bench.datasets.reading.condensed import condensed


def missing(*files):
    return [Problem("error", file, "is missing") for file in files]


def test_a_missing_folder_is_one_problem_and_the_topmost_one_is_named(tmp_path):
    (problem,) = condensed(missing(*(f"masks/{kind}/{n}.png" for kind in "ab" for n in range(9))), tmp_path)
    assert problem == Problem(
        "error", "masks", "this folder is missing, and with it 18 files (a/0.png, a/1.png, a/2.png, ...): is missing"
    )


def test_many_files_of_one_folder_are_one_problem_and_few_are_not(tmp_path):
    (tmp_path / "masks").mkdir()
    few, many = missing(*(f"masks/{n}.png" for n in range(4))), missing(*(f"masks/{n}.png" for n in range(5)))
    assert condensed(few, tmp_path) == tuple(few)
    (problem,) = condensed(many, tmp_path)
    assert (problem.file, problem.message.partition(" (")[0]) == ("masks", "5 files")


def test_other_messages_and_severities_are_not_joined(tmp_path):
    problems = [
        *missing(*(f"{n}.png" for n in range(4))),
        Problem("note", "5.png", "is missing"),
        Problem("error", "6.png", "x"),
    ]
    assert condensed(problems, tmp_path) == tuple(problems)
