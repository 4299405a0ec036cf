"""Synthetic textures with easy defects, drawn in memory from a seed: for tests and first steps, never for a table."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from osad_bench.datasets.base import Dataset, DatasetError, Sample

SIZE = 64
"""Height and width of an image in pixels."""
NORMALS = 96
ANOMALIES = 24
"""Number of anomalies of each kind."""
KINDS = ("blot", "hole", "scratch")

Canvas = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def _texture(generator: np.random.Generator) -> Canvas:
    """Draw one normal image, (SIZE, SIZE, 3) in 0 to 255: stripes, weave or grain, each with its natural variation."""
    style = generator.integers(3)
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    angle = generator.normal(0.0, 0.05)
    phase = generator.uniform(0, 2 * np.pi, size=2)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    if style == 0:
        pattern = np.sin(u * 0.8 + phase[0])
    elif style == 1:
        pattern = np.sin(u * 0.6 + phase[0]) * np.sin(v * 0.6 + phase[1])
    else:
        coarse = generator.normal(size=(SIZE // 4, SIZE // 4))
        pattern = np.kron(coarse, np.ones((4, 4))) * 0.5
    tint = np.array(((150.0, 130.0, 110.0), (120.0, 140.0, 150.0), (140.0, 140.0, 130.0))[style])
    canvas = (tint + generator.normal(0.0, 4.0))[None, None, :] + 22.0 * pattern[:, :, None]
    return np.asarray(canvas + generator.normal(0.0, 4.0, size=canvas.shape), dtype=np.float64)


def _defect(canvas: Canvas, kind: str, generator: np.random.Generator) -> tuple[Canvas, Mask]:
    """Draw one local defect onto a normal image; returns the image and the mask of the defect."""
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    cy, cx = generator.uniform(SIZE * 0.25, SIZE * 0.75, size=2)
    if kind == "scratch":
        angle = generator.uniform(0, np.pi)
        along = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        across = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        mask = (np.abs(across) < 1.5) & (np.abs(along) < generator.uniform(12, 20))
        colour = np.array((245.0, 245.0, 240.0))
    else:
        radius = generator.uniform(6, 10)
        mask = (x - cx) ** 2 + (y - cy) ** 2 < radius**2
        colour = np.array((190.0, 40.0, 40.0)) if kind == "blot" else np.array((15.0, 15.0, 20.0))
    return np.where(mask[:, :, None], colour, canvas), mask


class Textures(Dataset):
    """Three textures; anomalies blot, hole and scratch. ``textures/null`` labels normals as anomalies."""

    name = "textures"
    title = "Textures"
    domain = "for tests"
    licence = "Apache-2.0"
    variants = ("null",)

    def _check_variant(self) -> None:
        if self.variant not in (None, "null"):
            raise DatasetError(f"unknown data set 'textures/{self.variant}'; known: textures, textures/null")

    def scan(self) -> Iterator[Sample]:
        """List 96 normals and 24 anomalies of each kind."""
        self._check_variant()
        for index in range(NORMALS):
            yield Sample(f"normal/{index:03}", 0)
        for kind in KINDS:
            for index in range(ANOMALIES):
                yield Sample(f"{kind}/{index:03}", 1, kind)

    def load(self, sample: Sample) -> npt.NDArray[np.uint8]:
        """Draw the image; its id alone decides it."""
        return np.clip(np.rint(self._drawn(sample)[0]), 0, 255).astype(np.uint8)

    def mask(self, sample: Sample) -> Mask:
        """Where the defect was drawn; all False for a normal image."""
        return self._drawn(sample)[1]

    def _drawn(self, sample: Sample) -> tuple[Canvas, Mask]:
        seed = int.from_bytes(hashlib.sha256(sample.id.encode()).digest()[:8], "big")
        generator = np.random.Generator(np.random.PCG64(seed))
        canvas = _texture(generator)
        # In the null variant an anomaly differs from a normal in nothing but its label: no method may beat 0.5.
        if sample.kind is not None and self.variant != "null":
            return _defect(canvas, sample.kind, generator)
        return canvas, np.zeros((SIZE, SIZE), dtype=np.bool_)

    def digest(self, sample: Sample) -> str:
        """Sha256 of the pixels."""
        return hashlib.sha256(self.load(sample).tobytes()).hexdigest()
