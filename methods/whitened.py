"""Whitened: how far from the normals, and how much in the direction of the known anomalies. A floor in closed form.

Pooled features are whitened by the training normals, z = R (x - mean), so that normals follow N(0, I). Under that model
the radius ||z|| and the direction u = z / ||z|| are independent, and for anomalies whose radius does not depend on their
direction the log-likelihood ratio is a sum of a function of the radius and one of the direction:

- direction: each known anomaly a_m is the centre of a von Mises-Fisher density. The log ratio of their mixture to the
  normals' uniform density is log( 1/M sum_m exp(kappa <u, a_m>) ) + constant, to first order in the concentration
  kappa times the *mean cosine*. First order, because open-set anomalies lie mostly off the few known directions.
- radius: its logarithm, log ||z||^2.

What is left is a weight each, which a handful of anomalies cannot tell (estimating them by cross-validated logistic
regression lowered validation AUC): both are put in units of their spread over held-out training normals and added. The
units are out of fold, because a normal that helped to fit R lies too near its mean.

Departures: docs/deviations.md. Sources: Ledoit and Wolf, J. Multivariate Analysis 88, 2004 (covariance); Banerjee et al., JMLR 6, 2005 (von Mises-Fisher
mixtures). The combination is this project's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from pydantic import Field
from sklearn.covariance import LedoitWolf
from torch import Tensor
from torch.nn import functional

from osad_bench.methods.base import Context, Method, MethodConfig, Pyramid, TrainingSet
from osad_bench.methods.mahalanobis import pooled


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


class Whitened(Method):
    """Whitened distance plus whitened direction, standardised and added."""

    name, title = "whitened", "Whitened"
    citation = "osad-bench; covariance by Ledoit and Wolf 2004, directions by Banerjee et al. 2005"
    kind: ClassVar[str] = "floor"
    departures = "docs/deviations.md#whitened-and-evidence"

    class Config(MethodConfig):
        """Hyper-parameters."""

        folds: int = Field(5, ge=2, description="parts of the normals for the out-of-fold units (ours)")
        measured: int = Field(512, ge=8, description="normals measured for the units, at most (ours: bounds time)")
        direction: float = Field(1.0, ge=0, description="weight of likeness to the known anomalies; distance: 1 (ours)")

    def fit(self, train: TrainingSet, context: Context) -> None:
        """Evidence of each scale, and its units."""
        config = self.config
        self.parts = []
        for normals, seen in zip(train.normals(), train.seen()):
            rows, known = pooled(normals), pooled(seen)
            evidence = Pooled(rows, known, context.generator)
            measures, _ = out_of_fold(Pooled, rows, known, config.folds, config.measured, context.generator)
            self.parts.append((evidence, Units.of(measures)))

    def score(self, pyramid: Pyramid) -> Tensor:
        """Sum over scales and measures, (B,)."""
        weights = torch.tensor([1.0, self.config.direction], dtype=torch.float64, device=pyramid[0].device)
        scales = zip(pyramid, self.parts)
        return torch.stack([units(evidence(pooled(maps))) @ weights for maps, (evidence, units) in scales]).sum(0)
