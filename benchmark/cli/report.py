"""`osad-bench report`: tables, statistics, figures and a page of a folder of records, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from osad_bench.results.aggregate import Metric

    Tests = Callable[[pd.DataFrame, int], pd.DataFrame]

EPILOG = """[bold]Examples[/bold]

  osad-bench report DIR                       the table, and everything as files in DIR

  osad-bench report DIR --html page.html      one file to open, send or put on a server

  osad-bench report DIR --compare published   beside the DPDL paper's numbers

  osad-bench report DIR --table all --format tex --out paper

  osad-bench report DIR --methods dra,mine --datasets elpv --out paper

A .tex file is a table to take into a paper; its first line says what the preamble needs."""

MISSING = {
    1: "run --setting general",
    2: "run --setting hard",
    3: "osad-bench ablate dpdl --out DIR makes them, with M = 10",
}
MANY = 10_000
"""Cells from which figures and tests of single images are made on demand only: all methods and data sets have 6,000."""
LONG = 1000
"""Cells from which they take minutes."""


def report(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that `osad-bench run --out` wrote.")],
    methods: Annotated[str | None, typer.Option(help="Only these, separated by commas.")] = None,
    datasets: Annotated[
        str | None, typer.Option(help="Only these, separated by commas; mvtec for all its classes.")
    ] = None,
    setting: Annotated[str | None, typer.Option(help="Only general or hard.")] = None,
    shots: Annotated[str | None, typer.Option(help="Only these M, separated by commas.")] = None,
    table: Annotated[
        str | None, typer.Option(help="1, 2, 3 or all: the DPDL paper's tables; default: everything in one.")
    ] = None,
    formats: Annotated[
        str, typer.Option("--format", help="md, tex, csv and html, separated by commas.")
    ] = "md,tex,csv",
    compare: Annotated[str | None, typer.Option(help="published: our numbers beside the DPDL paper's.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write everything as one page.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the files here instead of into DIR.")] = None,
    metric: Annotated[str, typer.Option(help="auroc, average_precision or fpr95.")] = "auroc",
    percent: Annotated[bool, typer.Option("--percent", help="88.9 instead of 0.889.")] = False,
    statistics: Annotated[
        bool | None, typer.Option(help=f"Test differences between methods; default: up to {MANY} cells.")
    ] = None,
    figures: Annotated[
        bool | None, typer.Option(help=f"Draw figures as PDF and PNG; default: up to {MANY} cells.")
    ] = None,
    images: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="folder:PATH or csv:FILE to take the page's pictures from; may be repeated."),
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(envvar="OSAD_BENCH_DATA", help="Folder of the data sets' original downloads.")
    ] = None,
) -> None:
    """Print the tables of DIR, say in words which differences are noise, and write both with figures to files.

    Exit code: 0 written, 2 wrong usage or input.
    """
    from typing import cast

    from rich.console import Console

    from osad_bench.benchmark.cli.screen import Steps
    from osad_bench.core.errors import InputError
    from osad_bench.results.paper import paper_records, paper_table
    from osad_bench.results.render import print_tables, to_csv
    from osad_bench.results.report import BESIDE, FORMATS, alike, chosen_records, draw, judge, tests_of, write
    from osad_bench.results.store import load
    from osad_bench.results.tables import METRIC_TITLES, tables

    wanted = [name.strip() for name in formats.split(",")]
    for option, value, known in (
        *(("format", name, FORMATS) for name in wanted),
        ("metric", metric, tuple(METRIC_TITLES)),
        ("table", table, (None, "1", "2", "3", "all")),
        ("compare", compare, (None, "published")),
    ):
        if value not in known:
            raise InputError(f"--{option} {value}: expected one of {', '.join(filter(None, known))}")
    if table and metric != "auroc":
        raise InputError(f"--table {table} has AUROCs as the paper does; leave --metric {metric} out, or --table")
    chosen: Metric = cast("Metric", metric)
    steps = Steps(Console(stderr=True))
    with steps.step("reading records") as tell:
        frame = load(directory, tell)
    frame = chosen_records(frame, methods=methods, datasets=datasets, setting=setting, shots=shots)
    target = out or directory
    done = frame[(frame["status"] == "ok") & (frame["part"] == "test")]
    small = len(done) <= MANY
    wishes = (statistics, figures)
    paired, figures = (small if wish is None else wish for wish in wishes)
    if not small and None in wishes:
        typer.echo(
            f"{len(done)} cells: tests of single images and figures only with --statistics and --figures", err=True
        )
    elif len(done) > LONG and (paired or figures):
        typer.echo(
            f"{len(done)} cells: tests and figures take some minutes (--no-statistics, --no-figures leave them out)",
            err=True,
        )

    numbers = [1, 2, 3] if table == "all" else [int(table)] if table else []
    sheets = [
        (f"table{number}", paper_records(frame, number), paper_table(frame, number), number) for number in numbers
    ]
    tests = tests_of(directory, frame, bool(sheets) and html is not None, steps) if paired else None
    written = []
    for name, records, shown, number in sheets or [("report", frame, tables(frame, chosen), 0)]:
        if not shown and number:
            typer.echo(f"no records for {name}: {MISSING[number]}", err=True)
            continue
        print_tables(shown, Console(), percent=percent)
        more, sentences = judge(records, tests, chosen, number, bool(compare), statistics is not False)
        if compare:
            _print_frames(alike({BESIDE: more[BESIDE]}), "nothing here has a published counterpart")
        print("\n".join(sentences))
        csv = to_csv(records, chosen) if "csv" in wanted else ""
        write(target / name, shown, wanted, sentences, more, csv, percent)
        written.append(name)
    drawn = {}
    if figures or (html is not None and small):
        scored = done if small else done.head(0)
        drawn = draw(directory, frame, scored, target / "figures" if figures else None, html is not None, steps)
    if html is not None:
        if sheets:
            more, sentences = judge(frame, tests, chosen, 0, bool(compare), statistics is not False)
        _write_page(html, directory, frame, drawn, sentences, more, images or [], data_root)
    files = [f"{', '.join(written)} as {', '.join(wanted)}"] if written else []
    files += [*(["figures"] if figures else []), *([str(html)] if html else [])]
    typer.echo(f"wrote {', '.join(files) or 'nothing'} to {target}", err=True)


def _print_frames(frames: dict[str, pd.DataFrame], otherwise: str) -> None:
    from tabulate import tabulate

    for name, frame in frames.items():
        print(f"\n{name}\n\n{tabulate(frame, headers='keys', showindex=False, disable_numparse=True)}\n")
    if not frames:
        print(otherwise)


def _write_page(
    path: Path, directory: Path, frame: pd.DataFrame, drawn: dict[str, str], sentences: list[str],
    more: dict[str, pd.DataFrame], images: list[str], data_root: Path | None,
) -> None:  # fmt: skip
    from osad_bench.benchmark.citations import citations
    from osad_bench.datasets.inspect.thumbnails import thumbnails
    from osad_bench.results.page import render_page, worst_mistakes
    from osad_bench.results.page.content import MOST_SCORED
    from osad_bench.results.report import alike
    from osad_bench.results.scores import load_scores

    done = frame[(frame["status"] == "ok") & (frame["part"] == "test")]
    order = done.sort_values(["seed", "setting", "dataset", "method"]).head(MOST_SCORED)
    scores = load_scores(directory, order)
    worst = worst_mistakes(scores).sort_values("share", ascending=False)
    fingerprints = dict(zip(done["key"], done["fingerprint"]))
    wanted = [(fingerprints[key], image) for key, image in zip(worst["key"], worst["image"])]
    pictures, absent = thumbnails(dict(zip(frame["fingerprint"], frame["dataset"])), wanted, data_root, images)
    for sentence in absent:
        typer.echo(f"no pictures of {sentence}", err=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    page = render_page(
        frame, scores, figures=drawn, sentences=sentences, more=alike(more),
        thumbnails=pictures, citations=citations(sorted(set(frame["method"]))),
    )  # fmt: skip
    path.write_text(page, encoding="utf-8")
