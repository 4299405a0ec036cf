"""Critical-difference diagrams (Demsar 2006, Fig. 1)."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from osad_bench.results.aggregate import Metric
from osad_bench.results.plots.style import SMALL, method_title, name_boards, panels
from osad_bench.results.ranking import average_ranks, critical_difference, dataset_means, friedman, nemenyi


def critical_difference_diagram(frame: pd.DataFrame, metric: Metric = "auroc", alpha: float = 0.05) -> Figure:
    """Average ranks over data sets, a panel a setting and M; a bar joins methods that Nemenyi's test does not tell apart.

    Panels with fewer than three methods or two data sets are left out.
    """
    from scikit_posthocs import critical_difference_diagram as diagram

    usable = {key: m for key, m in dataset_means(frame, metric).items() if m.shape[1] > 2 and m.shape[0] > 1}
    most = max((matrix.shape[1] for matrix in usable.values()), default=0)
    figure, axes = panels(len(usable), 5.6, 0.9 + 0.16 * most, across=1)
    boards = name_boards(figure, (board for board, *_ in usable))
    for one, ((board, setting, shots), matrix) in zip(axes, usable.items()):
        matrix = matrix.rename(columns=method_title)
        one.grid(visible=False)
        diagram(
            average_ranks(matrix), nemenyi(matrix), ax=one, alpha=alpha, text_h_margin=0.02,
            label_fmt_left="{label} ({rank:.2f})", label_fmt_right="({rank:.2f}) {label}",
            label_props={"fontsize": SMALL}, elbow_props={"linewidth": 0.8}, marker_props={"s": 14},
            color_palette=["black"] * matrix.shape[1], crossbar_props={"color": "#D55E00", "linewidth": 2.5, "marker": ""},
        )  # fmt: skip
        one.spines["top"].set_visible(True)
        test = friedman(matrix)
        one.set_title(
            f"{setting}, M = {shots}: mean rank over {len(matrix)} data sets (1 = best){boards[board]}\n"
            f"critical difference {critical_difference(matrix.shape[1], len(matrix), alpha):.2f} at {alpha:g};"
            f" Friedman p = {test.f_p:.2g}",
            fontsize=SMALL,
        )
    if not usable:
        figure.clear()
        figure.text(0.5, 0.3, "ranks need three methods and two data sets", ha="center", fontsize=9)
    return figure
