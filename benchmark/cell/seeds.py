"""Seeds of the random numbers that a cell draws.

A seed depends on the data, the protocol and its purpose, and for a method's own draws also on the method's name; never on
settings, version or preset. So two variants of a method see the same batches and start from the same weights, two methods
see the same batches as far as they draw batches of the same parts, and differences between them are paired.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from osad_bench.results.record import Cell


def seed_of(cell: Cell, purpose: str, *, of_method: bool = False) -> int:
    """Seed in [0, 2**63) for one purpose.

    Parameters
    ----------
    purpose
        What is drawn, such as ``batches``.
    of_method
        Whether the seed also depends on the method's name.
    """
    parts = [cell.fingerprint, cell.protocol.model_dump(mode="json", exclude_defaults=True), purpose]
    if of_method:
        parts.append(cell.method)
    return _seed(parts)


def seed_of_normals(cell: Cell, normals: Sequence[str]) -> int:
    """Seed in [0, 2**63) of a method's draws that concern the training normals alone: the same for all seeds and shots."""
    return _seed([cell.fingerprint, list(normals), "normals", cell.method])


def _seed(parts: list[Any]) -> int:
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") >> 1
