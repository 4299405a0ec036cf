"""From a data set's name, as typed, to the data set: ``elpv``, ``mvtec/carpet``, ``folder:PATH``, ``csv:FILE``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from osad_bench.core.border import plugged
from osad_bench.core.places import default_data_root
from osad_bench.core.registry import UnknownNameError, datasets, nearest
from osad_bench.datasets.base import Dataset, DatasetError, one_line
from osad_bench.datasets.reading.first_visit import FirstVisit
from osad_bench.datasets.reading.layout import is_file, is_folder
from osad_bench.datasets.reading.links import FOLLOW_LINKS, links_allowed


def parse_name(name: str) -> tuple[str, str | None]:
    """Registered name and variant of a data set's name as typed.

    ``elpv`` has no variant, ``mvtec/carpet`` the variant ``carpet``, ``folder:/my/images`` the variant ``/my/images``.
    """
    colon, slash = name.find(":"), name.find("/")
    cut = colon if colon >= 0 and (slash < 0 or colon < slash) else slash
    if cut < 0:
        return name, None
    return name[:cut], name[cut + 1 :] or None


def _class_of(name: str) -> Any:
    """Class behind a data set's name as typed.

    Raises
    ------
    UnknownNameError
        No data set has that name, or it has no such variant; for a folder or CSV file the message says how to write it.
    """
    plain, variant = parse_name(name)
    if plain not in datasets.names():
        for form, is_here in (("folder", is_folder), ("csv", is_file)):
            if is_here(name):
                raise UnknownNameError(f"unknown data set {name!r}; images of your own are written {form}:{name}")
    cls = datasets.get(plain)
    if not (isinstance(cls, type) and issubclass(cls, Dataset)):
        raise UnknownNameError(
            f"data set {plain!r} of {datasets.origin(plain)} is no class that derives from osad_bench.datasets.base.Dataset"
        )
    if variant is not None and not cls.usage and variant not in cls.variants:
        known = [*([] if cls.needs_variant else [""]), *cls.variants]
        hint = nearest(variant, known, lambda one: f"{plain}/{one}" if one else plain)
        raise UnknownNameError(f"unknown data set {name!r}; {hint}")
    return cls


def expand(name: str) -> list[str]:
    """Names of the single tasks behind a name.

    ``mvtec`` gives its fifteen classes; a folder or CSV file gives its `Dataset.spec`, so that ``folder:photos`` and
    ``folder:./photos/`` are one task; any other name gives itself.

    Raises
    ------
    UnknownNameError
        No data set has that name.
    """
    plain, variant = parse_name(name)
    cls = _class_of(name)
    if variant is None and cls.needs_variant:
        return [f"{plain}/{one}" for one in cls.variants] or [name]
    with plugged(f"data set {name!r}", cls):
        return [cls(root=None, variant=variant).spec] if variant is not None and cls.usage else [name]


def split_names(text: str) -> list[str]:
    """Names of data sets separated by commas, as in ``elpv,folder:photos``; empty ones are left out.

    A comma within the name of a folder or file that exists does not separate: ``folder:line 1, left,elpv`` gives
    ``folder:line 1, left`` and ``elpv`` where there is such a folder. The longest name that exists is taken.
    """
    parts, names = text.split(","), []
    while parts:
        count = next((count for count in range(len(parts), 1, -1) if _exists(",".join(parts[:count]))), 1)
        names.append(",".join(parts[:count]).strip())
        parts = parts[count:]
    return [name for name in names if name]


def _exists(name: str) -> bool:
    """Whether a name such as ``folder:PATH`` holds the path of a file or folder that exists."""
    form, colon, path = name.strip().partition(":")
    return bool(colon) and form in datasets.names() and (is_folder(path) or is_file(path))


def open_dataset(name: str, data_root: Path | None = None) -> Dataset:
    """Open a data set by its name.

    Parameters
    ----------
    name
        As on the command line: ``elpv``, ``mvtec/carpet``, ``folder:PATH``, ``csv:FILE``.
    data_root
        Folder that holds the downloads; None for `osad_bench.core.places.default_data_root`.

    Raises
    ------
    UnknownNameError
        No data set has that name.
    DatasetError
        Its download is missing, is not laid out as its publisher ships it, or is a link that leads out of the data root;
        the message says what to do.
    """
    variant = parse_name(name)[1]
    cls = _class_of(name)
    with plugged(f"data set {name!r}", cls):
        root = _download(cls, data_root if data_root is not None else default_data_root()) if cls.folders else None
        dataset: Dataset = cls(root=root, variant=variant)
        dataset.progress = FirstVisit(one_line(name))
    return dataset


def _download(cls: Any, data_root: Path) -> Path | None:
    """Folder of a data set's download, checked not to be a link that leads out of the data root."""
    data_root = data_root.absolute()
    found: Path | None = cls.locate(data_root)
    if (
        found is not None
        and not links_allowed()
        and found.is_relative_to(data_root)
        and not found.resolve().is_relative_to(data_root.resolve())
    ):
        raise DatasetError(
            f"data set {cls.name!r}: {found} is a link to {found.resolve()}, out of the data root. Give that "
            f"folder's parent with --data-root, or set {FOLLOW_LINKS}=1 if you trust where links lead."
        )
    return found
