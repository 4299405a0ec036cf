"""Options that several verbs share, each written once, and how their texts become values."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from osad_bench.core.text import printable

Datasets = Annotated[
    str | None, typer.Option(help="Names, folder:PATH or csv:FILE, separated by commas; default elpv.")
]
Setting = Annotated[str | None, typer.Option(help="general, hard or both, separated by commas; default general.")]
Shots = Annotated[
    str | None, typer.Option(help="M, the labelled anomalies in training, separated by commas; default 10.")
]
Seeds = Annotated[str | None, typer.Option(help="How many seeds (5), or a list with a comma (7,8 or 7,); default 5.")]
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
    int | None, typer.Option(min=0, help="Leave at least this many anomalies out of the test part at every M.")
]
SameTest = Annotated[
    bool, typer.Option("--same-test", help="One test part at every M and contamination: the largest one's reserve.")
]
Contamination = Annotated[
    str | None, typer.Option(help="Shares of the training normals that are in truth anomalies, such as 0,0.1.")
]
Mislabelled = Annotated[
    str | None, typer.Option(help="Shares of the known anomalies that are in truth normals, such as 0,0.2.")
]
TrainGroup = Annotated[
    str | None, typer.Option(help="Train on this group of images alone (elpv: mono, poly), or on each in turn.")
]
TestGroup = Annotated[str | None, typer.Option(help="Test on this group of images alone, or on each in turn.")]
Dedup = Annotated[bool, typer.Option("--dedup", help="Keep one of each group of identical images.")]
Out = Annotated[Path, typer.Option(help="Folder of the records; cells already in it are kept.")]
Jobs = Annotated[
    int | None, typer.Option(min=1, help="Cells at a time; default: one per core over cached features, else one.")
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:N or auto.")]
Backend = Annotated[str, typer.Option(help="local, or dask.")]
Scheduler = Annotated[
    str | None, typer.Option(help="Address of a dask scheduler; without one, processes of this machine.")
]
Weights = Annotated[Path | None, typer.Option(help="File with the backbone's weights.")]
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
    float | None, typer.Option(min=0.001, metavar="SECONDS", help="A cell that takes longer fails, alone.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")]


def tell(text: str) -> None:
    """Say something on stderr, as one line that holds nothing a terminal or a CI log would obey."""
    print(printable(text), file=sys.stderr)


RESULTS = Path("osad-results")
"""Default of `Out`."""


def names(text: str | None) -> list[str] | None:
    """The parts of a text between commas, blanks around them removed."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def numbers(option: str, text: str | None) -> list[int] | None:
    """Whole numbers separated by commas.

    Raises
    ------
    InputError
        Something else is there.
    """
    from osad_bench.core.errors import InputError

    try:
        return None if text is None else [int(name) for name in names(text) or []]
    except ValueError:
        raise InputError(
            f"--{option} {text[:80] if text else text}: expected whole numbers separated by commas"
        ) from None


def shares(option: str, text: str | None) -> list[float] | None:
    """Shares separated by commas.

    Raises
    ------
    InputError
        Something else is there.
    """
    from osad_bench.core.errors import InputError

    try:
        return None if text is None else [float(name) for name in names(text) or []]
    except ValueError:
        raise InputError(f"--{option} {text[:80] if text else text}: expected shares such as 0,0.1") from None


def seeds(text: str | None) -> int | list[int] | None:
    """A number n means the seeds 0 to n-1; a list has a comma."""
    found = numbers("seeds", text)
    return found[0] if found and text and "," not in text else found


def request(
    *,
    datasets: str | None = None,
    setting: str | None = None,
    shots: str | None = None,
    seeds_: str | None = None,
    changes: list[str] | None = None,
    contamination: str | None = None,
    mislabelled: str | None = None,
    train_group: str | None = None,
    test_group: str | None = None,
    **others: Any,
) -> dict[str, Any]:
    """What `osad_bench.benchmark.grid.plan.read_grid` takes, of the options that were given."""
    from osad_bench.benchmark.grid.plan import parse_change
    from osad_bench.datasets.catalogue import split_names

    given = {
        "datasets": None if datasets is None else split_names(datasets),
        "setting": names(setting),
        "shots": numbers("shots", shots),
        "seeds": seeds(seeds_),
        "contamination": shares("contamination", contamination),
        "mislabelled": shares("mislabelled", mislabelled),
        "train_group": names(train_group),
        "test_group": names(test_group),
        **{name: value or None if isinstance(value, bool) else value for name, value in others.items()},
    }
    return {name: value for name, value in given.items() if value is not None} | {
        "set": dict(map(parse_change, changes or []))
    }
