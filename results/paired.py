"""Two methods on the same test images: the difference of their AUCs, its interval, and whether it is noise.

All methods see the same splits, so every comparison is paired: the difficulty of an image for both methods cancels out.

One computation gives the interval, the p-value and the verdict of a difference; sentences, tables and figures all use it.
The variance of the mean difference is the sum of two: over images (DeLong's, with images that several seeds share counted
once) and over seeds. The critical value is Cochran and Cox's: the mean of Student's values for both parts, weighted by their
variances, so that a few seeds that agree by luck are not trusted too much. The correction for many pairs is Bonferroni's,
whose intervals are simultaneous: an interval excludes 0 exactly where the corrected p-value is below 1 - level.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats
from scipy.special import stdtrit  # many times quicker than scipy.stats for single numbers

from osad_bench.core.progress import Tell, nobody
from osad_bench.results.aggregate import ROW, comparable

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class DeLong:
    """Two AUCs on the same images, their ``difference`` (first - second), its standard error, z and two-sided p."""

    first: float
    second: float
    difference: float
    se: float
    z: float
    p: float

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Confidence interval of the difference."""
        half = float(stats.norm.ppf((1 + level) / 2)) * self.se
        return self.difference - half, self.difference + half


def placements(labels: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats]:
    """Share of the normals below each anomaly, and share of the anomalies above each normal (ties count half).

    Labels and scores have shape (n,), with 0 for normal, 1 for anomaly, and at least one of each. The results, in [0, 1], are
    in the order of the anomalies and of the normals. The mean of either is the AUC. By mid-ranks, in O(n log n): X. Sun
    and W. Xu, "Fast implementation of DeLong's algorithm for comparing the areas under correlated receiver operating
    characteristic curves", IEEE Signal Processing Letters 21(11), 2014.
    """
    anomalous = np.asarray(labels) == 1
    values = np.asarray(scores, dtype=np.float64)
    positive, negative = values[anomalous], values[~anomalous]
    ranks = np.empty_like(values)
    ranks[anomalous], ranks[~anomalous] = np.split(stats.rankdata(np.r_[positive, negative]), [len(positive)])
    above = (ranks[anomalous] - stats.rankdata(positive)) / len(negative)
    below = 1.0 - (ranks[~anomalous] - stats.rankdata(negative)) / len(positive)
    return above, below


def delong(labels: ArrayLike, first: ArrayLike, second: ArrayLike) -> DeLong:
    """DeLong's test of the difference of two AUCs on the same images.

    Parameters
    ----------
    labels
        Shape (n,), 0 normal, 1 anomaly; at least two of each.
    first, second
        Scores of the two methods, shape (n,), higher = more anomalous.

    References
    ----------
    E. DeLong, D. DeLong and D. Clarke-Pearson, "Comparing the areas under two or more correlated receiver operating
    characteristic curves: a nonparametric approach", Biometrics 44(3), 1988.

    Raises
    ------
    ValueError
        There are fewer than two normals or two anomalies.
    """
    positives = int(np.count_nonzero(np.asarray(labels) == 1))
    negatives = np.asarray(labels).size - positives
    if min(positives, negatives) < 2:
        raise ValueError(f"DeLong's test needs two normals and two anomalies, not {negatives} and {positives}")
    above_a, below_a = placements(labels, first)
    above_b, below_b = placements(labels, second)
    variance = np.var(above_a - above_b, ddof=1) / positives + np.var(below_a - below_b, ddof=1) / negatives
    a, b, se = float(above_a.mean()), float(above_b.mean()), math.sqrt(max(float(variance), 0.0))
    z = (a - b) / se if se > 0 else (0.0 if a == b else math.copysign(math.inf, a - b))
    return DeLong(a, b, a - b, se, z, float(2 * stats.norm.sf(abs(z))))


Part = tuple[float, float]
"""A variance and its degrees of freedom."""

LEAST_P = 1e-12
"""Smaller one-sided p-values are reported as this."""


def critical_value(level: float, parts: Sequence[Part]) -> float:
    """Number of standard errors that a difference must exceed at this one-sided level.

    The variance of the difference is the sum of `parts`. With one part the value is Student's. W. G. Cochran and G. M. Cox,
    "Experimental designs", 2nd edition, 1957, Sec. 4.14.
    """
    total = sum(variance for variance, _ in parts)
    return float(sum(variance * -stdtrit(freedom, level) for variance, freedom in parts) / total)


def cochran_cox(difference: float, parts: Sequence[Part]) -> float:
    """One-sided p-value of a positive difference whose variance is the sum of independently estimated parts."""
    total = float(sum(variance for variance, _ in parts))
    if difference <= 0 or total == 0:
        return float(difference <= 0)

    def too_far(log_p: float) -> float:
        return critical_value(math.exp(log_p), parts) - difference / math.sqrt(total)

    least = math.log(LEAST_P)
    return math.exp(least if too_far(least) < 0 else optimize.brentq(too_far, least, math.log(0.5)))


