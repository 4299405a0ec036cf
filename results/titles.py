"""Titles of methods and data sets in tables, figures and sentences, as given in their records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from osad_bench.results.aggregate import group_of


@dataclass(frozen=True)
class Titles:
    """Titles by name. A name without a title is its own title.

    Attributes
    ----------
    methods, datasets
        Name to title.
    """

    methods: dict[str, str] = field(default_factory=dict)
    datasets: dict[str, str] = field(default_factory=dict)

    def method(self, label: str) -> str:
        """Title for a label of `aggregate.comparable`: ``DPDL prototypes=16`` for ``dpdl prototypes=16``."""
        return _titled(label, self.methods)

    def dataset(self, label: str) -> str:
        """Title for a data set's label of `aggregate.comparable`; a ``(fingerprint)`` in it is kept."""
        return _titled(label, self.datasets)

    def row(self, line: Mapping[Any, Any]) -> dict[str, Any]:
        """The first columns of printed tables: preset, data set, setting and M of a line with the columns `aggregate.ROW`."""
        return {
            "preset": line["board"], "data set": self.dataset(line["dataset"]), "setting": line["setting"],
            "M": line["shots"],
        }  # fmt: skip


def _titled(label: str, titles: dict[str, str]) -> str:
    name = label
    while name not in titles:
        name, space, _ = name.rpartition(" ")
        if not space:
            return label
    return titles[name] + label[len(name) :]


def titles_of(frame: pd.DataFrame) -> Titles:
    """The titles in the records; those of the newest record where they differ.

    Where two names have the same title, the names are appended: ``Title (name)``. The records of a class (``mvtec/carpet``)
    have the title of the whole data set (``MVTec AD``), to which the class is appended (``MVTec AD carpet``).

    Parameters
    ----------
    frame
        As `osad_bench.results.load` returns it.
    """
    newest = _newest(frame, "method", "method_title", "dataset", "dataset_title")
    methods = _named(dict(zip(newest["method"], newest["method_title"])))
    said = dict(zip(newest["dataset"], newest["dataset_title"]))
    groups = dict(zip(newest["dataset"], group_of(newest["dataset"])))
    datasets = _named({name: _of_class(name, title, bool(groups[name])) for name, title in said.items()})
    for group in sorted(set(groups.values()) - {""}):
        shared = {said[name] for name, of in groups.items() if of == group}
        datasets.setdefault(group, shared.pop() if len(shared) == 1 and shared != {""} else group)
    return Titles(methods, datasets)


def _newest(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Distinct rows of these columns, ordered by their newest record."""
    wanted = [*columns, "created"]
    newest: pd.DataFrame = (
        frame[wanted].sort_values("created", kind="stable").drop_duplicates(list(columns), keep="last")
    )
    return newest


def _named(titles: dict[str, str]) -> dict[str, str]:
    count = Counter(title or name for name, title in titles.items())
    return {
        name: f"{title} ({name})" if title and count[title] > 1 else title or name for name, title in titles.items()
    }


def _of_class(name: str, title: str, is_class: bool) -> str:
    """A data set's title with what follows the ``/`` in its name: ``MVTec AD carpet``; for a user's own folder its name."""
    _, slash, part = name.partition("/")
    if not title or not slash:
        return title
    plain = part.replace("_", " ")
    if plain.casefold() in title.replace("_", " ").casefold():
        return title
    return f"{title} {plain}" if is_class else name


def citations_of(frame: pd.DataFrame) -> list[str]:
    """``TITLE: citation`` for each method whose records have a citation, ordered by the method's name."""
    titles = titles_of(frame)
    newest = _newest(frame, "method", "citation")
    found = {name: text for name, text in zip(newest["method"], newest["citation"]) if text}
    return [f"{titles.method(name)}: {text}" for name, text in sorted(found.items())]
