"""Our numbers beside the published ones."""

from __future__ import annotations

import numpy as np
import pandas as pd

from osad_bench.results.aggregate import summary
from osad_bench.results.published import published

CLASSES = {"mvtec": 15}
"""Data sets whose published number is a mean over classes, and over how many."""


def compare_published(frame: pd.DataFrame) -> pd.DataFrame:
    """Every published number of Tables 1, 2 and 3 that `frame` has a counterpart of.

    Parameters
    ----------
    frame
        As `osad_bench.results.load` returns it. Methods with default settings are compared with Tables 1 and 2, DPDL
        and its ablations (as `osad-bench ablate` names them) with those rows of Table 3 that are known.

    Returns
    -------
    DataFrame
        ``board, table, setting, shots, dataset, method, ours, std, n, complete, published, published_std, origin,
        difference`` (ours - published), ``spread`` (root of the sum of both variances over seeds) and ``exceeds``:
        whether the difference is larger than the spread (never of one seed, whose spread nobody knows). It says that
        two setups differ, not which is right: splits, preset and backbone differ from the paper's unless the board's
        name says otherwise. Rows of Table 3 whose variant is unknown stand beside the ablations that are compared with
        it, with the paper's number alone.
    """
    third = published(3)
    known = third[~third["variant"].str.startswith("unknown")].copy()
    known["method"] = ["dpdl" if name == "complete" else f"dpdl {name}" for name in known.pop("variant")]
    theirs = pd.concat([published(1), published(2), known], ignore_index=True)
    theirs = theirs.rename(columns={"mean": "published", "std": "published_std"})
    ours = summary(frame).rename(columns={"mean": "ours"})
    named = frame[frame["ablation"] != ""]
    names = {f"{row.method} {row.variant}": f"{row.method} {row.ablation}" for row in named.itertuples()}
    ours["method"] = ours["method"].replace(names)
    ours = ours[(ours["n"] > 0) & (ours["classes"] == ours["dataset"].map(CLASSES).fillna(0))]
    both: pd.DataFrame = ours.merge(theirs, on=["setting", "shots", "dataset", "method"])
    both["difference"] = both["ours"] - both["published"]
    both["spread"] = np.sqrt(both["std"].fillna(0) ** 2 + both["published_std"] ** 2)
    both["exceeds"] = (both["difference"].abs() > both["spread"]) & both["std"].notna()
    unknown = third[third["variant"].str.startswith("unknown")].rename(
        columns={"mean": "published", "std": "published_std"}
    )
    unknown["method"] = "dpdl " + unknown.pop("variant")
    places = both.loc[
        (both["table"] == 3) & (both["method"] != "dpdl"), ["board", "table", "setting", "shots", "dataset"]
    ].drop_duplicates()
    beside = places.merge(unknown, on=["table", "setting", "shots", "dataset"]).assign(
        n=0, complete=True, exceeds=False
    )
    if len(beside):
        both = pd.concat([both, beside], ignore_index=True)
    columns = [
        "board", "table", "setting", "shots", "dataset", "method", "ours", "std", "n", "complete", "published",
        "published_std", "origin", "difference", "spread", "exceeds",
    ]  # fmt: skip
    order = both.assign(most=-both["shots"]).sort_values(
        ["board", "table", "setting", "most", "dataset", "method"], ignore_index=True
    )
    result: pd.DataFrame = order[columns]
    return result


PRINTED = (
    "preset", "table", "data set", "setting", "M", "method", "ours", "n", "published", "origin", "difference",
    "beyond spread",
)  # fmt: skip


def compared_for_print(comparison: pd.DataFrame) -> pd.DataFrame:
    """`compare_published`'s frame with numbers as the paper prints them."""

    def number(mean: float, std: float) -> str:
        if pd.isna(mean):
            return "–"
        return f"{mean:.3f}" if pd.isna(std) else f"{mean:.3f}±{std:.3f}"

    lines = [
        (
            line["board"], line["table"], line["dataset"], line["setting"], line["shots"], line["method"],
            number(line["ours"], line["std"]), line["n"] if line["complete"] else f"{line['n']} (incomplete)",
            number(line["published"], line["published_std"]), line["origin"],
            "" if pd.isna(line["difference"]) else f"{line['difference']:+.3f}", "yes" if line["exceeds"] else "one seed" * (line["n"] == 1),
        )
        for line in comparison.to_dict("records")
    ]  # fmt: skip
    result: pd.DataFrame = pd.DataFrame(lines, columns=list(PRINTED))
    return result
