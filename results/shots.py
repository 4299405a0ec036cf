"""AUROC over M, the number of known anomalies, and from which M on training pays.

Methods that learn nothing from the known anomalies are recognised by their results: on one test part (``run --same-test``)
their AUROC for a seed is the same at every M. For another method, training pays from the smallest M on at which it is better
than each of them, if it is so at every larger measured M too (by the verdicts of `paired.differences`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from osad_bench.results.aggregate import ROW, per_seed
from osad_bench.results.titles import Titles, titles_of

CURVE = [name for name in ROW if name != "shots"]
"""Columns that tell curves apart: those of a row of the table without M."""

FEWEST = 3
"""Least number of different M for a curve."""


@dataclass(frozen=True)
class Paying:
    """At which M a method is better than those that learn nothing from known anomalies.

    Attributes
    ----------
    method
        Label of the method, as in `aggregate.comparable`.
    measured, better
        The M at which it was compared, and those at which it is better than each of them.
    """

    method: str
    measured: tuple[int, ...]
    better: tuple[int, ...]

    @property
    def start(self) -> int | None:
        """The smallest M such that the method is better there and at all larger measured M; None where there is none."""
        start = None
        for shots in reversed(self.measured):
            if shots not in self.better:
                break
            start = shots
        return start


def curves(frame: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """Mean AUROC over seeds at each M, with Student's interval over the seeds, clipped to [0, 1].

    Parameters
    ----------
    frame
        As `osad_bench.results.load` returns it.

    Returns
    -------
    DataFrame
        ``board, dataset, setting, shots, method, mean, low, high, seeds`` of curves with at least `FEWEST` different M;
        ``low`` and ``high`` are NaN for one seed.
    """
    seeds = per_seed(frame).dropna(subset=["value"])
    lines: list[dict[str, Any]] = []
    for (*row, method), part in seeds.groupby([*ROW, "method"]):
        values = part["value"].to_numpy()
        half = float(stats.t.ppf((1 + level) / 2, len(values) - 1) * stats.sem(values)) if len(values) > 1 else np.nan
        mean = float(values.mean())
        low, high = max(0.0, mean - half), min(1.0, mean + half)
        lines.append(
            dict(zip(ROW, row)) | {"method": method, "mean": mean, "low": low, "high": high, "seeds": len(values)}
        )
    found: pd.DataFrame = pd.DataFrame(lines, columns=[*ROW, "method", "mean", "low", "high", "seeds"])
    several = found.groupby(CURVE)["shots"].transform("nunique") if len(found) else pd.Series(dtype=int)
    return found[several >= FEWEST] if len(found) else found


def untrained(frame: pd.DataFrame) -> dict[tuple[str, str, str], list[str]]:
    """(board, data set, setting) to the methods whose AUROC of each seed is the same at every M (two at least)."""
    seeds = per_seed(frame).dropna(subset=["value"])
    found: dict[tuple[str, str, str], list[str]] = {}
    for (board, dataset, setting, method), part in seeds.groupby([*CURVE, "method"]):
        spread = part.groupby("seed")["value"].agg(lambda values: values.max() - values.min()).max()
        if len(set(part["shots"])) > 1 and spread < 1e-9:
            found.setdefault((board, dataset, setting), []).append(method)
    return found


def paying(pairs: pd.DataFrame, references: list[str]) -> list[Paying]:
    """Where each other method of one curve is better than all `references`.

    Parameters
    ----------
    pairs
        Lines of `osad_bench.results.paired.differences` of one curve.
    references
        Methods that learn nothing from known anomalies.
    """
    seen: dict[str, dict[int, list[bool]]] = {}
    for line in pairs.to_dict("records"):
        for method, other, sign in ((line["first"], line["second"], 1), (line["second"], line["first"], -1)):
            if other in references and method not in references and line["seeds"] > 1:
                better = bool(line["differs"]) and sign * line["difference"] > 0
                seen.setdefault(method, {}).setdefault(line["shots"], []).append(better)
    found = []
    for method, by_shots in sorted(seen.items()):
        complete = {shots: all(wins) for shots, wins in by_shots.items() if len(wins) == len(references)}
        better = tuple(sorted(shots for shots, wins in complete.items() if wins))
        if complete:
            found.append(Paying(method, tuple(sorted(complete)), better))
    return found


def shots_in_words(frame: pd.DataFrame, pairs: pd.DataFrame) -> list[str]:
    """A paragraph per curve: from which M on training pays, for each method.

    Parameters
    ----------
    frame
        As `osad_bench.results.load` returns it.
    pairs
        Lines of `osad_bench.results.paired.differences` on the same records.
    """
    titles, references = titles_of(frame), untrained(frame)
    paragraphs = []
    for (board, dataset, setting), part in curves(frame).groupby(CURVE):
        title = f"{titles.dataset(dataset)}, {setting} setting, preset {board}"
        flat = references.get((board, dataset, setting), [])
        if not flat:
            paragraphs.append(
                f"{title}: it cannot be said from which M on training pays. That needs a method that learns nothing from the "
                "known anomalies, such as mahalanobis, and one test part for every M (run --same-test)."
            )
            continue
        mine = pairs[(pairs[CURVE] == [board, dataset, setting]).all(axis=1)]
        verdicts = paying(mine, flat)
        sentences = [_sentence(one, titles) for one in verdicts]
        names = " and ".join(map(titles.method, flat))
        if not sentences:
            sentences = ["no other method was measured with two seeds or more"]
        measured = ", ".join(map(str, sorted(set(part["shots"]))))
        paragraphs.append(f"{title}, M = {measured}, beside {names} (the same at every M): {'; '.join(sentences)}.")
    return paragraphs


def _sentence(one: Paying, titles: Titles) -> str:
    method = titles.method(one.method)
    if one.start is None and one.better:
        return f"{method} is better at M = {', '.join(map(str, one.better))}, but not at every larger M"
    if one.start is None:
        return f"training is not shown to pay for {method} at any M up to {max(one.measured)}"
    return f"training pays from M = {one.start} for {method}"
