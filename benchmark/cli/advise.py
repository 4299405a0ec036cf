"""`osad-bench advise`: which method for your images, in plain words."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from osad_bench.benchmark.cli import options as o

EPILOG = """[bold]Examples[/bold]

  osad-bench advise folder:photos

  osad-bench advise csv:parts.csv --methods evidence,devnet --splits 10 --json

By default this compares two reference methods that see no anomaly, two methods in closed form and two trained ones. Each
is run on several random splits of your anomalies into training and test images, which takes minutes on two cores. Results
are kept in --out: after an interruption, run the same command again.

Exit code: 0 advice given, 1 a method failed (the others are compared), 2 wrong usage or input, 130 interrupted."""


def advise(
    data: Annotated[str, typer.Argument(help="folder:PATH, csv:FILE or a data set's name.")],
    methods: Annotated[str | None, typer.Option(help="Methods to compare, separated by commas.")] = None,
    splits: Annotated[int, typer.Option(min=2, help="Number of random splits of the anomalies.")] = 5,
    preset: o.Preset = None,
    changes: o.Changes = None,
    out: o.Out = Path("osad-advice"),
    json_: Annotated[bool, typer.Option("--json", help="Print the advice as JSON on stdout.")] = False,
    jobs: o.Jobs = None,
    device: o.Device = "auto",
    weights: o.Weights = None,
    data_root: o.DataRoot = None,
    cache: o.Cache = None,
) -> int:
    """Compare methods on your own images and recommend one; say what the images cannot show and what would help."""
    from rich.console import Console
    from rich.table import Table

    from osad_bench.benchmark.cli.bars import shown
    from osad_bench.benchmark.cli.screen import ProgressReporter, duration
    from osad_bench.benchmark.decide.advise import CANDIDATES
    from osad_bench.benchmark.decide.advise import advise as advice_on
    from osad_bench.benchmark.decide.comparison import PROMISES
    from osad_bench.benchmark.decide.words import percent
    from osad_bench.benchmark.grid.run import Options
    from osad_bench.core.text import printable

    options = Options(out=out, jobs=jobs, device=device, weights=weights, data_root=data_root, cache=cache)
    reporter = ProgressReporter(Console(stderr=True))
    with reporter.bars:
        advice = advice_on(
            data, candidates=o.names(methods) or CANDIDATES, splits=splits, options=options, reporter=reporter,
            **o.request(changes=changes, preset=preset),
        )  # fmt: skip
    for line in advice.failures:
        reporter.say(line, "[red]failed[/red] ")
    if json_:
        print(json.dumps(asdict(advice)))
        return int(bool(advice.failures))
    console = Console()
    table = Table("method", "AUROC", *(f"recall at {percent(a)}" for a in PROMISES), "time per split", box=None)
    for one in advice.candidates:
        shares = ["too few normals" if (share := one.recall[a]) is None else percent(round(share, 2)) for a in PROMISES]
        table.add_row(one.method, f"{one.auroc:.3f}±{one.spread:.3f}", *shares, duration(one.seconds))
    console.print(table)
    for sentence in advice.sentences:
        console.print(shown(f"{sentence}."), highlight=False, soft_wrap=True)
    if advice.remedies:
        console.print("\n[bold]What would help most[/bold]")
    for number, remedy in enumerate(advice.remedies, 1):
        console.print(shown(f"{number}. {remedy}."), highlight=False, soft_wrap=True)
    for why, files in advice.look.items():
        console.print(f"\nLook at {shown(why)}", highlight=False, soft_wrap=True)
        for name in files:
            print(printable(f"  {name}"))
    console.print()
    same = [f"--preset {shlex.quote(preset)}"] if preset else []
    for change in changes or ():
        if change.partition(".")[0] in {one.method for one in advice.candidates} - {advice.method}:
            continue  # a setting of another method
        same.append(f"--set {shlex.quote(change)}")
    command = " ".join(["osad-bench fit", advice.method, shlex.quote(data), *same, "--out model"])
    console.print(shown(f"next: {command}"), highlight=False, soft_wrap=True)
    return int(bool(advice.failures))
