"""Many problems with one cause become one: a missing folder gives one problem, not one per missing file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from osad_bench.datasets.base import Problem

MANY = 5
"""From this many on, problems of one folder with the same message become one."""

NAMED = 3
"""File names given as examples."""


def examples(names: Iterable[str]) -> str:
    """The first `NAMED` names, and ``...`` where there are more."""
    some = list(names)
    return ", ".join(some[:NAMED]) + (", ..." if len(some) > NAMED else "")


def _missing_folder(base: Path, file: str) -> str | None:
    """The topmost folder on the way from `base` to a file that does not exist; None where the file's folder is there."""
    found = None
    for folder in PurePosixPath(file).parents:  # from the file's own folder upwards
        if (base / folder).exists():
            break
        found = folder.as_posix()
    return found


def condensed(problems: Iterable[Problem], base: Path) -> tuple[Problem, ...]:
    """The problems, those with the same message about several files of one folder joined.

    Parameters
    ----------
    problems
        Each with a path relative to `base`.
    base
        The data set's folder.

    Returns
    -------
    tuple of problems
        In the order of the first of each group; a joined one counts the files and names the first `NAMED`.
    """
    groups: dict[tuple[str, str, str, bool], list[str]] = {}
    for problem in problems:
        missing = _missing_folder(base, problem.file) if problem.file else None
        folder = missing or (PurePosixPath(problem.file).parent.as_posix() if problem.file else "")
        groups.setdefault((folder, problem.severity, problem.message, missing is not None), []).append(problem.file)
    result = []
    for (folder, severity, message, is_missing), files in groups.items():
        if len(files) < (2 if is_missing else MANY):
            result += [Problem(severity, file, message) for file in files]  # type: ignore[arg-type]
        else:
            names = examples(file.removeprefix(f"{folder}/") for file in files)
            what = f"this folder is missing, and with it {len(files)} files" if is_missing else f"{len(files)} files"
            result.append(Problem(severity, folder, f"{what} ({names}): {message}"))  # type: ignore[arg-type]
    return tuple(result)
