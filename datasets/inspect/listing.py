"""Rows of `osad-bench datasets list`: each data set's numbers, its licence, and whether it was found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osad_bench.core.registry import UnknownNameError, datasets
from osad_bench.datasets.catalogue import expand, open_dataset, parse_name

if TYPE_CHECKING:
    from osad_bench.datasets.base import Dataset


@dataclass(frozen=True)
class Row:
    """One line of the list; numbers are those found, or the published ones where the data set is missing."""

    name: str
    title: str = ""
    domain: str = ""
    images: int | None = None
    normals: int | None = None
    anomalies: int | None = None
    kinds: int | None = None
    licence: str = ""
    state: str = "missing"
    """``found``, ``incomplete``, ``missing``, ``broken``, or ``n of m found`` for a data set of several tasks."""
    numbers_from: str = ""
    """``data`` or ``published``."""
    homepage: str = ""
    folder: str | None = None
    """Its folder, or None."""
    hint: str = ""
    """What to do if it is missing or broken."""


def _numbers(dataset: Dataset) -> tuple[str, dict[str, int], str, str]:
    """State, counts, source of the counts (``data``, or empty) and a hint."""
    from osad_bench.datasets.base import DatasetError

    try:
        counts = dict(dataset.counts)
    except DatasetError as error:
        return "broken", {}, "", f"{error} (osad-bench datasets verify {dataset.spec} lists everything)"
    published = dataset.published
    missing = [
        part
        for part, number in (published.counts if published else {}).items()
        if published and part not in published.approximate and counts.get(part, 0) < number
    ]
    if missing:
        return (
            "incomplete",
            counts,
            "data",
            (
                f"{len(dataset.samples)} samples are fewer than published; osad-bench datasets verify {dataset.spec} compares"
            ),
        )
    return "found", counts, "data", ""


def _published(counts: dict[str, int]) -> dict[str, int]:
    """Published counts, and those that follow from them: normals, samples, kinds."""
    counts = dict(counts)
    if "normal" not in counts and "train normal" in counts:
        counts["normal"] = counts["train normal"] + counts.get("test normal", 0)
    if "samples" not in counts and {"normal", "anomaly"} <= counts.keys():
        counts["samples"] = counts["normal"] + counts["anomaly"]
    counts.setdefault("kinds", sum(part.startswith("kind ") for part in counts))
    return counts


def row(name: str, data_root: Path) -> Row:
    """Row of one data set, or of all tasks behind a name such as ``mvtec``.

    Raises
    ------
    UnknownNameError
        No data set has that name.
    """
    from osad_bench.datasets.base import DatasetError

    cls = datasets.get(parse_name(name)[0])
    tasks = expand(name)
    states, froms, hints, total = [], set(), [], dict.fromkeys(("samples", "normal", "anomaly", "kinds"), 0)
    folder = None
    for task in tasks:
        try:
            dataset = open_dataset(task, data_root)
            state, counts, source, hint = _numbers(dataset)
            folder = folder or getattr(dataset, "base", None)
        except DatasetError as error:
            state, counts, source, hint = "missing", {}, "", str(error)
        if not counts:
            published = cls(None, parse_name(task)[1]).published
            counts, source = (_published(published.counts), "published") if published else ({}, "")
        states.append(state)
        froms |= {source} if source else set()
        hints += [hint] if hint else []
        for part in total:
            total[part] += counts.get(part, 0)
    found = states.count("found")
    state = states[0] if len(set(states)) == 1 else f"{found} of {len(states)} found"
    known = bool(froms)
    return Row(
        name=name,
        title=cls.title,
        domain=cls.domain,
        images=total["samples"] if known else None,
        normals=total["normal"] if known else None,
        anomalies=total["anomaly"] if known else None,
        kinds=total["kinds"] if known else None,
        licence=cls.licence,
        state=state,
        numbers_from=", ".join(sorted(froms)),
        homepage=cls.homepage,
        folder=str(folder) if folder else None,
        hint=hints[0] if hints else "",
    )


def rows(names: Iterable[str], data_root: Path) -> tuple[list[Row], list[str]]:
    """Rows of the named data sets, or of all, and how the names of a user's own data sets are written.

    Without names, a plug-in that cannot be imported becomes a row that says so, and the other rows are complete.

    Raises
    ------
    UnknownNameError
        One of `names` is no data set, or its plug-in cannot be imported.
    """
    asked = [task for name in names for task in expand(name)]
    lines, own = [], []
    for name in asked or datasets.names():
        try:
            cls: Any = datasets.get(parse_name(name)[0])
            if cls.usage and parse_name(name)[1] is None:
                own.append(f"{cls.usage}: {cls.layout}")
                continue
            lines.append(row(name, data_root))
        except UnknownNameError as error:
            if asked:
                raise
            lines.append(Row(name, state="broken", hint=str(error)))
    return lines, own
