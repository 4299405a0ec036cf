"""Tables for the terminal and as Markdown, HTML and CSV; for LaTeX see `osad_bench.results.latex`."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape as escape_html
from typing import TYPE_CHECKING, Any

import pandas as pd

from osad_bench.results.aggregate import ROW, Metric, summary
from osad_bench.results.tables import Table, tables, without_variants
from osad_bench.results.titles import titles_of

if TYPE_CHECKING:
    from rich.console import Console


def to_rich(table: Table, *, percent: bool = False, width: int = 120) -> Any:
    """A rich renderable of `width` characters at most: best bold, second best underlined; `percent`: 88.9 instead of 0.889.

    Columns that do not fit follow in a further grid below.
    """
    from rich import box
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table as RichTable
    from rich.text import Text

    styles = {1: "bold", 2: "underline"}
    longest = max((len(name) for block in table.blocks for name, _ in block.rows), default=8)
    first = min(max(longest, len(table.corner)), max(16, width // 3))
    parts: list[Any] = [Text(table.title, style="italic")]
    for block in table.blocks:
        texts = [[entry.text(percent=percent) for entry in entries] for _, entries in block.rows]
        widths = [
            max([len(column), *(len(row[place]) for row in texts)]) + 2 for place, column in enumerate(table.columns)
        ]
        parts.append(Text(f"\n{block.title}"))
        start = 0
        while start < len(widths):
            stop = start + 1
            while stop < len(widths) and first + 2 + sum(widths[start : stop + 1]) <= width:
                stop += 1
            grid = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1))
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


def print_tables(shown: Iterable[Table], console: Console, *, percent: bool = False) -> None:
    """Print tables to a rich console; if it is no terminal (a file, a log), in lines of up to 200 characters."""
    from rich.console import Console as RichConsole

    if not console.is_terminal:
        console = RichConsole(file=console.file, width=200, color_system=None)
    shown = list(shown)
    for table in shown:
        console.print(to_rich(table, percent=percent, width=console.width))
    if not shown:
        console.print("No test records yet: nothing to show.")


def escape_markdown(text: str) -> str:
    """`text` with escapes, so that a Markdown table shows it unchanged and on one line."""
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


def to_html(shown: Iterable[Table], *, percent: bool = False) -> str:
    """HTML tables (a fragment, no styles): best in ``<b>``, second best in ``<u>``; all text escaped."""
    parts = []
    for table in shown:
        parts.append(f"<table>\n<caption>{escape_html(table.title)}</caption>")
        heads = "".join(f'<th scope="col">{escape_html(name)}</th>' for name in (table.corner, *table.columns))
        parts.append(f"<thead><tr>{heads}</tr></thead>")
        for block in table.blocks:
            span = len(table.columns) + 1
            parts.append(f'<tbody>\n<tr><th colspan="{span}" scope="rowgroup">{escape_html(block.title)}</th></tr>')
            for name, entries in block.rows:
                cells = []
                for entry in entries:
                    text = escape_html(entry.text(percent=percent))
                    cells.append(f"<td>{ {1: f'<b>{text}</b>', 2: f'<u>{text}</u>'}.get(entry.rank or 0, text) }</td>")
                parts.append(f'<tr><th scope="row">{escape_html(name)}</th>{"".join(cells)}</tr>')
            parts.append("</tbody>")
        parts.append("</table>")
        parts += [f"<p>{escape_html(note)}</p>" for note in table.notes]
    return "\n".join(parts) + "\n"


def html_document(title: str, body: str) -> str:
    """A complete HTML document; `title` is escaped, and `body` is HTML."""
    style = (
        ":root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;margin:2rem}"
        "table{border-collapse:collapse;margin:1rem 0}th,td{padding:.2rem .7rem;text-align:right}"
        "th[scope=row],caption{text-align:left}th[colspan]{text-align:center;padding-top:.8rem}"
        "thead{border-bottom:2px solid}tbody{border-bottom:1px solid}"
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape_html(title)}</title>'
        f"<style>{style}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def frame_to_markdown(frame: pd.DataFrame) -> str:
    """Any frame of short texts and numbers as a Markdown table."""
    heads = [escape_markdown(str(name)) for name in frame.columns]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(escape_markdown(str(value)) for value in row) + " |" for row in frame.to_numpy()]
    return "\n".join(lines) + "\n"


def frame_to_html(frame: pd.DataFrame, caption: str) -> str:
    """Any frame of short texts and numbers as an HTML table."""
    heads = "".join(f'<th scope="col">{escape_html(str(name))}</th>' for name in frame.columns)
    body = ["<tr>" + "".join(f"<td>{escape_html(str(v))}</td>" for v in row) + "</tr>" for row in frame.to_numpy()]
    return "\n".join(
        [
            f"<table>\n<caption>{escape_html(caption)}</caption>", f"<thead><tr>{heads}</tr></thead>", "<tbody>", *body,
            "</tbody>\n</table>", "",
        ]
    )  # fmt: skip


def inert(text: str) -> str:
    """`text` for a CSV file, with a quote before what a spreadsheet would take for a formula; numbers stay as they are."""
    if text[:1] not in {"=", "+", "-", "@"}:
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def frame_to_csv(frame: pd.DataFrame) -> str:
    """Any frame as CSV in full precision; texts are made `inert`."""
    safe = frame.apply(lambda column: column.map(lambda value: inert(value) if isinstance(value, str) else value))
    return str(safe.to_csv(index=False, lineterminator="\n"))


def to_csv(frame: pd.DataFrame, metric: Metric = "auroc") -> str:
    """`aggregate.summary` as CSV in full precision, one line per cell of a table; ranks as in `tables`, none for variants."""
    ranks = summary(without_variants(frame), metric)[[*ROW, "method", "rank"]]
    lines = summary(frame, metric).drop(columns="rank").merge(ranks, how="left", on=[*ROW, "method"])
    titles = titles_of(frame)
    lines["method_title"], lines["dataset_title"] = (
        lines["method"].map(titles.method), lines["dataset"].map(titles.dataset)
    )  # fmt: skip
    columns = [
        *ROW, "method", "mean", "std", "n", "expected", "kinds", "classes", "failed", "complete", "rank", "method_title",
        "dataset_title",
    ]  # fmt: skip
    return frame_to_csv(lines[columns])


def print_summary(frame: pd.DataFrame, console: Console, *, metric: Metric = "auroc", percent: bool = False) -> None:
    """Print every table of `frame` to a rich console."""
    print_tables(tables(frame, metric), console, percent=percent)
