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

__all__ = [
    "Block",
    "Entry",
    "Table",
    "paper_table",
    "print_summary",
    "print_tables",
    "summary",
    "tables",
    "to_csv",
    "to_latex",
    "to_markdown",
    "to_rich",
]

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
    """Rows (data sets) against columns (methods), in blocks."""

    title: str
    columns: tuple[str, ...]
    blocks: tuple[Block, ...]
    notes: tuple[str, ...] = field(default=())
    corner: str = "data set"


METHOD_TITLES = {
    "devnet": "DevNet",
    "flos": "FLOS",
    "saoe": "SAOE",
    "mlep": "MLEP",
    "dra": "DRA",
    "ahl": "AHL",
    "dpdl": "DPDL",
}
"""The paper's methods in its order."""

DATASET_TITLES = {
    "mvtec": "MVTec AD",
    "mvtec/carpet": "Carpet",
    "mvtec/metal_nut": "Metal nut",
    "optical": "Optical",
    "sdd": "SDD",
    "aitex": "AITEX",
    "elpv": "ELPV",
    "mastcam": "Mastcam",
    "hyper-kvasir": "Hyper-Kvasir",
    "brainmri": "BrainMRI",
    "headct": "HeadCT",
}
"""The paper's data sets in its order."""


def _in_order(names: Iterable[Any], order: Iterable[str]) -> list[str]:
    """`names` without repeats: those of `order` first, the rest (variants beside their method) by name."""
    places = {name: place for place, name in enumerate(order)}
    return sorted({str(name) for name in names}, key=lambda name: (places.get(name.split(" ")[0], len(places)), name))


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


def _row_name(dataset: str, setting: str, kinds: int, classes: int, titles: Mapping[str, str]) -> str:
    name = titles.get(dataset, dataset)
    if classes:
        return f"{name} (mean of {classes} classes)"
    return f"{name} (mean of {kinds} kinds)" if setting == "hard" else name


def _blocks(lines: pd.DataFrame, methods: list[str], titles: Mapping[str, str]) -> tuple[Block, ...]:
    """Blocks by setting (general first) and shots (most first)."""
    order = lines[["setting", "shots"]].drop_duplicates().sort_values(["setting", "shots"], ascending=[True, False])
    blocks = []
    for setting, shots in order.itertuples(index=False):
        group = lines[(lines["setting"] == setting) & (lines["shots"] == shots)]
        rows = []
        for dataset in _in_order(group["dataset"], DATASET_TITLES):
            cells = group[group["dataset"] == dataset]
            name = _row_name(dataset, setting, int(cells["kinds"].max()), int(cells["classes"].max()), titles)
            entries = {str(line["method"]): _entry(line) for line in cells.to_dict("records")}
            missing = Entry(None, expected=int(cells["expected"].max()))
            rows.append((name, tuple(entries.get(method, missing) for method in methods)))
        blocks.append(Block(_block_title(setting, shots), tuple(rows)))
    return tuple(blocks)


def tables(frame: pd.DataFrame, metric: Metric = "auroc") -> list[Table]:
    """One table a board with everything there is, blocks by setting (general first) and shots (most first).

    Parameters
    ----------
    frame
        As `osad_bench.results.load` returns it.
    metric
        Which metric to show.
    """
    result = []
    for board, lines in summary(frame, metric).groupby("board"):
        methods = _in_order(lines["method"], METHOD_TITLES)
        title = f"{METRIC_TITLES[metric]} (mean±std over seeds), preset {board}"
        notes = (_seeds_note(lines), *left_out(frame))
        result.append(Table(title, tuple(methods), _blocks(lines, methods, {}), notes))
    return result


def paper_table(frame: pd.DataFrame, number: int) -> list[Table]:
    """The records in the form of the DPDL paper's Table 1, 2 or 3, one table a board.

    Table 1 is the general setting (data sets made of classes as their mean), Table 2 the hard setting (Carpet and
    Metal nut alone of MVTec AD), Table 3 the variants of `dpdl` with M = 10. Methods and data sets that the paper does
    not have follow its own.

    Raises
    ------
    ValueError
        There is no such table.
    """
    if number not in {1, 2, 3}:
        raise ValueError(f"the paper has tables 1, 2 and 3, not {number}")
    lines = summary(frame)
    inside = lines["dataset"].str.contains("/")
    if number == 1:
        groups = set(lines.loc[lines["classes"] > 0, "dataset"])
        lines = lines[(lines["setting"] == "general") & ~(inside & lines["dataset"].str.split("/").str[0].isin(groups))]
    elif number == 2:
        alone = lines["dataset"].isin(DATASET_TITLES) & (lines["classes"] == 0)
        lines = lines[(lines["setting"] == "hard") & (alone | ~(inside | (lines["classes"] > 0)))]
    else:
        return _ablations(lines[(lines["shots"] == 10) & lines["method"].str.match(r"dpdl(?:$| )")], frame)
    result = []
    for board, part in lines.groupby("board"):
        methods = _in_order(part["method"], METHOD_TITLES)
        shown = tuple(METHOD_TITLES.get(method, method) for method in methods)
        setting = "general" if number == 1 else "hard"
        title = f"Table {number} of the DPDL paper, rerun: AUROC (mean±std), {setting} setting, preset {board}"
        blocks = _blocks(part, methods, DATASET_TITLES)
        result.append(Table(title, shown, blocks, (_seeds_note(part), *left_out(frame)), "Dataset"))
    return result


