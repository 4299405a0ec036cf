"""`osad-bench report`: tables, statistics, figures and a page of a folder of records. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from osad_bench.benchmark.cli import options as o

if TYPE_CHECKING:
    import pandas as pd

EPILOG = """[bold]Examples[/bold]

  osad-bench report DIR                       the table, and everything as files in DIR

  osad-bench report DIR --html page.html      one file to open, send or put on a server

  osad-bench report DIR --compare published   beside the papers' numbers

  osad-bench report DIR --table all --format tex --out paper

  osad-bench report DIR --methods dra,mine --datasets elpv --out paper

A .tex file is a table to take into a paper; its first line says what the preamble needs."""


def report(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that `osad-bench run --out` wrote.")],
    methods: Annotated[str | None, typer.Option(help="Only these, separated by commas.")] = None,
    datasets: Annotated[
        str | None, typer.Option(help="Only these, separated by commas; mvtec for all its classes.")
    ] = None,
    setting: Annotated[str | None, typer.Option(help="Only general or hard.")] = None,
    shots: Annotated[str | None, typer.Option(help="Only these M, separated by commas.")] = None,
    table: Annotated[
        str | None, typer.Option(help="1, 2, 3 or all: the DPDL paper's tables; default: one table of everything.")
    ] = None,
    formats: Annotated[
        str, typer.Option("--format", help="md, tex, csv and html, separated by commas.")
    ] = "md,tex,csv",
    compare: Annotated[
        str | None, typer.Option(help="published: your numbers beside those of the papers, each with its source.")
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A plan that run --freeze wrote: say which results follow it and which are exploratory.",
        ),
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write everything as one page.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the files here instead of into DIR.")] = None,
    metric: Annotated[str, typer.Option(help="auroc, average_precision, fpr95, pixel_auroc or aupro.")] = "auroc",
    percent: Annotated[bool, typer.Option("--percent", help="88.9 instead of 0.889.")] = False,
    statistics: Annotated[
        bool | None, typer.Option(help="Test differences between methods; default: only for up to 10,000 cells.")
    ] = None,
    figures: Annotated[
        bool | None, typer.Option(help="Draw figures as PDF and PNG; default: only for up to 10,000 cells.")
    ] = None,
    images: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="folder:PATH or csv:FILE to take the page's pictures from; may be repeated."),
    ] = None,
    pictures: Annotated[
        bool,
        typer.Option(
            help="Show test images on the page; not for a page to publish where the images may not be passed on."
        ),
    ] = True,
    data_root: Annotated[
        Path | None, typer.Option(envvar="OSAD_BENCH_DATA", help="Folder of the data sets' original downloads.")
    ] = None,
) -> None:
    """Print the tables of DIR, say in words which differences are noise, and write both with figures to files.

    Exit code: 0 written, 2 wrong usage or input.
    """
    from functools import partial
    from typing import cast

    from rich.console import Console

    from osad_bench.benchmark.cli.bars import Steps
    from osad_bench.core.errors import InputError
    from osad_bench.datasets.inspect.thumbnails import thumbnails
    from osad_bench.results.aggregate import Metric
    from osad_bench.results.registered import read_plan
    from osad_bench.results.render import print_tables
    from osad_bench.results.report import BESIDE, alike, no_pictures, write_report

    if compare not in (None, "published"):
        raise InputError(f"--compare {compare}: expected published")
    if images and not pictures:
        raise InputError("--images names pictures that --no-pictures leaves out: give one of the two")
    made = write_report(
        directory, out=out, methods=methods, datasets=datasets, setting=setting, shots=shots, table=table,
        formats=[name.strip() for name in formats.split(",")], compare=bool(compare), html=html,
        metric=cast("Metric", metric), percent=percent, statistics=statistics, figures=figures,
        plan=None if plan is None else read_plan(plan), steps=Steps(Console(stderr=True)), say=o.tell,
        pictures=partial(thumbnails, data_root=data_root, sources=images or []) if pictures else no_pictures,
    )  # fmt: skip
    o.tell(f"wrote {', '.join(made.written) or 'nothing'} to {made.folder}")
    for sheet in made.sheets:
        print_tables(sheet.tables, Console(), percent=percent)
        if compare:
            _print_frame(alike({BESIDE: sheet.more[BESIDE]}), "nothing here has a published counterpart")
        print("\n".join(sheet.sentences))


def _print_frame(frames: dict[str, pd.DataFrame], otherwise: str) -> None:
    from tabulate import tabulate

    for name, frame in frames.items():
        print(f"\n{name}\n\n{tabulate(frame, headers='keys', showindex=False, disable_numparse=True)}\n")
    if not frames:
        print(otherwise)
