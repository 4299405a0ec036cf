"""Which anomalies are found: AUROC by kind, and distributions of scores of normals, seen and unseen kinds."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from osad_bench.results.aggregate import ROW, comparable
from osad_bench.results.plots.letters import drawable
from osad_bench.results.plots.style import SMALL, TICK, labels_of, leftmost, legend_below, name_boards, panels, wrapped


def kind_means(frame: pd.DataFrame) -> pd.DataFrame:
    """AUROC of each test kind against all test normals: ``board, dataset, setting, shots, method, kind, mean, n`` (of cells)."""
    tests = comparable(frame)
    tests = tests[tests["status"] == "ok"]
    lines = [
        {**{name: row[name] for name in [*ROW, "method"]}, "kind": kind, "value": value}
        for row in tests.to_dict("records")
        for kind, value in row["per_kind"].items()
    ]
    columns = [*ROW, "method", "kind"]
    values = pd.DataFrame(lines, columns=[*columns, "value"])
    result: pd.DataFrame = values.groupby(columns)["value"].agg(mean="mean", n="count").reset_index()
    return result


def kind_heatmap(frame: pd.DataFrame) -> Figure:
    """AUROC of each kind (columns) by method (rows), mean over seeds; one panel per row of the table."""
    lines = kind_means(frame)
    groups = list(lines.groupby(ROW))
    widest = int(lines.groupby(ROW)["kind"].nunique().max()) if len(lines) else 1
    tallest = int(lines.groupby(ROW)["method"].nunique().max()) if len(lines) else 1
    labels = labels_of(frame)
    deepest = max((labels.tick(name).count("\n") + 1 for name in lines["method"].unique()), default=1)
    width = max(3.2, 1.4 + 0.5 * widest)
    height = 1.1 + (0.07 + 0.12 * deepest) * tallest + 0.05 * min(30, lines["kind"].str.len().max())
    figure, axes = panels(len(groups), width, height if len(lines) else 2.0, across=2 if width < 4 else 1)
    image = None
    boards = name_boards(figure, lines["board"])
    for one, (row, part) in zip(axes, groups):
        matrix = part.pivot_table(index="method", columns="kind", values="mean")
        image = one.imshow(matrix, vmin=0.5, vmax=1.0, cmap="cividis", aspect="auto")
        kinds = [wrapped(drawable(kind), TICK) for kind in matrix.columns]
        upright = any(kind.count("\n") > 1 for kind in kinds)  # slanted names of three lines would overlap
        one.set_xticks(range(len(kinds)), kinds, rotation=90 if upright else 35, ha="center" if upright else "right")
        one.set_yticks(range(matrix.shape[0]), [labels.tick(name) for name in matrix.index])
        for (y, x), value in np.ndenumerate(matrix.to_numpy()):
            if np.isfinite(value):
                red, green, blue, _ = image.cmap(image.norm(value))
                colour = "black" if 0.3 * red + 0.6 * green + 0.1 * blue > 0.46 else "white"
                one.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=SMALL - 0.5, color=colour)
        one.set_title(labels.row(row, boards), fontsize=SMALL)
        one.grid(visible=False)
        one.spines[:].set_visible(False)
    if image is not None:
        bar = figure.colorbar(
            image, ax=axes, shrink=1 if len(axes) == 1 else 0.6, aspect=16 * len(axes), extend="min", pad=0.02
        )
        bar.set_label("AUROC (one colour for 0.5 and below)", fontsize=SMALL)
        bar.ax.tick_params(labelsize=SMALL)
    return figure


LOOKS = {
    "normal": ("0.45", "-", "normal"),
    "seen": ("#D55E00", "--", "anomaly of a seen kind"),
    "unseen": ("#0072B2", "-", "anomaly of an unseen kind"),
    "anomaly": ("#009E73", "-.", "anomaly (seen kinds not stored)"),
}
"""Part of the test images (`scores.PARTS`) to colour, line style and title."""


def score_histograms(frame: pd.DataFrame, scores: pd.DataFrame) -> Figure:
    """Scores of normals, seen and unseen kinds, all seeds together, one panel per method and row.

    Each cell's scores are given in standard deviations of its own test normals from their mean, so that seeds and methods can
    share an axis. The share of scores above 10 is printed.
    """
    tests = comparable(frame)
    tests = tests[tests["key"].isin(scores["key"].unique())]
    normal = scores[scores["label"] == 0].groupby("key")["score"]
    centre, spread = scores["key"].map(normal.mean()), scores["key"].map(normal.std()).replace(0, 1)
    units = scores.assign(unit=((scores["score"] - centre) / spread).clip(lower=-4))
    groups = list(tests.groupby([*ROW, "method"]))
    figure, axes = panels(len(groups), 2.3, 2.0)
    bins = [float(edge) for edge in np.linspace(-4, 10, 43)]
    used: dict[str, Any] = {}
    boards, labels = name_boards(figure, tests["board"]), labels_of(frame)
    for one, ((*row, method), cells) in zip(axes, groups):
        mine = units[units["key"].isin(cells["key"])]
        for part, (colour, line, name) in LOOKS.items():
            values = mine.loc[mine["part"] == part, "unit"]
            if len(values):
                weights = np.full(len(values), 1 / len(values))
                *_, patches = cast("tuple[Any, Any, Any]", one.hist(
                    values, bins=bins, weights=weights, histtype="stepfilled" if part == "normal" else "step",
                    color=colour, alpha=0.35 if part == "normal" else 1, linestyle=line, linewidth=1.2, label=name,
                ))  # fmt: skip
                used.setdefault(name, patches[0])
                beyond = float((values > bins[-1]).mean())
                if beyond >= 0.005:
                    one.annotate(
                        f"{beyond:.0%} beyond \u2192", (1, 0.9 - 0.13 * list(LOOKS).index(part)),
                        xycoords="axes fraction", ha="right", fontsize=SMALL - 1, color=colour,
                    )  # fmt: skip
        one.set_title(labels.row(row, boards, method), fontsize=SMALL - 0.5)
        one.set_yticks([])
        one.set_xlabel("score (std of normals)", fontsize=SMALL - 0.5)
        if leftmost(one):
            one.set_ylabel("share", fontsize=SMALL)
    if used:
        legend_below(figure, list(used.values()), list(used))
    return figure
