"""`osad-bench splits`: export the splits as text, or check exported ones against the data here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from osad_bench.benchmark.cli import options as o

if TYPE_CHECKING:
    from osad_bench.benchmark.grid.plan import Grid


EPILOG = """[bold]Examples[/bold]

  osad-bench splits --datasets elpv --setting general,hard --shots 10,1

  osad-bench splits --check osad-splits/*.tsv

  osad-bench splits --check photos.tsv --datasets folder:photos

Exit code: 0 written, or all are the same here; 1 a checked split differs; 2 wrong usage or input."""


@o.one_by_one
def splits(
    *,
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE...]", help="With --check: the files to check.")
    ] = None,
    grid: o.SplitOptions,
    out: Annotated[Path, typer.Option(help="Folder to write to, one file per split.")] = Path("osad-splits"),
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Write nothing; check that these files have the same images and the same split as here."
        ),
    ] = False,
    data_root: o.DataRoot = None,
) -> int:
    """Write the splits that `run` uses as text files, so that other code can train and test on the same images."""
    from osad_bench.benchmark.grid.plan import read_grid
    from osad_bench.core.errors import InputError
    from osad_bench.core.places import user_path
    from osad_bench.datasets.catalogue import split_names

    if check:
        if not files:
            raise InputError("--check needs files: osad-bench splits --check osad-splits/*.tsv")
        same = [_check(path, split_names(grid.datasets or ""), data_root) for path in files]
        return 0 if all(same) else 1
    if files:
        raise InputError(f"{files[0]}: files are given with --check only")
    written = _write(read_grid(None, grid.request(methods=["none"])), user_path(out), data_root)
    o.tell(f"wrote {written} splits to {out}")
    return 0


def _write(grid: Grid, out: Path, data_root: Path | None) -> int:
    """Write every split of a grid, print the paths, and return their number."""
    from osad_bench.benchmark.cell.split import write_split
    from osad_bench.benchmark.grid.plan import splits as splits_of
    from osad_bench.core.text import file_name, printable
    from osad_bench.datasets.catalogue import expand, open_dataset
    from osad_bench.results.record import STRESS

    written = set[str]()
    for task in dict.fromkeys(part for asked in grid.datasets for part in expand(asked)):
        dataset = open_dataset(task, data_root)
        for protocol, division in splits_of(grid, dataset):
            kind = [protocol.known_kind] if protocol.known_kind else []
            more = [f"{name}{value}" for name in STRESS if (value := getattr(protocol, name))]
            parts = [dataset.full_name, protocol.setting, *kind, f"m{protocol.shots}", *more, f"seed{protocol.seed}"]
            name = "_".join(file_name(part.replace("/", "-")) for part in parts)
            if name in written:  # two kinds whose names differ only in characters that a file name cannot have
                name += f"_{division.digest[:8]}"
            path = out / f"{name}.tsv"
            write_split(path, dataset, protocol, division)
            print(printable(path))
            written.add(name)
    return len(written)


def _check(path: Path, given: list[str], data_root: Path | None) -> bool:
    """Print and return whether an exported split is the one made here; `given` are the user's own data sets."""
    from osad_bench.benchmark.cell.split import read_split, split
    from osad_bench.core.errors import InputError
    from osad_bench.core.text import printable
    from osad_bench.datasets.catalogue import open_dataset

    header, protocol, theirs = read_split(path)
    name = header["dataset"]
    own = [one for one in given if open_dataset(one, data_root).full_name == name]
    if not own and name.startswith(("folder/", "csv/")):
        raise InputError(
            f"{path} is a split of your own images, {name}: say where they are, such as --datasets {name.replace('/', ':', 1)}"
        )
    dataset = open_dataset(own[0] if own else name, data_root)
    images = dataset.fingerprint == header["fingerprint"]
    try:
        same = split(dataset, protocol).digest == theirs.digest
    except InputError:  # the images here do not allow this split
        same = False
    print(
        f"{printable(path)}: {'the same split' if same else 'another split'}, "
        f"{'same images' if images else 'other images (fingerprints differ)'}"
    )
    return same and images
