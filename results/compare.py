"""Our numbers beside the published ones."""

from __future__ import annotations

import numpy as np
import pandas as pd

from osad_bench.results.aggregate import summary
from osad_bench.results.published import published


def compare_published(frame: pd.DataFrame) -> pd.DataFrame:
    """Every published number of Tables 1 and 2 that `frame` has a counterpart of.

    Parameters
    ----------
    frame
        As `osad_bench.results.load` returns it. Only methods with their default settings are compared.

    Returns
    -------
    DataFrame
        ``board, table, setting, shots, dataset, method, ours, std, n, complete, published, published_std, origin,
        difference`` (ours - published), ``spread`` (root of the sum of both variances over seeds) and ``exceeds``:
        whether the difference is larger than the spread. It says that two setups differ, not which is right: splits,
        preset and backbone differ from the paper's unless the board's name says otherwise.
    """
    theirs = pd.concat([published(1), published(2)], ignore_index=True)
    theirs = theirs.rename(columns={"mean": "published", "std": "published_std"})
    ours = summary(frame).rename(columns={"mean": "ours"})
    ours = ours[ours["n"] > 0]
    both: pd.DataFrame = ours.merge(theirs, on=["setting", "shots", "dataset", "method"])
    both["difference"] = both["ours"] - both["published"]
    both["spread"] = np.sqrt(both["std"].fillna(0) ** 2 + both["published_std"] ** 2)
    both["exceeds"] = both["difference"].abs() > both["spread"]
    columns = [
        "board", "table", "setting", "shots", "dataset", "method", "ours", "std", "n", "complete", "published",
        "published_std", "origin", "difference", "spread", "exceeds",
    ]  # fmt: skip
    result: pd.DataFrame = both[columns].sort_values(columns[:6], ignore_index=True)
    return result


def compared_for_print(comparison: pd.DataFrame) -> pd.DataFrame:
    """`compare_published`'s frame with numbers as the paper prints them, for Markdown, LaTeX and the terminal."""

    def number(mean: float, std: float) -> str:
        return f"{mean:.3f}" if pd.isna(std) else f"{mean:.3f}±{std:.3f}"

    lines = [
        {
            "preset": line["board"],
            "data set": line["dataset"],
            "setting": line["setting"],
            "M": line["shots"],
            "method": line["method"],
            "ours": number(line["ours"], line["std"]),
            "n": line["n"] if line["complete"] else f"{line['n']} (incomplete)",
            "published": number(line["published"], line["published_std"]),
            "origin": line["origin"],
            "difference": f"{line['difference']:+.3f}",
            "beyond spread": "yes" if line["exceeds"] else "",
        }
        for line in comparison.to_dict("records")
    ]
    result: pd.DataFrame = pd.DataFrame(lines)
    return result