def welch(parts: Sequence[Part]) -> Part:
    """The sum of variances, with the degrees of freedom of Welch and Satterthwaite."""
    total = sum(variance for variance, _ in parts)
    spread = sum(variance**2 / freedom for variance, freedom in parts)
    return total, total**2 / spread if spread > 0 else 1.0


def holm(p: ArrayLike) -> Floats:
    """P-values corrected by Holm's step-down procedure, in the order of `p`."""
    values = np.asarray(p, dtype=np.float64)
    if not values.size:
        return values
    order = np.argsort(values)
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    result = np.empty_like(values)
    result[order] = np.minimum(stepped, 1.0)
    return result


def differences(
    frame: pd.DataFrame,
    scores: pd.DataFrame | Callable[[pd.DataFrame], pd.DataFrame],
    *,
    against: str | None = None,
    level: float = 0.95,
    tell: Tell = nobody,
) -> pd.DataFrame:
    """Differences of pairs of methods on every row of the table, with intervals and verdicts.

    Methods with their default settings are compared with each other, a variant with the default of its own method
    (where there is none: with the method's other variants).

    Parameters
    ----------
    frame
        As `osad_bench.results.load` returns it.
    scores
        As `osad_bench.results.scores.load_scores` returns it, or a function that returns it for some rows of `frame`:
        then only one row of the table is held in memory at a time.
    against
        Compare each method with this one only; None for all pairs.
    level
        Coverage of the intervals, of all pairs of a family together.
    tell
        Called after each row of the table with the numbers of cells done and of all cells.

    Returns
    -------
    DataFrame
        ``board, dataset, setting, shots, first, second, difference`` (first - second, mean over the seeds that both
        have; in the hard setting over their common kinds too), ``low, high`` (simultaneous interval, within [-1, 1]),
        ``seeds`` (common seeds; where there are none, the smaller number), ``kinds, paired`` (False where the two share
        no seed and their means are compared instead), ``p`` (two-sided, Cochran and Cox's test, corrected), ``differs``
        (p < 1 - level), ``family`` (pairs that the correction counts), ``image_variance, seed_variance`` (of the mean
        difference; NaN for one seed) and ``delong_p`` (DeLong's test, not corrected; NaN unless there is one common split).

    Notes
    -----
    With one seed the interval holds for that seed's training only.

    A family is the pairs of a row that answer one question: the pairs of methods with default settings are one, and the pairs
    with variants of one method are another. So a sweep in the same store does not weaken the comparison of methods.
    """
    tests = comparable(frame)
    tests = tests[tests["status"] == "ok"]
    held = None if callable(scores) else dict(iter(scores.groupby("key", sort=False)))
    lines: list[dict[str, Any]] = []
    done = 0
    for row, part in tests.groupby(ROW):
        done += len(part)
        by_key = dict(iter(scores(part).groupby("key", sort=False))) if callable(scores) else held or {}
        part = part[part["key"].isin(list(by_key))]
        shown = part.drop_duplicates("method").set_index("method")[["base", "variant"]]
        cells = _Cells(part, by_key)
        found = [
            line
            for first, second in combinations(sorted(part["method"].unique()), 2)
            if (against in (first, second) if against else _worth_comparing(first, second, shown))
            for line in cells.pair(first, second)
        ]
        for line, family in zip(found, _families(found, shown)):
            lines.append(dict(zip(ROW, row)) | line | _verdict(line["difference"], line.pop("parts"), family, level))
        tell(done, len(tests))
    columns = [
        *ROW, "first", "second", "difference", "low", "high", "seeds", "kinds", "paired", "p", "differs", "family",
        "image_variance", "seed_variance", "delong_p",
    ]  # fmt: skip
    result: pd.DataFrame = pd.DataFrame(lines, columns=columns)
    return result


def _verdict(difference: float, parts: Sequence[Part], family: int, level: float) -> dict[str, Any]:
    """Corrected p-value, simultaneous interval and verdict, which agree with each other."""
    se = math.sqrt(sum(variance for variance, _ in parts))
    p = min(1.0, 2 * family * cochran_cox(abs(difference), parts))
    half = critical_value((1 - level) / 2 / family, parts) * se if se > 0 else 0.0
    return {
        "p": p, "differs": p < 1 - level, "family": family,
        "low": max(-1.0, difference - half), "high": min(1.0, difference + half),
    }  # fmt: skip


def _worth_comparing(first: str, second: str, rows: pd.DataFrame) -> bool:
    (base, variant), (other_base, other_variant) = rows.loc[first], rows.loc[second]
    if not variant and not other_variant:
        return True
    has_default = ((rows["base"] == base) & (rows["variant"] == "")).any()
    return bool(base == other_base and (not variant or not other_variant or not has_default))


