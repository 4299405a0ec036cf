"""`osad-bench ablate` and `osad-bench sweep`: what the parts and settings of one method are worth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from osad_bench.benchmark.cell.execute import Machine

ABLATE_EPILOG = """[bold]Examples[/bold]

  osad-bench ablate dpdl                                       Table 3 and Fig. 2 on ELPV, M = 10, five seeds

  osad-bench ablate dpdl --only 'without M_r' --datasets elpv,aitex --setting general,hard

Then: osad-bench report DIR --table 3"""

SWEEP_EPILOG = """[bold]Examples[/bold]

  osad-bench sweep dpdl --over prototypes=8,16,32,64 --over eps=0.0001,0.001,0.01,0.1

  osad-bench sweep devnet --over margin=1,5,10 --seeds 3"""

METHOD = typer.Argument(metavar="METHOD", help="A registered method (osad-bench methods list).")
DATASETS = typer.Option(help="Names, folder:PATH or csv:FILE, separated by commas.")
SETTING = typer.Option(help="general, hard or both, separated by commas.")
SHOTS = typer.Option(help="M, separated by commas.")
SEEDS = typer.Option(help="How many seeds, or a list with a comma (7,8 or 7,).")
PRESET = typer.Option(help="quick, paper, or a TOML file.")
CHANGES = typer.Option("--set", metavar="NAME=VALUE", help="A preset's setting for all cells (schedule.epochs=10).")
OUT = typer.Option(help="Folder of the records; cells already in it are kept.")
JOBS = typer.Option(min=1, help="Cells at a time; default: what the machine has room for.")
DEVICE = typer.Option(help="cpu, cuda, cuda:N or auto.")
WEIGHTS = typer.Option(help="File with the backbone's weights.")
DATA_ROOT = typer.Option(envvar="OSAD_BENCH_DATA", help="Folder of the data sets' original downloads.")
CACHE = typer.Option(envvar="OSAD_BENCH_CACHE", help="Folder of cached features.")
RETRY = typer.Option("--retry-failed", help="Compute failed cells again.")
DRY = typer.Option("--dry-run", help="Print the plan and stop.")


def _flags(
    datasets: str, setting: str, shots: str, seeds: str, preset: str, changes: list[str] | None
) -> dict[str, Any]:
    from osad_bench.benchmark.cli.run import _names, _numbers, _seeds
    from osad_bench.benchmark.grid.plan import parse_change

    return {
        "datasets": _names(datasets), "setting": _names(setting), "shots": _numbers("shots", shots),
        "seeds": _seeds(seeds), "preset": preset, "set": dict(map(parse_change, changes or [])),
    }  # fmt: skip


def _machine(device: str, weights: Path | None, data_root: Path | None, cache: Path | None) -> Machine:
    from osad_bench.benchmark.cell.execute import Machine, pick_device
    from osad_bench.core.places import default_cache

    return Machine(cache or default_cache(), data_root, weights, pick_device(device))


def ablate(
    method: Annotated[str, METHOD],
    only: Annotated[list[str] | None, typer.Option(help="This ablation alone; may be repeated.")] = None,
    datasets: Annotated[str, DATASETS] = "elpv",
    setting: Annotated[str, SETTING] = "general",
    shots: Annotated[str, SHOTS] = "10",
    seeds: Annotated[str, SEEDS] = "5",
    preset: Annotated[str, PRESET] = "quick",
    changes: Annotated[list[str] | None, CHANGES] = None,
    out: Annotated[Path, OUT] = Path("osad-results"),
    jobs: Annotated[int | None, JOBS] = None,
    device: Annotated[str, DEVICE] = "auto",
    weights: Annotated[Path | None, WEIGHTS] = None,
    data_root: Annotated[Path | None, DATA_ROOT] = None,
    cache: Annotated[Path | None, CACHE] = None,
    retry_failed: Annotated[bool, RETRY] = False,
    dry_run: Annotated[bool, DRY] = False,
) -> int:
    """Run METHOD complete and with each of its parts taken away, and print what each is worth.

    Writes ablation-METHOD.pdf and .png into the folder of the records. Exit code: 0 all cells have results, 1 a cell
    failed, 2 wrong usage or input.
    """
    from osad_bench.benchmark.cli.screen import run_study
    from osad_bench.benchmark.grid.study import ablations, study_cells
    from osad_bench.core.errors import InputError
    from osad_bench.results.store import Store

    named = ablations(method, only or ())
    machine, store = _machine(device, weights, data_root, cache), Store(out)
    complete, *others = study_cells(
        method, list(named.values()), _flags(datasets, setting, shots, seeds, preset, changes), machine
    )
    variants = {name: cells[0].variant for name, cells in zip(named, others)}
    for name, variant in variants.items():
        if variant == complete[0].variant:
            raise InputError(f"the ablation {name!r} of {method} changes nothing: {method} has these settings anyway")
    failed = run_study([complete, *others], store, machine, jobs=jobs, retry_failed=retry_failed, dry_run=dry_run)
    if not dry_run:
        store.name_ablations(method, variants)
        _show(out, method, {cell.cell.key for cells in (complete, *others) for cell in cells}, "ablation")
    return 1 if failed else 0


def sweep(
    method: Annotated[str, METHOD],
    over: Annotated[
        list[str], typer.Option(metavar="NAME=V,V,…", help="A setting and its values, varied alone; may be repeated.")
    ],
    datasets: Annotated[str, DATASETS] = "elpv",
    setting: Annotated[str, SETTING] = "general",
    shots: Annotated[str, SHOTS] = "10",
    seeds: Annotated[str, SEEDS] = "5",
    preset: Annotated[str, PRESET] = "quick",
    changes: Annotated[list[str] | None, CHANGES] = None,
    out: Annotated[Path, OUT] = Path("osad-results"),
    jobs: Annotated[int | None, JOBS] = None,
    device: Annotated[str, DEVICE] = "auto",
    weights: Annotated[Path | None, WEIGHTS] = None,
    data_root: Annotated[Path | None, DATA_ROOT] = None,
    cache: Annotated[Path | None, CACHE] = None,
    retry_failed: Annotated[bool, RETRY] = False,
    dry_run: Annotated[bool, DRY] = False,
) -> int:
    """Run METHOD with one setting at a time at several values, and draw the curve of each.

    Writes sweep-METHOD.pdf and .png into the folder of the records. Exit code: 0 all cells have results, 1 a cell
    failed, 2 wrong usage or input.
    """
    from osad_bench.benchmark.cli.screen import run_study
    from osad_bench.benchmark.grid.plan import parse_change
    from osad_bench.benchmark.grid.study import study_cells
    from osad_bench.results.store import Store

    swept = [
        {f"{method}.{name.removeprefix(f'{method}.')}": values}
        for name, values in (parse_change(one, "--over") for one in over)
    ]
    machine = _machine(device, weights, data_root, cache)
    groups = study_cells(method, swept, _flags(datasets, setting, shots, seeds, preset, changes), machine)
    failed = run_study(groups, Store(out), machine, jobs=jobs, retry_failed=retry_failed, dry_run=dry_run)
    if not dry_run:
        _show(out, method, {cell.cell.key for cells in groups for cell in cells}, "sweep")
    return 1 if failed else 0


def _show(out: Path, method: str, keys: set[str], what: str) -> None:
    """Print the table of a study, say in words what is noise, and draw it."""
    from rich.console import Console

    from osad_bench.results import plots
    from osad_bench.results.paired import differences
    from osad_bench.results.render import print_tables
    from osad_bench.results.scores import load_scores
    from osad_bench.results.store import load
    from osad_bench.results.tables import ablation_table, variant_table
    from osad_bench.results.words import in_words

    frame = load(out)
    frame = frame[frame["key"].isin(keys)]
    named = frame
    if what == "ablation":
        shown, figure = ablation_table(frame, method), plots.ablation_bars(frame, method)
        named = frame.assign(variant=frame["ablation"].where(frame["ablation"] != "", frame["variant"]))
    else:
        shown, figure = variant_table(frame, method, "Sweep"), plots.sensitivity(frame, method)
    print_tables(shown, Console())
    pairs = differences(named, load_scores(out, frame), against=method)
    for paragraph in in_words(pairs, {}):
        print(paragraph)
    for path in plots.save(figure, out / f"{what}-{method}"):
        typer.echo(f"wrote {path}", err=True)
