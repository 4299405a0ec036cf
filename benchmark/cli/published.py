"""`osad-bench published`: what the papers print, and where they contradict each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from osad_bench.benchmark.cli import options as o

if TYPE_CHECKING:
    import pandas as pd

EPILOG = """[bold]Examples[/bold]

  osad-bench published --datasets elpv --shots 1     one data set, every paper

  osad-bench published --audit                       where two printed numbers cannot both be right

  osad-bench published --format csv > numbers.csv    everything, one number per line

osad-bench report DIR --compare published puts records beside these numbers."""


def published(
    methods: Annotated[str | None, typer.Option(help="Only these, separated by commas.")] = None,
    datasets: Annotated[
        str | None, typer.Option(help="Only these, separated by commas; mvtec for its classes too.")
    ] = None,
    setting: Annotated[str | None, typer.Option(help="Only general or hard.")] = None,
    shots: Annotated[
        str | None, typer.Option(help="Only these M, separated by commas; 0 for methods that use no anomaly or all.")
    ] = None,
    audit: Annotated[
        bool, typer.Option("--audit", help="List the contradictions instead, each with both sources.")
    ] = False,
    form: Annotated[str, typer.Option("--format", help="text, md, csv or json.")] = "text",
) -> None:
    """Print the numbers of the DRA, AHL and DPDL papers with who ran them, or (--audit) where they contradict each other.

    Exit code: 0 printed, 2 wrong usage.
    """
    from osad_bench.core.errors import InputError
    from osad_bench.results.published import numbers
    from osad_bench.results.published.audit import contradictions, larger_of_two
    from osad_bench.results.report import chosen_records

    known = ("text", "md", "csv", "json")
    if form not in known:
        raise InputError(f"--format {form}: expected one of {', '.join(known)}")
    every = numbers()
    shown = contradictions(every) if audit else every
    shown = chosen_records(shown, methods=methods, datasets=datasets, setting=setting, shots=shots)
    print(_as(form, shown))
    if audit:
        places, larger, other = larger_of_two(every)
        o.tell(
            f"{len(shown)} contradictions. The DPDL paper's column AHL is the larger of AHL over DRA and AHL over DevNet in"
            f" {larger} of {places} places, and AHL over DevNet alone in {other}.",
        )


def _as(form: str, frame: pd.DataFrame) -> str:
    from tabulate import tabulate

    if form == "csv":
        return str(frame.to_csv(index=False, lineterminator="\n")).rstrip("\n")
    if form == "json":
        return "\n".join(str(frame.to_json(orient="records", lines=True)).splitlines())
    from osad_bench.results.published.audit import for_print
    from osad_bench.results.render import frame_to_markdown

    short = for_print(frame)
    if form == "md":
        return frame_to_markdown(short).rstrip("\n")
    return str(tabulate(short, headers="keys", showindex=False, disable_numparse=True))
