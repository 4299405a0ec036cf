"""A frozen plan: what keeps to it, what is exploratory, and what is missing."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from osad_bench.core.errors import InputError
from osad_bench.results.registered import FrozenCell, FrozenPlan, read_plan, registered_in_words, registration

NOW = datetime.now(timezone.utc)


def plan_of(*keys: str, frozen: datetime = NOW - timedelta(hours=1), source: str = "") -> FrozenPlan:
    return FrozenPlan(
        frozen=frozen, cells={key: FrozenCell(title=f"cell {key[:4]}", method_source=source) for key in keys}
    )


def test_what_was_planned_is_as_registered_and_the_rest_exploratory(records):
    one, other = records.add("dra"), records.add("devnet")
    states = dict(zip(records.frame()["key"], registration(records.frame(), plan_of(one.key))))
    assert states == {one.key: "as registered", other.key: "exploratory: not in the plan"}
    words = registered_in_words(records.frame(), plan_of(one.key, "f" * 64))
    assert "1 of its 2 cells are here as registered" in words[0]
    assert "Missing: 1, such as cell ffff" in words[0]
    assert words[1] == "Exploratory: 1 cells (not in the plan) of devnet."


def test_what_was_computed_before_the_plan_is_exploratory(records):
    one = records.add("dra")
    (state,) = registration(records.frame(), plan_of(one.key, frozen=NOW + timedelta(hours=1)))
    assert state == "exploratory: computed before the plan was frozen"


def test_a_method_that_was_edited_after_the_plan_is_exploratory(records):
    one = records.add("dra")
    (state,) = registration(records.frame(), plan_of(one.key, source="a" * 16))
    assert "does not say by which source" in state
    changed = one.model_copy(update={"provenance": one.provenance.model_copy(update={"method_source": "b" * 16})})
    records.store.put(changed, records.store.scores(one.key))
    (state,) = registration(records.frame(), plan_of(one.key, source="a" * 16))
    assert "source changed" in state


def test_a_plan_is_read_back_with_its_digest(tmp_path):
    plan = plan_of("a" * 64)
    (tmp_path / "plan.json").write_text(plan.dump())
    assert read_plan(tmp_path / "plan.json").digest == plan.digest
    moved = plan.model_copy(update={"frozen": NOW})
    assert moved.digest != plan.digest


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000, '{"format": "osad-bench plan 2", "cells": {}}'])
def test_what_is_no_plan_is_one_sentence(tmp_path, text):
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(InputError, match="is no plan, or was changed"):
        read_plan(tmp_path / "plan.json")
