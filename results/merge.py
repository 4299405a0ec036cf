"""Merging the stores of several machines into one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from osad_bench.core.text import printable
from osad_bench.results.record import Record
from osad_bench.results.store import Store, StoreError, foreign_files
from osad_bench.results.submission import opened

SAME = 1e-6
"""AUROCs that differ by no more count as the same result, as devices round differently."""


@dataclass(frozen=True)
class Conflict:
    """A cell for which two stores hold different results: the key, the stores, and a message for the user."""

    key: str
    kept: Path
    dropped: Path
    message: str


def merge(
    sources: Sequence[Path | str], target: Path | str, say: Callable[[str], None] = lambda _: None
) -> tuple[int, list[Conflict]]:
    """Copy the records of `sources`, with their scores, into `target`, and report where stores disagree.

    A source is a store's folder or a submission's file. Of two records of one cell, a finished one is kept before a
    failed one, else the first. `say` is called with a sentence on files that were passed over.

    Returns
    -------
    copied, conflicts
        How many records were copied, and the cells that are finished in two stores with different results.

    Raises
    ------
    StoreError
        A source holds no records, a record is damaged, a file is no submission, or `target` cannot be written to.
    OSError
        The disk is full.
    """
    into, copied, conflicts = Store(target), 0, []
    origin: dict[str, Path] = {}
    for source in map(Path, sources):
        with _read(source) as store:
            keys = store.keys()
            for sentence in foreign_files(store.root):
                say(sentence)
            if not keys:
                raise StoreError(f"no records in {source}: expected the folder that `osad-bench run --out` wrote")
            into.prepare()
            for key in keys:
                new = store.get(key)
                if key in into:
                    old = into.get(key)
                    difference = _difference(old, new, into, store)
                    if difference:
                        kept = origin.get(key, into.root)
                        conflicts.append(Conflict(key, kept, source, f"{_name(new)}: {difference}"))
                    if old.status == "ok" or new.status == "failed":
                        continue
                origin[key] = source
                into.put(new, store.scores(key) if new.status == "ok" else None)
                copied += 1
            _add_ablations(store, into)
    return copied, conflicts


@contextmanager
def _read(source: Path) -> Iterator[Store]:
    """The store at `source`, which is its folder or a submission's file."""
    if source.is_file():
        with opened(source) as submission:
            yield submission.store
    else:
        yield Store(source)


def _add_ablations(source: Store, into: Store) -> None:
    """Add the names of ablations that `into` lacks."""
    known, new = into.ablations(), defaultdict[str, dict[str, str]](dict)
    for (method, variant), name in source.ablations().items():
        if (method, variant) not in known:
            new[method][name] = variant
    for method, names in new.items():
        into.name_ablations(method, names)


def _difference(old: Record, new: Record, old_store: Store, new_store: Store) -> str:
    if old.metrics is None or new.metrics is None:
        return ""
    if abs(old.metrics.auroc - new.metrics.auroc) > SAME:
        return f"AUROC {old.metrics.auroc:.6f} and {new.metrics.auroc:.6f}"
    if not np.array_equal(old_store.scores(old.key).ids, new_store.scores(new.key).ids):
        return "the same AUROC on other test images"
    return ""


def _name(record: Record) -> str:
    protocol = record.cell.protocol
    kind = f" ({protocol.known_kind})" if protocol.known_kind else ""
    variant = f" [{record.variant}]" if record.variant else ""
    return printable(
        f"{record.cell.method}{variant} on {record.cell.dataset}, {protocol.setting}{kind}, M = {protocol.shots},"
        f" seed {protocol.seed}"
    )
