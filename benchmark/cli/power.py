"""`osad-bench power`: how many seeds it takes to detect differences between methods."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from osad_bench.benchmark.cli import options as o

EPILOG = """[bold]Examples[/bold]

  osad-bench power DIR

  osad-bench power DIR --differences 0.005,0.02 --power 0.9 --datasets elpv

"no number" means that no number of seeds shows the difference: there are too few test images."""


def power(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that `osad-bench run --out` wrote.")],
    differences: Annotated[
        str, typer.Option(help="True differences of AUROC, separated by commas.")
    ] = "0.01,0.02,0.03,0.05",
    target: Annotated[float, typer.Option("--power", min=0.01, max=0.999, help="Probability of detecting them.")] = 0.8,
    level: Annotated[
        float, typer.Option(min=1e-6, max=0.5, help="Level of the two-sided test, for all pairs together.")
    ] = 0.05,
    methods: Annotated[str | None, typer.Option(help="Only these, separated by commas.")] = None,
    datasets: Annotated[str | None, typer.Option(help="Only these, separated by commas.")] = None,
    setting: Annotated[str | None, typer.Option(help="Only general or hard.")] = None,
    shots: Annotated[str | None, typer.Option(help="Only these M, separated by commas.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write power.csv and the figure here instead of into DIR.")] = None,
) -> None:
    """Print how many seeds it takes to detect a difference, given the spread in DIR (two seeds or more); draw the curve.

    Writes power.csv, power.pdf and power.png. Exit code: 0 written, 2 wrong usage or input.
    """
    from functools import partial

    from rich.console import Console
    from tabulate import tabulate

    from osad_bench.benchmark.cli.bars import Steps
    from osad_bench.core.errors import InputError
    from osad_bench.core.files import write_named
    from osad_bench.results.paired import differences as compare
    from osad_bench.results.plots import save
    from osad_bench.results.plots.power import power_curve
    from osad_bench.results.plots.style import labels_of
    from osad_bench.results.power import estimated_from, power_table
    from osad_bench.results.render import frame_to_csv
    from osad_bench.results.report import alike, chosen_records
    from osad_bench.results.scores import load_scores
    from osad_bench.results.store import load
    from osad_bench.results.titles import titles_of

    try:
        wanted = [float(value) for value in differences.split(",")]
    except ValueError:
        wanted = []
    if not wanted or not all(0 < value < 1 for value in wanted):
        raise InputError(f"--differences {differences}: expected numbers between 0 and 1, separated by commas")
    steps = Steps(Console(stderr=True))
    frame = chosen_records(
        load(directory, say=o.tell),
        methods=methods,
        datasets=datasets,
        setting=setting,
        shots=shots,
    )
    with steps.step("reading scores") as tell:
        pairs = compare(frame, partial(load_scores, directory), tell=tell)
    table = power_table(pairs, titles_of(frame), wanted, level=level, target=target)
    if table.empty:
        raise InputError(
            f"{directory}: the spread over seeds is unknown: two methods with two common seeds are needed (run --seeds 5)"
        )
    folder = out or directory
    write_named(folder / "power.csv", frame_to_csv(table))
    written = [folder / "power.csv", *save(power_curve(pairs, labels_of(frame), level, target), folder / "power")]
    o.tell(f"wrote {', '.join(map(str, written))}")
    for name, part in alike({f"Power {target:g} at level {level:g}": table}).items():
        print(f"{name}\n\n{tabulate(part, headers='keys', showindex=False, disable_numparse=True)}")
    said = "; ".join(map(estimated_from, sorted(set(table["seeds here"]))))
    print(f"\nThe standard deviations, of the median pair of each row, are estimates themselves ({said}).")
    if (table == "no number").any(axis=None):
        print("no number: no number of seeds shows this difference, as the test images are too few.")
