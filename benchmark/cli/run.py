"""`osad-bench run`: plan a grid, compute what is missing, print the table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from osad_bench.benchmark.cli import options as o

EPILOG = """[bold]Examples[/bold]

  osad-bench run --methods dpdl,dra         ELPV, general, M = 10, five seeds

  osad-bench run --methods dra --setting general,hard --shots 10,1 --seeds 3

  osad-bench run --methods dpdl --datasets folder:photos --shots 3

  osad-bench run --methods ./repel.py,dra   a method of your own, in one file

  osad-bench run --methods dpdl --set dpdl.prototypes=16,32

  osad-bench run --methods dra --shots 1,2,5,10,20,50 --same-test

  osad-bench run --methods dra --contamination 0,0.05,0.1 --same-test

  osad-bench run --methods dra,devnet --until decided --max-seeds 40

  osad-bench run --methods dra --dry-run --freeze plan.json     and later: osad-bench report DIR --plan plan.json

  osad-bench run --config grid.toml --seeds 1 --dry-run

A folder of your own holds train/good, test/good and test/KIND.

Exit code: 0 all cells have results, 1 a cell failed, 2 wrong usage or input, 130 interrupted."""


@o.one_by_one
def run(
    *,
    methods: Annotated[
        str | None,
        typer.Option(help="Names (osad-bench methods list) or Python files that define methods, separated by commas."),
    ] = None,
    grid: o.GridOptions,
    where: o.RunOptions,
    config: Annotated[
        Path | None, typer.Option(help="TOML file with any of these options; those on the command line override it.")
    ] = None,
    floor: Annotated[
        str | None, typer.Option(help="Reference method run beside the others; default mahalanobis, 'none' for none.")
    ] = None,
    validate: Annotated[
        bool,
        typer.Option(
            "--validate", help="Score a part cut from the training data, never the test part: choose settings by it."
        ),
    ] = False,
    until: Annotated[
        str | None,
        typer.Option(
            metavar="decided",
            help="Add seeds, --seeds at a time, until the best method is clear (at most 5 % wrong answers).",
        ),
    ] = None,
    between: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="With --until: the question is which of these two is better, not which of all is the best.",
        ),
    ] = None,
    max_seeds: Annotated[int, typer.Option(min=2, max=10_000, help="With --until: the largest number of seeds.")] = 50,
    freeze: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="With --dry-run: write the plan to FILE, as proof of what was planned before there were results.",
        ),
    ] = None,
    json_: Annotated[
        bool, typer.Option("--json", help="Print the cells as JSON lines on stdout instead of the table.")
    ] = False,
) -> int:
    """Run methods on data sets and print the table of their AUROCs.

    Cells with a stored record are not computed again: after an interruption, the same command goes on from there.
    """
    from osad_bench.benchmark.grid.plan import read_grid

    asked = read_grid(config, grid.request(methods=o.names(methods), floor=floor, validate=validate))

    from osad_bench.benchmark.cli.screen import show_results, work, work_until
    from osad_bench.benchmark.grid.run import freeze_plan
    from osad_bench.core.errors import InputError
    from osad_bench.core.files import write_named

    options = where.options()
    if freeze is not None and (not where.dry_run or until is not None):
        raise InputError("--freeze needs --dry-run, and a fixed number of --seeds instead of --until")
    if freeze is not None and freeze.exists():
        raise InputError(
            f"--freeze {freeze}: it is there already, and a frozen plan is not written over; name another file"
        )
    if until is None and between is None:
        outcome = work([asked], options)
    else:
        outcome = work_until(asked, options, until, o.names(between), max_seeds)
    if freeze is not None:
        frozen = freeze_plan(asked, outcome)
        write_named(freeze, frozen.dump())
        o.tell(f"froze {len(frozen.cells)} cells in {freeze}; digest of the plan: {frozen.digest}")
    return 0 if where.dry_run else show_results(outcome, as_json=json_)
