"""`osad-bench merge`: copy several folders of records into one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from osad_bench.benchmark.cli import options as o

EPILOG = """[bold]Examples[/bold]

  osad-bench merge HERE THERE --into ALL      two machines' folders as one

  osad-bench merge dpdl.osad.zip --into DIR   a submission as a folder, to report on it

Copying the folders together does the same, but does not say where two of them disagree."""


def merge(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", help="Folders that `osad-bench run --out` wrote, or files of `submit`."),
    ],
    into: Annotated[Path, typer.Option(metavar="DIR", help="Folder to copy the records into.")],
) -> int:
    """Copy the records of several machines into one folder, and say where they disagree.

    Exit code: 0 merged, 1 merged but the same cell has different results in two folders (the first is kept), 2 wrong input.
    """

    from osad_bench.core.text import printable
    from osad_bench.results.merge import merge as copy

    copied, conflicts = copy(sources, into, o.tell)
    for conflict in conflicts:
        print(printable(f"conflict: {conflict.message} (kept {conflict.kept}, dropped {conflict.dropped})"))
    many = "conflict" if len(conflicts) == 1 else "conflicts"
    o.tell(f"copied {copied} records into {into}, {len(conflicts)} {many}")
    return 1 if conflicts else 0
