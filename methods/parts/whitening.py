"""Whitened features, evidence measured in units of held-out normals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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


Evidence = Callable[[Tensor], Tensor]
"""Two measures of how anomalous images, or places of images, are: (B, ..., F) -> (B, ..., 2), higher = more anomalous.

The first says how far from the normals, the second how much like the known anomalies."""

Fit = Callable[[Tensor, Tensor], Evidence]
"""Fits an `Evidence` to normals (n, ..., F) and known anomalies (M, ..., F)."""


@dataclass(frozen=True)
class Pooled:
    """Radius and direction of averages: their whitening, and the known anomalies' mean unit vector (C,)."""

    whiten: Whitening
    direction: Tensor

    @classmethod
    def fit(cls, normals: Tensor, anomalies: Tensor) -> Pooled:
        """From averages (n, C) and (M, C)."""
        whiten = Whitening.fit(normals)
        return cls(whiten, functional.normalize(whiten(anomalies), dim=1).mean(0))

    def __call__(self, rows: Tensor) -> Tensor:
        """(B, C) -> (B, 2): log squared distance from the mean, mean cosine to the known anomalies."""
        z = self.whiten(rows)
        distance = z.square().sum(1).clamp_min(1e-12).log()
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
        Number of parts of the normals; each is measured by evidence fitted to the others.
    most
        Upper bound of the number of normals measured, up to rounding per part.

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
        evidence = fit(normals[others], anomalies)
        index.append(held[: -(-most // len(parts))])
        measures.append(evidence(normals[index[-1]]))
    return torch.cat(measures), torch.cat(index)


@dataclass(frozen=True)
class Units:
    """Z-scores: subtract the mean and divide by the standard deviation of held-out normals, (k,) each."""

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
