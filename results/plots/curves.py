"""ROC curves and training curves of methods."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from osad_bench.results.aggregate import ROW, comparable
from osad_bench.results.plots.letters import drawable
from osad_bench.results.plots.style import (
    SMALL,
    labels_of,
    leftmost,
    legend_below,
    name_boards,
    panels,
    styles,
)

CROWDED = 6
"""With at most so many methods, the legend with their AUROCs is inside the panel."""

LONG = 16
"""With a longer name, in letters, the legend is below all panels."""

GRID = np.linspace(0, 1, 201)
"""False positive rates at which ROC curves are averaged."""


def mean_roc(scores: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the ROC curves of several cells at the false positive rates `GRID`; std 0 for one cell."""
    curves = []
    for _, cell in scores.groupby("key", sort=False):
        false_positive, true_positive, _ = roc_curve(cell["label"], cell["score"])
        curve = np.interp(GRID, false_positive, true_positive)
        curve[0] = 0.0
        curves.append(curve)
    return np.mean(curves, axis=0), np.std(curves, axis=0, ddof=1) if len(curves) > 1 else np.zeros_like(GRID)


def roc_curves(frame: pd.DataFrame, scores: pd.DataFrame) -> Figure:
    """Mean ROC curve of each method over seeds (and known kinds), one panel per row of the table; band: one std."""
    tests = comparable(frame)
    tests = tests[tests["key"].isin(scores["key"].unique())]
    groups = list(tests.groupby(ROW))
    style = styles(sorted(tests["method"].unique()))
    by_key = dict(iter(scores.groupby("key", sort=False)))
    most = int(tests.groupby(ROW)["method"].nunique().max()) if groups else 1
    titles = labels_of(frame)
    longest = max((len(titles.method(name)) for name in tests["method"]), default=0)
    crowded = most > CROWDED or longest > LONG  # a legend in the panel would cover the curves
    figure, axes = panels(len(groups), 2.9, 3.0, across=2)
    boards, labels = name_boards(figure, tests["board"]), labels_of(frame)
    for one, (row, part) in zip(axes, groups):
        for method, cells in part.groupby("method"):
            mean, std = mean_roc(pd.concat([by_key[key] for key in cells["key"]]))
            look = style[str(method)]
            label = labels.method(str(method)) + (f" {cells['auroc'].mean():.3f}" if not crowded else "")
            one.plot(GRID, mean, color=look.colour, linestyle=look.line, linewidth=1.3, label=label)
            one.fill_between(
                GRID,
                mean - std,
                np.minimum(mean + std, 1),
                color=look.colour,
                alpha=0.05 if crowded else 0.12,
                linewidth=0,
            )
        one.plot([0, 1], [0, 1], color="0.6", linewidth=0.7, linestyle=":")
        one.set_aspect("equal")
        one.set_xlim(-0.01, 1)
        one.set_ylim(0, 1.01)
        one.set_xlabel("false positive rate", fontsize=SMALL)
        one.set_ylabel("true positive rate", fontsize=SMALL)
        one.set_title(labels.row(row, boards), fontsize=SMALL)
        if not crowded:
            one.legend(title="AUROC", title_fontsize=SMALL, fontsize=SMALL - 0.5, frameon=False, loc="lower right")
    if crowded:
        found = dict(pair for one in axes for pair in zip(*one.get_legend_handles_labels()[::-1]))
        legend_below(figure, list(found.values()), list(found))
    return figure


def learning_curves(frame: pd.DataFrame) -> Figure:
    """Training loss by epoch, one line per term, one panel per method and row; every seed thin, their mean thick."""
    tests = comparable(frame)
    tests = tests[(tests["status"] == "ok") & tests["curve"].map(bool)]
    groups = list(tests.groupby(["method", *ROW]))
    figure, axes = panels(len(groups), 2.3, 2.1)
    boards, labels = name_boards(figure, tests["board"]), labels_of(frame)
    for one, ((method, *row), part) in zip(axes, groups):
        names = sorted({name for curve in part["curve"] for name in curve}, key=lambda name: (name != "loss", name))
        for name, look in styles(names).items():
            curves = [np.asarray(curve[name], dtype=float) for curve in part["curve"] if name in curve]
            longest = max(map(len, curves))
            for curve in curves:
                one.plot(np.arange(1, len(curve) + 1), curve, color=look.colour, linewidth=0.4, alpha=0.4)
            padded = np.array([np.pad(curve, (0, longest - len(curve)), constant_values=np.nan) for curve in curves])
            told = np.isfinite(padded).any(axis=0)
            one.plot(
                np.arange(1, longest + 1)[told], np.nanmean(padded[:, told], axis=0), color=look.colour, linestyle=look.line,
                linewidth=1.4, label=drawable(name.replace("_", " ")),
            )  # fmt: skip
        largest = sorted(
            max(map(abs, filter(None, curve[name])), default=0) for curve in part["curve"] for name in curve
        )
        if largest[-1] > 8 * max(1.0, largest[len(largest) // 2]):  # on a linear axis one term would flatten all others
            one.set_yscale("symlog", linthresh=1)
        one.set_title(labels.row(row, boards, method), fontsize=SMALL - 0.5)
        one.set_xlabel("epoch", fontsize=SMALL)
        if leftmost(one):
            one.set_ylabel("training loss", fontsize=SMALL)
        one.legend(fontsize=SMALL - 1, frameon=False, loc="upper right", handlelength=2.2)  # where losses have fallen
    return figure
