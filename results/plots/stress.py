"""AUROC under stress: over the share of contaminated normals or of wrong labels, and from group to group."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from osad_bench.results.aggregate import ROW, comparable, per_seed
from osad_bench.results.plots.letters import drawable
from osad_bench.results.plots.style import SMALL, labels_of, legend_below, name_boards, panels, styles
from osad_bench.results.row import options, tell_apart

Share = Literal["contamination", "mislabelled"]
LABELS = {
    "contamination": "share of the training normals\nthat are anomalies",
    "mislabelled": "share of the known anomalies\nthat are normals",
}
GROUPS = ("train_group", "test_group")


def stressed(frame: pd.DataFrame, varied: Collection[str]) -> pd.DataFrame:
    """`aggregate.per_seed`, each line with the stress `varied` that it was under, which its ``board`` does not say then."""
    tests = comparable(frame).drop_duplicates(ROW)
    boards = tell_apart(tests["preset"], tests["settings"])
    told = [options(line, varied) for line in tests.astype(object).where(tests.notna(), None).to_dict("records")]
    tests["shared"] = [", ".join(filter(None, pair)) for pair in zip(boards, told)]
    found = per_seed(frame).dropna(subset=["value"]).merge(tests[[*ROW, *varied, "shared"]], on=ROW)
    result: pd.DataFrame = found.drop(columns="board").rename(columns={"shared": "board"})
    return result


def levels(frame: pd.DataFrame, share: Share) -> pd.DataFrame:
    """The lines of `stressed` that make a curve: at least two shares with all else alike."""
    found = stressed(frame, [share])
    return found[found.groupby(ROW)[share].transform("nunique") > 1]


def stress_curves(frame: pd.DataFrame, share: Share) -> Figure:
    """Mean AUROC over seeds against the share, with Student's 95 % interval over seeds; one panel per row of the table."""
    found = levels(frame, share)
    groups = list(found.groupby(ROW))
    style, labels = styles(sorted(found["method"].unique())), labels_of(frame)
    figure, axes = panels(len(groups), 3.2, 2.8, across=2)
    boards, handles = name_boards(figure, found["board"]), {}
    for axis, (row, part) in zip(axes, groups):
        for place, (method, mine) in enumerate(part.groupby("method")):
            look, by_share = style[str(method)], mine.groupby(share)["value"]
            mean, count = by_share.mean(), by_share.count()
            half = by_share.sem() * stats.t.ppf(0.975, np.maximum(count - 1, 1))
            low, high = (mean - half).clip(0, 1), (mean + half).clip(0, 1)
            x = mean.index.to_numpy() + 0.002 * place  # shifted, so that intervals do not overlap
            handles[str(method)] = axis.errorbar(
                x, mean, yerr=np.nan_to_num([mean - low, high - mean]), color=look.colour, marker=look.marker,
                linestyle=look.line, markersize=4, linewidth=1.2, elinewidth=0.8, capsize=2,
            )  # fmt: skip
        axis.set_title(labels.row(row, boards), fontsize=SMALL)
        axis.set_xticks(sorted(set(part[share])))
        axis.set_xlabel(LABELS[share], fontsize=SMALL)
        axis.set_ylabel("AUROC", fontsize=SMALL)
    legend_below(figure, list(handles.values()), [labels.method(name) for name in handles])
    return figure


def transfers(frame: pd.DataFrame) -> pd.DataFrame:
    """The lines of `stressed` that were trained on one group and tested on one, in matrices with more than one field."""
    found = stressed(frame, GROUPS).dropna(subset=list(GROUPS))
    fields = found["train_group"] + "\0" + found["test_group"]
    return found[fields.groupby([found[name] for name in [*ROW, "method"]]).transform("nunique") > 1]


def transfer_matrix(frame: pd.DataFrame) -> Figure:
    """Mean AUROC over seeds, with the training group by line and the test group by column; one panel per method and row."""
    found = transfers(frame)
    groups = list(found.groupby([*ROW, "method"]))
    labels = labels_of(frame)
    most = max((len({*part["train_group"], *part["test_group"]}) for _, part in groups), default=2)
    figure, axes = panels(len(groups), max(2.3, 0.45 * most + 1.2), max(2.2, 0.4 * most + 1.4))
    low = float(found.groupby([*ROW, "method", *GROUPS])["value"].mean().min()) if len(found) else 0.5
    boards = name_boards(figure, found["board"])
    for axis, ((*row, method), part) in zip(axes, groups):
        means = part.pivot_table(index="train_group", columns="test_group", values="value", aggfunc="mean")
        spread = part.pivot_table(index="train_group", columns="test_group", values="value", aggfunc="std")
        axis.imshow(means, cmap="Blues", vmin=min(0.5, low), vmax=1.1, aspect="auto")
        for (y, x), value in np.ndenumerate(means.to_numpy()):
            if np.isfinite(value):
                std = spread.reindex_like(means).to_numpy()[y, x]
                text = f"{value:.3f}" + (f"\n±{std:.3f}" if np.isfinite(std) else "")
                axis.text(
                    x, y, text, ha="center", va="center", fontsize=SMALL, color="white" if value > 0.9 else "black"
                )
        axis.set_xticks(range(means.shape[1]), [drawable(name) for name in means.columns])
        axis.set_yticks(range(means.shape[0]), [drawable(name) for name in means.index])
        axis.grid(visible=False)
        axis.set_title(labels.row(row, boards, method), fontsize=SMALL)
        axis.set_xlabel("tested on", fontsize=SMALL)
        axis.set_ylabel("trained on", fontsize=SMALL)
    return figure
