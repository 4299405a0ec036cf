"""`osad-bench datasets`: which data sets there are, whether a download is sound, what its images look like."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from osad_bench.benchmark.cli import options as o

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from osad_bench.datasets.base import Dataset
    from osad_bench.datasets.inspect.verify import Report

app = typer.Typer(help="List, verify and preview data sets.", no_args_is_help=True)

DataRoot = Annotated[
    Path | None, typer.Option(envvar="OSAD_BENCH_DATA", help="Folder of the data sets' original downloads.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]

SHOWN = 20
"""Largest number of problems and of groups of duplicates that are printed; --json lists all."""

NAMED = 4
"""Largest number of ids printed per group of duplicates."""


def _console(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal, or wide enough for a table if there is none."""
    from rich.console import Console

    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=220)


@app.command("list")
def list_(
    names: Annotated[list[str] | None, typer.Argument(help="Only these; mvtec gives its classes.")] = None,
    data_root: DataRoot = None,
    as_json: AsJson = False,
) -> None:
    """Print each data set: domain, numbers, kinds, licence, whether it was found, and where to get those missing."""
    from dataclasses import asdict

    from osad_bench.core.places import default_data_root
    from osad_bench.datasets.inspect.listing import rows

    root = data_root if data_root is not None else default_data_root()
    lines, own = rows(names or [], root)
    if as_json:
        print(json.dumps([asdict(line) for line in lines], indent=1))
        return
    from rich.table import Table

    from osad_bench.benchmark.cli.bars import shown

    table = Table(
        "name", "domain", "images", "normal", "anomalous", "kinds", "licence", "state", box=None, pad_edge=False
    )
    for column in (2, 3, 4, 5):
        table.columns[column].justify = "right"
        table.columns[column].no_wrap = True
    table.columns[0].no_wrap = table.columns[7].no_wrap = True
    for line in lines:
        numbers = ["" if n is None else str(n) for n in (line.images, line.normals, line.anomalies, line.kinds)]
        style = None if line.state == "found" else "dim"
        table.add_row(
            shown(line.name), shown(line.domain), *numbers, shown(line.licence), shown(line.state), style=style
        )
    _console().print(table)
    console = _console(stderr=True)
    console.print(
        f"\ndata root: {shown(root)}  (--data-root or OSAD_BENCH_DATA); the numbers of missing data sets "
        "are the published ones",
        highlight=False,
        soft_wrap=True,
    )
    for line in lines:
        if line.hint:
            console.print(f"[bold]{shown(line.name)}[/bold]: {shown(line.hint)}", highlight=False, soft_wrap=True)
    for usage in own:
        console.print(f"your own images, {shown(usage)}", highlight=False, soft_wrap=True)


@app.command("verify")
def verify(
    names: Annotated[list[str], typer.Argument(help="Data sets: a name, mvtec/carpet, mvtec, folder:PATH, csv:FILE.")],
    data_root: DataRoot = None,
    as_json: AsJson = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with code 1 for duplicate images too, except blank ones.")
    ] = False,
) -> int:
    """Check a download: published counts, files passed over, broken images, masks, contradicting labels, duplicates.

    Exit code: 0 sound; 1 something is missing, passed over, broken, miscounted or labelled both normal and anomalous
    (with --strict: or duplicated); 2 not there at all.
    """
    from osad_bench.datasets.base import DatasetError
    from osad_bench.datasets.catalogue import expand, open_dataset
    from osad_bench.datasets.inspect.verify import verify as check

    reports, missing = [], {}
    for name in dict.fromkeys(task for given in names for task in expand(given)):
        try:
            dataset = open_dataset(name, data_root)
            report = check(dataset)
        except DatasetError as error:  # the other data sets are still examined
            missing[name] = str(error)
            continue
        crossing = _crossing(dataset, report)
        reports.append({**report.as_dict(), "copies_in_default_test": crossing})
        if not as_json:
            _print_report(_console(), report, crossing)
    if as_json:
        print(json.dumps(reports, indent=1))
    for message in dict.fromkeys(missing.values()):
        o.tell(f"error: {message}")
    if missing:
        return 2
    bad = [report for report in reports if not report["sound"] or (strict and report["duplicates"])]
    return 1 if bad else 0


def _crossing(dataset: Dataset, report: Report) -> int | None:
    """Test images with a copy in training, in the default split of `run`; None where the data set is too small for it."""
    from osad_bench.benchmark.cell.split import crossing, split
    from osad_bench.core.errors import InputError
    from osad_bench.results.record import Protocol

    if not report.duplicates:
        return 0 if report.fingerprint else None
    try:
        protocol = Protocol(setting="general", shots=10, known_kind=None, seed=0, reserve=0, dedup=False, part="test")
        return crossing(split(dataset, protocol), [group.ids for group in report.duplicates])
    except InputError:
        return None


