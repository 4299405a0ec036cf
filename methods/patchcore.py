"""PatchCore: distance of patches to a memory of normal patches, in two stages. A floor: it never sees an anomaly.

The maps of the backbone's last two stages (strides 16 and 32) are averaged over 3 x 3 neighbours, resized bilinearly to the
finer stage's size, and concatenated into one vector p per position (Sec. 3.1). A greedy coreset of the
training normals' vectors (k-centre, found in a random projection; Algorithm 1) is the memory M:

- d(p) = min over m in M of |p - m|; s* = max over p of d(p), and p*, m* the patch and the memory entry of s* (Eq. 6);
- score = (1 - exp|p* - m*| / sum over m in N_b(m*) of exp|p* - m|) s*, N_b(m*) the b entries of M nearest to m* (Eq. 7).

Departures: the preset's backbone, not a WideResNet-50, and its channels as the preset normalises them, not pooled to 1024;
the stages at strides 16 and 32, not 8 and 16, because small backbones have thin middle stages (by validation); a memory of
fixed size, chosen from a random part of the patches.

Source: Roth, Pemula, Zepeda, Schoelkopf, Brox and Gehler, "Towards total recall in industrial anomaly detection", CVPR
2022.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from osad_bench.methods.base import Context, Method, MethodConfig, Pyramid, Random, TrainingSet
from osad_bench.methods.parts.coreset import coreset, nearest, patches
from osad_bench.methods.parts.heads import top_mean

CHUNK = 64
"""Images read at a time."""


class PatchCore(Method):
    """Distance to a coreset of normal patches."""

    name, title, version = "patchcore", "PatchCore", 4
    citation = "Roth et al., Towards total recall in industrial anomaly detection, CVPR 2022"
    departures = "docs/deviations.md#patchcore-and-mahalanobis"
    kind: ClassVar[str] = "floor"
    stages: ClassVar[tuple[int, ...] | None] = (-2, -1)

    class Config(MethodConfig):
        """Hyper-parameters."""

        memory: int = Field(
            1500, ge=2, description="patches remembered (paper: 1 % or 10 % of all; a fixed size is ours)"
        )
        projected: int = Field(128, ge=1, description="dimensions in which the coreset is found (public code: 128)")
        candidates: int = Field(
            20_000, ge=1, description="random normal patches the coreset is chosen from (ours: bounds time)"
        )
        neighbours: int = Field(
            9, ge=2, description="b of Eq. 7, the memory entry itself among them (not given in the paper; ours)"
        )
        topk: float = Field(
            0.0, ge=0, le=1, description="mean of this share of distances in place of Eqs. 6 and 7 (paper: 0)"
        )

    memory: Tensor
    """(memory, C), the coreset."""

    def _patches(self, pyramid: Pyramid) -> Tensor:
        """Vectors of the positions of the image's own scale: (B, H W, C), C the sum of the stages' channels."""
        assert self.stages is not None
        return patches(pyramid[: len(self.stages)])

    def fit(self, train: TrainingSet, context: Context) -> None:
        """Choose the memory."""
        config = self.config

        def memory(random: Random) -> Tensor:
            points, generator = self._candidates(train, random("candidates")), random("coreset")
            return points[coreset(points, config.memory, config.projected, generator).to(points.device)]

        settings = config.model_dump(include={"memory", "projected", "candidates"})
        self.memory = context.shared("memory", Tensor, memory, **settings)

    def _candidates(self, train: TrainingSet, generator: torch.Generator) -> Tensor:
        """Random patches (N, C), reading the normals in chunks: all patches of a data set may not fit into memory."""
        _, height, width = train.shapes[0]
        count = height * width
        chosen = torch.randperm(train.n_normal * count, generator=generator)[: self.config.candidates]
        some = []
        for start in range(0, train.n_normal, CHUNK):
            images = range(start, min(start + CHUNK, train.n_normal))
            points = self._patches(train.normals(images)).flatten(0, 1)
            here = chosen[(chosen >= start * count) & (chosen < images.stop * count)] - start * count
            some.append(points[here.to(points.device)])
        return torch.cat(some)

    def measure(self, pyramid: Pyramid) -> list[Tensor]:
        """The score: nothing of it depends on the known anomalies."""
        return [self.score(pyramid)]

    def score_measured(self, measures: list[Tensor], pyramid: Callable[[], Pyramid]) -> Tensor:  # noqa: ARG002
        """The score, measured already."""
        return measures[0]

    def score(self, pyramid: Pyramid) -> Tensor:
        """The largest distance, weighed by how alone its memory entry is (Eqs. 6 and 7), (B,)."""
        points = self._patches(pyramid)
        distance, index = nearest(points, self.memory)
        if self.config.topk:
            return top_mean(distance, self.config.topk)
        largest, place = distance.max(dim=1)
        patch = points.take_along_dim(place[:, None, None], 1)  # (B, 1, C)
        entry = self.memory[index.take_along_dim(place[:, None], 1)[:, 0]]  # (B, C)
        count = min(self.config.neighbours, len(self.memory))
        beside = self.memory[torch.cdist(entry, self.memory).topk(count, largest=False).indices]  # (B, b, C)
        sum_of_exp = torch.cdist(patch, beside)[:, 0].logsumexp(1)
        return (1 - (largest - sum_of_exp).exp()) * largest

    def score_map(self, pyramid: Pyramid) -> Tensor:
        """d(p) of each position, (B, H, W)."""
        maps = pyramid[0]
        return nearest(self._patches(pyramid), self.memory)[0].view(len(maps), *maps.shape[2:])
