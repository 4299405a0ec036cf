"""Tables of means: one neutral form, rendered to the terminal, Markdown, LaTeX and CSV.

`tables` turns a frame of records into `Table` objects, one a board (see `aggregate.comparable`); a renderer turns those
into text. Missing cells show as a dash, incomplete ones carry their number of seeds and are never marked as best.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from osad_bench.results.aggregate import ROW, Metric, left_out, summary

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Entry", "Table", "print_summary", "summary", "tables", "to_csv", "to_latex", "to_markdown", "to_rich"]

METRIC_TITLES: dict[str, str] = {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "fpr95": "FPR at 95 % TPR (lower is better)",
}


@dataclass(frozen=True)
class Entry:
    """One cell of a table."""

    mean: float | None
    std: float | None = None
    n: int = 0
    expected: int = 0
    rank: int | None = None
    """1 best, 2 second best of the row; None where not comparable."""

    def text(self, *, percent: bool = False, plus_minus: str = "±") -> str:
        """Such as ``0.889±0.002``, ``0.889 (n=1)``, ``0.889±0.002 (n=3/5)`` or a dash."""
        if self.mean is None:
            return "–"
        scale, digits = (100.0, 1) if percent else (1.0, 3)
        shown = f"{self.mean * scale:.{digits}f}"
        if self.std is not None:
            shown += f"{plus_minus}{self.std * scale:.{digits}f}"
        if self.n < self.expected:
            return f"{shown} (n={self.n}/{self.expected})"
        return shown if self.std is not None else f"{shown} (n={self.n})"


@dataclass(frozen=True)
class Block:
    """Rows that share setting and shots."""

    title: str
    rows: tuple[tuple[str, tuple[Entry, ...]], ...]


@dataclass(frozen=True)
class Table:
    """Data sets as rows, methods as columns, a block for each setting and number of shots."""

    title: str
    methods: tuple[str, ...]
    blocks: tuple[Block, ...]
    notes: tuple[str, ...] = field(default=())


def _block_title(setting: str, shots: int) -> str:
    words = {1: "one known anomaly", 10: "ten known anomalies"}.get(shots, f"{shots} known anomalies")
    return f"{setting} setting, {words} (M = {shots})"


def _entry(line: Mapping[Any, Any]) -> Entry:
    if not line["n"]:
        return Entry(None, expected=line["expected"])
    return Entry(
        mean=float(line["mean"]),
        std=None if pd.isna(line["std"]) else float(line["std"]),
        n=int(line["n"]),
        expected=int(line["expected"]),
        rank=None if pd.isna(line["rank"]) else int(line["rank"]),
    )


def tables(frame: pd.DataFrame, metric: Metric = "auroc") -> list[Table]:
    """One table a board, with blocks by setting (general first) and shots (most first).

    Parameters
    ----------
    frame
        As `osad_bench.results.load` returns it.
    metric
        Which metric to show.
    """
    lines = summary(frame, metric)
    result = []
    for board, part in lines.groupby("board"):
        methods = tuple(sorted(part["method"].unique()))
        blocks = []
        order = part[["setting", "shots"]].drop_duplicates().sort_values(["setting", "shots"], ascending=[True, False])
        for setting, shots in order.itertuples(index=False):
            group = part[(part["setting"] == setting) & (part["shots"] == shots)]
            rows = []
            for dataset, cells in group.groupby("dataset"):
                name = (
                    str(dataset) if setting == "general" else f"{dataset} (mean of {int(cells['kinds'].max())} kinds)"
                )
                by_method = {str(line["method"]): _entry(line) for line in cells.to_dict("records")}
                expected = int(cells["expected"].max())
                rows.append((name, tuple(by_method.get(method, Entry(None, expected=expected)) for method in methods)))
            blocks.append(Block(_block_title(str(setting), int(shots)), tuple(rows)))
        notes = [_seeds_note(part), *left_out(frame)]
        title = f"{METRIC_TITLES[metric]} (mean±std over seeds), preset {board}"
        result.append(Table(title, methods, tuple(blocks), tuple(notes)))
    return result


def _seeds_note(lines: pd.DataFrame) -> str:
    counts = sorted(lines["expected"].unique())
    seeds = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    text = f"Standard deviation over n = {seeds} seeds with ddof = 1."
    incomplete = lines[~lines["complete"]]
    if len(incomplete):
        text += f" {len(incomplete)} incomplete cells show their own n and are not ranked."
    return text


def to_rich(table: Table, *, percent: bool = False) -> Any:
    """A rich renderable: best bold, second best underlined."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table as RichTable

    grid = RichTable(
        title=escape(table.title),
        caption="\n".join(escape(note) for note in table.notes),
        box=box.SIMPLE_HEAD,
        caption_justify="left",
    )
    grid.add_column("data set", no_wrap=True)
    for method in table.methods:
        grid.add_column(escape(method), justify="right")
    styles = {1: "bold", 2: "underline"}
    for block in table.blocks:
        grid.add_row(f"[italic]{escape(block.title)}[/]")
        for name, entries in block.rows:
            cells = []
            for entry in entries:
                style = styles.get(entry.rank or 0)
                text = escape(entry.text(percent=percent))
                cells.append(f"[{style}]{text}[/]" if style else text)
            grid.add_row(escape(name), *cells)
        grid.add_section()
    return grid


