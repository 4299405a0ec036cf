"""What the cache folder holds, and how parts of it are removed while runs use it.

A part is a folder with a ``meta.json``: below ``images/``, ``features/`` or ``shared/``. The time of change of that file is
the time of its last use (`used`). It names data sets by their fingerprints; ``names/FINGERPRINT`` holds the name of each.

A part is renamed, under its lock, before it is removed, so that no process finds half of it. Files that a run has mapped
stay readable until the run closes them, and the next cell makes the part anew.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from osad_bench.core.errors import InputError
from osad_bench.core.registry import nearest

SORTS = ("images", "features", "shared")
META = "meta.json"
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@dataclass(frozen=True)
class Part:
    """One folder of the cache.

    Attributes
    ----------
    folder
        Its path.
    sort
        One of `SORTS`.
    dataset
        The data set's full name, or the first digits of its fingerprint if the name is unknown.
    what
        Description: image size, backbone, view or value.
    size
        Bytes on the disk.
    last_use
        Seconds since 1970.
    """

    folder: Path
    sort: str
    dataset: str
    what: str
    size: int
    last_use: float


def name_dataset(root: Path, fingerprint: str, name: str) -> None:
    """Note the name of a data set; nothing happens if the cache cannot be written."""
    path = root / "names" / fingerprint
    with suppress(OSError):
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name, encoding="utf-8")


def used(folder: Path) -> None:
    """Note that a part is used now."""
    with suppress(OSError):
        os.utime(folder / META)


def holdings(root: Path) -> list[Part]:
    """All parts of a cache, the least recently used first."""
    found = []
    for sort in SORTS:
        for folder in sorted((root / sort).glob("*")):
            try:
                identity = json.loads((folder / META).read_bytes())["identity"]
                fingerprint, last_use = str(identity["fingerprint"]), (folder / META).stat().st_mtime
                what = _what(identity)
            except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
                continue  # being made, or being removed
            try:
                name = (root / "names" / fingerprint).read_text("utf-8")
            except (OSError, ValueError):
                name = fingerprint[:8]
            found.append(Part(folder, sort, name, what, sum(map(_on_disk, _files(folder))), last_use))
    return sorted(found, key=lambda part: part.last_use)


def _what(identity: dict[str, Any]) -> str:
    preset = identity.get("preset", identity)
    words = [f"{preset['image_size']} px"]
    if "backbone" in preset:
        words += [
            str(preset["backbone"]),
            f"scales {', '.join(map(str, preset['scales']))}",
            f"stages {', '.join(map(str, preset['stages']))}",
        ]
    if view := identity.get("view"):
        words.append("images" if view[0] is None else f"{view[0]} #{view[1] + 1}")
    if name := identity.get("name"):
        words.append(f"{identity.get('method', 'all methods')}: {name}")
    return ", ".join(words)


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield path


def _on_disk(path: Path) -> int:
    """Bytes that a file takes on the disk; rows not filled yet take none on file systems with sparse files."""
    try:
        found = path.stat()
    except OSError:
        return 0
    return found.st_blocks * 512 if hasattr(found, "st_blocks") else found.st_size


def other_bytes(root: Path, parts: Iterable[Part]) -> int:
    """Bytes of everything else in the cache: timings, and notes on files."""
    return sum(map(_on_disk, _files(root))) - sum(part.size for part in parts)


def size_of(text: str) -> int:
    """Read a size such as ``20GB``, ``500M`` or ``1.5TB`` (powers of 1000) as bytes.

    Raises
    ------
    InputError
        The text is no size.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)B?\s*", text, re.IGNORECASE)
    if match is None:
        raise InputError(f"--max-size {text}: expected a size such as 20GB or 500MB")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def of_dataset(parts: Sequence[Part], name: str) -> list[Part]:
    """The parts of a data set; those of all its classes for one such as mvtec; all parts for ``all``.

    Raises
    ------
    InputError
        The cache holds no part of that data set.
    """
    found = [part for part in parts if name in ("all", part.dataset) or part.dataset.startswith(f"{name}/")]
    if not found:
        known = sorted({part.dataset for part in parts})
        raise InputError(f"--clear {name}: the cache holds nothing of it; {nearest(name, known)}")
    return found


def too_much(parts: Sequence[Part], most: int) -> list[Part]:
    """The least recently used parts, as many as have to go so that the others take `most` bytes or less."""
    total, found = sum(part.size for part in parts), []
    for part in sorted(parts, key=lambda one: one.last_use):
        if total <= most:
            break
        found.append(part)
        total -= part.size
    return found


def remove(part: Part) -> bool:
    """Remove a part; False if a run is writing it, or it cannot be removed."""
    aside = part.folder.with_name(f".{part.folder.name}.{uuid.uuid4().hex}")
    try:
        try:
            with FileLock(part.folder / "lock", timeout=0):
                part.folder.rename(aside)
        except NotImplementedError:  # a file system without locks: a run that is writing it makes it anew
            part.folder.rename(aside)
    except (Timeout, OSError):
        return False
    shutil.rmtree(aside, ignore_errors=True)
    return True
