"""Figures: each a function from a frame to a matplotlib figure.

Colours are Okabe and Ito's, which stay apart for all common kinds of colour blindness; marker shapes repeat what
colour says, so that a black and white print keeps it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from osad_bench.results.aggregate import Metric, per_seed

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def styles(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """A colour and a marker for each name, in order."""
    pairs = zip(cycle(COLOURS), cycle(MARKERS))
    return dict(zip(names, islice(pairs, len(names))))


def seed_points(frame: pd.DataFrame, metric: Metric = "auroc") -> Figure:
    """Every seed as a point and the mean as a line, methods side by side, one panel a row of the table."""
    seeds = per_seed(frame, metric).dropna(subset=["value"])
    panels = list(seeds.groupby(["board", "dataset", "setting", "shots"]))
    across = max(1, min(3, len(panels)))
    down = max(1, -(-len(panels) // across))
    methods = sorted(seeds["method"].unique())
    style = styles(methods)
    width = max(3.2, 0.55 * len(methods) + 1.6)
    figure = Figure(figsize=(width * across, 3.0 * down), layout="constrained")
    for position, (name, part) in enumerate(panels):
        board, dataset, setting, shots = name
        axes = figure.add_subplot(down, across, position + 1)
        present = [method for method in methods if method in set(part["method"])]
        for place, method in enumerate(present):
            values = part.loc[part["method"] == method, "value"].to_numpy()
            colour, marker = style[method]
            spread = (np.arange(len(values)) - (len(values) - 1) / 2) * 0.07
            axes.scatter(place + spread, values, color=colour, marker=marker, s=22, alpha=0.8, linewidths=0)
            axes.hlines(values.mean(), place - 0.3, place + 0.3, color=colour, linewidth=2)
        axes.set_xticks(range(len(present)), present, rotation=30, ha="right", fontsize=8)
        axes.set_xlim(-0.6, len(present) - 0.4)
        axes.set_title(f"{dataset}, {setting}, M = {shots}\n{board}", fontsize=8)
        axes.set_ylabel(metric.replace("_", " "), fontsize=8)
        axes.tick_params(axis="y", labelsize=8)
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    if not panels:
        figure.text(0.5, 0.5, "no complete cells", ha="center")
    return figure
