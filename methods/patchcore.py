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
from torch.nn import functional

from osad_bench.methods.base import Context, Method, MethodConfig, Pyramid, TrainingSet
from osad_bench.methods.heads import top_mean


def patches(features: Tensor) -> Tensor:
    """Positions averaged over 3 x 3 neighbours (Sec. 3.1), (B, C, H, W) -> (B, H * W, C)."""
    last = features.float().contiguous(memory_format=torch.channels_last)  # twice as fast, and rows come out in order
    near = functional.avg_pool2d(last, 3, stride=1, padding=1, count_include_pad=False)
    return near.flatten(2).transpose(1, 2)


def coreset(points: Tensor, size: int, projected: int, generator: torch.Generator) -> Tensor:
    """Indices of a greedy k-centre coreset (Algorithm 1): each next point is the one farthest from those chosen.

    Parameters
    ----------
    points
        (N, C).
    size
        How many to choose, at most N.
    projected
        Dimensions of the random projection that distances are measured in (Johnson and Lindenstrauss).

    Returns
    -------
    tensor of shape (size,), int64, without repetition
    """
    if size >= len(points):
        return torch.arange(len(points))
    if projected < points.shape[1]:
        points = points @ (torch.randn(points.shape[1], projected, generator=generator) / projected**0.5).to(points)
    norms = points.square().sum(1)
    chosen = [int(torch.randint(len(points), (1,), generator=generator))]
    nearest = torch.full((len(points),), torch.inf, device=points.device)
    for _ in range(size - 1):
        last = points[chosen[-1]]
        nearest = torch.minimum(nearest, norms - 2 * (points @ last) + norms[chosen[-1]])
        nearest[chosen[-1]] = -torch.inf
        chosen.append(int(nearest.argmax()))
    return torch.tensor(chosen)


def remember(points: Tensor, size: int, candidates: int, projected: int, generator: torch.Generator) -> Tensor:
    """A coreset of `size` of at most `candidates` random patches of normals, (B, P, C) -> (size, C)."""
    points = points.flatten(0, 1)
    points = points[torch.randperm(len(points), generator=generator)[:candidates].to(points.device)]
    return points[coreset(points, size, projected, generator).to(points.device)]


def distances(points: Tensor, memory: Tensor) -> Tensor:
    """Distance of each patch to the nearest remembered one, (B, P, C) -> (B, P)."""
    return torch.cdist(points.flatten(0, 1), memory).min(dim=1).values.view(points.shape[:2])


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
