"""What all figures share: colours, markers, sizes, the grid of panels, and how they are saved.

Colours are Okabe and Ito's, which differ for all common kinds of colour blindness. Marker shapes, line styles and hatches
differ in the same way, so that a black and white print can be read.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from textwrap import fill
from typing import Any
from weakref import WeakKeyDictionary

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from osad_bench.core.files import write_named
from osad_bench.results.plots.letters import drawable, family_for
from osad_bench.results.titles import Titles, titles_of

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 3)), (0, (3, 1)))
HATCHES = ("", "///", "...", "\\\\\\", "xxx", "---", "ooo")
SMALL = 7.5
"""Smallest type in points; figures are drawn at print size."""
TICK = 1.6
"""Longest line of a name beside an axis, in inches."""
MOST_PANELS = 18
"""Most panels of a figure."""
DPI = 200
"""Dots per inch of PNG files, and of the layout, as the widths of letters depend on it."""
SHARE = 0.55
"""Least share of a panel's width and height for the axes; the rest is for names around them."""
ROUNDS = 8
"""Most times that a figure is enlarged."""
_PANELS: WeakKeyDictionary[Figure, tuple[int, int, int, float, float]] = WeakKeyDictionary()
"""Figure to its number of panels, how many across and down, and the width and height per panel in inches."""
_ASCII = frozenset(map(chr, range(128)))
NARROWEST = 2.3
"""Inches of the narrowest panel."""
TITLE = NARROWEST - 0.55
"""Inches of the longest line of a title: it stands over the middle of the axes, which have the names beside them."""


@dataclass(frozen=True)
class Style:
    """How one method is drawn in every figure."""

    colour: str
    marker: str
    line: Any
    hatch: str


def styles(names: Sequence[str]) -> dict[str, Style]:
    """A style for each name, in order; colours and the rest repeat with different periods."""
    chosen = map(Style, cycle(COLOURS), cycle(MARKERS), cycle(LINES), cycle(HATCHES))
    return dict(zip(names, islice(chosen, len(names))))


def panels(count: int, width: float, height: float, across: int = 3) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, each `width` by `height` inches, at most `MOST_PANELS`."""
    shown = min(count, MOST_PANELS)
    across = max(1, min(across, shown))
    down = max(1, -(-shown // across))
    figure = Figure(figsize=(width * across, height * down), layout="constrained", dpi=DPI)
    _PANELS[figure] = shown, across, down, width, height
    axes = [figure.add_subplot(down, across, place + 1) for place in range(shown)]
    for one in axes:
        tidy(one)
    if not shown:
        figure.text(0.5, 0.5, "no complete cells to show", ha="center", va="center", fontsize=9)
    if count > shown:
        note(figure, f"the first {shown} of {count} panels; choose others by --datasets, --methods, --setting, --shots")
    return figure, axes


def wrapped(text: str, inches: float) -> str:
    """`text` broken into lines of small type of at most this width."""
    return fill(text, max(20, int(inches * 72 / (0.55 * SMALL))))


def note(figure: Figure, text: str) -> None:
    """Add a line above the figure."""
    lines = [figure.get_suptitle(), wrapped(text, figure.get_figwidth())]
    figure.suptitle("\n".join(filter(None, lines)), fontsize=SMALL)


def name_boards(figure: Figure, boards: Iterable[str]) -> dict[str, str]:
    """Board to what a panel's title says of it: nothing where all panels share one, which is then named above the figure."""
    names = sorted(set(boards))
    if len(names) == 1:
        note(figure, f"preset {drawable(names[0])}")
        return {names[0]: ""}
    return {name: "\n" + wrapped(f"preset {drawable(name)}", TITLE) for name in names}


def legend_below(figure: Figure, handles: Sequence[Any], names: Sequence[str]) -> None:
    """A legend below all panels, in as many columns as fit the figure's width; long names are broken into lines."""
    inches = figure.get_figwidth()
    names = [wrapped(name, min(2.4, inches - 0.6)) for name in names]
    longest = max((len(line) for name in names for line in name.splitlines()), default=1)
    column = (longest * 0.56 + 4.5) * SMALL / 72  # the line, its gap and the gap to the next column take 4.5 letters
    columns = max(1, min(4, len(names), int((inches - 0.2) / column)))
    figure.legend(
        list(handles),
        names,
        loc="outside lower center",
        ncols=columns,
        fontsize=SMALL,
        frameon=False,
        columnspacing=1.2,
    )


