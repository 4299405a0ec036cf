"""Seeds: which random numbers a cell draws.

Random numbers are no part of a cell's identity. A seed derives from the data, the protocol and what it is for, and for
the method's own draws from its name too; never from settings, version or preset. So two variants of a method see the same
batches and start from the same weights, two methods see the same batches as far as they draw alike, and the difference
between them is paired.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from osad_bench.results.record import Cell


def seed_of(cell: Cell, purpose: str, *, of_method: bool = False) -> int:
    """Seed below 2**63 for one purpose.

    Parameters
    ----------
    purpose
        What is drawn, such as ``batches``.
    of_method
        Whether other methods are to draw other numbers.
    """
    parts = [cell.fingerprint, cell.protocol.model_dump(mode="json", exclude_defaults=True), purpose]
    if of_method:
        parts.append(cell.method)
    return _seed(parts)


def seed_of_normals(cell: Cell, normals: Sequence[str]) -> int:
    """Seed of a method's draws that concern the training normals alone: the same for all seeds and shots with these normals."""
    return _seed([cell.fingerprint, list(normals), "normals", cell.method])


def _seed(parts: list[Any]) -> int:
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") >> 1
