"""Options that several verbs share, each written once with its default, and how their texts become values."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from osad_bench.core.text import printable

if TYPE_CHECKING:
    from osad_bench.benchmark.grid.run import Options

Datasets = Annotated[
    str | None, typer.Option(help="Names, folder:PATH or csv:FILE, separated by commas; default elpv.")
]
Setting = Annotated[str | None, typer.Option(help="general, hard or both, separated by commas; default general.")]
Shots = Annotated[
    str | None,
    typer.Option(help="M, the number of labelled anomalies in training; several separated by commas; default 10."),
]
Seeds = Annotated[
    str | None, typer.Option(help="Number of seeds (5 means 0 to 4), or a list with a comma (7,8 or 7,); default 5.")
]
Preset = Annotated[str | None, typer.Option(help="quick (default), paper, or a TOML file.")]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="A method's setting (dpdl.prototypes=16,32) or a preset's (schedule.epochs=10); may be repeated.",
    ),
]
Reserve = Annotated[
    int | None, typer.Option(min=0, help="Keep at least this many anomalies out of the test part, whatever M is.")
]
SameTest = Annotated[
    bool,
    typer.Option(
        "--same-test",
        help="Use one test part for all M and contaminations; the anomalies that the largest of them takes are left out of it.",
    ),
]
Contamination = Annotated[
    str | None, typer.Option(help="Shares of the training normals that are in fact unnoticed anomalies, such as 0,0.1.")
]
Mislabelled = Annotated[
    str | None, typer.Option(help="Shares of the labelled anomalies that are in fact normals, such as 0,0.2.")
]
TrainGroup = Annotated[
    str | None,
    typer.Option(
        help="Train only on this group of images (elpv: mono, poly), test on the others; 'each' for every group in turn."
    ),
]
TestGroup = Annotated[
    str | None, typer.Option(help="Test only on this group of images; 'each' for every group in turn.")
]
Dedup = Annotated[bool, typer.Option("--dedup", help="Keep one image of each group of identical images.")]
Out = Annotated[Path, typer.Option(help="Folder of the records; cells already in it are kept.")]
Jobs = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Cells computed at once; default: one per GPU; on the CPU one per core with cached features, else one.",
    ),
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:N or auto (cuda if there is a GPU).")]
Precision = Annotated[
    str,
    typer.Option(
        help="Number format of fine-tuning: float32, bfloat16, or auto (bfloat16 on GPUs and CPUs where it is faster)."
    ),
]
Backend = Annotated[str, typer.Option(help="local, or dask for several machines (docs/clusters.md).")]
Scheduler = Annotated[str | None, typer.Option(help="Address of a dask scheduler; default: processes on this machine.")]
Weights = Annotated[
    Path | None, typer.Option(help="File with the backbone's weights, as torch.save writes a state dict.")
]
DataRoot = Annotated[
    Path | None, typer.Option(envvar="OSAD_BENCH_DATA", help="Folder of the data sets' original downloads.")
]
Cache = Annotated[Path | None, typer.Option(envvar="OSAD_BENCH_CACHE", help="Folder of cached features.")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Compute failed cells again.")]
Recompute = Annotated[
    list[str] | None,
    typer.Option(metavar="METHOD", help="Compute all cells of this method again; may be repeated."),
]
TimeLimit = Annotated[
    float | None,
    typer.Option(
        min=0.001,
        max=1e8,  # three years; timers of the system take no infinite time
        metavar="SECONDS",
        help="A cell that takes longer is stopped and recorded as failed; the others go on.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")]
Pixels = Annotated[
    bool, typer.Option("--pixels", help="Also compute pixel AUROC and AUPRO of the heat maps, where masks exist.")
]
Oracle = Annotated[
    bool, typer.Option("--oracle", help="Also record the best test epoch's AUROC, as a diagnostic only.")
]


def tell(text: str) -> None:
    """Print one line on stderr, with control characters written out so that no terminal or CI log obeys them."""
    print(printable(text), file=sys.stderr)


@dataclass(frozen=True)
class SplitOptions:
    """The options that choose data sets and splits."""

    datasets: Datasets = None
    setting: Setting = None
    shots: Shots = None
    seeds: Seeds = None
    dedup: Dedup = False
    reserve: Reserve = None
    same_test: SameTest = False
    contamination: Contamination = None
    mislabelled: Mislabelled = None
    train_group: TrainGroup = None
    test_group: TestGroup = None

    def request(self, **others: Any) -> dict[str, Any]:
        """Return these options and `others` as `osad_bench.benchmark.grid.plan.read_grid` takes them."""
        return request(**vars(self), **others)


@dataclass(frozen=True)
class GridOptions(SplitOptions):
    """The options that choose what is computed, except methods; the same for `run`, `ablate` and `sweep`."""

    preset: Preset = None
    changes: Changes = None


@dataclass(frozen=True)
class RunOptions:
    """The options that choose where and how a grid is computed; the same for `run`, `ablate` and `sweep`."""

    out: Out = Path("osad-results")
    jobs: Jobs = None
    device: Device = "auto"
    precision: Precision = "auto"
    backend: Backend = "local"
    scheduler: Scheduler = None
    weights: Weights = None
    data_root: DataRoot = None
    cache: Cache = None
    retry_failed: RetryFailed = False
    recompute: Recompute = None
    time_limit: TimeLimit = None
    oracle: Oracle = False
    pixels: Pixels = False
    dry_run: DryRun = False

    def options(self) -> Options:
        """Return these options as `osad_bench.benchmark.grid.run.run_grid` takes them."""
        from osad_bench.benchmark.grid.run import Options

        return Options(**vars(self) | {"recompute": self.recompute or ()})


def one_by_one(verb: Callable[..., int]) -> Callable[..., int]:
    """Replace each parameter of a verb that is a dataclass of options by one parameter per field, for typer to read.

    The decorated verb takes keywords only, and gets its dataclasses filled.
    """
    given = inspect.signature(verb, eval_str=True).parameters
    groups: dict[str, Any] = {name: one.annotation for name, one in given.items() if is_dataclass(one.annotation)}
    parameters = []
    for name, one in given.items():
        if name not in groups:
            parameters.append(one.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        hints = get_type_hints(groups[name], include_extras=True)
        for field in fields(groups[name]):
            parameters.append(
                inspect.Parameter(
                    field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
                )
            )

    @functools.wraps(verb)
    def taking_all(**values: Any) -> int:
        filled = {
            name: group(**{field.name: values.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        return verb(**values, **filled)

    taking_all.__signature__ = inspect.Signature(parameters, return_annotation=int)  # type: ignore[attr-defined]
    return taking_all


def names(text: str | None) -> list[str] | None:
    """Split a text at commas and remove blanks and empty parts; None for None."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def numbers(option: str, text: str | None) -> list[int] | None:
    """Read whole numbers separated by commas; None for None.

    Raises
    ------
    InputError
        The text holds anything else; the message names the option.
    """
    from osad_bench.core.errors import InputError

    try:
        return None if text is None else [int(name) for name in names(text) or []]
    except ValueError:
        raise InputError(
            f"--{option} {text[:80] if text else text}: expected whole numbers separated by commas"
        ) from None


