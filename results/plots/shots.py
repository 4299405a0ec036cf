"""AUROC over M, the number of known anomalies, and from which M on training pays."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from osad_bench.results.paired import differences
from osad_bench.results.plots.style import (
    SMALL,
    Style,
    labels_of,
    legend_below,
    name_boards,
    panels,
    styles,
    wrapped,
)
from osad_bench.results.shots import CURVE, curves, untrained


def shots_curves(frame: pd.DataFrame, scores: pd.DataFrame) -> Figure:
    """Two panels per data set and setting: AUROC at each M, and the difference to methods that learn nothing from anomalies.

    Left: mean over seeds with Student's 95 % interval. Right: each method's smallest difference to the methods that are the
    same at every M, with the simultaneous interval of `paired.differences`; filled where it is shown to differ from all.
    """
    found, references = curves(frame), untrained(frame)
    pairs = differences(frame, scores)
    groups = list(found.groupby(CURVE))
    style, labels = styles(sorted(found["method"].unique())), labels_of(frame)
    figure, axes = panels(2 * len(groups), 3.2, 2.7, across=2)
    boards = name_boards(figure, found["board"])
    handles: dict[str, object] = {}
    for (row, part), left, right in zip(groups, axes[::2], axes[1::2]):
        board, dataset, setting = row
        flat = references.get((board, dataset, setting), [])
        title = f"{labels.dataset(dataset)}, {setting} setting"
        left.set_title(wrapped(title, 2.6) + boards[board], fontsize=SMALL)
        for method, line in part.groupby("method"):
            handles[str(method)] = _curve(left, line.sort_values("shots"), style[str(method)], str(method) in flat)
        mine = pairs[(pairs[CURVE] == list(row)).all(axis=1)]
        _beside(right, mine, flat, style)
        names = " and ".join(map(labels.method, flat))
        said = f"difference to {names}" if flat else "no method is the same at every M"
        right.set_title(wrapped(f"{title}: {said}", 2.6) + boards[board], fontsize=SMALL)
        for one, label in ((left, "AUROC"), (right, "difference of AUROC")):
            _log_axis(one, sorted(set(part["shots"])))
            one.set_ylabel(label, fontsize=SMALL)
    legend_below(figure, list(handles.values()), [labels.method(name) for name in handles])
    return figure


def _curve(axes: Axes, line: pd.DataFrame, look: Style, flat: bool) -> object:
    """Draw one method; if it is the same at every M (`flat`), a band in place of intervals at each M."""
    shots, mean = line["shots"].to_numpy(), line["mean"].to_numpy()
    if flat:
        axes.fill_between(shots, line["low"], line["high"], color=look.colour, alpha=0.12, linewidth=0)
        return axes.plot(shots, mean, color=look.colour, linestyle=look.line, linewidth=1.3)[0]
    spread = np.nan_to_num(np.abs(line[["low", "high"]].to_numpy().T - mean))
    return axes.errorbar(
        shots,
        mean,
        yerr=spread,
        color=look.colour,
        marker=look.marker,
        markersize=4,
        linewidth=1.2,
        elinewidth=0.8,
        capsize=2,
    )


def _beside(axes: Axes, pairs: pd.DataFrame, flat: list[str], style: dict[str, Style]) -> None:
    """Draw each method's smallest difference to the methods of `flat`."""
    axes.axhline(0, color="0.4", linewidth=0.8)
    points = []
    for line in pairs.to_dict("records"):
        for method, other, sign in ((line["first"], line["second"], 1), (line["second"], line["first"], -1)):
            if other in flat and method not in flat:
                ends = sorted((sign * line["low"], sign * line["high"]))
                sure = bool(line["differs"]) and line["seeds"] > 1
                points.append((method, line["shots"], sign * line["difference"], *ends, sure))
    table = pd.DataFrame(points, columns=["method", "shots", "difference", "low", "high", "sure"])
    names = sorted(set(table["method"]))
    for place, method in enumerate(names):
        look, mine = style[method], table[table["method"] == method]
        sure = mine.groupby("shots")["sure"].all()
        mine = mine.sort_values("difference").drop_duplicates("shots").sort_values("shots")
        x = mine["shots"] * 1.05 ** (place - (len(names) - 1) / 2)  # side by side on the logarithmic axis
        spread = np.abs(mine[["low", "high"]].to_numpy().T - mine["difference"].to_numpy())
        axes.errorbar(
            x,
            mine["difference"],
            yerr=np.nan_to_num(spread),
            color=look.colour,
            linewidth=0.9,
            elinewidth=0.8,
            capsize=2,
        )
        fills = [look.colour if sure[shots] else "white" for shots in mine["shots"]]
        axes.scatter(x, mine["difference"], color=fills, edgecolors=look.colour, marker=look.marker, s=18, zorder=3)


def _log_axis(axes: Axes, shots: list[int]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(shots, list(map(str, shots)))
    axes.minorticks_off()
    axes.set_xlabel("known anomalies M", fontsize=SMALL)
