"""Finding a download's folders whatever they are nested in and however their names are spelled."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def folders(folder: Path) -> list[Path]:
    """Subfolders, sorted by name; hidden ones and macOS's ``__MACOSX`` are passed over."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith((".", "__MACOSX"))]
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
    """Nearest folder, `root` or one at most `depth` below it, of which `here` holds; None if there is none."""
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
