"""AUROC under stress: over the share of contaminated normals or of wrong labels, and from group to group."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from osad_bench.results.aggregate import ROW, comparable, per_seed
from osad_bench.results.plots.letters import drawable
from osad_bench.results.plots.style import SMALL, labels_of, legend_below, note, panels, styles, wrapped
from osad_bench.results.record import STRESS

Share = Literal["contamination", "mislabelled"]
LABELS = {
    "contamination": "share of the training normals\nthat are anomalies",
    "mislabelled": "share of the known anomalies\nthat are normals",
}
"""Label of the axis of each share."""
ALIKE = ["preset", "settings", "dataset", "setting", "shots", "reserve", "dedup"]
"""Columns that are the same for all of a panel, besides the other kinds of stress."""


def stressed(frame: pd.DataFrame) -> pd.DataFrame:
    """Lines of `aggregate.per_seed` with the columns `ALIKE` and `record.STRESS`."""
    tests = comparable(frame)
    facts = tests.assign(**{name: tests[name].fillna("") for name in ("train_group", "test_group")})
    facts = facts[[*ROW, *(name for name in (*ALIKE, *STRESS) if name not in ROW)]].drop_duplicates(ROW)
    found: pd.DataFrame = per_seed(frame).dropna(subset=["value"]).merge(facts, on=ROW)
    return found


def levels(frame: pd.DataFrame, share: Share) -> pd.DataFrame:
    """Lines of `stressed` that make a curve, with the number of its ``panel``: at least two shares, all else the same."""
    found = stressed(frame)
    others = [name for name in STRESS if name != share]
    if found.empty:
        return found.assign(panel=pd.Series(dtype=int))
    found["panel"] = found.groupby([*ALIKE, *others]).ngroup()
    return found[found.groupby("panel")[share].transform("nunique") > 1]


def stress_curves(frame: pd.DataFrame, share: Share) -> Figure:
    """Mean AUROC over seeds against the share, with Student's 95 % interval over seeds; one panel per row of the table."""
    found = levels(frame, share)
    groups = [part for _, part in found.groupby("panel")]
    style, labels = styles(sorted(found["method"].unique())), labels_of(frame)
    figure, axes = panels(len(groups), 3.2, 2.8, across=2)
    handles = {}
    for axis, part in zip(axes, groups):
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
        first = part.iloc[0]
        title = (
            f"{labels.dataset(first['dataset'])}, {first['setting']}, M = {first['shots']}, preset {first['preset']}"
        )
        axis.set_title(wrapped(drawable(title), 3.0), fontsize=SMALL)
        axis.set_xticks(sorted(set(part[share])))
        axis.set_xlabel(LABELS[share], fontsize=SMALL)
        axis.set_ylabel("AUROC", fontsize=SMALL)
    legend_below(figure, list(handles.values()), [labels.method(name) for name in handles])
    return figure


def transfers(frame: pd.DataFrame) -> pd.DataFrame:
    """Lines of `stressed` with a training and a test group, and the ``panel`` of each; only matrices with several fields."""
    found = stressed(frame)
    found = found[(found["train_group"] != "") & (found["test_group"] != "")]
    if found.empty:
        return found.assign(panel=pd.Series(dtype=int))
    found["panel"] = found.groupby([*ALIKE, "contamination", "mislabelled", "method"]).ngroup()
    fields = found["train_group"] + "\0" + found["test_group"]
    return found[fields.groupby(found["panel"]).transform("nunique") > 1]


def transfer_matrix(frame: pd.DataFrame) -> Figure:
    """Mean AUROC over seeds, with the training group by line and the test group by column; one panel per method and row."""
    found = transfers(frame)
    groups = [part for _, part in found.groupby("panel")]
    labels = labels_of(frame)
    most = max((len({*part["train_group"], *part["test_group"]}) for part in groups), default=2)
    figure, axes = panels(len(groups), max(2.3, 0.45 * most + 1.2), max(2.2, 0.4 * most + 1.4))
    low = float(found.groupby(["panel", "train_group", "test_group"])["value"].mean().min()) if len(found) else 0.5
    for axis, part in zip(axes, groups):
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
        first = part.iloc[0]
        title = f"{labels.method(first['method'])}\n{labels.dataset(first['dataset'])}, {first['setting']}, M = {first['shots']}"
        axis.set_title(title, fontsize=SMALL)
        axis.set_xlabel("tested on", fontsize=SMALL)
        axis.set_ylabel("trained on", fontsize=SMALL)
    names = sorted(set(found["preset"]))
    if len(names) == 1:
        note(figure, f"preset {drawable(names[0])}")
    return figure
