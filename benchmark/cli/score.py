"""`osad-bench score`: scores, p-values and decisions of a model for photographs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from osad_bench.benchmark.cli import options as o

EPILOG = """[bold]Examples[/bold]

  osad-bench score model photos --false-alarms 0.01 > scores.csv

  osad-bench score model photos --json --sheet sheet.html

  osad-bench score model part1.jpg part2.jpg --fail-on anomaly

  osad-bench score model incoming --watch       one row per file as it arrives, until Ctrl-C

Columns: file, score (higher = more anomalous), p_value (a normal scores as high with at most this probability), decision
(anomaly, normal, broken), problem (why it is broken, or that it has another shape than the normals fitted to). A file that cannot be
read has a row too.

Exit code: 0 scored, 1 a file is what --fail-on names, 2 wrong usage or input."""


def score(
    model: Annotated[Path, typer.Argument(help="Folder that osad-bench fit made.")],
    photos: Annotated[list[Path], typer.Argument(help="Photographs, or folders of them (sub-folders included).")],
    false_alarms: Annotated[
        float,
        typer.Option(help="Largest share of normals that may be called anomalies; 0 for scores without decisions."),
    ] = 0.01,
    json_: Annotated[bool, typer.Option("--json", help="JSON lines on stdout instead of CSV.")] = False,
    sheet: Annotated[
        Path | None,
        typer.Option(
            help="Also write a sheet (.html, .png or .jpg) of photographs and heat maps, most anomalous first."
        ),
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="Largest number of photographs on the sheet.")] = 60,
    fail_on: Annotated[
        str | None,
        typer.Option(metavar="WHAT", help="Exit with code 1 if any file is this: anomaly, broken, or any (either)."),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Keep scoring files as they arrive, until Ctrl-C.")] = False,
    method_file: Annotated[
        Path | None,
        typer.Option(help="Python file of the model's method, if that is not installed; the file is executed."),
    ] = None,
    device: o.Device = "auto",
    weights: o.Weights = None,
) -> int:
    """Score photographs and decide which are anomalies, with a bounded share of false alarms."""
    from rich.console import Console

    from osad_bench.benchmark.cli.bars import Steps, shown
    from osad_bench.benchmark.cli.ending import goes_on
    from osad_bench.benchmark.decide.conformal import check
    from osad_bench.benchmark.decide.model import load_model
    from osad_bench.benchmark.decide.score import FAIL_ON, Verdict, find, verdicts, watching
    from osad_bench.benchmark.decide.sheet import check_sheet, write_sheet
    from osad_bench.benchmark.decide.tables import header, row
    from osad_bench.benchmark.decide.words import said_of_scores
    from osad_bench.core.errors import InputError

    if fail_on is not None and fail_on not in FAIL_ON:
        raise InputError(f"--fail-on {fail_on}: expected one of {', '.join(FAIL_ON)}")
    if sheet is not None:
        check_sheet(sheet)
    promise = false_alarms or None
    fitted = load_model(model, device=device, weights=weights, method_file=method_file)
    found = find(photos)
    if not found.files and not watch:
        raise InputError(f"there is no photograph in {', '.join(map(str, photos))}{found.said('; passed over: ')}")
    if promise is not None:
        check(promise, len(fitted.calibration))
    fitted.extractor  # noqa: B018  # loaded before anything is printed, so that its errors stand alone
    console = Console(stderr=True)

    def say(text: str) -> None:
        console.print(shown(text), highlight=False, soft_wrap=True)

    def put(text: str) -> None:
        try:
            print(text, end="", flush=True)
        except BrokenPipeError:
            if sheet is None:
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the sheet is still asked for

    rows: list[Verdict] = []
    steps = Steps(console)
    if not json_:
        put(header())
    try:
        with steps.step("scoring") as tell:
            source = watching(fitted, photos, promise) if watch else verdicts(fitted, found.files.items(), promise)
            for verdict in source:
                rows.append(verdict)
                put(row(verdict, json_))
                if not watch:
                    tell(len(rows), len(found.files))
    except KeyboardInterrupt:
        if not watch:
            raise
        goes_on()
    for verdict in rows:
        if verdict.decision == "broken":
            say(f"broken: {verdict.problem}")
    if found.passed_over:
        say(f"passed over, no images that can be read: {found.said()}")
    for sentence in said_of_scores(fitted, rows, promise if len(fitted.calibration) else None):
        say(sentence)
    if sheet is not None:
        write_sheet(sheet, fitted, rows, promise, most)
        say(f"sheet: {sheet}")
    return int(fail_on is not None and any(verdict.decision in FAIL_ON[fail_on] for verdict in rows))
