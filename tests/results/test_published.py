"""The papers' numbers: what contradicts what, found by the code, and which number ours are compared with."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from osad_bench.results.compare import compare_published
from osad_bench.results.published import COLUMNS, numbers
from osad_bench.results.published.audit import (
    MEAN,
    OTHER,
    RERUN,
    SLIP,
    TWICE,
    contradictions,
    for_print,
    larger_of_two,
    to_compare_with,
)
from osad_bench.results.render import frame_to_markdown


def number(method: str, mean: float, *, source: str = "A paper", origin: str = "own run", **more: object) -> dict:
    return {
        **dict.fromkeys(COLUMNS, ""), "source": source, "table": 1, "setting": "general", "shots": 10, "dataset": "elpv",
        "method": method, "mean": mean, "std": 0.01, "runs": 3, "origin": origin, **more,
    }  # fmt: skip


def found(*lines: dict) -> list[tuple[str, str]]:
    frame = contradictions(pd.DataFrame(lines, columns=list(COLUMNS)))
    return list(frame[["what", "equals"]].itertuples(index=False, name=None))


def test_every_number_has_a_source_and_an_origin():
    every = numbers()
    assert list(every.columns) == list(COLUMNS)
    assert len(every) == 1259 + 210 + 24 - 6
    assert every[["source", "table", "setting", "shots", "dataset", "method", "mean", "origin"]].notna().all(axis=None)
    assert set(every["origin"]) == {"own run", "rerun", "copied", "copied or rerun"}
    assert every["mean"].between(0.3, 1).all()


def test_a_copy_that_equals_what_it_copies_contradicts_nothing():
    assert found(number("x", 0.8), number("x", 0.8, source="B paper", origin="copied")) == []


def test_a_slip_of_copying_is_found():
    assert found(number("x", 0.8), number("x", 0.9, source="B paper", origin="copied")) == [(SLIP, "")]


def test_a_copy_of_another_methods_number_is_found_and_says_whose_it_is():
    lines = number("x", 0.8), number("y", 0.9), number("x", 0.9, source="B paper", origin="copied")
    assert found(*lines) == [(OTHER, "y in A paper, Table 1")]


@pytest.mark.parametrize(("rerun", "told"), [(0.819, []), (0.82, [(RERUN, "")]), (0.7, [(RERUN, "")])])
def test_a_rerun_is_told_from_a_difference_of_two_hundredths_on(rerun, told):
    assert found(number("x", 0.8), number("x", rerun, source="B paper", origin="rerun")) == told


def test_two_numbers_of_one_paper_for_one_thing_are_found():
    assert found(number("x", 0.8), number("x", 0.81, table=7)) == [(TWICE, "")]


def test_a_mean_that_its_parts_do_not_have_is_found():
    lines = [
        number("x", mean, setting="hard", known_kind=kind) for kind, mean in (("a", 0.7), ("b", 0.8), ("mean", 0.8))
    ]
    assert found(*lines) == [(MEAN, "")]
    lines[-1]["mean"] = 0.75
    assert found(*lines) == []


def test_what_the_papers_contradict_each_other_in():
    counts = contradictions(numbers()).groupby("what").size().to_dict()
    assert counts == {SLIP: 4, OTHER: 12, RERUN: 22, TWICE: 1}
    line = contradictions(numbers()).query("dataset == 'elpv' and shots == 1 and method == 'devnet'").iloc[0]
    assert (line["first"], line["second"]) == ("0.810±0.024", "0.514±0.076")
    assert larger_of_two(numbers()) == (30, 30, 5)


def test_a_number_is_compared_with_its_own_paper_then_a_rerun_and_a_copy_last():
    best = to_compare_with(numbers()).set_index(["setting", "shots", "dataset", "known_kind", "method"])
    elpv = best.loc[("general", 1, "elpv", "")]
    assert tuple(elpv.loc["ahl", ["mean", "origin"]]) == (0.723, "own paper")
    assert elpv.loc["ahl", "disputed"] == "DPDL paper 0.828±0.005 (copied)"
    assert tuple(elpv.loc["devnet", ["mean", "origin"]]) == (0.810, "rerun by others")
    assert "DRA paper (CVPR 2022) 0.514±0.076 (run by others)" in elpv.loc["devnet", "disputed"]
    assert tuple(elpv.loc["dra", ["mean", "origin", "disputed"]]) == (0.675, "own paper", "")


def test_ours_are_compared_once_with_a_named_source(records):
    for seed in range(2):
        records.add("dpdl", seed=seed)
        records.add("devnet", shots=1, seed=seed)
    lines = compare_published(records.frame()).set_index("method")
    assert list(lines.index) == ["dpdl", "devnet"]
    assert lines.loc["dpdl", "source"] == "DPDL paper, Table 1"
    assert lines.loc["devnet", "disputed"]


def test_the_guides_list_of_contradictions_is_what_the_code_finds():
    guide = (Path(__file__).parents[2] / "docs" / "claims.md").read_text("utf-8")
    assert frame_to_markdown(for_print(contradictions(numbers()))) in guide
    places, larger, other = larger_of_two(numbers())
    assert f"{larger} of {places}" in guide
    assert re.search(rf"\b{other} of (them|these)", guide)