def shares(option: str, text: str | None) -> list[float] | None:
    """Read decimal numbers separated by commas; None for None.

    Raises
    ------
    InputError
        The text holds anything else; the message names the option.
    """
    from osad_bench.core.errors import InputError

    try:
        return None if text is None else [float(name) for name in names(text) or []]
    except ValueError:
        raise InputError(f"--{option} {text[:80] if text else text}: expected shares such as 0,0.1") from None


def read_seeds(text: str | None) -> int | list[int] | None:
    """Return n for one number (seeds 0 to n - 1), a list of seeds for a text with a comma, None for None."""
    found = numbers("seeds", text)
    return found[0] if found and text and "," not in text else found


def request(
    *,
    datasets: str | None = None,
    setting: str | None = None,
    shots: str | None = None,
    seeds: str | None = None,
    changes: list[str] | None = None,
    contamination: str | None = None,
    mislabelled: str | None = None,
    train_group: str | None = None,
    test_group: str | None = None,
    **others: Any,
) -> dict[str, Any]:
    """Return the options that were given as `osad_bench.benchmark.grid.plan.read_grid` takes them."""
    from osad_bench.benchmark.grid.plan import parse_change
    from osad_bench.datasets.catalogue import split_names

    given = {
        "datasets": None if datasets is None else split_names(datasets),
        "setting": names(setting),
        "shots": numbers("shots", shots),
        "seeds": read_seeds(seeds),
        "contamination": shares("contamination", contamination),
        "mislabelled": shares("mislabelled", mislabelled),
        "train_group": names(train_group),
        "test_group": names(test_group),
        **{name: value or None if isinstance(value, bool) else value for name, value in others.items()},
    }
    return {name: value for name, value in given.items() if value is not None} | {
        "set": dict(map(parse_change, changes or []))
    }
