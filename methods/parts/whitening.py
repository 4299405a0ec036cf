"""Whitened features, evidence measured in units of held-out normals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from sklearn.covariance import LedoitWolf
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Whitening:
    """The map that makes a Gaussian standard: `mean` (C,) and the symmetric `root` (C, C) of the inverse covariance."""

    mean: Tensor
    root: Tensor

    @classmethod
    def fit(cls, rows: Tensor) -> Whitening:
        """From rows (n, C), n at least 2, with Ledoit and Wolf's shrunk covariance."""
        gaussian = LedoitWolf(store_precision=False).fit(rows.double().cpu().numpy())
        values, vectors = torch.linalg.eigh(torch.from_numpy(gaussian.covariance_))
        # Features that never vary have variance 0: nothing is known about them, so they are left out.
        inverse = torch.where(values > 1e-12 * values.max(), values, torch.inf).rsqrt()
        mean, root = torch.from_numpy(gaussian.location_), (vectors * inverse) @ vectors.T
        return cls(mean.to(rows), root.to(rows))

    def __call__(self, rows: Tensor) -> Tensor:
        """(n, C) -> (n, C)."""
        return (rows - self.mean) @ self.root


class Evidence(Protocol):
    """Two measures of how anomalous images, or places of images, are, fitted to normals and to known anomalies."""

    def __call__(self, rows: Tensor) -> Tensor:
        """(B, ..., F) -> (B, ..., 2), higher = more anomalous: far from the normals, like the known anomalies."""


class Fit(Protocol):
    """Makes an `Evidence`."""

    def __call__(self, normals: Tensor, anomalies: Tensor, generator: torch.Generator) -> Evidence:
        """From (n, ..., F) and (M, ..., F)."""


class Pooled:
    """Radius and direction of averages (n, C)."""

    def __init__(self, normals: Tensor, anomalies: Tensor, generator: torch.Generator) -> None:  # noqa: ARG002
        self.whiten = Whitening.fit(normals)
        self.direction = functional.normalize(self.whiten(anomalies), dim=1).mean(0)

    def _distance(self, z: Tensor) -> Tensor:
        """Squared distance of whitened averages from the normals, (B, C) -> (B,)."""
        return z.square().sum(1)

    def __call__(self, rows: Tensor) -> Tensor:
        """(B, C) -> (B, 2): log squared distance, mean cosine to the known anomalies."""
        z = self.whiten(rows)
        distance = self._distance(z).clamp_min(1e-12).log()
        return torch.stack([distance, functional.normalize(z, dim=1) @ self.direction], dim=1)


def out_of_fold(
    fit: Fit, normals: Tensor, anomalies: Tensor, folds: int, most: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Measure normals by evidence that was not fitted to them.

    Parameters
    ----------
    fit
        Makes the evidence.
    normals, anomalies
        (n, ..., F), n at least 4, and (M, ..., F).
    folds
        The normals are divided in so many parts; each is measured by evidence fitted to the others.
    most
        About so many normals are measured, at most.

    Returns
    -------
    measures, index
        (m, ..., 2), and the rows (m,) of `normals` they belong to.
    """
    measures, index = [], []
    parts = torch.randperm(len(normals), generator=generator).chunk(min(folds, len(normals) // 2))
    for held in parts:
        others = torch.ones(len(normals), dtype=torch.bool)
        others[held] = False
        evidence = fit(normals[others], anomalies, generator)
        index.append(held[: -(-most // len(parts))])
        measures.append(evidence(normals[index[-1]]))
    return torch.cat(measures), torch.cat(index)


@dataclass(frozen=True)
class Units:
    """Centre and spread of normals, (k,) each: the units that measures (..., k) are compared in."""

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, measures: Tensor) -> Units:
        """From (..., k)."""
        std, mean = torch.std_mean(measures.reshape(-1, measures.shape[-1]), dim=0, correction=0)
        return cls(mean, std.clamp_min(1e-9))

    def __call__(self, measures: Tensor) -> Tensor:
        """(..., k) -> (..., k)."""
        return (measures - self.mean) / self.std


def pooled(maps: Tensor) -> Tensor:
    """Averages over positions in float64, (B, C, H, W) -> (B, C)."""
    return maps.double().mean(dim=(2, 3))
