"""`osad-bench splits`: export the splits as text, or check exported ones against the data here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from osad_bench.benchmark.grid.plan import Grid


EPILOG = """[bold]Examples[/bold]

  osad-bench splits --datasets elpv --setting general,hard --shots 10,1

  osad-bench splits --check osad-splits/*.tsv

  osad-bench splits --check photos.tsv --datasets folder:photos

Exit code: 0 written, or all are the same here; 1 a checked split differs; 2 wrong usage or input."""


def splits(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE...]", help="With --check: the files to check.")
    ] = None,
    datasets: Annotated[
        str | None, typer.Option(help="Names, folder:PATH or csv:FILE, separated by commas; default elpv.")
    ] = None,
    setting: Annotated[str, typer.Option(help="general, hard or both, separated by commas.")] = "general",
    shots: Annotated[str, typer.Option(help="M, separated by commas.")] = "10",
    seeds: Annotated[str, typer.Option(help="How many seeds (5), or a list with a comma (7,8 or 7,).")] = "5",
    reserve: Annotated[int, typer.Option(min=0, help="Leave this many anomalies out of the test part at every M.")] = 0,
    dedup: Annotated[bool, typer.Option("--dedup", help="Keep one of each group of identical images.")] = False,
    out: Annotated[Path, typer.Option(help="Folder to write to, a file a split.")] = Path("osad-splits"),
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing: are these files of the same images, and the same split here?"),
    ] = False,
    data_root: Annotated[
        Path | None, typer.Option(envvar="OSAD_BENCH_DATA", help="Folder of the data sets' original downloads.")
    ] = None,
) -> int:
    """Write the splits that `run` uses as text files, so that other code can train and test on the same images."""
    from osad_bench.benchmark.cli.run import _names, _numbers, _seeds
    from osad_bench.benchmark.grid.plan import read_grid
    from osad_bench.core.errors import InputError

    if check:
        if not files:
            raise InputError("--check needs files: osad-bench splits --check osad-splits/*.tsv")
        same = [_check(path, _names(datasets) or [], data_root) for path in files]
        return 0 if all(same) else 1
    if files:
        raise InputError(f"{files[0]}: files are given with --check only")
    request = {
        "methods": ["none"], "datasets": _names(datasets), "setting": _names(setting), "shots": _numbers("shots", shots),
        "seeds": _seeds(seeds), "reserve": reserve, "dedup": dedup,
    }  # fmt: skip
    grid = read_grid(None, {name: value for name, value in request.items() if value is not None})
    written = _write(grid, out, data_root)
    typer.echo(f"wrote {written} splits to {out}", err=True)
    return 0


def _write(grid: Grid, out: Path, data_root: Path | None) -> int:
    """Write every split of a grid, print their names, and count them."""
    from osad_bench.benchmark.cell.split import split, write_split
    from osad_bench.benchmark.grid.plan import protocols
    from osad_bench.datasets.catalogue import expand, open_dataset
    from osad_bench.datasets.duplicates import duplicate_groups

    written = 0
    for name in dict.fromkeys(part for asked in grid.datasets for part in expand(asked)):
        dataset = open_dataset(name, data_root)
        groups = duplicate_groups(dataset) if grid.dedup else ()
        for protocol in protocols(grid, dataset):
            kind = [protocol.known_kind] if protocol.known_kind else []
            parts = [dataset.full_name, protocol.setting, *kind, f"m{protocol.shots}", f"seed{protocol.seed}"]
            path = out / ("_".join(parts).replace("/", "-") + ".tsv")
            write_split(path, dataset, protocol, split(dataset, protocol, groups))
            print(path)
            written += 1
    return written


def _check(path: Path, given: list[str], data_root: Path | None) -> bool:
    """Say whether an exported split is the one made here; `given` are data sets of the user's own to look among."""
    from osad_bench.benchmark.cell.split import read_split, split
    from osad_bench.core.errors import InputError
    from osad_bench.datasets.catalogue import open_dataset
    from osad_bench.datasets.duplicates import duplicate_groups

    header, protocol, theirs = read_split(path)
    name = header["dataset"]
    own = [one for one in given if open_dataset(one, data_root).full_name == name]
    if not own and name.startswith(("folder/", "csv/")):
        raise InputError(
            f"{path} is of your own images, {name}: say where they lie, such as --datasets {name.replace('/', ':', 1)}"
        )
    dataset = open_dataset(own[0] if own else name, data_root)
    groups = duplicate_groups(dataset) if protocol.dedup else ()
    images = dataset.fingerprint == header["fingerprint"]
    try:
        same = split(dataset, protocol, groups).digest == theirs.digest
    except InputError:  # other images, of which this split cannot be made
        same = False
    print(
        f"{path}: {'the same split' if same else 'another split'}, "
        f"{'same images' if images else 'other images (fingerprints differ)'}"
    )
    return same and images
