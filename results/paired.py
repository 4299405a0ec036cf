"""Two methods on the same test images: DeLong's test, and a bootstrap over images and seeds.

All methods see the same splits, so every comparison is paired: what makes an image hard for both cancels out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from osad_bench.core.progress import Tell, nobody
from osad_bench.results.aggregate import ROW, comparable

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class DeLong:
    """Difference of two AUCs on the same images: ``difference`` = first - second, standard error, z and two-sided p."""

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

    The mean of either is the AUC. By mid-ranks, in O(n log n): X. Sun and W. Xu, "Fast implementation of DeLong's
    algorithm for comparing the areas under correlated receiver operating characteristic curves", IEEE Signal
    Processing Letters 21(11), 2014.
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


def weighted_aucs(labels: ArrayLike, scores: ArrayLike, weights: Floats) -> Floats:
    """AUC of each reweighted sample.

    Parameters
    ----------
    labels, scores
        Shape (n,).
    weights
        Shape (draws, n): how often each image is in each sample.

    Returns
    -------
    array of shape (draws,); NaN for a sample without normals or without anomalies
    """
    values, drawn = np.asarray(scores), weights.T  # an image a row: what is picked below is whole rows
    order = np.argsort(values, kind="stable")
    normal, anomalous = (order[np.asarray(labels)[order] == label] for label in (0, 1))
    cumulative = np.zeros((len(normal) + 1, drawn.shape[1]))
    np.cumsum(drawn[normal], axis=0, out=cumulative[1:])
    left, right = (np.searchsorted(values[normal], values[anomalous], side) for side in ("left", "right"))
    below = cumulative[left]
    tied = left != right
    below[tied] = (below[tied] + cumulative[right[tied]]) / 2
    several = drawn[anomalous]
    with np.errstate(invalid="ignore"):
        result: Floats = np.einsum("ij,ij->j", below, several) / (several.sum(axis=0) * cumulative[-1])
    return result


def stretch(seeds: int, level: float = 0.95) -> float:
    """Factor on the seeds' deviations: so few draws show too little of the spread.

    sqrt(n/(n-1)) t/z, by which the bootstrap of a mean of n values has the coverage of Student's interval: T. Hesterberg,
    "What teachers should know about the bootstrap", The American Statistician 69(4), 2015. It is 1.58 for five seeds.
    """
    quantile = (1 + level) / 2
    return float(math.sqrt(seeds / (seeds - 1)) * stats.t.ppf(quantile, seeds - 1) / stats.norm.ppf(quantile))


def bootstrap_aucs(cells: dict[Any, pd.DataFrame], draws: int, seed: int = 0) -> dict[Any, tuple[float, Floats]]:
    """AUC of each cell on its images, and on `draws` resamples of the images that all cells share.

    Parameters
    ----------
    cells
        Anything to a frame with ``image, label, score``. An image is drawn equally often for all cells; normals and
        anomalies are drawn apart.
    """
    images = pd.concat([part[["image", "label"]] for part in cells.values()]).drop_duplicates("image")
    generator = np.random.default_rng(seed)
    drawn = np.empty((len(images), draws), dtype=np.float64)
    for label in (0, 1):
        place = np.flatnonzero(images["label"].to_numpy() == label)
        drawn[place] = generator.multinomial(len(place), np.full(len(place), 1 / len(place)), size=draws).T
    index = pd.Index(images["image"])
    result = {}
    for name, part in cells.items():
        labels, values = part["label"].to_numpy(), part["score"].to_numpy()
        once = weighted_aucs(labels, values, np.ones((1, len(part))))
        result[name] = float(once[0]), weighted_aucs(labels, values, drawn[index.get_indexer(part["image"])].T)
    return result


def holm(p: ArrayLike) -> Floats:
    """P-values corrected by Holm's step-down procedure."""
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
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    tell: Tell = nobody,
) -> pd.DataFrame:
    """Pairs of methods on every row of the table, with an interval and a verdict.

    Methods with their default settings are compared with each other, a variant with the default of its own method
    (where there is none: with the method's other variants).

    Parameters
    ----------
    frame
        As `osad_bench.results.load` returns it.
    scores
        As `osad_bench.results.scores.load_scores` returns it, or a function that returns it for some rows of `frame`: of a
        large store one row of the table is then held in memory at a time.
    against
        Compare each method with this one alone; None for all pairs.
    draws
        Bootstrap samples.
    level
        Coverage of the intervals; one pair at a time.
    tell
        Called after each row of the table with its cells.

    Returns
    -------
    DataFrame
        ``board, dataset, setting, shots, first, second, difference`` (first - second, mean over the seeds that both
        have; in the hard setting over their common kinds too), ``low, high, seeds, kinds, p`` (Holm-corrected),
        ``differs`` (p < 1 - level), and for a single split ``delong_p``.

    Notes
    -----
    Images are resampled, the same ones for both methods and all seeds; seeds are resampled too, with their deviations
    widened by `stretch`. With one seed the interval holds for that seed's training alone.

    Holm's correction counts the pairs of a row that answer one question: those of methods as they are, and apart from
    them those of each method's variants. A sweep in the same store takes no power from the comparison of methods.
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
        keys = {
            (line.method, line.seed, line.known_kind): line.key for line in part.sort_values("created").itertuples()
        }
        drawn = bootstrap_aucs({cell: by_key[key] for cell, key in keys.items()}, draws, seed)
        found = [
            _pair(first, second, keys, drawn, by_key, level, seed)
            for first, second in combinations(sorted(part["method"].unique()), 2)
            if (against in (first, second) if against else _worth_comparing(first, second, shown))
        ]
        found = [line for line in found if line]
        corrected = _holm_in_families(found, shown)
        lines += [dict(zip(ROW, row)) | line | {"p": p, "differs": p < 1 - level} for line, p in zip(found, corrected)]
        tell(done, len(tests))
    columns = [*ROW, "first", "second", "difference", "low", "high", "seeds", "kinds", "p", "differs", "delong_p"]
    result: pd.DataFrame = pd.DataFrame(lines, columns=columns)
    return result


def _worth_comparing(first: str, second: str, rows: pd.DataFrame) -> bool:
    (base, variant), (other_base, other_variant) = rows.loc[first], rows.loc[second]
    if not variant and not other_variant:
        return True
    has_default = ((rows["base"] == base) & (rows["variant"] == "")).any()
    return bool(base == other_base and (not variant or not other_variant or not has_default))


def _holm_in_families(pairs: list[dict[str, Any]], rows: pd.DataFrame) -> list[float]:
    """Their p-values corrected by Holm within one family of methods as they are, and one a method of variants."""
    families: dict[str, list[int]] = {}
    for place, line in enumerate(pairs):
        studied = [
            base for base, variant in rows.loc[[line["first"], line["second"]]].itertuples(index=False) if variant
        ]
        families.setdefault(studied[0] if studied else "", []).append(place)
    result = [math.nan] * len(pairs)
    for places in families.values():
        for place, p in zip(places, holm([pairs[place]["p"] for place in places])):
            result[place] = float(p)
    return result


def _pair(
    first: str,
    second: str,
    keys: dict[tuple[str, int, str], str],
    drawn: dict[Any, tuple[float, Floats]],
    by_key: dict[Any, pd.DataFrame],
    level: float,
    seed: int,
) -> dict[str, Any]:
    common = {cell[1:] for cell in keys if cell[0] == first} & {cell[1:] for cell in keys if cell[0] == second}
    kinds = sorted({kind for _, kind in common})
    seeds = sorted({one for one, _ in common if all((one, kind) in common for kind in kinds)})
    if not seeds:
        return {}
    # (seeds,) and (seeds, draws): difference of the means over kinds
    point = np.array([np.mean([drawn[first, s, k][0] - drawn[second, s, k][0] for k in kinds]) for s in seeds])
    images = np.array([np.mean([drawn[first, s, k][1] - drawn[second, s, k][1] for k in kinds], axis=0) for s in seeds])
    sample = images.mean(axis=0)
    if len(seeds) > 1:
        picks = np.random.default_rng(seed + 1).integers(len(seeds), size=(images.shape[1], len(seeds)))
        sample = sample + stretch(len(seeds), level) * (point[picks].mean(axis=1) - point.mean())
    difference, spread = float(point.mean()), float(np.nanstd(sample, ddof=1))
    low, high = np.nanquantile(sample, [(1 - level) / 2, (1 + level) / 2])
    if spread > 0:
        p = float(2 * stats.norm.sf(abs(difference) / spread))
    else:
        p = 1.0 if difference == 0 else 0.0
    test = np.nan
    if len(seeds) == len(kinds) == 1:
        cell = (seeds[0], kinds[0])
        one, other = (by_key[keys[name, cell[0], cell[1]]].set_index("image") for name in (first, second))
        shared = one.index.intersection(other.index)
        test = delong(one.loc[shared, "label"], one.loc[shared, "score"], other.loc[shared, "score"]).p
    return {
        "first": first, "second": second, "difference": difference, "low": float(low), "high": float(high),
        "seeds": len(seeds), "kinds": len(kinds), "p": p, "delong_p": test,
    }  # fmt: skip
