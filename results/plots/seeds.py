"""Every seed of every method as a point."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from osad_bench.results.aggregate import Metric, per_seed
from osad_bench.results.plots.style import SMALL, labels_of, leftmost, name_boards, panels, styles, widen
from osad_bench.results.tables import METRIC_TITLES


def seed_points(frame: pd.DataFrame, metric: Metric = "auroc") -> Figure:
    """Every seed as a point and the mean as a line, methods side by side, one panel per row of the table."""
    seeds = per_seed(frame, metric).dropna(subset=["value"])
    groups = list(seeds.groupby(["board", "dataset", "setting", "shots"]))
    methods = sorted(seeds["method"].unique())
    style = styles(methods)
    labels = labels_of(frame)
    lines = max((labels.tick(method).count("\n") + 1 for method in methods), default=1)
    each = max(0.3, 0.14 * lines)  # inches per method, so that vertical names of several lines do not overlap
    figure, axes = panels(len(groups), max(2.3, each * len(methods) + 1.1), 2.6, across=3 if len(methods) < 9 else 2)
    boards = name_boards(figure, seeds["board"])
    for one, (row, part) in zip(axes, groups):
        present = [method for method in methods if method in set(part["method"])]
        for x, method in enumerate(present):
            values = part.loc[part["method"] == method, "value"].to_numpy()
            look = style[method]
            spread = (np.arange(len(values)) - (len(values) - 1) / 2) * 0.07
            one.scatter(
                x + spread,
                values,
                color=look.colour,
                marker=look.marker,
                s=30 if look.marker == "*" else 16,
                alpha=0.8,
                linewidths=0,
            )
            one.hlines(values.mean(), x - 0.3, x + 0.3, color=look.colour, linewidth=1.8)
        one.set_xticks(range(len(present)), [labels.tick(m) for m in present], rotation=90)
        one.set_xlim(-0.6, len(present) - 0.4)
        one.set_title(labels.row(row, boards), fontsize=SMALL)
        if leftmost(one):
            one.set_ylabel(METRIC_TITLES[metric], fontsize=SMALL)
        one.grid(axis="x", visible=False)
        widen(one)
    return figure
