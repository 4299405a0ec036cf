"""Operating points: how many anomalies are found at an acceptable rate of false alarms.

An AUROC averages over all thresholds, most of which nobody would use. Here the threshold is set on the test normals to give
a wanted rate of false alarms, and the recall is reported; or on the test anomalies for a wanted recall, and the rate of false
alarms is reported.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from osad_bench.results.aggregate import ROW, comparable
from osad_bench.results.titles import Titles

POINTS = {
    "recall_1": "recall at 1 % false alarms",
    "recall_5": "recall at 5 % false alarms",
    "alarms_95": "false alarms at 95 % recall",
}
"""Column to its title."""


def recall_at(labels: ArrayLike, scores: ArrayLike, rate: float) -> float:
    """Share of the anomalies that score above the threshold, the lowest normal score that at most `rate` of the normals exceed.

    Parameters
    ----------
    labels, scores
        Shape (n,): 0 normal, 1 anomaly, at least one of each; higher scores are more anomalous.
    rate
        Rate of false alarms, at least 0 and below 1. With fewer than ``1 / rate`` normals, no normal exceeds the threshold.
    """
    anomalous, values = np.asarray(labels) == 1, np.asarray(scores, dtype=np.float64)
    normals = np.sort(values[~anomalous])[::-1]
    threshold = normals[math.floor(rate * len(normals) + 1e-9)]  # exactly so many normals may lie above it
    return float((values[anomalous] > threshold).mean())


def alarms_at(labels: ArrayLike, scores: ArrayLike, recall: float) -> float:
    """Share of the normals that reach the threshold, the highest one that at least `recall` of the anomalies reach.

    Parameters
    ----------
    labels, scores
        As in `recall_at`.
    recall
        Above 0 and at most 1.
    """
    anomalous, values = np.asarray(labels) == 1, np.asarray(scores, dtype=np.float64)
    anomalies = np.sort(values[anomalous])[::-1]
    threshold = anomalies[math.ceil(recall * len(anomalies) - 1e-9) - 1]
    return float((values[~anomalous] >= threshold).mean())


def points_of(labels: ArrayLike, scores: ArrayLike) -> dict[str, float]:
    """All `POINTS` of one cell; labels and scores as in `recall_at`."""
    return {
        "recall_1": recall_at(labels, scores, 0.01),
        "recall_5": recall_at(labels, scores, 0.05),
        "alarms_95": alarms_at(labels, scores, 0.95),
    }


def share_interval(shares: ArrayLike, images: int, level: float = 0.95) -> tuple[float, float]:
    """Confidence interval of a mean share over seeds, each measured on about the same `images`.

    Clopper and Pearson's binomial interval for an effective number of images, chosen so that the binomial variance equals the
    variance over images plus that over seeds: E. Korn and B. Graubard, "Confidence intervals for proportions with small
    expected number of positive counts estimated from survey data", Survey Methodology 24(2), 1998. The threshold is taken as
    given.
    """
    values = np.asarray(shares, dtype=np.float64)
    share, tail = float(values.mean()), (1 - level) / 2
    worth = float(images)
    if len(values) > 1 and 0 < share < 1:
        widened = (stats.t.isf(tail, len(values) - 1) / stats.norm.isf(tail)) ** 2
        variance = share * (1 - share) / images + float(values.var(ddof=1)) / len(values) * widened
        worth = share * (1 - share) / variance
    found = share * worth
    low = 0.0 if share == 0 else float(stats.beta.ppf(tail, found, worth - found + 1))
    high = 1.0 if share == 1 else float(stats.beta.isf(tail, found + 1, worth - found))
    return low, high


def operating_points(
    frame: pd.DataFrame, scores: pd.DataFrame | Callable[[pd.DataFrame], pd.DataFrame]
) -> pd.DataFrame:
    """`POINTS` of every method on every row of the table: means over seeds (and known kinds), with 95 % intervals.

    Parameters
    ----------
    frame
        As `osad_bench.results.load` returns it.
    scores
        As `osad_bench.results.scores.load_scores` returns it, or a function that returns it for some rows of `frame`.

    Returns
    -------
    DataFrame
        ``board, dataset, setting, shots, method, seeds, normals, anomalies`` (distinct test images of all seeds together),
        and for each point its mean, and the ends of its interval with ``_low`` and ``_high`` after its name.
    """
    tests = comparable(frame)
    tests = tests[tests["status"] == "ok"]
    held = None if callable(scores) else dict(iter(scores.groupby("key", sort=False)))
    lines = []
    for row, part in tests.groupby(ROW):
        by_key = dict(iter(scores(part).groupby("key", sort=False))) if callable(scores) else held or {}
        for method, cells in part[part["key"].isin(list(by_key))].groupby("method"):
            of = [by_key[key] for key in cells["key"]]
            found = pd.DataFrame([points_of(one["label"], one["score"]) for one in of])
            seeds = found.groupby(cells["seed"].to_numpy()).mean()
            images = pd.concat([one[["image", "label"]] for one in of]).drop_duplicates("image")["label"]
            counts = {"normals": int((images == 0).sum()), "anomalies": int((images == 1).sum())}
            line: dict[str, Any] = dict(zip(ROW, row)) | {"method": method, "seeds": len(seeds)} | counts
            for name in POINTS:
                line[name] = float(seeds[name].mean())
                count = counts["normals" if name.startswith("alarms") else "anomalies"]
                line[f"{name}_low"], line[f"{name}_high"] = share_interval(seeds[name], count)
            lines.append(line)
    columns = [
        *ROW,
        "method",
        "seeds",
        "normals",
        "anomalies",
        *(f"{name}{end}" for name in POINTS for end in ("", "_low", "_high")),
    ]
    result: pd.DataFrame = pd.DataFrame(lines, columns=columns)
    return result


def points_for_print(points: pd.DataFrame, titles: Titles) -> pd.DataFrame:
    """`operating_points` as texts, with numbers as a paper prints them."""
    lines = [
        {
            **titles.row(line),
            "method": titles.method(line["method"]),
            **{
                title: f"{line[name]:.2f} [{line[f'{name}_low']:.2f}, {line[f'{name}_high']:.2f}]"
                for name, title in POINTS.items()
            },
            "test normals": line["normals"],
            "test anomalies": line["anomalies"],
            "seeds": line["seeds"],
        }
        for line in points.to_dict("records")
    ]  # fmt: skip
    result: pd.DataFrame = pd.DataFrame(lines)
    return result
