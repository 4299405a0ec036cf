"""Several methods over several data sets: ranks, Friedman's test with post-hoc tests, and a Bayesian comparison.

J. Demsar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7, 2006. A. Benavoli, G. Corani,
J. Demsar and M. Zaffalon, "Time for a change: a tutorial for comparing multiple classifiers through Bayesian analysis",
JMLR 18, 2017. All functions take a *matrix*: a frame with data sets as rows and methods as columns, without gaps, higher
= better.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from osad_bench.results.aggregate import LOWER_IS_BETTER, Metric, group_of, summary
from osad_bench.results.paired import holm

ROPE = 0.01
"""Differences of AUC below this do not matter in practice (region of practical equivalence)."""


def dataset_means(frame: pd.DataFrame, metric: Metric = "auroc") -> dict[tuple[str, str, int], pd.DataFrame]:
    """The matrices that may be ranked: (board, setting, shots) to data sets by methods.

    Classes of one data set (``mvtec/carpet``) count as one data set, by their mean. Left out are first methods without complete
    results on more than half of the data sets, then data sets without a complete result of each remaining method: nothing is
    imputed. ``matrix.attrs`` names both (``methods left out``, ``data sets left out``). Variants of methods are left out where
    there are at least two methods with default settings.

    Parameters
    ----------
    frame
        As `osad_bench.results.load` returns it.
    metric
        Column to average; its sign is reversed where lower is better.
    """
    plain = frame[frame["variant"] == ""]
    if len(set(plain["method"])) > 1:
        frame = plain
    lines = summary(frame, metric)
    groups = set(lines.loc[lines["classes"] > 0, "dataset"])
    lines = lines[~group_of(lines["dataset"]).isin(groups)]
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    result = {}
    for (board, setting, shots), part in lines.groupby(["board", "setting", "shots"]):
        complete = part[part["complete"]]
        matrix = sign * complete.pivot_table(index="dataset", columns="method", values="mean")
        matrix = matrix.dropna(axis="columns", how="all")
        # A method on few data sets would cost all others the remaining ones.
        matrix = matrix.loc[:, matrix.notna().sum() * 2 > len(matrix)].dropna()
        matrix.attrs["methods left out"] = sorted(set(part["method"]) - set(matrix.columns))
        matrix.attrs["data sets left out"] = sorted(set(part["dataset"]) - set(matrix.index))
        result[str(board), str(setting), int(shots)] = matrix
    return result


def average_ranks(matrix: pd.DataFrame) -> pd.Series:
    """Mean rank of each method over the data sets, 1 = best; ties share their mean rank."""
    ranks: pd.Series = matrix.rank(axis=1, ascending=False).mean().sort_values()
    return ranks


@dataclass(frozen=True)
class Friedman:
    """Friedman's chi-square (corrected for ties) with its p, and Iman and Davenport's F with its p."""

    chi2: float
    p: float
    f: float
    f_p: float


def friedman(matrix: pd.DataFrame) -> Friedman:
    """Whether the methods differ at all over the data sets.

    Raises
    ------
    ValueError
        There are fewer than three methods or two data sets.
    """
    n, k = matrix.shape
    if k < 3 or n < 2:
        raise ValueError(f"Friedman's test needs three methods and two data sets, not {k} and {n}")
    ranks = matrix.rank(axis=1)
    if (ranks.std(axis=1) == 0).all():
        return Friedman(0.0, 1.0, 0.0, 1.0)
    test = stats.friedmanchisquare(*(matrix[name] for name in matrix.columns))
    chi2 = float(test.statistic)
    rest = n * (k - 1) - chi2
    f = (n - 1) * chi2 / rest if rest > 1e-12 else math.inf
    return Friedman(chi2, float(test.pvalue), f, float(stats.f.sf(f, k - 1, (k - 1) * (n - 1))))


def critical_difference(methods: int, datasets: int, alpha: float = 0.05) -> float:
    """Nemenyi's critical difference of average ranks: q_alpha sqrt(k(k+1)/(6N)) (Demsar 2006, Sec. 3.2.2)."""
    q = float(stats.studentized_range.ppf(1 - alpha, methods, np.inf)) / math.sqrt(2)
    return q * math.sqrt(methods * (methods + 1) / (6 * datasets))


def nemenyi(matrix: pd.DataFrame) -> pd.DataFrame:
    """P-values of Nemenyi's test as a frame of methods by methods; at least three methods."""
    from scikit_posthocs import posthoc_nemenyi_friedman

    result: pd.DataFrame = posthoc_nemenyi_friedman(matrix.reset_index(drop=True))
    return result


def wilcoxon_holm(matrix: pd.DataFrame) -> pd.DataFrame:
    """Wilcoxon's signed-rank test of each pair of methods: ``first, second, p`` (Holm-corrected)."""
    pairs = list(combinations(matrix.columns, 2))
    raw = []
    for first, second in pairs:
        difference = (matrix[first] - matrix[second]).round(12)
        raw.append(1.0 if (difference == 0).all() else float(stats.wilcoxon(difference).pvalue))
    result: pd.DataFrame = pd.DataFrame(pairs, columns=["first", "second"]).assign(p=holm(raw))
    return result


def bayes_signed_rank(
    first: pd.Series, second: pd.Series, *, rope: float = ROPE, samples: int = 10_000, seed: int = 0
) -> tuple[float, float, float]:
    """Probabilities that on data sets like these `first` is better, both are equal within `rope`, or `second` is better.

    Parameters
    ----------
    first, second
        Values of both methods on the same data sets, in the same order.
    rope
        Half the width of the region of practical equivalence.
    samples, seed
        Monte-Carlo samples, and the seed of their random numbers.
    """
    from baycomp import SignedRankTest

    left, equal, right = SignedRankTest.probs(
        first.to_numpy(), second.to_numpy(), rope, nsamples=samples, random_state=seed
    )
    return float(left), float(equal), float(right)


def compare_methods(matrix: pd.DataFrame, *, rope: float = ROPE) -> pd.DataFrame:
    """Compare each pair of methods over all data sets.

    Returns
    -------
    DataFrame
        ``first, second, mean_difference, nemenyi_p, wilcoxon_p`` (Holm-corrected), ``p_first_better, p_equal,
        p_second_better`` (`bayes_signed_rank`). ``mean_difference`` is first - second; ``nemenyi_p`` is NaN for
        two methods.
    """
    result: pd.DataFrame = wilcoxon_holm(matrix).rename(columns={"p": "wilcoxon_p"})
    table = nemenyi(matrix) if matrix.shape[1] > 2 else None
    pairs = list(zip(result["first"], result["second"]))
    result["mean_difference"] = [float((matrix[a] - matrix[b]).mean()) for a, b in pairs]
    result["nemenyi_p"] = [float("nan") if table is None else float(table.loc[a, b]) for a, b in pairs]
    bayes = [bayes_signed_rank(matrix[a], matrix[b], rope=rope) for a, b in pairs]
    result[["p_first_better", "p_equal", "p_second_better"]] = np.array(bayes).reshape(len(pairs), 3)
    return result