def _families(pairs: list[dict[str, Any]], rows: pd.DataFrame) -> list[int]:
    """Size of each pair's family: one family of methods with default settings, and one per method for its variants."""
    studied = [
        next(
            (base for base, variant in rows.loc[[line["first"], line["second"]]].itertuples(index=False) if variant), ""
        )
        for line in pairs
    ]
    count = Counter(studied)
    return [count[name] for name in studied]


class _Cells:
    """AUC of each cell of a row of the table, and the influence of each test image on it.

    The influence of an anomaly is the share of normals below it minus the AUC, divided by the number of anomalies; for a
    normal, with both classes swapped. The variance of a mean AUC over images is a sum of their squares (DeLong et al., 1988).
    """

    def __init__(self, part: pd.DataFrame, by_key: Mapping[Any, pd.DataFrame]) -> None:
        self.keys = {
            (line.method, line.seed, line.known_kind): line.key for line in part.sort_values("created").itertuples()
        }
        self.scores = {cell: by_key[key] for cell, key in self.keys.items()}
        images = pd.concat([one[["image", "label"]] for one in self.scores.values()] or [pd.DataFrame()])
        images = images.drop_duplicates("image") if len(images) else images
        self.labels = images["label"].to_numpy() if len(images) else np.empty(0)
        index = pd.Index(images["image"]) if len(images) else pd.Index([])
        self.auc: dict[Any, float] = {}
        self.influence: dict[Any, Floats] = {}
        self.shown: dict[Any, NDArray[np.bool_]] = {}
        for cell, one in self.scores.items():
            labels, place = one["label"].to_numpy(), index.get_indexer(one["image"])
            above, below = placements(labels, one["score"])
            auc, influence, shown = float(above.mean()), np.zeros(len(index)), np.zeros(len(index), dtype=bool)
            influence[place[labels == 1]] = (above - auc) / len(above)
            influence[place[labels == 0]] = (below - auc) / len(below)
            shown[place] = True
            self.auc[cell], self.influence[cell], self.shown[cell] = auc, influence, shown

    def pair(self, first: str, second: str) -> list[dict[str, Any]]:
        """One line with the difference of two methods and the parts of its variance; empty where they share too little."""
        mine, other = ({cell[1:] for cell in self.keys if cell[0] == name} for name in (first, second))
        kinds = sorted({kind for _, kind in mine} & {kind for _, kind in other})
        ours, theirs = (
            sorted({seed for seed, _ in found if all((seed, kind) in found for kind in kinds)})
            for found in (mine, other)
        )
        common = sorted(set(ours) & set(theirs))
        if not kinds or not (common or min(len(ours), len(theirs)) > 1):
            return []
        if common:
            ours = theirs = common
        a = {seed: float(np.mean([self.auc[first, seed, kind] for kind in kinds])) for seed in ours}
        b = {seed: float(np.mean([self.auc[second, seed, kind] for kind in kinds])) for seed in theirs}
        images = self._images(
            [(first, s, k) for s in ours for k in kinds], [(second, s, k) for s in theirs for k in kinds]
        )
        if common:
            values = [np.array([a[seed] - b[seed] for seed in common])]
            difference = float(values[0].mean())
        else:
            values = [np.array(list(a.values())), np.array(list(b.values()))]
            difference = float(values[0].mean() - values[1].mean())
        seeds = [(float(np.var(one, ddof=1)) / len(one), len(one) - 1.0) for one in values if len(one) > 1]
        return [
            {
                "first": first, "second": second, "difference": difference, "seeds": min(map(len, values)),
                "kinds": len(kinds), "paired": bool(common), "parts": (images, *seeds), "image_variance": images[0],
                "seed_variance": sum(variance for variance, _ in seeds) if seeds else math.nan,
                "delong_p": self._delong((first, common[0], kinds[0]), (second, common[0], kinds[0]))
                if len(common) == len(kinds) == 1 else math.nan,
            }
        ]  # fmt: skip

    def _images(self, mine: list[Any], other: list[Any]) -> Part:
        """Variance over the images of the difference of two mean AUCs, with its degrees of freedom."""
        influence = np.mean([self.influence[cell] for cell in mine], axis=0)
        influence = influence - np.mean([self.influence[cell] for cell in other], axis=0)
        shown = np.any([self.shown[cell] for cell in (*mine, *other)], axis=0)
        parts = []
        for label in (0, 1):
            values = influence[shown & (self.labels == label)]
            freedom = max(1, len(values) - 1)
            parts.append((float((values**2).sum()) * len(values) / freedom, float(freedom)))
        return welch(parts)

    def _delong(self, mine: Any, other: Any) -> float:
        one, two = (self.scores[cell].set_index("image") for cell in (mine, other))
        shared = one.index.intersection(two.index)
        labels = one.loc[shared, "label"]
        if min((labels == 1).sum(), (labels == 0).sum()) < 2:
            return math.nan
        return delong(labels, one.loc[shared, "score"], two.loc[shared, "score"]).p
