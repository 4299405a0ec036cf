"""The order in which tables and figures list methods and data sets; the records hold their titles."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

METHODS = (
    "devnet", "flos", "saoe", "mlep", "dra", "ahl", "dpdl", "ahl-devnet", "evidence", "whitened", "patchcore",
    "mahalanobis",
)  # fmt: skip
"""The DPDL paper's methods in its order, then the further ones of this project."""

DATASETS = (
    "mvtec", "mvtec/carpet", "mvtec/metal_nut", "optical", "sdd", "aitex", "elpv", "mastcam", "hyper-kvasir", "brainmri",
    "headct",
)  # fmt: skip
"""The DPDL paper's data sets in its order; of MVTec AD's classes, the two of its hard setting."""


def in_order(names: Iterable[Any], order: Iterable[str]) -> list[str]:
    """`names` without repeats, in the order of their first words in `order`; unknown ones last, by name."""
    places = {name: place for place, name in enumerate(order)}
    return sorted({str(name) for name in names}, key=lambda name: (places.get(name.split(" ")[0], len(places)), name))


def by_number(name: str) -> list[tuple[str, float]]:
    """Sorts texts with numbers as people do: ``C=8`` before ``C=16``, ``1e-4`` before ``0.01``."""
    parts = re.split(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)", name)
    return [(text, float(number or 0)) for text, number in zip(parts[::2], [*parts[1::2], ""])]
