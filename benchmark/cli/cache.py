"""`osad-bench cache`: what the cache holds, and how it is kept small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from osad_bench.benchmark.cli import options as o

if TYPE_CHECKING:
    from osad_bench.benchmark.features.holdings import Part

EPILOG = """[bold]Examples[/bold]

  osad-bench cache                     what there is, by data set

  osad-bench cache --max-size 20GB     remove the least recently used until 20 GB are left

  osad-bench cache --clear elpv        remove all of one data set; mvtec stands for its classes, all for everything

Everything here may be removed: a run that needs it computes it again, in the same time and with the same scores. Records
are never touched. It is safe while a run is going on: files that the run is writing stay, and files that it has open it
can read to the end."""


def cache(
    max_size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Remove the least recently used parts until at most this much is left."),
    ] = None,
    clear: Annotated[str | None, typer.Option(metavar="DATASET", help="Remove everything of this data set.")] = None,
    cache: o.Cache = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the parts as JSON lines on stdout.")] = False,
) -> int:
    """Show what is kept between runs: resized images, features, and values computed from the training normals alone.

    Exit code: 0 done, 1 a part could not be removed, 2 wrong usage or input.
    """
    from osad_bench.benchmark.features import holdings
    from osad_bench.core.places import default_cache, user_path

    root = default_cache() if cache is None else user_path(cache)
    most = None if max_size is None else holdings.size_of(max_size)
    parts = holdings.holdings(root)
    going = [] if clear is None else holdings.of_dataset(parts, clear)
    if most is not None:
        left = [part for part in parts if part not in going]
        going += holdings.too_much(left, most - holdings.other_bytes(root, parts))
    stuck = [part for part in going if not holdings.remove(part)]
    gone = [part for part in going if part not in stuck]
    if going:
        o.tell(f"removed {len(gone)} parts, {_size(sum(part.size for part in gone))}")
    for part in stuck:
        o.tell(f"kept {part.folder}: a run is writing it, or you have no permission to remove it")
    left = [part for part in parts if part not in gone]
    if json_:
        for part in left:
            print(json.dumps({**vars(part), "folder": str(part.folder)}))
    else:
        _show(root, left, holdings.other_bytes(root, left))
    return 1 if stuck else 0


def _size(count: float) -> str:
    """Write bytes as ``1.8 GB``, in the units of --max-size."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while count >= 1000 and len(units) > 1:
        count, units = count / 1000, units[1:]
    return f"{count:.0f} {units[0]}" if len(units) > 3 else f"{count:.1f} {units[0]}"


def _show(root: Path, parts: list[Part], other: int) -> None:
    """Print a line for each data set, sort and preset."""
    from collections import defaultdict
    from datetime import datetime

    from rich.console import Console
    from rich.table import Table

    from osad_bench.benchmark.cli.bars import shown

    groups: dict[tuple[str, str, str], list[Part]] = defaultdict(list)
    for part in parts:
        of = part.what if part.sort == "images" else part.what.rpartition(", ")[0]  # without the view or value
        groups[part.dataset, part.sort, of].append(part)
    table = Table("data set", "what", "of", "parts", "size", "last used", box=None, header_style="bold")
    for (dataset, sort, of), mine in sorted(groups.items()):
        last = datetime.fromtimestamp(max(part.last_use for part in mine)).astimezone()
        size = _size(sum(part.size for part in mine))
        table.add_row(shown(dataset), sort, shown(of), str(len(mine)), size, f"{last:%Y-%m-%d %H:%M}")
    console = Console()
    if parts:
        console.print(table)
    total = sum(part.size for part in parts)
    console.print(f"{_size(total + other)} in {shown(root)}, {_size(other)} of it timings and notes on files")
