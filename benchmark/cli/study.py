"""`osad-bench ablate` and `osad-bench sweep`: how the parts and settings of one method change its AUROC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from osad_bench.benchmark.cli import options as o

if TYPE_CHECKING:
    from osad_bench.benchmark.grid.run import Outcome

ABLATE_EPILOG = """[bold]Examples[/bold]

  osad-bench ablate dpdl                                       Table 3 and Fig. 2 on ELPV, M = 10, five seeds

  osad-bench ablate dpdl --only 'without M_r' --datasets elpv,aitex --setting general,hard

Then: osad-bench report DIR --table 3"""

SWEEP_EPILOG = """[bold]Examples[/bold]

  osad-bench sweep dpdl --over prototypes=8,16,32,64 --over eps=0.0001,0.001,0.01,0.1

  osad-bench sweep devnet --over margin=1,5,10 --seeds 3"""

Method = Annotated[str, typer.Argument(metavar="METHOD", help="A registered method (osad-bench methods list).")]


@o.one_by_one
def ablate(
    *,
    method: Method,
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="This ablation alone; may be repeated.")
    ] = None,
    grid: o.GridOptions,
    where: o.RunOptions,
) -> int:
    """Run METHOD complete and without each of its parts in turn, and print how much each part adds.

    Seed by seed, both see the same batches and start from the same weights. Writes ablation-METHOD.pdf and .png into the
    folder of the records. Exit code: 0 all cells have results, 1 a cell failed, 2 wrong usage or input.
    """
    from osad_bench.benchmark.cli.screen import work
    from osad_bench.benchmark.grid.plan import variants_of
    from osad_bench.benchmark.grid.study import ablations, study_grids
    from osad_bench.core.errors import InputError

    named = ablations(method, only or ())
    grids = study_grids(method, list(named.values()), grid.request())
    complete, *others = (variants_of(method, one.set)[0][0] for one in grids)
    variants = dict(zip(named, others))
    for name, variant in variants.items():
        if variant == complete:
            raise InputError(f"the ablation {name!r} of {method} changes nothing: {method} has these settings already")
    outcome = work(grids, where.options())
    if where.dry_run:
        return 0
    outcome.store.name_ablations(method, variants)
    return _show(outcome, method, "ablation")


@o.one_by_one
def sweep(
    *,
    method: Method,
    over: Annotated[
        list[str], typer.Option(metavar="NAME=V,V,…", help="A setting and its values, varied alone; may be repeated.")
    ],
    grid: o.GridOptions,
    where: o.RunOptions,
) -> int:
    """Run METHOD with one setting at a time at several values, and draw the curve of each.

    Seed by seed, all values see the same batches. Writes sweep-METHOD.pdf and .png into the folder of the records. Exit
    code: 0 all cells have results, 1 a cell failed, 2 wrong usage or input.
    """
    from osad_bench.benchmark.cli.screen import work
    from osad_bench.benchmark.grid.plan import parse_change
    from osad_bench.benchmark.grid.study import study_grids

    swept = [
        {f"{method}.{name.removeprefix(f'{method}.')}": values}
        for name, values in (parse_change(one, "--over") for one in over)
    ]
    outcome = work(study_grids(method, swept, grid.request()), where.options())
    return 0 if where.dry_run else _show(outcome, method, "sweep")


def _show(outcome: Outcome, method: str, what: str) -> int:
    """Draw a study, print its table, say in words which differences are noise, and return the exit code."""
    from rich.console import Console

    from osad_bench.benchmark.cli.screen import frame_of, say_failures
    from osad_bench.results import plots
    from osad_bench.results.paired import differences
    from osad_bench.results.render import print_tables
    from osad_bench.results.scores import load_scores
    from osad_bench.results.tables import ablation_table, variant_table
    from osad_bench.results.words import in_words

    frame = frame_of(outcome)
    named = frame
    if what == "ablation":
        shown, figure = ablation_table(frame, method), plots.ablation_bars(frame, method)
        named = frame.assign(variant=frame["ablation"].where(frame["ablation"] != "", frame["variant"]))
    else:
        shown, figure = variant_table(frame, method, "Sweep"), plots.sensitivity(frame, method)
    for path in plots.save(figure, outcome.store.root / f"{what}-{method}"):
        o.tell(f"wrote {path}")
    print_tables(shown, Console())
    pairs = differences(named, load_scores(outcome.store.root, frame), against=method)
    for paragraph in in_words(pairs, {}):
        print(paragraph)
    return say_failures(Console(stderr=True), outcome, frame)
