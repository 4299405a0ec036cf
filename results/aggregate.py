"""From records to means: what may be averaged, what may share a table, and what is missing.

Three steps, each a function from frame to frame: `comparable` (one label for each thing that must not be mixed),
`per_seed` (the hard setting's mean over known kinds), `summary` (mean and standard deviation over seeds).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from osad_bench.results.row import digest, tell_apart

Metric = Literal["auroc", "average_precision", "fpr95", "pixel_auroc", "aupro"]
LOWER_IS_BETTER = frozenset({"fpr95"})
"""Metrics of which a smaller value is better."""

ROW = ["board", "dataset", "setting", "shots"]
"""Columns that name a `row.Row` for people: ``board`` holds the preset and the protocol's options."""


def comparable(frame: pd.DataFrame) -> pd.DataFrame:
    """Records of test parts, with labels that keep apart what must not be averaged.

    Parameters
    ----------
    frame
        As `osad_bench.results.load` returns it.

    Returns
    -------
    DataFrame
        The lines with ``part == "test"``. ``board`` is added: the preset with the protocol options; two boards never share
        a table. ``dataset`` has the fingerprint appended where one name stands for different data. ``method`` holds method
        and variant, and the version or a digest of the configuration where these differ; ``base`` is the method alone.
        ``known_kind`` is empty where there is none. Two records agree in the columns `ROW` exactly where they belong to
        the same `row.Row`.
    """
    tests: pd.DataFrame = frame[frame["part"] == "test"].copy()
    if tests.empty:
        tests["board"] = pd.Series(dtype=str)
        return tests
    # Lists, because going through a frame's strings one by one is slow.
    of = {name: tests[name].tolist() for name in ("preset", "settings", "options", "dataset", "fingerprint")}
    boards = tell_apart(of["preset"], of["settings"])
    tests["board"] = [f"{board}, {more}" if more else board for board, more in zip(boards, of["options"])]
    tests["dataset"] = tell_apart(of["dataset"], [name[:8] for name in of["fingerprint"]])
    tests["base"] = tests["method"]
    named = [f"{name} {variant}".strip() for name, variant in zip(tests["method"].tolist(), tests["variant"].tolist())]
    named = tell_apart(named, [f"v{version}" for version in tests["version"].tolist()])
    configs = tests["config"].tolist()
    digests = {number: digest(config) for number, config in {id(config): config for config in configs}.items()}
    tests["method"] = tell_apart(named, [digests[id(config)] for config in configs])
    tests["known_kind"] = tests["known_kind"].fillna("")
    return tests


def per_seed(frame: pd.DataFrame, metric: Metric = "auroc") -> pd.DataFrame:
    """One value per method, row and seed; in the hard setting the mean over the known kinds.

    Parameters
    ----------
    frame
        As `osad_bench.results.load` returns it.
    metric
        Column to average.

    Returns
    -------
    DataFrame
        Columns ``board, dataset, setting, shots, method, seed, value, kinds, expected_kinds, failed``. ``value`` is NaN
        where a known kind that any method or seed of the row has is missing or failed, as means over different kinds are
        not comparable. ``kinds`` are the known kinds with a result, of ``expected_kinds``; ``failed`` counts failed records.
    """
    tests = comparable(frame)
    tests["_ok"] = (tests["status"] == "ok") & tests[metric].notna()
    tests["_failed"] = tests["status"] == "failed"
    expected = tests.groupby(ROW)["known_kind"].nunique().rename("expected_kinds").reset_index()
    grouped = tests.groupby([*ROW, "method", "seed"])
    result: pd.DataFrame = grouped.agg(
        value=(metric, "mean"), kinds=("_ok", "sum"), failed=("_failed", "sum")
    ).reset_index()
    result = result.merge(expected, on=ROW)
    result.loc[result["kinds"] < result["expected_kinds"], "value"] = np.nan
    return result


OWN = frozenset({"folder", "csv"})
"""First parts of names such as ``folder/photos``: these are a user's own data sets, not classes of one data set."""


def group_of(datasets: pd.Series) -> pd.Series:
    """For each name the data set of which it is one class (``mvtec`` for ``mvtec/carpet``); empty where it is no class."""
    group = datasets.str.split("/").str[0]
    result: pd.Series = group.where(datasets.str.contains("/") & ~group.isin(OWN), "")
    return result


def with_group_means(seeds: pd.DataFrame) -> pd.DataFrame:
    """Add rows to those of `per_seed`: for data sets made of classes (``mvtec/carpet``) each seed's mean over the classes."""
    classes = seeds[group_of(seeds["dataset"]) != ""].copy()
    if classes.empty:
        seeds["classes"] = 0
        return seeds
    classes["class"] = classes["dataset"]
    classes["dataset"] = group_of(classes["dataset"])
    expected = classes.groupby(ROW)["class"].nunique().rename("classes").reset_index()
    grouped = classes.groupby([*ROW, "method", "seed"])
    means = grouped.agg(
        value=("value", "mean"),
        present=("value", "count"),
        kinds=("kinds", "sum"),
        expected_kinds=("expected_kinds", "sum"),
        failed=("failed", "sum"),
    ).reset_index()
    means = means.merge(expected, on=ROW)
    means.loc[means["present"] < means["classes"], "value"] = np.nan
    several = means[means["classes"] > 1].drop(columns="present")
    result: pd.DataFrame = pd.concat([seeds.assign(classes=0), several], ignore_index=True)
    return result


def summary(frame: pd.DataFrame, metric: Metric = "auroc") -> pd.DataFrame:
    """Mean and standard deviation over seeds of every method on every row.

    Parameters
    ----------
    frame
        As `osad_bench.results.load` returns it. Validation records and diagnostics are never used.
    metric
        Column to average.

    Returns
    -------
    DataFrame
        One line per cell of a table: ``board, dataset, setting, shots, method, mean, std`` (ddof = 1; NaN for one seed),
        ``n`` (seeds averaged), ``expected`` (seeds that any method of this row has), ``kinds`` (known kinds averaged;
        1 in the general setting), ``classes`` (0, or how many classes such as ``mvtec/carpet`` are averaged in an
        additional line for ``mvtec``), ``failed`` (failed records), ``complete`` (``n == expected``), and ``rank`` (1 = best of
        the row, by the mean rounded to three digits; ties share a rank). Incomplete lines have no rank (NaN) but still
        count: a complete line with a lower mean than an incomplete one is never ranked best.
    """
    seeds = with_group_means(per_seed(frame, metric))
    expected = seeds.groupby(ROW)["seed"].nunique().rename("expected").reset_index()
    grouped = seeds.groupby([*ROW, "method"])
    result: pd.DataFrame = grouped.agg(
        mean=("value", "mean"),
        std=("value", "std"),
        n=("value", "count"),
        kinds=("expected_kinds", "max"),
        classes=("classes", "max"),
        failed=("failed", "sum"),
    ).reset_index()
    result = result.merge(expected, on=ROW)
    result["complete"] = result["n"] == result["expected"]
    ranks = (
        result["mean"]
        .round(3)
        .groupby([result[column] for column in ROW])
        .rank(method="min", ascending=metric in LOWER_IS_BETTER)
    )
    result["rank"] = ranks.where(result["complete"])
    return result
