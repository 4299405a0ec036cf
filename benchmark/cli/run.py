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


def run(
    methods: Annotated[
        str | None,
        typer.Option(help="Names (osad-bench methods list) or Python files that define methods, separated by commas."),
    ] = None,
    datasets: o.Datasets = None,
    setting: o.Setting = None,
    shots: o.Shots = None,
    seeds: o.Seeds = None,
    preset: o.Preset = None,
    changes: o.Changes = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with any of these; flags override it.")] = None,
    floor: Annotated[str | None, typer.Option(help="Reference method run beside the others; 'none' for none.")] = None,
    validate: Annotated[
        bool, typer.Option("--validate", help="Score a part cut from the training data, never the test part.")
    ] = False,
    dedup: o.Dedup = False,
    reserve: o.Reserve = None,
    same_test: o.SameTest = False,
    contamination: o.Contamination = None,
    mislabelled: o.Mislabelled = None,
    train_group: o.TrainGroup = None,
    test_group: o.TestGroup = None,
    out: o.Out = o.RESULTS,
    jobs: o.Jobs = None,
    device: o.Device = "auto",
    backend: o.Backend = "local",
    scheduler: o.Scheduler = None,
    weights: o.Weights = None,
    data_root: o.DataRoot = None,
    cache: o.Cache = None,
    retry_failed: o.RetryFailed = False,
    recompute: o.Recompute = None,
    time_limit: o.TimeLimit = None,
    until: Annotated[
        str | None,
        typer.Option(metavar="decided", help="Add seeds, --seeds at a time, until the best method is known for sure."),
    ] = None,
    between: Annotated[
        str | None, typer.Option(metavar="A,B", help="With --until: which of these two is better, instead of the best.")
    ] = None,
    max_seeds: Annotated[int, typer.Option(min=2, max=10_000, help="With --until: seeds at the most.")] = 50,
    oracle: Annotated[
        bool, typer.Option("--oracle", help="Also record the best test epoch's AUC, as a diagnostic only.")
    ] = False,
    pixels: Annotated[
        bool, typer.Option("--pixels", help="Also pixel AUROC and AUPRO of the heat maps, where there are masks.")
    ] = False,
    dry_run: o.DryRun = False,
    freeze: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --dry-run: write the plan, to show later what was planned."),
    ] = None,
    json_: Annotated[
        bool, typer.Option("--json", help="Print the cells as JSON lines on stdout instead of the table.")
    ] = False,
) -> int:
    """Run methods on data sets and print the table of their AUCs.

    What is stored already is kept: after an interruption, the same command goes on from there.
    """
    from osad_bench.benchmark.grid.plan import read_grid

    flags = o.request(
        datasets=datasets, setting=setting, shots=shots, seeds_=seeds, changes=changes, methods=o.names(methods),
        preset=preset, reserve=reserve, same_test=same_test, contamination=contamination, mislabelled=mislabelled,
        train_group=train_group, test_group=test_group, validate=validate, dedup=dedup, floor=floor,
    )  # fmt: skip
    grid = read_grid(config, flags)

    from osad_bench.benchmark.cli.screen import show_results, work, work_until
    from osad_bench.benchmark.grid.run import Options, freeze_plan
    from osad_bench.core.errors import InputError

    options = Options(
        out=out, jobs=jobs, device=device, backend=backend, scheduler=scheduler, weights=weights, data_root=data_root,
        cache=cache, retry_failed=retry_failed, recompute=recompute or (), oracle=oracle, pixels=pixels,
        time_limit=time_limit, dry_run=dry_run,
    )  # fmt: skip
    if freeze is not None and (not dry_run or until is not None):
        raise InputError("--freeze goes with --dry-run, and with a fixed number of --seeds instead of --until")
    if until is None and between is None:
        outcome = work([grid], options)
    else:
        outcome = work_until(grid, options, until, o.names(between), max_seeds)
    if freeze is not None:
        frozen = freeze_plan(grid, outcome)
        freeze.write_text(frozen.dump(), encoding="utf-8")
        typer.echo(f"froze {len(frozen.cells)} cells in {freeze}; digest of the plan: {frozen.digest}", err=True)
    return 0 if dry_run else show_results(outcome, as_json=json_)