def tidy(axes: Axes) -> None:
    """Thin frame, small type, faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=SMALL)
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.set_axisbelow(True)


def leftmost(axes: Axes) -> bool:
    """Whether a panel is the first of its line, which alone has the label of the y axis."""
    spec = axes.get_subplotspec()
    return spec is not None and bool(spec.is_first_col())


def widen(axes: Axes, least: float = 0.03) -> None:
    """Make the y axis span at least `least`, so that a spread of 0.0001 does not fill a panel."""
    low, high = axes.get_ylim()
    if high - low < least:
        axes.set_ylim((low + high - least) / 2, (low + high + least) / 2)


@dataclass(frozen=True)
class Labels:
    """Names of methods, data sets and rows in a figure: their titles, made `drawable`."""

    titles: Titles

    def method(self, label: str) -> str:
        """``DPDL prototypes=16`` for ``dpdl prototypes=16``."""
        return drawable(self.titles.method(label))

    def tick(self, label: str) -> str:
        """`method`, broken into lines for a place beside an axis."""
        return wrapped(self.method(label), TICK)

    def dataset(self, label: str) -> str:
        """The title of a data set."""
        return drawable(self.titles.dataset(label))

    def row(self, row: Iterable[Any], boards: dict[str, str], method: object = None) -> str:
        """What names a row of the table (`aggregate.ROW`), its board as `name_boards` says; `method` stands above it."""
        board, dataset, setting, shots = row
        whole = f"{self.dataset(dataset)}, {setting}, M\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{shots}"
        above = "" if method is None else f"{wrapped(self.method(str(method)), TITLE)}\n"
        return above + wrapped(whole, TITLE).replace("\N{NO-BREAK SPACE}", " ") + boards[board]


def labels_of(frame: pd.DataFrame) -> Labels:
    """The labels for records, given as `osad_bench.results.load` returns them."""
    return Labels(titles_of(frame))


def finish(figure: Figure) -> Figure:
    """Make a figure ready to be drawn: add fonts for characters that the usual one lacks, and make room for all names.

    Where legends and names leave too little room for a panel (`SHARE`), the figure is enlarged.
    """
    for text in figure.findobj(Text):
        families = dict.fromkeys(filter(None, map(family_for, set(text.get_text()) - _ASCII)))
        if families:
            text.set_fontfamily([*text.get_fontfamily(), *families])
    if not figure.get_constrained_layout():  # finished before
        return figure
    shown, across, down, width, height = _PANELS.get(figure, (1, 1, 1, 0.0, 0.0))
    for _ in range(ROUNDS):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            figure.draw_without_rendering()
        wide, high = figure.get_size_inches()
        boxes = [one.get_position() for one in figure.get_axes()[:shown]]  # a colour bar comes after the panels
        if any("constrained_layout" in str(one.message) for one in caught):
            figure.set_size_inches(wide + 0.5 * width * across, high + 0.5 * height * down)
            continue
        lacking = [
            max(0.0, wanted - min((size * whole for size in sizes), default=wanted))
            for wanted, whole, sizes in (
                (SHARE * width, wide, [box.width for box in boxes]), (SHARE * height, high, [box.height for box in boxes])
            )
        ]  # fmt: skip
        if max(lacking) < 0.03:
            break
        figure.set_size_inches(wide + lacking[0] * across, high + lacking[1] * down)
    figure.set_layout_engine("none")  # the layout stays as it is now
    return figure


def save(figure: Figure, path: Path | str) -> list[Path]:
    """Write ``path.pdf`` (vector, fonts embedded as TrueType) and ``path.png`` (`DPI`); return both paths."""
    stem = Path(path)
    finish(figure)
    written = [stem.with_name(f"{stem.name}.{kind}") for kind in ("pdf", "png")]
    with rc_context({"pdf.fonttype": 42, "svg.fonttype": "none"}):
        for target in written:
            kind, stream = target.suffix[1:], io.BytesIO()
            figure.savefig(stream, format=kind, dpi=DPI, metadata={"CreationDate": None} if kind == "pdf" else None)
            write_named(target, stream.getvalue())
    return written
