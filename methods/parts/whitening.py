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
    """Map of a Gaussian to the standard one: `mean` (C,) and the symmetric `root` (C, C) of the inverse covariance."""

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


@dataclass(frozen=True)
class Pooled:
    """Radius and direction of averages: their whitening, and the known anomalies' mean unit vector (C,)."""

    whiten: Whitening
    direction: Tensor

    @classmethod
    def of(cls, whiten: Whitening, anomalies: Tensor) -> Pooled:
        """From the normals' whitening and the known anomalies' averages (M, C)."""
        return cls(whiten, functional.normalize(whiten(anomalies), dim=1).mean(0))

    def __call__(self, rows: Tensor) -> Tensor:
        """(B, C) -> (B, 2): log squared distance from the mean, mean cosine to the known anomalies."""
        z = self.whiten(rows)
        distance = z.square().sum(1).clamp_min(1e-12).log()
        return torch.stack([distance, functional.normalize(z, dim=1) @ self.direction], dim=1)


@dataclass(frozen=True)
class Fold:
    """A part of the normals that is held out, and the rest.

    Attributes
    ----------
    others
        Rows (n,) that evidence is fitted to.
    held
        Rows (m,) that it measures, none of `others`.
    """

    others: Tensor
    held: Tensor

    @classmethod
    def divide(cls, count: int, folds: int, most: int, generator: torch.Generator) -> list[Fold]:
        """Divide `count` normals, at least 4, into at most `folds` random parts.

        Of each part at most `most` divided by the number of parts, rounded up, are held out to be measured.
        """
        parts = torch.randperm(count, generator=generator).chunk(min(folds, count // 2))
        result = []
        for part in parts:
            others = torch.ones(count, dtype=torch.bool)
            others[part] = False
            result.append(cls(others.nonzero()[:, 0], part[: -(-most // len(parts))]))
        return result


@dataclass(frozen=True)
class Gaussian:
    """Averages of the training normals (n, C), their whitening, and for each fold the whitening of the others."""

    rows: Tensor
    whiten: Whitening
    folds: list[Fold]
    of_others: list[Whitening]

    @classmethod
    def fit(cls, rows: Tensor, folds: list[Fold]) -> Gaussian:
        """From averages (n, C)."""
        return cls(rows, Whitening.fit(rows), folds, [Whitening.fit(rows[fold.others]) for fold in folds])

    def out_of_fold(self, evidence: Callable[[Whitening, Tensor], Evidence]) -> Tensor:
        """Measure normals by evidence that was not fitted to them.

        Parameters
        ----------
        evidence
            Makes the evidence from the others' whitening and averages (n, C).

        Returns
        -------
        tensor of shape (m, 2), fold by fold
        """
        pairs = zip(self.of_others, self.folds)
        return torch.cat([evidence(white, self.rows[fold.others])(self.rows[fold.held]) for white, fold in pairs])


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
