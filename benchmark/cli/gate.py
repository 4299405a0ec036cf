"""`osad-bench baseline` and `osad-bench check`: notice when a method gets worse."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from osad_bench.benchmark.cli import options as o
from osad_bench.core.files import write_named
from osad_bench.core.tolerance import ACROSS_MACHINES

BASELINE_EPILOG = """[bold]Example[/bold]

  osad-bench baseline DIR > baseline.json"""

CHECK_EPILOG = """[bold]Examples[/bold]

  osad-bench check DIR --against baseline.json

  osad-bench check DIR --against baseline.json --junit junit.xml

  osad-bench check DIR --against baseline.json --github --allow-missing

[bold]In CI[/bold], with a grid that takes a minute or two:

  osad-bench run --config gate.toml --out DIR

  osad-bench check DIR --against baseline.json

When a change is meant to move scores: osad-bench baseline DIR > baseline.json"""

STORE = typer.Argument(metavar="DIR", help="Folder that `osad-bench run --out` wrote.")


def baseline(directory: Annotated[Path, STORE]) -> None:
    """Print what `check` needs of DIR as JSON: osad-bench baseline DIR > baseline.json, then commit the file.

    Exit code: 0 printed, 2 wrong usage or input.
    """
    from osad_bench.results.baseline import make_baseline
    from osad_bench.results.store import load

    made = make_baseline(directory, load(directory, say=o.tell))
    sys.stdout.write(made.dump())
    o.tell(f"baseline of {len(made.cells)} cells")


def check(
    directory: Annotated[Path, STORE],
    against: Annotated[Path, typer.Option(metavar="FILE", help="What `osad-bench baseline` wrote.")],
    tolerance: Annotated[
        float, typer.Option(min=0, max=1, help="Ignore falls of AUROC up to this size; other machines differ by less.")
    ] = ACROSS_MACHINES,
    alpha: Annotated[
        float, typer.Option(min=1e-6, max=0.5, help="Share of checks that may fail although the method is unchanged.")
    ] = 0.05,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Pass although DIR lacks cells of the baseline.")
    ] = False,
    accept_rise: Annotated[
        bool, typer.Option("--accept-rise", help="Pass rises of AUROC so large that test labels may have leaked.")
    ] = False,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write JUnit XML.")] = None,
    github: Annotated[bool, typer.Option("--github", help="Also print annotations for GitHub Actions.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the findings as JSON lines instead of text.")] = False,
) -> int:
    """Compare DIR with a baseline, paired by seed and image.

    Exit code: 0 no method got worse, 1 a method fell by more than noise and the tolerance, rose as if test labels had
    leaked, failed or is missing, 2 wrong usage or input. A slower method never fails.
    """
    from dataclasses import asdict

    from osad_bench.results.annotate import condensed, to_github, to_junit
    from osad_bench.results.baseline import read_baseline
    from osad_bench.results.gate import BAD, summarise
    from osad_bench.results.gate import check as compare
    from osad_bench.results.store import load

    findings = compare(
        directory, load(directory, say=o.tell), read_baseline(against), tolerance=tolerance, alpha=alpha,
        allow_missing=allow_missing, accept_rise=accept_rise,
    )  # fmt: skip
    for finding in findings if json_ else condensed(findings):
        if json_:
            values = {name: None if value != value else value for name, value in asdict(finding).items()}
            print(json.dumps({"title": finding.title, "bad": finding.status in BAD, **values}))
        else:
            print(
                f"{finding.status.upper() if finding.status in BAD else finding.status}: {finding.title}: {finding.message}"
            )
    if github:
        print(to_github(condensed(findings)))
    if junit is not None:
        write_named(junit, to_junit(findings))
    o.tell(summarise(findings))
    return 1 if any(finding.status in BAD for finding in findings) else 0
