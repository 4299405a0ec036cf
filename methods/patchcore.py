"""PatchCore-style memory bank: distance of patches to a coreset of normal patches. A floor: it never sees an anomaly.

Each position of a map, averaged with its eight neighbours, is a patch p; a greedy coreset of the training normals' patches
(k-centre, found in a random projection; Algorithm 1) is the memory M:

- d(p) = min over m in M of |p - m|; score = mean of the largest d(p), averaged over scales.

Departures: the last stage of the backbone alone, no reweighting by neighbours (Eq. 7), a mean of the top share in place
of the maximum (Eq. 6), a memory of fixed size a scale chosen from a random part of the patches.

Source: Roth, Pemula, Zepeda, Schoelkopf, Brox and Gehler, "Towards total recall in industrial anomaly detection", CVPR
2022.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from osad_bench.methods.base import Context, Method, MethodConfig, Pyramid, TrainingSet
from osad_bench.methods.parts.coreset import distances, patches, remember
from osad_bench.methods.parts.heads import top_mean


class PatchCore(Method):
    """Distance to a coreset of normal patches."""

    name, title = "patchcore", "PatchCore"
    citation = "Roth et al., Towards total recall in industrial anomaly detection, CVPR 2022"
    departures = "docs/deviations.md#patchcore-and-mahalanobis"
    kind: ClassVar[str] = "floor"

    class Config(MethodConfig):
        """Hyper-parameters."""

        memory: int = Field(
            1500, ge=1, description="patches remembered a scale (paper: 1 % or 10 % of all; a fixed size is ours)"
        )
        projected: int = Field(64, ge=1, description="dimensions in which the coreset is found (public code: 128)")
        candidates: int = Field(
            20_000, ge=1, description="random normal patches the coreset is chosen from (ours: bounds time)"
        )
        topk: float = Field(
            0.1, gt=0, le=1, description="share of positions that make the image's score (ours: as DevNet's)"
        )

    def fit(self, train: TrainingSet, context: Context) -> None:
        """Choose the memory of each scale."""
        config = self.config
        self.memory = [
            remember(patches(features), config.memory, config.candidates, config.projected, context.generator)
            for features in train.normals()
        ]

    def score(self, pyramid: Pyramid) -> Tensor:
        """Mean over scales of the mean of the largest patch distances, (B,)."""
        scales = zip(pyramid, self.memory)
        return torch.stack(
            [top_mean(distances(patches(maps), memory), self.config.topk) for maps, memory in scales]
        ).mean(0)
