"""`osad-bench report`: tables and plots of a folder of records, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that `osad-bench run --out` wrote.")],
    out: Annotated[Path | None, typer.Option(help="Write the files here instead of into DIR.")] = None,
    metric: Annotated[str, typer.Option(help="auroc, average_precision or fpr95.")] = "auroc",
    percent: Annotated[bool, typer.Option("--percent", help="88.9 instead of 0.889.")] = False,
) -> None:
    """Print the tables of DIR and write report.md, report.tex, report.csv and report.png."""
    from typing import cast

    from rich.console import Console

    from osad_bench.benchmark.errors import InputError
    from osad_bench.results.aggregate import Metric
    from osad_bench.results.plots import seed_points
    from osad_bench.results.render import to_csv, to_latex, to_markdown
    from osad_bench.results.store import load
    from osad_bench.results.tables import METRIC_TITLES, print_summary, tables

    if metric not in METRIC_TITLES:
        raise InputError(f"--metric {metric}: expected one of {', '.join(METRIC_TITLES)}")
    chosen = cast("Metric", metric)
    frame = load(directory)
    print_summary(frame, Console(), metric=chosen, percent=percent)
    target = out or directory
    target.mkdir(parents=True, exist_ok=True)
    shown = tables(frame, chosen)
    (target / "report.md").write_text(to_markdown(shown, percent=percent), encoding="utf-8")
    (target / "report.tex").write_text(to_latex(shown, percent=percent), encoding="utf-8")
    (target / "report.csv").write_text(to_csv(frame, chosen), encoding="utf-8")
    seed_points(frame, chosen).savefig(target / "report.png", dpi=150)
    typer.echo(f"wrote {target}/report.md, .tex, .csv and .png", err=True)
