"""Verdicts as CSV and JSON lines."""

from __future__ import annotations

import csv
import io
import json

from osad_bench.benchmark.decide.score import COLUMNS, Verdict
from osad_bench.core.text import printable
from osad_bench.results.render import inert


def header() -> str:
    """Return the first line of the CSV, with its line end."""
    return _line(COLUMNS)


def row(verdict: Verdict, as_json: bool = False) -> str:
    """Return a verdict as one line with its line end; numbers in full precision."""
    if as_json:
        return json.dumps({name: getattr(verdict, name) for name in COLUMNS}) + "\n"
    number = ["" if value is None else repr(value) for value in (verdict.score, verdict.p_value)]
    return _line([inert(printable(verdict.file)), *number, verdict.decision, inert(printable(verdict.problem))])


def _line(cells: object) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow(cells)  # type: ignore[arg-type]
    return stream.getvalue()
