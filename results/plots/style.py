"""What all figures share: colours, markers, sizes, the grid of panels, and how they are saved.

Colours are Okabe and Ito's, which stay apart for all common kinds of colour blindness; marker shapes, line styles and
hatches repeat what colour says, so that a black and white print keeps it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from textwrap import fill
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from osad_bench.results.names import DATASET_TITLES, METHOD_TITLES

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 3)), (0, (3, 1)))
HATCHES = ("", "///", "...", "\\\\\\", "xxx", "---", "ooo")
SMALL = 7.5
"""Smallest type in points; figures are drawn at print size."""
MOST_PANELS = 18
NARROWEST = 2.3
"""Inches of the narrowest panel."""


@dataclass(frozen=True)
class Style:
    """How one method is drawn in every figure."""

    colour: str
    marker: str
    line: Any
    hatch: str


def styles(names: Sequence[str]) -> dict[str, Style]:
    """A style for each name, in order."""
    chosen = map(Style, cycle(COLOURS), cycle(MARKERS), cycle(LINES), cycle(HATCHES))
    return dict(zip(names, islice(chosen, len(names))))


def panels(count: int, width: float, height: float, across: int = 3) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, each `width` by `height` inches, at most `MOST_PANELS`."""
    shown = min(count, MOST_PANELS)
    across = max(1, min(across, shown))
    down = max(1, -(-shown // across))
    figure = Figure(figsize=(width * across, height * down), layout="constrained")
    axes = [figure.add_subplot(down, across, place + 1) for place in range(shown)]
    for one in axes:
        tidy(one)
    if not shown:
        figure.text(0.5, 0.5, "no complete cells to show", ha="center", va="center", fontsize=9)
    if count > shown:
        note(figure, f"the first {shown} of {count} panels; choose others by --datasets, --methods, --setting, --shots")
    return figure, axes


def _wrapped(text: str, inches: float) -> str:
    """Lines of small type that are at most this wide."""
    return fill(text, max(20, int(inches * 72 / (0.55 * SMALL))))


def note(figure: Figure, text: str) -> None:
    """Add a line above the figure."""
    lines = [figure.get_suptitle(), _wrapped(text, figure.get_figwidth())]
    figure.suptitle("\n".join(filter(None, lines)), fontsize=SMALL)


def name_boards(figure: Figure, boards: Iterable[str]) -> dict[str, str]:
    """What a panel's title says of its board: nothing where all share one, which then stands above the figure."""
    names = sorted(set(boards))
    if len(names) == 1:
        note(figure, f"preset {names[0]}")
        return {names[0]: ""}
    return {name: "\n" + _wrapped(f"preset {name}", NARROWEST) for name in names}


def tidy(axes: Axes) -> None:
    """Thin frame, small type, faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=SMALL)
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.set_axisbelow(True)


def widen(axes: Axes, least: float = 0.03) -> None:
    """Show at least this much of the y axis: a spread of 0.0001 should not fill a panel."""
    low, high = axes.get_ylim()
    if high - low < least:
        axes.set_ylim((low + high - least) / 2, (low + high + least) / 2)


def method_title(name: str) -> str:
    """``DPDL prototypes=16`` for ``dpdl prototypes=16``."""
    plain, space, rest = name.partition(" ")
    return METHOD_TITLES.get(plain, plain) + space + rest


def dataset_title(name: str) -> str:
    """The paper's name of a data set where it has one."""
    return DATASET_TITLES.get(name, name)


def row_title(row: Iterable[Any], boards: dict[str, str]) -> str:
    """What names a row of the table (`aggregate.ROW`), its board as `name_boards` says."""
    board, dataset, setting, shots = row
    whole = f"{dataset_title(dataset)}, {setting}, M\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{shots}"
    return _wrapped(whole, NARROWEST - 0.3).replace("\N{NO-BREAK SPACE}", " ") + boards[board]


def save(figure: Figure, path: Path | str) -> list[Path]:
    """Write `path` with .pdf (vector, fonts embedded as TrueType) and with .png (200 dots an inch)."""
    stem = Path(path)
    stem.parent.mkdir(parents=True, exist_ok=True)
    written = [stem.with_name(f"{stem.name}.{kind}") for kind in ("pdf", "png")]
    with rc_context({"pdf.fonttype": 42, "svg.fonttype": "none"}):
        for target in written:
            figure.savefig(target, dpi=200, metadata={"CreationDate": None} if target.suffix == ".pdf" else None)
    return written
