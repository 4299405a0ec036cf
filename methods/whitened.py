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

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from pydantic import Field
from sklearn.covariance import LedoitWolf
from torch import Tensor
from torch.nn import functional

from osad_bench.methods.base import Context, Method, MethodConfig, Pyramid, TrainingSet


@dataclass(frozen=True)
class Whitening:
    """The map that makes a Gaussian standard: `mean` (C,) and the symmetric `root` (C, C) of the inverse covariance."""

    mean: Tensor
    root: Tensor

    @classmethod
    def fit(cls, rows: Tensor) -> Whitening:
        """From rows (n, C), n at least 2, with Ledoit and Wolf's shrunk covariance."""
        gaussian = LedoitWolf().fit(rows.double().cpu().numpy())
        values, vectors = torch.linalg.eigh(torch.from_numpy(gaussian.covariance_))
        # Features that never vary have variance 0: nothing is known about them, so they are left out.
        inverse = torch.where(values > 1e-12 * values.max(), values, torch.inf).rsqrt()
        mean, root = torch.from_numpy(gaussian.location_), (vectors * inverse) @ vectors.T
        return cls(mean.to(rows), root.to(rows))

    def __call__(self, rows: Tensor) -> Tensor:
        """(n, C) -> (n, C)."""
        return (rows - self.mean) @ self.root


class Evidence(Protocol):
    """Two measures of how anomalous images are, fitted to maps (n, C, H, W) of normals and of known anomalies."""

    def __call__(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 2), higher = more anomalous: far from the normals, like the known anomalies."""


class Fit(Protocol):
    """Makes an `Evidence`."""

    def __call__(self, normals: Tensor, anomalies: Tensor, generator: torch.Generator) -> Evidence:
        """From maps (n, C, H, W) and (M, C, H, W)."""


class Pooled:
    """Radius and direction of the average over positions."""

    def __init__(self, normals: Tensor, anomalies: Tensor, generator: torch.Generator) -> None:  # noqa: ARG002
        self.whiten = Whitening.fit(self._pool(normals))
        self.direction = functional.normalize(self.whiten(self._pool(anomalies)), dim=1).mean(0)

    @staticmethod
    def _pool(maps: Tensor) -> Tensor:
        return maps.double().mean(dim=(2, 3))

    def _distance(self, z: Tensor) -> Tensor:
        """Squared distance of whitened averages from the normals, (B, C) -> (B,)."""
        return z.square().sum(1)

    def __call__(self, maps: Tensor) -> Tensor:
        """(B, 2): log squared distance, mean cosine to the known anomalies."""
        z = self.whiten(self._pool(maps))
        distance = self._distance(z).clamp_min(1e-12).log()
        return torch.stack([distance, functional.normalize(z, dim=1) @ self.direction], dim=1)


class Calibrated:
    """Evidence in units of the normals' spread, measured on normals that were not fitted to.

    Parameters
    ----------
    fit
        Makes the evidence.
    normals, anomalies
        Maps (n, C, H, W), n at least 4, and (M, C, H, W).
    folds
        The normals are divided in so many parts; each is measured by evidence fitted to the others.
    most
        At most so many normals are measured.
    direction
        Weight of the second measure; the first one's is 1.
    """

    def __init__(
        self,
        fit: Fit,
        normals: Tensor,
        anomalies: Tensor,
        folds: int,
        most: int,
        generator: torch.Generator,
        direction: float = 1.0,
    ) -> None:
        self.evidence = fit(normals, anomalies, generator)
        measured = []
        parts = torch.randperm(len(normals), generator=generator).chunk(min(folds, len(normals) // 2))
        for held in parts:
            others = torch.ones(len(normals), dtype=torch.bool)
            others[held] = False
            evidence = fit(normals[others], anomalies, generator)
            measured.append(evidence(normals[held[: -(-most // len(parts))]]))
        self.std, self.mean = torch.std_mean(torch.cat(measured), dim=0, correction=0)
        self.weight = torch.tensor([1.0, direction]).to(self.mean)

    def __call__(self, maps: Tensor) -> Tensor:
        """Weighted sum of the standardised measures, (B,)."""
        return ((self.evidence(maps) - self.mean) / self.std.clamp_min(1e-9)) @ self.weight


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

    def evidence(self) -> Sequence[Fit]:
        """What is measured of each scale."""
        return [Pooled]

    def fit(self, train: TrainingSet, context: Context) -> None:
        """Evidence of each scale."""
        config = self.config
        self.parts = [
            [
                Calibrated(fit, normals, seen, config.folds, config.measured, context.generator, config.direction)
                for fit in self.evidence()
            ]
            for normals, seen in zip(train.normals(), train.seen())
        ]

    def score(self, pyramid: Pyramid) -> Tensor:
        """Sum over scales and evidence, (B,)."""
        sums = [part(maps) for maps, parts in zip(pyramid, self.parts) for part in parts]
        return torch.stack([one.double() for one in sums]).sum(0)
