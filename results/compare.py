"""Our numbers beside the published ones."""

from __future__ import annotations

import numpy as np
import pandas as pd

from osad_bench.results.aggregate import summary
from osad_bench.results.published import PAPERS, numbers
from osad_bench.results.published.audit import to_compare_with
from osad_bench.results.titles import Titles

CLASSES = {"mvtec": 15}
"""Data sets whose published number is a mean over classes, to the number of classes."""

PLACE = ["setting", "shots", "dataset"]


def compare_published(frame: pd.DataFrame) -> pd.DataFrame:
    """Our numbers beside every published number for the same method, data set, setting and M.

    Where several papers print a number, ours is compared with the method's own paper, else with a rerun by others, else with
    a copy (`published.audit.to_compare_with`).

    Parameters
    ----------
    frame
        As `osad_bench.results.load` returns it. Methods with default settings are compared with the main tables, the
        ablations of DPDL (as `osad-bench ablate` names them) with those rows of its Table 3 that are known.

    Returns
    -------
    DataFrame
        ``board, table, setting, shots, dataset, method, ours, std, n, complete, published, published_std, runs, source``
        (paper and table), ``origin`` (who ran it), ``disputed`` (what other papers print for the same, where that is
        0.02 or more away), ``difference`` (ours - published), ``spread`` (root of the sum of both variances over seeds) and
        ``exceeds``: whether the absolute difference is larger than the spread (False for one seed, whose spread is unknown).
        A difference says that two setups differ, not which is right: splits, preset and backbone differ from the paper's
        unless the board's name says otherwise. ``table`` is the one of the DPDL paper that the line belongs to. Rows of
        its Table 3 whose variant is unknown are added beside the ablations compared with it, with the paper's number alone.
    """
    ours = summary(frame).rename(columns={"mean": "ours"})
    named = frame[frame["ablation"] != ""]
    names = {f"{row.method} {row.variant}": f"{row.method} {row.ablation}" for row in named.itertuples()}
    ours["method"] = ours["method"].replace(names)
    ours = ours[(ours["n"] > 0) & (ours["classes"] == ours["dataset"].map(CLASSES).fillna(0))]
    theirs = _theirs()
    both: pd.DataFrame = ours.merge(theirs, on=[*PLACE, "method"])
    both["difference"] = both["ours"] - both["published"]
    both["spread"] = np.sqrt(both["std"].fillna(0) ** 2 + both["published_std"].fillna(0) ** 2)
    both["exceeds"] = (both["difference"].abs() > both["spread"]) & both["std"].notna() & both["published_std"].notna()
    both = _with_unknown_rows(both)
    columns = [
        "board", "table", "setting", "shots", "dataset", "method", "ours", "std", "n", "complete", "published",
        "published_std", "runs", "source", "origin", "disputed", "difference", "spread", "exceeds",
    ]  # fmt: skip
    order = both.assign(most=-both["shots"]).sort_values(
        ["board", "table", "setting", "most", "dataset", "method"], ignore_index=True
    )
    result: pd.DataFrame = order[columns]
    return result


def _third() -> pd.DataFrame:
    """Table 3 of the DPDL paper in the columns of `_theirs`, ``method`` with its variant."""
    every = numbers()
    third = every[(every["source"] == PAPERS["dpdl"]) & (every["table"] == 3)]
    return third.assign(
        method="dpdl " + third["variant"], source=f"{PAPERS['dpdl']}, Table 3", origin="own paper", disputed=""
    ).rename(columns={"mean": "published", "std": "published_std"})


def _theirs() -> pd.DataFrame:
    """The number to compare with at each place, and the known ablations of DPDL's Table 3."""
    best = to_compare_with(numbers()).rename(columns={"mean": "published", "std": "published_std"})
    best = best[best["known_kind"].isin(["", "mean"])]
    best["table"] = best["setting"].map({"general": 1, "hard": 2})
    known = _third()[lambda third: ~third["variant"].str.startswith("unknown")]
    columns = [*PLACE, "method", "table", "published", "published_std", "runs", "source", "origin", "disputed"]
    result: pd.DataFrame = pd.concat([best[columns], known[columns]], ignore_index=True)
    return result


def _with_unknown_rows(both: pd.DataFrame) -> pd.DataFrame:
    third = _third()
    unknown = third[third["variant"].str.startswith("unknown")]
    places = both.loc[both["table"] == 3, ["board", "table", *PLACE]].drop_duplicates()
    beside = places.merge(unknown, on=["table", *PLACE]).assign(n=0, complete=True, exceeds=False)
    return pd.concat([both, beside], ignore_index=True) if len(beside) else both


PRINTED = (
    "preset", "data set", "setting", "M", "method", "ours", "n", "published", "source", "origin", "runs", "difference",
    "beyond spread", "disputed",
)  # fmt: skip


def compared_for_print(comparison: pd.DataFrame, titles: Titles) -> pd.DataFrame:
    """`compare_published`'s frame as texts, with numbers as the paper prints them; columns `PRINTED`."""

    def number(mean: float, std: float) -> str:
        if pd.isna(mean):
            return "–"
        return f"{mean:.3f}" if pd.isna(std) else f"{mean:.3f}±{std:.3f}"

    lines = [
        (
            line["board"], titles.dataset(line["dataset"]), line["setting"], line["shots"], titles.method(line["method"]),
            number(line["ours"], line["std"]), line["n"] if line["complete"] else f"{line['n']} (incomplete)",
            number(line["published"], line["published_std"]), line["source"], line["origin"], line["runs"],
            "" if pd.isna(line["difference"]) else f"{line['difference']:+.3f}",
            "yes" if line["exceeds"] else "one seed" * (line["n"] == 1), line["disputed"],
        )
        for line in comparison.to_dict("records")
    ]  # fmt: skip
    result: pd.DataFrame = pd.DataFrame(lines, columns=list(PRINTED))
    return result
