"""AUROC against computing time."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from osad_bench.results.aggregate import ROW, comparable, summary
from osad_bench.results.plots.style import (
    SMALL,
    labels_of,
    leftmost,
    legend_below,
    name_boards,
    note,
    panels,
    styles,
    widen,
)


def cost_lines(frame: pd.DataFrame) -> pd.DataFrame:
    """`aggregate.summary` with ``seconds``: median time to fit and score one cell (without features, which are shared)."""
    tests = comparable(frame)
    tests = tests[tests["status"] == "ok"]
    seconds = (
        (tests["fit_seconds"] + tests["score_seconds"]).groupby([tests[name] for name in [*ROW, "method"]]).median()
    )
    result: pd.DataFrame = summary(frame).merge(seconds.rename("seconds").reset_index(), on=[*ROW, "method"])
    shown: pd.DataFrame = result.dropna(subset=["mean"])
    return shown


def auc_against_cost(frame: pd.DataFrame) -> Figure:
    """Mean AUROC against seconds per cell, one panel per row of the table; whiskers: one standard deviation.

    Seconds are comparable only between records of one machine; a note says so where there were several devices.
    """
    lines = cost_lines(frame)
    groups = list(lines.groupby(ROW))
    style = styles(sorted(lines["method"].unique()))
    figure, axes = panels(len(groups), 2.3, 2.3)
    boards, labels = name_boards(figure, lines["board"]), labels_of(frame)
    for one, (row, part) in zip(axes, groups):
        for line in part.sort_values("method").to_dict("records"):
            look = style[line["method"]]
            seconds = max(line["seconds"], 1e-3)
            std = 0 if pd.isna(line["std"]) else line["std"]
            one.errorbar(
                seconds, line["mean"], yerr=std, color=look.colour, marker=look.marker, markersize=5, capsize=2,
                elinewidth=0.8, linestyle="none", label=labels.method(line["method"]),
            )  # fmt: skip
        one.set_xscale("log")
        low, high = part["seconds"].clip(lower=1e-3).min(), part["seconds"].clip(lower=1e-3).max()
        one.set_xlim(low / 3, high * 3)
        widen(one)
        one.xaxis.set_major_locator(LogLocator(10, subs=(1.0,) if high / low > 30 else (1.0, 2.0, 5.0)))
        one.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        one.xaxis.set_minor_formatter(NullFormatter())
        one.set_xlabel("seconds per cell (fit, score)", fontsize=SMALL)
        if leftmost(one):
            one.set_ylabel("AUROC", fontsize=SMALL)
        one.set_title(labels.row(row, boards), fontsize=SMALL)
    if axes:
        found = dict(pair for one in axes for pair in zip(*one.get_legend_handles_labels()[::-1]))
        legend_below(figure, list(found.values()), list(found))
    devices = sorted(set(frame["device"]))
    if len(devices) > 1:
        note(figure, f"seconds were measured on {len(devices)} different devices and are not comparable")
    return figure
