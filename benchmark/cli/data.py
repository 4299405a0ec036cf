"""`osad-bench datasets`: which data sets there are, whether a download is sound, what its images look like."""

from __future__ import annotations

import typer

app = typer.Typer(help="List, verify and preview data sets.", no_args_is_help=True)


@app.command("list")
def list_() -> None:
    """List every registered data set."""
    from osad_bench.benchmark.registry import datasets

    for name in datasets.names():
        typer.echo(f"{name}\t{datasets.summary(name)}")
