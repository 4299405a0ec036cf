"""Which differences could be found with more seeds."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from osad_bench.results.plots.style import SMALL, Labels, legend_below, name_boards, panels, styles
from osad_bench.results.power import smallest_difference, spreads

SHOWN = (2, 3, 4, 5, 7, 10, 15, 20, 30, 50)
"""Numbers of seeds on the axis."""


def power_curve(pairs: pd.DataFrame, labels: Labels, level: float = 0.05, target: float = 0.8) -> Figure:
    """The smallest AUROC difference found with probability `target`, against the number of seeds; one line per table row.

    Dotted: the limit that more seeds cannot lower, as it is due to the number of test images.

    Parameters
    ----------
    pairs
        As `paired.differences` returns it.
    labels
        As `style.labels_of` returns it.
    level, target
        As in `osad_bench.results.power.seeds_needed`.
    """
    lines = spreads(pairs)
    names = [f"{line.board}{line.dataset}{line.setting}{line.shots}" for line in lines.itertuples()]
    figure, axes = panels(1 if len(lines) else 0, 5.6, 3.4, across=1)
    boards = name_boards(figure, lines["board"])
    one_board = len(boards) == 1
    for one in axes:
        for line, look in zip(lines.itertuples(), styles(names).values()):
            of = (line.spread, line.image_variance, line.pairs, level, target)
            values = [smallest_difference(seeds, *of) for seeds in SHOWN]
            floor = smallest_difference(100_000, *of)
            title = labels.row((line.board, line.dataset, line.setting, line.shots), boards).replace("\n", " ")
            one.plot(
                SHOWN, np.where(np.array(values) < 1, values, np.nan), color=look.colour, marker=look.marker,
                linestyle=look.line, markersize=4, linewidth=1.3, label=title if one_board else title.strip(),
            )  # fmt: skip
            one.axhline(floor, color=look.colour, linewidth=0.8, linestyle=":")
        one.set_xscale("log")
        one.set_yscale("log")
        one.set_xticks(SHOWN, [str(seeds) for seeds in SHOWN])
        one.xaxis.set_minor_locator(NullLocator())
        low, high = one.get_ylim()
        ticks = [tick for tick in (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if low <= tick <= high]
        one.set_yticks(ticks)
        one.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        one.yaxis.set_minor_locator(NullLocator())
        one.set_xlabel("seeds that both methods share", fontsize=SMALL)
        one.set_ylabel("smallest AUROC difference", fontsize=SMALL)
        one.set_title(
            f"found with probability {target:g}; paired two-sided test at level {level:g}, corrected for the row's pairs",
            fontsize=SMALL,
        )
        legend_below(figure, *one.get_legend_handles_labels())
    return figure
