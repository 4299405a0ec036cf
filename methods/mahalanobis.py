"""Mahalanobis: distance of pooled features to the training normals. A floor: it never sees an anomaly.

The features of the pyramid's first scale are averaged over positions, x; a Gaussian is fitted to the training normals:

- mu = their mean, S = their covariance, shrunk towards a multiple of the identity as Ledoit and Wolf (2004) estimate it;
- score = (x - mu)' S^-1 (x - mu), the squared Mahalanobis distance.

Departures: one feature level, the last, where the source adds up the distances of several levels.

Source: Rippel, Mertens and Merhof, "Modeling the distribution of normal data in pre-trained deep features for anomaly
detection", ICPR 2020 (one of its feature levels); Ledoit and Wolf, J. Multivariate Analysis 88, 2004.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from sklearn.covariance import LedoitWolf
from torch import Tensor

from osad_bench.methods.base import Context, Method, Pyramid, Random, TrainingSet
from osad_bench.methods.parts.whitening import pooled


class Mahalanobis(Method):
    """Squared Mahalanobis distance to the training normals, pooled features."""

    name, title, version = "mahalanobis", "Mahalanobis", 2
    citation = "Rippel et al., Modeling the distribution of normal data in pre-trained deep features, ICPR 2020"
    departures = "docs/deviations.md#patchcore-and-mahalanobis"
    kind: ClassVar[str] = "floor"

    def fit(self, train: TrainingSet, context: Context) -> None:
        """Mean and shrunk covariance of the training normals."""

        def gaussian(_: Random) -> list[Tensor]:
            rows = pooled(train.normals()[0])
            fitted = LedoitWolf().fit(rows.cpu().numpy())
            return [torch.from_numpy(x).to(rows) for x in (fitted.location_, fitted.precision_)]

        self.mean, self.precision = context.shared("gaussian", list[Tensor], gaussian)

    def score(self, pyramid: Pyramid) -> Tensor:
        """Squared distances, shape (B,)."""
        x = pooled(pyramid[0]) - self.mean
        return (x @ self.precision * x).sum(1)