def _ablations(lines: pd.DataFrame, frame: pd.DataFrame) -> list[Table]:
    """Table 3: variants as rows and data sets as columns; ranks down the columns."""
    result = []
    for board, part in lines.groupby("board"):
        datasets = _in_order(part["dataset"], DATASET_TITLES)
        variants = sorted(part["method"].unique(), key=lambda name: (name == "dpdl", name))
        blocks = []
        for setting, group in part.groupby("setting"):
            cells = {(line["method"], line["dataset"]): _entry(line) for line in group.to_dict("records")}
            rows = tuple(
                (
                    variant.removeprefix("dpdl ") if variant != "dpdl" else "complete",
                    tuple(cells.get((variant, dataset), Entry(None)) for dataset in datasets),
                )
                for variant in variants
                if any((variant, dataset) in cells for dataset in datasets)
            )
            blocks.append(Block(_block_title(str(setting), 10), rows))
        title = f"Table 3 of the DPDL paper, rerun: ablations of DPDL, AUROC (mean±std), preset {board}"
        columns = tuple(DATASET_TITLES.get(dataset, dataset) for dataset in datasets)
        result.append(Table(title, columns, tuple(blocks), (_seeds_note(part), *left_out(frame)), "variant"))
    return result


def _seeds_note(lines: pd.DataFrame) -> str:
    counts = sorted(lines["expected"].unique())
    seeds = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    text = f"Standard deviation over n = {seeds} seeds with ddof = 1."
    incomplete = lines[~lines["complete"]]
    if len(incomplete):
        text += f" {len(incomplete)} incomplete cells show their own n and are not ranked."
    return text


def to_rich(table: Table, *, percent: bool = False, width: int = 120) -> Any:
    """A rich renderable at most `width` characters wide: best bold, second best underlined.

    Columns that do not fit follow in a further grid below.
    """
    from rich import box
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table as RichTable
    from rich.text import Text

    styles = {1: "bold", 2: "underline"}
    first = min(max((len(name) for block in table.blocks for name, _ in block.rows), default=8), max(16, width // 3))
    parts: list[Any] = [Text(table.title, style="italic")]
    for block in table.blocks:
        texts = [[entry.text(percent=percent) for entry in entries] for _, entries in block.rows]
        widths = [
            max([len(column), *(len(row[place]) for row in texts)]) + 2 for place, column in enumerate(table.columns)
        ]
        start = 0
        while start < len(widths):
            stop = start + 1
            while stop < len(widths) and first + 2 + sum(widths[start : stop + 1]) <= width:
                stop += 1
            grid = RichTable(title=escape(block.title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1))
            grid.add_column(escape(table.corner), max_width=first, overflow="fold")
            for column in table.columns[start:stop]:
                grid.add_column(escape(column), justify="right", overflow="fold")
            for (name, entries), row in zip(block.rows, texts):
                shown = [
                    Text(text, style=styles.get(entry.rank or 0, ""))
                    for entry, text in zip(entries[start:stop], row[start:stop])
                ]
                grid.add_row(Text(name), *shown)
            parts.append(grid)
            start = stop
    parts += [Text(note, style="dim") for note in table.notes]
    return Group(*parts)


def print_summary(frame: pd.DataFrame, console: Console, *, metric: Metric = "auroc", percent: bool = False) -> None:
    """Print every table of `frame` to a rich console."""
    print_tables(tables(frame, metric), console, percent=percent)


def print_tables(shown: Iterable[Table], console: Console, *, percent: bool = False) -> None:
    """Print tables to a rich console; where it is no terminal, as wide as they need to be."""
    shown = list(shown)
    width = console.width if console.is_terminal else 200
    for table in shown:
        console.print(to_rich(table, percent=percent, width=width), width=width)
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
            parts.append(
                f"| {escape_markdown(table.corner)} | " + " | ".join(map(escape_markdown, table.columns)) + " |"
            )
            parts.append("|---|" + "---:|" * len(table.columns))
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
        width = len(table.columns) + 1
        parts += [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape_latex(table.title)}. {escape_latex(' '.join(table.notes))}}}",
            rf"\begin{{tabular}}{{l{'c' * len(table.columns)}}}",
            r"\toprule",
            f"{escape_latex(table.corner)} & " + " & ".join(map(escape_latex, table.columns)) + r" \\",
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
    columns = [*ROW, "method", "mean", "std", "n", "expected", "kinds", "classes", "failed", "complete", "rank"]
    return str(summary(frame, metric).to_csv(index=False, columns=columns, lineterminator="\n"))
