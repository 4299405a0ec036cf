"""A plan that was frozen before any results were known, and which results follow it.

If the plan, or its digest, was published in time (in a registry, a commit or a mail), it shows afterwards which results were
planned and which came about after looking at results. The latter are exploratory.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from osad_bench.core.errors import InputError
from osad_bench.core.files import read_bounded
from osad_bench.core.text import printable
from osad_bench.results.record import Moment, Text

MOST_BYTES = 2**28
"""Most bytes of a plan's file; 100,000 cells take 30 MB."""


class FrozenCell(BaseModel):
    """One cell of a plan."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: Text
    method_source: str = Field("", description="digest of the method's source when the plan was frozen")


class FrozenPlan(BaseModel):
    """The content of the file that `osad-bench run --dry-run --freeze FILE` writes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["osad-bench plan 1"] = "osad-bench plan 1"
    frozen: Moment = Field(default_factory=lambda: datetime.now(timezone.utc))
    project_version: str = ""
    commit: str | None = None
    grid: dict[str, Any] = Field(default_factory=dict, description="the options of the run")
    cells: dict[str, FrozenCell] = Field(min_length=1, description="key of each cell to the cell")

    @property
    def digest(self) -> str:
        """Sha256 of the plan, independent of its file's layout."""
        return hashlib.sha256(
            json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":")).encode()
        ).hexdigest()

    def dump(self) -> str:
        """The text of the plan's file."""
        return self.model_dump_json(indent=1) + "\n"


def read_plan(path: Path) -> FrozenPlan:
    """Read a plan from its file.

    Raises
    ------
    InputError
        The file cannot be read, is larger than `MOST_BYTES`, or is no plan.
    """
    try:
        text = read_bounded(path, MOST_BYTES)
    except OSError as error:
        raise InputError(f"cannot read the plan {path}: {error.strerror}") from None
    return parse_plan(text, str(path))


def parse_plan(text: bytes, name: str) -> FrozenPlan:
    """A plan from the bytes of its file; `name` is what messages call the file.

    Raises
    ------
    InputError
        It is no plan.
    """
    try:
        return FrozenPlan.model_validate_json(text)
    except ValidationError:
        raise InputError(
            f"{name} is no plan, or was changed: expected a file that osad-bench run --dry-run --freeze FILE wrote"
        ) from None


def registration(frame: pd.DataFrame, plan: FrozenPlan) -> pd.Series:
    """State of each record: ``as registered``, or ``exploratory: `` with the reason.

    Parameters
    ----------
    frame
        As `osad_bench.results.load` returns it.
    """

    def of(line: Any) -> str:
        cell = plan.cells.get(line.key)
        if cell is None:
            return "exploratory: not in the plan"
        if line.created < plan.frozen:
            return "exploratory: computed before the plan was frozen"
        source = line.provenance.method_source
        if cell.method_source and not source:
            return "exploratory: the record does not say by which source it was made"
        if cell.method_source and source != cell.method_source:
            return "exploratory: the method's source changed after the plan was frozen"
        return "as registered"

    return pd.Series([of(line) for line in frame.itertuples()], index=frame.index, dtype=object)


def registered_in_words(frame: pd.DataFrame, plan: FrozenPlan) -> list[str]:
    """Sentences on which records of `frame` follow the plan, which do not, and which cells of the plan are missing."""
    states = registration(frame, plan)
    kept = frame.loc[states == "as registered", "key"]
    text = (
        f"Plan {plan.digest[:12]}, frozen {plan.frozen:%Y-%m-%d %H:%M} UTC: {len(kept)} of its {len(plan.cells)} cells are "
        "here as registered"
    )
    failed = int((frame.loc[kept.index, "status"] == "failed").sum())
    text += f", {failed} of them failed." if failed else "."
    lacking = [key for key in plan.cells if key not in set(frame["key"])]
    if lacking:
        text += f" Missing: {len(lacking)}, such as {printable(plan.cells[lacking[0]].title)}."
    sentences = [text]
    for state, part in frame.groupby(states):
        if state != "as registered":
            names = sorted({f"{m} {v}".strip() for m, v in zip(part["method"], part["variant"])})
            reason = str(state).partition(": ")[2]
            sentences.append(f"Exploratory: {len(part)} cells ({reason}) of {', '.join(names)}.")
    return sentences
