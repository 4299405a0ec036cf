"""Arrays on disk with one row per image, filled as rows are asked for, by several processes at once.

Files of a folder::

    meta.json        identity, file names and shapes
    part0.float16 …  rows of one shape, one file per array; the suffix is the data type
    done.u8          one byte per row, set once the row is on disk, so that a row half written by a killed run is never used
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from osad_bench.benchmark.features.holdings import META, used
from osad_bench.core.files import clear_forgotten, write_whole
from osad_bench.core.locks import locked

FLUSH = 128
"""Rows between two flushes to disk."""

DONE = "done.u8"

Rows = npt.NDArray[np.int64]
Layout = Sequence[tuple[str, Sequence[int]]]
"""Data type and shape of a row, for each array."""
Computed = Iterator[tuple[Rows, Sequence[npt.NDArray[Any]]]]
"""Row numbers, and the rows to write to each array."""

MOST_TRIES = 10
"""How often a folder is made anew that another process removes."""


def kept_rows(
    folder: Path,
    identity: dict[str, Any],
    total: int,
    wanted: Rows,
    layout: Callable[[], Layout],
    compute: Callable[[Rows], Computed],
) -> list[npt.NDArray[Any]]:
    """Read-only memory maps of `total` rows, of which the wanted ones are filled.

    Parameters
    ----------
    folder
        Where the files are; a complete folder needs no lock and may be read-only.
    identity
        What the rows are, as JSON can hold it; a folder of another identity is damaged and made anew.
    wanted
        Row numbers, in [0, total).
    layout
        Called if there are no files yet.
    compute
        Called with the numbers of the missing rows; yields them with their values.

    Raises
    ------
    OSError
        The disk is full, or rows are missing and the folder cannot be written.
    """
    tries = 0
    while True:
        tries += 1
        try:
            meta = _layout_of(folder, identity, total)
            if meta is None or len(_missing(folder, wanted)):
                folder.mkdir(parents=True, exist_ok=True)
                with locked(folder / "lock"):
                    meta = _layout_of(folder, identity, total)
                    if meta is None:
                        meta = _new_layout(folder, identity, total, layout())
                    missing = _missing(folder, wanted)
                    if len(missing):
                        _fill(folder, meta["files"], compute(missing), len(missing))
            used(folder)
            return [
                np.memmap(folder / file, dtype=_dtype(file), mode="r", shape=(total, *shape))
                for file, shape in zip(meta["files"], meta["shapes"])
            ]
        except FileNotFoundError:
            if folder.exists() or tries == MOST_TRIES:  # /proc says so of a folder that nobody can make
                raise
            # `osad-bench cache` removed the folder meanwhile: make it anew


def _dtype(file: str) -> np.dtype[Any]:
    return np.dtype(file.rpartition(".")[2])


def _layout_of(folder: Path, identity: dict[str, Any], total: int) -> dict[str, Any] | None:
    """The contents of the meta file; None if there is none yet, or the files differ from it (a damaged cache)."""
    try:
        meta: dict[str, Any] = json.loads((folder / META).read_bytes())
        sizes = {
            file: total * math.prod(shape) * _dtype(file).itemsize for file, shape in zip(meta["files"], meta["shapes"])
        }
        sizes[DONE] = total
        sound = meta["identity"] == identity and all((folder / file).stat().st_size == n for file, n in sizes.items())
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return meta if sound else None


def _missing(folder: Path, wanted: Rows) -> Rows:
    """The wanted rows that are not computed yet."""
    done = np.fromfile(folder / DONE, dtype=np.uint8)
    missing: Rows = wanted[done[wanted] == 0]
    return missing


def _new_layout(folder: Path, identity: dict[str, Any], total: int, layout: Layout) -> dict[str, Any]:
    """Create the files, empty (sparse where the file system can); the meta file last."""
    clear_forgotten(folder)
    files = [f"part{i}.{dtype}" for i, (dtype, _) in enumerate(layout)]
    shapes = [list(shape) for _, shape in layout]
    sizes = [math.prod(shape) * _dtype(file).itemsize for file, shape in zip(files, shapes)]
    for file, size in [*zip(files, sizes), (DONE, 1)]:
        (folder / file).unlink(missing_ok=True)  # a process that has mapped a damaged file keeps it
        with (folder / file).open("wb") as stream:
            stream.truncate(total * size)
    meta = {"identity": identity, "files": files, "shapes": shapes, "rows": total}
    write_whole(folder / META, json.dumps(meta, indent=1).encode())
    return meta


def _fill(folder: Path, files: Sequence[str], computed: Computed, count: int) -> None:
    """Write rows as they are computed. Through streams, not memory maps: a full disk raises an error and is no crash."""
    with ExitStack() as stack:
        streams = [stack.enter_context((folder / file).open("r+b")) for file in files]
        marks = stack.enter_context((folder / DONE).open("r+b"))
        unmarked: list[int] = []

        def flush() -> None:
            for stream in streams:
                stream.flush()
                os.fsync(stream.fileno())
            for row in unmarked:
                marks.seek(row)
                marks.write(b"\1")
            marks.flush()
            unmarked.clear()

        finished = 0
        for part, values in computed:
            for stream, value in zip(streams, values):
                for row, one in zip(part, value):
                    stream.seek(int(row) * one.nbytes)
                    stream.write(one.tobytes())
            unmarked += part.tolist()
            finished += len(part)
            if len(unmarked) >= FLUSH or finished == count:
                flush()
