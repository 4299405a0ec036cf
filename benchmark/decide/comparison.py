"""Results of comparing methods on a user's images, and the advice that is made of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.stats import beta

PROMISES = (0.01, 0.05)
"""Shares of false alarms at which recall is given."""

LISTED = 5
"""Largest number of files named in one sentence or list."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Recall:
    """Share of further anomalies of these kinds that would be found, with a 95 % interval.

    Attributes
    ----------
    false_alarms
        The promised share.
    normals
        Number of held-out normals.
    share, low, high
        The recall and its interval, in [0, 1]; None if there are too few held-out normals for the promise.
    """

    false_alarms: float
    normals: int
    share: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Candidate:
    """One method on the repeated splits; nothing is corrected for its having been chosen.

    Attributes
    ----------
    auroc, spread
        Mean and standard deviation of the AUROC over the splits.
    recall
        Mean recall by promised share of false alarms; None if there are too few held-out normals for it.
    seconds
        Mean time of a cell (fit and scoring).
    """

    method: str
    title: str
    auroc: float
    spread: float
    recall: dict[float, float | None]
    seconds: float


@dataclass(frozen=True)
class Advice:
    """A recommendation, in numbers and in words.

    Attributes
    ----------
    method
        The recommended method's name.
    candidates
        All that ran, best first.
    recall
        Of the recommended method, corrected.
    ties
        Methods whose difference from it is within chance.
    sentences
        The recommendation and what the data cannot tell.
    remedies
        What would help, the most important first.
    look
        Files to look at, by the reason for it.
    failures
        One sentence per method that failed.
    """

    dataset: str
    method: str
    candidates: list[Candidate]
    recall: list[Recall]
    ties: list[str]
    sentences: list[str]
    remedies: list[str]
    look: dict[str, list[str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Results:
    """All methods' results on all splits.

    Attributes
    ----------
    methods, anomalies
        Names along the axes.
    above
        (methods, splits, anomalies): share of held-out normals that score lower; NaN where the anomaly was not tested.
    p_value
        The same shape: conformal p-values among the held-out normals.
    normals
        Number of held-out normals per split (the smallest).
    high
        Per method and held-out normal, the mean share of test anomalies that score lower.
    """

    methods: list[str]
    anomalies: list[str]
    above: Floats
    p_value: Floats
    normals: int
    high: dict[str, dict[str, float]]


def interval(share: float, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's interval (low, high) of a share of `count` images; the share may be between two counts."""
    tail, hits = (1 - confidence) / 2, share * count
    low = float(beta.ppf(tail, hits, count - hits + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, count - hits)) if hits < count else 1.0
    return low, high
