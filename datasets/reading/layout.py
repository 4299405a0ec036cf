"""Finding a download's folders whatever they are nested in and however their names are spelled."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from osad_bench.core import places
from osad_bench.core.errors import InputError
from osad_bench.datasets.base import DatasetError

HIDDEN = (".", "__MACOSX")
"""Beginnings of the names of files and folders that are ignored: hidden ones, and what macOS adds to archives."""


def user_path(text: str) -> Path:
    """A path as a user writes it, ``~`` and ``~NAME`` replaced by that user's home folder.

    Raises
    ------
    DatasetError
        There is no such user, or no home folder is known.
    """
    try:
        return places.user_path(text)
    except InputError as error:
        raise DatasetError(str(error)) from None


def is_folder(path: str | Path) -> bool:
    """Whether a path, as a user writes it, is a folder; False for one that the system refuses, such as a name too long."""
    try:
        return user_path(str(path)).is_dir()
    except (OSError, ValueError):  # ValueError: a null byte, or no such user
        return False


def is_file(path: str | Path) -> bool:
    """Whether a path, as a user writes it, is a regular file; False for a pipe or device, and for one that is refused."""
    try:
        return user_path(str(path)).is_file()
    except (OSError, ValueError):
        return False


def folders(folder: Path) -> list[Path]:
    """Subfolders, sorted by name; those of `HIDDEN` names are left out."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(HIDDEN)]
    return [folder / name for name in sorted(names)]


def child(folder: Path, name: str) -> Path | None:
    """File or folder called `name` in any case, the exact spelling first; None if there is none."""
    exact = folder / name
    if exact.exists():
        return exact
    if not folder.is_dir():
        return None
    return next((path for path in sorted(folder.iterdir()) if path.name.lower() == name.lower()), None)


def subfolder(folder: Path, name: str) -> Path | None:
    """Folder called `name` in any case; where unpacking nested it in one of the same name, the inner one."""
    found = child(folder, name)
    if found is None or not found.is_dir():
        return None
    inner = child(found, name)
    return inner if inner is not None and inner.is_dir() else found


def find(root: Path, here: Callable[[Path], bool], depth: int = 3) -> Path | None:
    """Nearest folder, `root` or one at most `depth` below it, for which `here` is true; None if there is none."""
    level = [root]
    for _ in range(depth + 1):
        for folder in level:
            if here(folder):
                return folder
        level = [below for folder in level for below in folders(folder)]
    return None


def holds(*names: str) -> Callable[[Path], bool]:
    """Condition for `find`: the folder has an entry of each name, in any case."""
    return lambda folder: all(child(folder, name) is not None for name in names)
