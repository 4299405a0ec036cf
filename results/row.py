"""The definition of a row of a table, on which tables, ranks, baselines, checks and plans rely.

Records of one row answer the same question and differ only in method, seed and known kind. So they may be averaged over
seeds and kinds, and compared between methods; records of different rows may not. Two data sets of one name with different
files make two rows, and so do two presets of one name with different settings.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from osad_bench.core.text import printable
from osad_bench.results.record import Cell, Protocol

COUNTED = frozenset({"setting", "shots", "known_kind", "seed", "part"})
"""Fields of a protocol that are not part of a row's `options`."""

_TOLD = [(name, field.default) for name, field in Protocol.model_fields.items() if name not in COUNTED]

WORDS = {"dedup": "without duplicates"}
"""Option to how it is called where it is on; the others are given by name and value."""


class Row(NamedTuple):
    """What records must share to be averaged and compared in one row of a table; see the module.

    Attributes
    ----------
    preset, settings
        The preset's label, and the digest of its complete settings.
    dataset, fingerprint
        The data set's full name, and the sha256 of its contents.
    setting, shots
        ``general`` or ``hard``, and M.
    options
        The other options of the protocol, in words (``reserve 3, without duplicates``); empty for the defaults.
    """

    preset: str
    settings: str
    dataset: str
    fingerprint: str
    setting: str
    shots: int
    options: str = ""

    @classmethod
    def of(cls, cell: Cell, preset: str) -> Row:
        """The row that a cell belongs to; `preset` is the preset's label."""
        protocol = cell.protocol
        return cls(
            printable(preset), digest(cell.preset), printable(cell.dataset), cell.fingerprint,
            protocol.setting, protocol.shots, options(vars(protocol)),
        )  # fmt: skip

    @property
    def title(self) -> str:
        """Such as ``elpv, general setting, M = 10, preset quick``."""
        more = f", {self.options}" if self.options else ""
        return f"{self.dataset}, {self.setting} setting, M = {self.shots}{more}, preset {self.preset}"


def digest(value: Any) -> str:
    """Eight hexadecimal digits that name a configuration."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:8]


def options(protocol: Mapping[str, Any], without: Collection[str] = ()) -> str:
    """What a protocol says besides setting, M, kind and seed, in words; empty where all is at its default.

    Parameters
    ----------
    protocol
        Names of a `Protocol`'s fields to their values.
    without
        Fields that are not told, as a figure has them on its axis.
    """
    words = []
    for name, default in _TOLD:
        value = protocol.get(name)
        if value is None or value == default or name in without:
            continue
        plain = WORDS.get(name, name.replace("_", " "))
        words.append(plain if value is True else f"{plain} {printable(value)}")
    return ", ".join(words)


def tell_apart(names: Iterable[str], details: Iterable[str]) -> list[str]:
    """Each name, with ``(detail)`` appended where the same name comes with several details."""
    pairs = list(zip(names, details))
    of: dict[str, set[str]] = {}
    for name, detail in pairs:
        of.setdefault(name, set()).add(detail)
    return [f"{name} ({detail})" if len(of[name]) > 1 else name for name, detail in pairs]
