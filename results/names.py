"""The order in which tables and figures list methods and data sets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass


METHOD_TITLES = {
    "devnet": "DevNet",
    "flos": "FLOS",
    "saoe": "SAOE",
    "mlep": "MLEP",
    "dra": "DRA",
    "ahl": "AHL",
    "dpdl": "DPDL",
    "ahl-devnet": "AHL (DevNet)",
    "evidence": "Evidence (ours)",
    "whitened": "Whitened",
    "patchcore": "PatchCore",
    "mahalanobis": "Mahalanobis",
}
"""The paper's methods in its order, then what this project has beside them."""

DATASET_TITLES = {
    "mvtec": "MVTec AD",
    "mvtec/carpet": "Carpet",
    "mvtec/metal_nut": "Metal nut",
    "optical": "Optical",
    "sdd": "SDD",
    "aitex": "AITEX",
    "elpv": "ELPV",
    "mastcam": "Mastcam",
    "hyper-kvasir": "Hyper-Kvasir",
    "brainmri": "BrainMRI",
    "headct": "HeadCT",
}
"""The paper's data sets in its order."""


def in_order(names: Iterable[Any], order: Iterable[str]) -> list[str]:
    """`names` without repeats: those of `order` first, the rest (variants beside their method) by name."""
    places = {name: place for place, name in enumerate(order)}
    return sorted({str(name) for name in names}, key=lambda name: (places.get(name.split(" ")[0], len(places)), name))
