"""Views of a data set that the cache can hold: its clean images, or one draw of a pseudo-anomaly generator."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from osad_bench.core.border import plugged
from osad_bench.core.registry import pseudo_anomalies
from osad_bench.datasets.base import Dataset
from osad_bench.datasets.reading.tiles import squared


@dataclass(frozen=True)
class View:
    """Clean images (``generator=None``), or one pseudo-anomaly of each image (draw number `draw`, from 0)."""

    generator: str | None = None
    draw: int = 0

    def __str__(self) -> str:
        return "images" if self.generator is None else f"{self.generator} #{self.draw + 1}"


CLEAN = View()

CPU = torch.device("cpu")


def resized(dataset: Dataset, name: str, size: int, tiles: int = 1) -> npt.NDArray[np.uint8]:
    """Read one image of a data set and resize it to (tiles * size, size, 3), uint8.

    Raises
    ------
    DatasetError
        The image cannot be read.
    """
    return squared(dataset.read(dataset.by_id[name]), size, tiles)


def pseudo_generator(name: str, sample: str, draw: int) -> np.random.Generator:
    """Random generator of one pseudo-anomaly: depends only on the generator's name, the sample's id and the draw."""
    sha = hashlib.sha256(f"{name}/{draw}/{sample}".encode()).digest()
    return np.random.default_rng(np.frombuffer(sha, dtype=np.uint32))


def shown(image: npt.NDArray[np.uint8], name: str, view: View) -> npt.NDArray[np.uint8]:
    """Apply a view to the resized image (H, W, 3) of a sample; `name` is its id."""
    if view.generator is None:
        return image
    make = pseudo_anomalies.get(view.generator)
    with plugged(f"pseudo-anomaly {view.generator!r} of {pseudo_anomalies.origin(view.generator)}", make):
        changed, _ = make(image, pseudo_generator(view.generator, name, view.draw))
        result: npt.NDArray[np.uint8] = changed
        if result.shape != image.shape or result.dtype != np.uint8:
            raise ValueError(f"it gives {result.dtype} {result.shape}, expected uint8 {image.shape}")
    return result