def _print_report(console: Console, report: Report, crossing: int | None) -> None:
    from rich.table import Table

    from osad_bench.benchmark.cli.bars import shown

    console.print(f"[bold]{shown(report.dataset)}[/bold]  {shown(report.root or '')}", highlight=False, soft_wrap=True)
    if report.counts:
        table = Table("part", "found", "published", box=None, pad_edge=False)
        for count in report.counts:
            table.add_row(shown(count.part), str(count.found), "" if count.published is None else str(count.published))
        console.print(table)
    styles = {"fatal": "red", "error": "red", "note": "yellow"}
    for problem in report.problems[:SHOWN]:
        console.print(
            f"[{styles[problem.severity]}]{problem.severity}[/] {shown(problem)}",
            highlight=False,
            soft_wrap=True,
        )
    if len(report.problems) > SHOWN:
        console.print(f"... and {len(report.problems) - SHOWN} more; --json lists all")
    _print_duplicates(console, report, crossing)
    errors = sum(problem.severity != "note" for problem in report.problems)
    verdict = "[green]sound[/]" if report.sound else f"[red]not sound: {errors} errors[/]"
    console.print(f"{verdict}  fingerprint {report.fingerprint or 'none'}", highlight=False, soft_wrap=True)


def _print_duplicates(console: Console, report: Report, crossing: int | None) -> None:
    from osad_bench.benchmark.cli.bars import shown

    if not report.duplicates:
        if report.fingerprint:
            but = ", blank ones excepted" if report.blank else ""
            console.print(f"duplicates: none, no two readable images have the same pixels{but}")
        return
    across = [group for group in report.duplicates if len(group.parts) > 1]
    same = sum(group.identical_files for group in report.duplicates)
    console.print(
        f"[yellow]duplicates[/]: {len(report.duplicates)} groups, {report.surplus} surplus copies; in {same} groups the "
        f"files are the same byte for byte, in {len(report.duplicates) - same} only the decoded pixels are; {len(across)} "
        "groups lie in several parts",
        highlight=False,
        soft_wrap=True,
    )
    # Groups in several parts first: there a label is wrong, or a test image may also be trained on.
    for group in sorted(report.duplicates, key=lambda group: -len(group.parts))[:SHOWN]:
        more = f" = {len(group.ids) - NAMED} more" if len(group.ids) > NAMED else ""
        ids = " = ".join(group.ids[:NAMED]) + more
        console.print(f"  {shown(ids)}  ({shown(', '.join(group.parts))})", highlight=False, soft_wrap=True)
    if len(report.duplicates) > SHOWN:
        console.print(f"  ... and {len(report.duplicates) - SHOWN} more groups; --json lists all")
    if crossing:
        console.print(
            f"  the default split of run (general, M = 10, seed 0) has {crossing} test images with a copy in training: "
            "run --dedup keeps one of each group, and drops groups whose labels contradict each other",
            highlight=False,
            soft_wrap=True,
        )


def _one_task(name: str, advice: str, data_root: Path | None) -> Dataset:
    """Open the data set of this name; an error with `advice` if the name stands for several."""
    from osad_bench.core.errors import InputError
    from osad_bench.datasets.catalogue import expand, open_dataset

    tasks = expand(name)
    if len(tasks) > 1:
        raise InputError(f"{name} has {len(tasks)} tasks; {advice}, such as {tasks[0]}")
    return open_dataset(name, data_root)


def _write(dataset: Dataset, out: Path | None, ending: str, write: Callable[[Path], object]) -> None:
    """Write a file to `out` (default: named after the data set, in the working directory) and print its path."""
    from osad_bench.core.errors import InputError
    from osad_bench.core.text import printable

    path = out if out is not None else Path(dataset.full_name.replace("/", "-") + ending)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; give another place with --out") from None
    print(printable(path))


@app.command("preview")
def preview(
    name: Annotated[str, typer.Argument(help="A data set: a name, mvtec/carpet, folder:PATH, csv:FILE.")],
    out: Annotated[
        Path | None, typer.Option(help="PNG file to write; default NAME.png in the working directory.")
    ] = None,
    columns: Annotated[int, typer.Option(min=1, max=32, help="Images per row.")] = 8,
    size: Annotated[
        int, typer.Option(min=16, max=512, help="Height and width of each image on the sheet, in pixels.")
    ] = 128,
    seed: Annotated[
        int, typer.Option(min=0, help="Decides which images are shown and which pseudo-anomalies are drawn.")
    ] = 0,
    tiles: Annotated[
        int, typer.Option(min=1, max=16, help="Show long photographs as a run with --set tiles=N reads them.")
    ] = 1,
    data_root: DataRoot = None,
) -> None:
    """Draw normals, anomalies of each kind and every pseudo-anomaly generator onto one PNG sheet."""
    from osad_bench.datasets.inspect.preview import contact_sheet

    dataset = _one_task(name, "preview one", data_root)
    _write(dataset, out, ".png", lambda path: contact_sheet(dataset, columns, size, seed, tiles).save(path, "PNG"))


@app.command("card")
def card_(
    name: Annotated[str, typer.Argument(help="A data set: a name, mvtec/carpet, folder:PATH, csv:FILE.")],
    out: Annotated[
        Path | None, typer.Option(help="JSON file to write; default NAME.croissant.json in the working directory.")
    ] = None,
    data_root: DataRoot = None,
) -> None:
    """Write a card in the Croissant format: what the data set holds, image by image, without the images."""
    from osad_bench.core.files import write_named
    from osad_bench.datasets.inspect.croissant import card

    dataset = _one_task(name, "write the card of one", data_root)
    text = json.dumps(card(dataset), indent=1, ensure_ascii=False)
    _write(dataset, out, ".croissant.json", lambda path: write_named(path, text + "\n"))
