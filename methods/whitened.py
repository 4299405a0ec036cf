"""Whitened: how far from the normals, and how much in the direction of the known anomalies. A floor in closed form.

Pooled features are whitened by the training normals, z = R (x - mean), so that normals follow N(0, I). Under that model
the radius ||z|| and the direction u = z / ||z|| are independent, and for anomalies whose radius does not depend on their
direction the log-likelihood ratio is a sum of a function of the radius and one of the direction:

- direction: each known anomaly a_m is the centre of a von Mises-Fisher density. The log ratio of their mixture to the
  normals' uniform density is log( 1/M sum_m exp(kappa <u, a_m>) ) + constant, to first order in the concentration
  kappa times the *mean cosine*. First order, because open-set anomalies lie mostly off the few known directions.
- radius: its logarithm, log ||z||^2.

The weights of the two measures remain. A handful of anomalies cannot determine them (estimating them by cross-validated
logistic regression lowered validation AUC), so both are standardised over held-out training normals and added. The normals
are held out because one that helped to fit R lies too near its mean.

Departures: docs/deviations.md. Sources: Ledoit and Wolf, J. Multivariate Analysis 88, 2004 (covariance); Banerjee et al.,
JMLR 6, 2005 (von Mises-Fisher mixtures). The combination is this project's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from osad_bench.methods.base import Context, Method, MethodConfig, Pyramid, Random, TrainingSet
from osad_bench.methods.parts.whitening import Evidence, Fold, Gaussian, Pooled, Units, Whitening, pooled
from osad_bench.methods.saving import unpack


@dataclass(frozen=True)
class Part:
    """Evidence of one scale and its units."""

    evidence: Pooled
    units: Units


class Whitened(Method):
    """Whitened distance plus whitened direction, standardised and added."""

    name, title, version = "whitened", "Whitened", 3
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

        def gaussians(random: Random) -> list[Gaussian]:
            rows = [pooled(normals) for normals in train.normals()]
            folds = Fold.divide(len(rows[0]), config.folds, config.measured, random("folds"))
            return [Gaussian.fit(scale, folds) for scale in rows]

        fitted = context.shared("gaussians", list[Gaussian], gaussians, folds=config.folds, measured=config.measured)
        self.parts = []
        for gaussian, seen in zip(fitted, train.seen()):
            known = pooled(seen)

            def evidence(whiten: Whitening, _: Tensor, known: Tensor = known) -> Evidence:
                return Pooled.of(whiten, known)

            measures = gaussian.out_of_fold(evidence)
            self.parts.append(Part(Pooled.of(gaussian.whiten, known), Units.of(measures)))

    def score(self, pyramid: Pyramid) -> Tensor:
        """Sum over scales and measures, (B,)."""
        weights = torch.tensor([1.0, self.config.direction], dtype=torch.float64, device=pyramid[0].device)
        scales = zip(pyramid, self.parts)
        return torch.stack([part.units(part.evidence(pooled(maps))) @ weights for maps, part in scales]).sum(0)

    def restore(self, state: Mapping[str, Tensor], shapes: Sequence[tuple[int, int, int]]) -> None:  # noqa: ARG002
        """Take back the parts."""
        self.parts = unpack(list[Part], state, "parts")
