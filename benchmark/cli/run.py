"""`osad-bench run`: plan a grid, compute what is missing, print the table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

EPILOG = """[bold]Examples[/bold]

  osad-bench run --methods dpdl,dra         ELPV, general, M = 10, five seeds

  osad-bench run --methods dra --setting general,hard --shots 10,1 --seeds 3

  osad-bench run --methods dpdl --datasets folder:photos --shots 3

  osad-bench run --methods dpdl --set dpdl.prototypes=16,32

  osad-bench run --config grid.toml --seeds 1 --dry-run

A folder of your own holds train/good, test/good and test/KIND.

Exit code: 0 all cells have results, 1 a cell failed, 2 wrong usage or input."""


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _numbers(option: str, text: str | None) -> list[int] | None:
    from osad_bench.core.errors import InputError

    try:
        return None if text is None else [int(name) for name in _names(text) or []]
    except ValueError:
        raise InputError(f"--{option} {text}: expected whole numbers separated by commas") from None


def _seeds(text: str | None) -> int | list[int] | None:
    """A number n means the seeds 0 to n-1; a list has a comma."""
    found = _numbers("seeds", text)
    return found[0] if found and text and "," not in text else found


def run(
    methods: Annotated[str | None, typer.Option(help="Names, separated by commas (osad-bench methods list).")] = None,
    datasets: Annotated[
        str | None, typer.Option(help="Names, folder:PATH or csv:FILE, separated by commas; default elpv.")
    ] = None,
    setting: Annotated[str | None, typer.Option(help="general, hard or both; default general.")] = None,
    shots: Annotated[str | None, typer.Option(help="M, the labelled anomalies in training; default 10.")] = None,
    seeds: Annotated[str | None, typer.Option(help="How many seeds (5), or a list with a comma (7,8 or 7,).")] = None,
    preset: Annotated[str | None, typer.Option(help="quick (default), paper, or a TOML file.")] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A method's setting (dpdl.prototypes=16,32) or a preset's (schedule.epochs=10).",
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with any of these; flags override it.")] = None,
    floor: Annotated[str | None, typer.Option(help="Reference method run beside the others; 'none' for none.")] = None,
    validate: Annotated[
        bool, typer.Option("--validate", help="Score a part cut from the training data, never the test part.")
    ] = False,
    dedup: Annotated[bool, typer.Option("--dedup", help="Keep one of each group of identical images.")] = False,
    reserve: Annotated[
        int | None, typer.Option(help="Leave this many anomalies out of the test part at every M.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the records; cells already in it are kept.")] = Path(
        "osad-results"
    ),
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Cells at a time; default: one a core over cached features, else one.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:N or auto.")] = "auto",
    backend: Annotated[str, typer.Option(help="local, or dask.")] = "local",
    scheduler: Annotated[str | None, typer.Option(help="Address of a dask scheduler; none: processes here.")] = None,
    weights: Annotated[Path | None, typer.Option(help="File with the backbone's weights.")] = None,
    data_root: Annotated[
        Path | None, typer.Option(envvar="OSAD_BENCH_DATA", help="Folder of the data sets' original downloads.")
    ] = None,
    cache: Annotated[Path | None, typer.Option(envvar="OSAD_BENCH_CACHE", help="Folder of cached features.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Compute failed cells again.")] = False,
    oracle: Annotated[
        bool, typer.Option("--oracle", help="Also record the best test epoch's AUC, as a diagnostic only.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    json_: Annotated[
        bool, typer.Option("--json", help="Print the cells as JSON lines on stdout instead of the table.")
    ] = False,
) -> int:
    """Run methods on data sets and print the table of their AUCs.

    What is stored already is kept: after an interruption, the same command goes on from there.
    """
    from osad_bench.benchmark.grid.plan import parse_change, read_grid
    from osad_bench.core.errors import InputError

    flags: dict[str, Any] = {
        "methods": _names(methods),
        "datasets": _names(datasets),
        "setting": _names(setting),
        "shots": _numbers("shots", shots),
        "seeds": _seeds(seeds),
        "preset": preset,
        "reserve": reserve,
        "validate": validate or None,
        "dedup": dedup or None,
    }
    flags = {name: value for name, value in flags.items() if value is not None}
    if floor is not None:
        flags["floor"] = None if floor == "none" else floor
    grid = read_grid(config, flags | {"set": dict(map(parse_change, changes or []))})
    if backend not in ("local", "dask"):
        raise InputError(f"--backend {backend}: expected local or dask")

    from osad_bench.benchmark.cli.screen import run_with_progress

    return run_with_progress(
        grid, out=out, jobs=jobs, device=device, backend=backend, scheduler=scheduler, weights=weights,
        data_root=data_root, cache=cache, retry_failed=retry_failed, oracle=oracle, dry_run=dry_run, as_json=json_,
    )  # fmt: skip
