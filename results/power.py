"""How many seeds a difference between two methods needs, estimated from the spread of records.

The test is that of `paired.differences` (Cochran and Cox's, paired, two-sided, corrected for the pairs of a row). Its
power for a true difference is averaged over the possible estimates of the spread over seeds: with few seeds that estimate is
poor, so the critical value is high. More seeds reduce the variance over seeds, but not that over images: below some
difference no number of seeds is enough, as the test images are too few.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import optimize, stats

from osad_bench.results.aggregate import ROW
from osad_bench.results.titles import Titles

MOST_SEEDS = 1000
"""Seeds above which no answer is sought."""

DIFFERENCES = (0.01, 0.02, 0.03, 0.05)
"""Differences of AUROC that `power_table` shows."""
SEEDS = (3, 5, 10, 20)
"""Numbers of seeds that `power_table` shows."""

_GRID = (np.arange(200) + 0.5) / 200


def power(
    difference: float, seeds: int, spread: float, image_variance: float, pairs: int = 1, level: float = 0.05
) -> float:
    """Probability, in [0, 1], that the test finds a true difference.

    Parameters
    ----------
    difference
        True difference of the mean AUROCs.
    seeds
        Seeds that both methods share, at least 2.
    spread
        Standard deviation over seeds of the paired difference.
    image_variance
        Variance of the mean difference over the test images, with known seeds.
    pairs
        Number of pairs that the test is corrected for.
    level
        Error rate of the two-sided test of all pairs together.
    """
    tail = level / 2 / pairs
    own = spread**2 / seeds
    if not own and not image_variance:  # all seeds and images agree, as where every AUROC is 1
        return float(difference != 0)
    estimated = own * stats.chi2.ppf(_GRID, seeds - 1) / (seeds - 1)  # possible estimates of the variance over seeds
    total = np.maximum(image_variance + estimated, 1e-30)
    critical = (
        (image_variance * stats.norm.isf(tail) + estimated * stats.t.isf(tail, seeds - 1)) / total * np.sqrt(total)
    )
    true = math.sqrt(max(image_variance + own, 1e-30))
    found = stats.norm.sf((critical - difference) / true) + stats.norm.cdf((-critical - difference) / true)
    return float(found.mean())


def seeds_needed(
    difference: float, spread: float, image_variance: float, pairs: int = 1, level: float = 0.05, target: float = 0.8
) -> int | None:
    """The fewest seeds that find a true difference with probability `target`; None where `MOST_SEEDS` are too few."""

    def enough(seeds: int) -> bool:
        return power(difference, seeds, spread, image_variance, pairs, level) >= target

    if not enough(MOST_SEEDS):
        return None
    low, high = 1, MOST_SEEDS  # not enough, enough
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def smallest_difference(
    seeds: int, spread: float, image_variance: float, pairs: int = 1, level: float = 0.05, target: float = 0.8
) -> float:
    """The smallest true difference that `seeds` seeds find with probability `target`; 1 where they find none up to 1."""

    def lacking(difference: float) -> float:
        return power(difference, seeds, spread, image_variance, pairs, level) - target

    return 1.0 if lacking(1.0) < 0 else float(optimize.brentq(lacking, 0.0, 1.0, xtol=1e-5))


def spreads(pairs: pd.DataFrame) -> pd.DataFrame:
    """The spread of the pairs of each row of the table.

    Parameters
    ----------
    pairs
        As `paired.differences` returns it; pairs with one common seed or none are left out.

    Returns
    -------
    DataFrame
        ``board, dataset, setting, shots, pairs`` (that the correction counts), and medians over the pairs: ``seeds``,
        ``spread`` (standard deviation over seeds of a paired difference) and ``image_variance``.
    """
    usable = pairs[pairs["paired"].astype(bool) & (pairs["seeds"] > 1)]
    usable = usable.assign(spread=np.sqrt((usable["seed_variance"] * usable["seeds"]).astype(float)))
    grouped = usable.groupby(ROW)
    result: pd.DataFrame = grouped.agg(
        pairs=("family", "max"),
        seeds=("seeds", "median"),
        spread=("spread", "median"),
        image_variance=("image_variance", "median"),
    ).reset_index()
    return result.astype({"pairs": int, "seeds": int})


def power_table(
    pairs: pd.DataFrame, titles: Titles, differences: Sequence[float] = DIFFERENCES, seeds: Sequence[int] = SEEDS,
    level: float = 0.05, target: float = 0.8,
) -> pd.DataFrame:  # fmt: skip
    """Seeds needed for each difference, and the smallest difference that each number of seeds finds, as texts.

    Parameters
    ----------
    pairs
        As `paired.differences` returns it.
    differences, seeds
        Differences of AUROC, and numbers of seeds, to make columns of.
    level, target
        As in `power` and `seeds_needed`.
    """
    lines = []
    for line in spreads(pairs).to_dict("records"):
        of = (line["spread"], line["image_variance"], line["pairs"], level, target)
        needed = {value: seeds_needed(value, *of) for value in differences}
        lines.append(
            {
                **titles.row(line), "pairs": line["pairs"], "seeds here": line["seeds"],
                "std of a paired difference": f"{line['spread']:.4f}",
                "standard error of the images": f"{math.sqrt(line['image_variance']):.4f}",
                **{f"seeds for {value:g}": "no number" if count is None else str(count) for value, count in needed.items()},
                **{f"found with {count} seeds": f"{smallest_difference(count, *of):.3f}" for count in seeds},
            }
        )  # fmt: skip
    result: pd.DataFrame = pd.DataFrame(lines)
    return result


def estimated_from(seeds: int) -> str:
    """In words, how far a standard deviation over `seeds` seeds may be off (95 % interval for normal values)."""
    low, high = (math.sqrt((seeds - 1) / stats.chi2.isf(tail, seeds - 1)) for tail in (0.025, 0.975))
    return f"from {seeds} seeds: the true one is {low:.1f} to {high:.1f} times as large"