def print_summary(frame: pd.DataFrame, console: Console, *, metric: Metric = "auroc", percent: bool = False) -> None:
    """Print every table of `frame` to a rich console."""
    shown = tables(frame, metric)
    for table in shown:
        console.print(to_rich(table, percent=percent))
    if not shown:
        console.print("No test records yet: nothing to show.")


def escape_markdown(text: str) -> str:
    """Text that a Markdown table shows as it is."""
    for character in "\\`*_|<>[]~":
        text = text.replace(character, f"\\{character}")
    return text.replace("\n", " ")


def to_markdown(shown: Iterable[Table], *, percent: bool = False) -> str:
    """GitHub-flavoured Markdown: best bold, second best underlined."""
    parts = []
    for table in shown:
        parts.append(f"### {escape_markdown(table.title)}\n")
        for block in table.blocks:
            parts.append(f"**{escape_markdown(block.title)}**\n")
            parts.append("| data set | " + " | ".join(map(escape_markdown, table.methods)) + " |")
            parts.append("|---|" + "---:|" * len(table.methods))
            for name, entries in block.rows:
                cells = []
                for entry in entries:
                    text = entry.text(percent=percent)
                    cells.append({1: f"**{text}**", 2: f"<u>{text}</u>"}.get(entry.rank or 0, text))
                parts.append(f"| {escape_markdown(name)} | " + " | ".join(cells) + " |")
            parts.append("")
        parts += [f"{escape_markdown(note)}\n" for note in table.notes]
    return "\n".join(parts)


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "–": "--",
}


def escape_latex(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(_LATEX.get(character, character) for character in text)


def to_latex(shown: Iterable[Table], *, percent: bool = False) -> str:
    r"""Booktabs tables, best in red and second best in blue as the paper prints them.

    The preamble needs ``\usepackage{booktabs,xcolor}``.
    """
    parts = ["% needs \\usepackage{booktabs,xcolor}"]
    for table in shown:
        width = len(table.methods) + 1
        parts += [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape_latex(table.title)}. {escape_latex(' '.join(table.notes))}}}",
            rf"\begin{{tabular}}{{l{'c' * len(table.methods)}}}",
            r"\toprule",
            "Dataset & " + " & ".join(map(escape_latex, table.methods)) + r" \\",
        ]
        for block in table.blocks:
            parts += [r"\midrule", rf"\multicolumn{{{width}}}{{c}}{{{escape_latex(block.title)}}} \\", r"\midrule"]
            for name, entries in block.rows:
                cells = []
                for entry in entries:
                    text = escape_latex(entry.text(percent=percent))
                    colour = {1: "red", 2: "blue"}.get(entry.rank or 0)
                    cells.append(rf"\textcolor{{{colour}}}{{{text}}}" if colour else text)
                parts.append(f"{escape_latex(name)} & " + " & ".join(cells) + r" \\")
        parts += [r"\bottomrule", r"\end{tabular}", r"\end{table}", ""]
    return "\n".join(parts)


def to_csv(frame: pd.DataFrame, metric: Metric = "auroc") -> str:
    """The summary in long form, one line a cell, full precision."""
    columns = [*ROW, "method", "mean", "std", "n", "expected", "kinds", "failed", "complete", "rank"]
    return str(summary(frame, metric).to_csv(index=False, columns=columns, lineterminator="\n"))
