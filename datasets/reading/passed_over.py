"""What lies in a data set's folder and is not read: counted and named, so that no image is left out in silence."""

from __future__ import annotations

import fnmatch
import os
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Literal

from osad_bench.datasets.base import Problem
from osad_bench.datasets.reading.condensed import examples
from osad_bench.datasets.reading.images import HEIC, SUFFIXES, heic_installed, suffixes_read
from osad_bench.datasets.reading.layout import HIDDEN

LITTER = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"})
"""Files that file managers leave behind, in lower case."""

OTHER_IMAGES = HEIC | frozenset(
    {".avif", ".gif", ".jp2", ".jpx", ".jxl", ".ico", ".psd", ".svg", ".tga", ".exr", ".hdr"}
    | {".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".rw2", ".orf"}  # cameras' raw formats
)
"""Endings of images and photographs that are not read, in lower case."""

MOST_ENTRIES = 200_000
"""Largest number of files and folders that are looked at; a folder that holds more is hardly a data set."""


def passed_over(
    base: Path, read: Collection[str], companions: Collection[str], must_read: Collection[str], layout: str
) -> Iterator[Problem]:
    """Go through the folder and report what was not read.

    Parameters
    ----------
    base
        The data set's folder.
    read
        Paths relative to `base` of the files that are read.
    companions
        Patterns, in lower case, of names that are never reported.
    must_read
        Folders directly below `base` in which an image that is not read is an error; elsewhere it is a note.
    layout
        What the folder should hold, for the message.
    """
    used = {""} | {"" if str(above) == "." else str(above) for path in read for above in PurePosixPath(path).parents}
    left: dict[str, list[str]] = {}
    for folder, files in _folders_of(base, companions, used):
        rest = [name for name in files if f"{folder}/{name}".lstrip("/") not in read]
        if rest or folder not in used:
            top = _topmost_unused(folder, used)
            inside = folder.removeprefix(top).lstrip("/")
            left.setdefault(top, []).extend(f"{inside}/{name}".lstrip("/") for name in rest)
    for folder, names in sorted(left.items()):
        yield _problem(base, folder, names, folder in used, must_read, layout)


def _folders_of(base: Path, companions: Collection[str], used: Collection[str]) -> Iterator[tuple[str, list[str]]]:
    """Each folder below `base`, relative to it ("" for itself), with its files; links to unused folders count as files."""

    def counts(name: str) -> bool:
        lower = name.lower()
        known = lower in LITTER or any(fnmatch.fnmatchcase(lower, pattern) for pattern in companions)
        return not known and not name.startswith(HIDDEN)

    seen = 0
    for place, below, files in os.walk(base):
        folder = Path(place).relative_to(base).as_posix().removeprefix(".")
        below[:] = sorted(name for name in below if counts(name))
        unused = [name for name in below if f"{folder}/{name}".lstrip("/") not in used]
        links = [name for name in unused if Path(place, name).is_symlink()]
        seen += len(below) + len(files)
        if seen > MOST_ENTRIES:
            return
        # A folder that holds only folders is not reported itself; each of those is visited.
        if files or links or not below:
            yield folder, sorted([*(name for name in files if counts(name)), *links])


def _topmost_unused(folder: str, used: Collection[str]) -> str:
    """The folder itself if files of it or below it are read, else its highest ancestor of which none is read."""
    path = PurePosixPath(folder or ".")
    for above in reversed([path, *path.parents]):
        name = "" if str(above) == "." else str(above)
        if name not in used:
            return name
    return folder


def _problem(base: Path, folder: str, names: list[str], used: bool, must_read: Collection[str], layout: str) -> Problem:
    """One problem that says what is passed over in a folder."""
    images = [name for name in names if _ending(name) in SUFFIXES | OTHER_IMAGES]
    others = [name for name in names if name not in images]
    said = []
    if images:
        endings = ", ".join(f"{count} {ending}" for ending, count in sorted(Counter(map(_ending, images)).items()))
        where = "" if used else " in this folder"
        said.append(f"{_number(len(images), 'image', where)} passed over ({endings}: {examples(images)})")
        said += _remedies(base, folder, images, used, layout)
    if others:
        said.append(f"{_number(len(others), 'other file')} passed over ({examples(others)})")
    if not names:
        said.append(f"is empty and not used; expected {layout}" if layout else "is empty and not used")
    first = folder.partition("/")[0].lower()
    severity: Literal["error", "note"] = "error" if images and first in must_read else "note"
    return Problem(severity, folder or ".", "; ".join(said))


def _remedies(base: Path, folder: str, images: list[str], used: bool, layout: str) -> Iterator[str]:
    if not used:
        yield f"move them to where they belong: expected {layout}" if layout else "move them to where they belong"
    unread = {ending for ending in map(_ending, images) if ending not in suffixes_read()}
    if unread & HEIC and not heic_installed():
        yield "to read HEIC: pip install 'osad-bench[heic]'"
    if unread - HEIC:
        yield f"convert {', '.join(sorted(unread - HEIC))} to PNG or JPEG"
    special = [name for name in images if used and _ending(name) not in unread and not (base / folder / name).is_file()]
    if special:
        yield f"no regular file (a pipe, device, socket or folder): {examples(special)}"


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122  # called for each file


def _number(count: int, noun: str, where: str = "") -> str:
    return f"{count} {noun}{where} is" if count == 1 else f"{count} {noun}s{where} are"
