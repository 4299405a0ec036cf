"""Critical-difference diagrams (Demsar 2006, Fig. 1)."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from osad_bench.results.aggregate import Metric
from osad_bench.results.plots.style import SMALL, labels_of, name_boards, panels, wrapped
from osad_bench.results.ranking import average_ranks, critical_difference, dataset_means, friedman, nemenyi

LETTER = 0.56 * SMALL / 72
"""Mean width of a letter of small type, inches."""
LINE = 0.19
"""Height of one line of names, inches."""
MOST = 42
"""Most letters of a name on one line; longer names are broken."""


def critical_difference_diagram(frame: pd.DataFrame, metric: Metric = "auroc", alpha: float = 0.05) -> Figure:
    """Average ranks over data sets, one panel per setting and M; bars join methods that Nemenyi's test does not show to differ.

    Boards, settings and M with fewer than three methods or two data sets have no panel. `alpha` is the level of the test.
    """
    usable = {key: m for key, m in dataset_means(frame, metric).items() if m.shape[1] > 2 and m.shape[0] > 1}
    labels = labels_of(frame)
    names = {method: wrapped(labels.method(method), MOST * LETTER) for m in usable.values() for method in m.columns}
    lines = [line for name in names.values() for line in name.splitlines()]
    margin = (max(map(len, lines), default=8) + 8) * LETTER  # the mean rank stands beside the name
    tallest = max((name.count("\n") + 1 for name in names.values()), default=1)
    most = max((matrix.shape[1] for matrix in usable.values()), default=0)
    figure, axes = panels(
        len(usable), 3.2 + 2 * margin, 1.1 + (LINE * tallest + 0.06) * ((most + 1) // 2) + 0.5, across=1
    )
    boards = name_boards(figure, (board for board, *_ in usable))
    for one, ((board, setting, shots), matrix) in zip(axes, usable.items()):
        _draw(one, matrix, names, alpha, margin / 3.2)
        test = friedman(matrix)
        one.set_title(
            f"{setting}, M = {shots}: mean rank over {len(matrix)} data sets (1 = best){boards[board]}\n"
            f"critical difference {critical_difference(matrix.shape[1], len(matrix), alpha):.2f} at {alpha:g};"
            f" Friedman p {'< 0.0001' if test.f_p < 1e-4 else f'= {test.f_p:.2g}'}",
            fontsize=SMALL, pad=8,
        )  # fmt: skip
    if not usable:
        figure.clear()
        figure.text(0.5, 0.3, "ranks need three methods and two data sets", ha="center", fontsize=9)
    return figure


def _draw(one: Axes, matrix: pd.DataFrame, names: dict[str, str], alpha: float, margin: float) -> None:
    """Draw ranks on an axis from 1 to k, with names left and right below it, and bars that join methods not shown to differ.

    `margin` is the room for the names on each side, as a share of the length of the axis.
    """
    ranks, k = average_ranks(matrix), matrix.shape[1]
    left = ranks.index[: (k + 1) // 2]
    right = ranks.index[(k + 1) // 2 :][::-1]
    bars = _cliques(ranks, nemenyi(matrix), alpha)
    top = 0.6 + 0.35 * len(bars)
    depth = max(len(left), len(right))
    one.axis("off")
    one.set_xlim(1 - margin * (k - 1), k + margin * (k - 1))
    one.set_ylim(top + depth + 0.2, -0.9)
    one.plot([1, k], [0, 0], color="black", linewidth=0.8)
    for tick in range(1, k + 1):
        one.plot([tick, tick], [-0.12, 0.12], color="black", linewidth=0.8)
        one.text(tick, -0.3, str(tick), ha="center", va="bottom", fontsize=SMALL)
    for side, methods, edge, align in (("left", left, 1, "right"), ("right", right, k, "left")):
        for place, method in enumerate(methods):
            y, rank = top + place + 0.5, float(ranks[method])
            one.plot([rank, rank, edge], [0, y, y], color="black", linewidth=0.7)
            one.plot([rank], [0], "o", color="black", markersize=3, clip_on=False)
            name = names[method]
            text = f"{name} ({rank:.2f}) " if side == "left" else f" ({rank:.2f}) {name}"
            one.text(edge, y, text, ha=align, va="center", fontsize=SMALL)
    for place, (first, last) in enumerate(bars):
        y = 0.45 + 0.35 * place
        one.plot([first - 0.03, last + 0.03], [y, y], color="#D55E00", linewidth=2.5, solid_capstyle="butt")


def _cliques(ranks: pd.Series, p: pd.DataFrame, alpha: float) -> list[tuple[float, float]]:
    """First and last mean rank of each maximal run of methods of which no two are shown to differ."""
    order = list(ranks.index)
    runs: list[tuple[int, int]] = []
    for start in range(len(order)):
        stop = start
        while stop + 1 < len(order) and float(p.loc[order[start], order[stop + 1]]) >= alpha:
            stop += 1
        if stop > start and (not runs or stop > runs[-1][1]):
            runs.append((start, stop))
    return [(float(ranks.iloc[start]), float(ranks.iloc[stop])) for start, stop in runs]
