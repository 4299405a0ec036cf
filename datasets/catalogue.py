"""From a data set's name, as typed, to the data set: ``elpv``, ``mvtec/carpet``, ``folder:PATH``, ``csv:FILE``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from osad_bench.core.places import default_data_root
from osad_bench.core.registry import UnknownNameError, datasets, nearest
from osad_bench.datasets.reading.first_visit import FirstVisit

if TYPE_CHECKING:
    from osad_bench.datasets.base import Dataset


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
        No data set has that name, or it has no such part; a folder or CSV file gets told how it is written.
    """
    plain, variant = parse_name(name)
    if plain not in datasets.names():
        for form, here in (("folder", Path(name).is_dir()), ("csv", Path(name).is_file())):
            if here:
                raise UnknownNameError(f"unknown data set {name!r}; images of your own are written {form}:{name}")
    cls = datasets.get(plain)
    if variant is not None and not cls.usage and variant not in cls.variants:
        known = [*([] if cls.needs_variant else [""]), *cls.variants]
        hint = nearest(variant, known, lambda one: f"{plain}/{one}" if one else plain)
        raise UnknownNameError(f"unknown data set {name!r}; {hint}")
    return cls


def expand(name: str) -> list[str]:
    """Names of the single tasks behind a name: ``mvtec`` gives its fifteen classes, any other name itself."""
    plain, variant = parse_name(name)
    cls = _class_of(name)
    if variant is None and cls.needs_variant:
        return [f"{plain}/{one}" for one in cls.variants] or [name]
    return [name]


def open_dataset(name: str, data_root: Path | None = None) -> Dataset:
    """Open a data set by its name.

    Parameters
    ----------
    name
        As on the command line: ``elpv``, ``mvtec/carpet``, ``folder:PATH``, ``csv:FILE``.
    data_root
        Folder that holds the downloads; None for `default_data_root`.

    Raises
    ------
    UnknownNameError
        No data set has that name.
    DatasetError
        Its download is missing or is not laid out as its publisher ships it; the message says what to do.
    """
    variant = parse_name(name)[1]
    cls = _class_of(name)
    root = cls.locate(data_root if data_root is not None else default_data_root()) if cls.folders else None
    dataset: Dataset = cls(root=root, variant=variant)
    dataset.progress = FirstVisit(name)
    return dataset


def split_names(text: str) -> list[str]:
    """Names of data sets in a text that separates them by commas; a comma in the name of a folder or file that is there does not."""
    names: list[str] = []
    for part in text.split(","):
        joined = f"{names[-1]},{part}" if names else ""
        if joined and joined.startswith(("folder:", "csv:")) and Path(joined.partition(":")[2]).expanduser().exists():
            names[-1] = joined
        else:
            names.append(part)
    return [name.strip() for name in names if name.strip()]
