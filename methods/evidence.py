"""Evidence: four measures in closed form, no training. This project's own method, apart from the published ones.

What the published methods taught on frozen features: a well-estimated normal distribution of pooled features is worth
more than a head trained on ten anomalies, the known anomalies' directions add to it, and the two fail on different
images. `whitened` has both for the image as a whole; this adds both for its patches, where small defects are. All are
taken of whitened features:

- image, far from normal: log squared radius of the whitened average;
- image, like a known anomaly: mean cosine to the known anomalies' averages;
- patches, far from normal: minus the mean cosine to the three nearest of a memory of normal patches;
- patches, like a known anomaly: mean cosine to those patches of the known anomalies that lie farthest from the normals.

A patch measure is the mean of an image's top share. The four measures e_j of each scale are put in units of their spread
over held-out training normals and added with equal weights (`whitened` derives why): nothing is tuned on anomalies.
score = sum over scales and j of (e_j - mean_j) / std_j, mean and deviation of the held-out normals.
Chosen by validation on training parts alone: docs/deviations.md, "Whitened and Evidence".
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from osad_bench.methods.heads import top_count, top_mean
from osad_bench.methods.whitened import Fit, Pooled, Whitened, Whitening


class Patches:
    """Novelty and direction of whitened patches; the settings are those of `EvidenceSum.Config`."""

    def __init__(
        self,
        normals: Tensor,
        anomalies: Tensor,
        generator: torch.Generator,
        *,
        patches: int = 8000,
        memory: int = 1000,
        nearest: int = 3,
        topk: float = 0.1,
    ) -> None:
        self.nearest, self.topk = nearest, topk
        rows = normals.float().permute(0, 2, 3, 1).reshape(-1, normals.shape[1])
        rows = rows[torch.randperm(len(rows), generator=generator)[:patches].to(rows.device)]
        self.whiten = Whitening.fit(rows)
        self.memory = functional.normalize(self.whiten(rows[:memory]), dim=1)
        z = self._whitened(anomalies)
        farthest = z.square().sum(2).topk(top_count(z.shape[1], topk), dim=1).indices
        chosen = z.gather(1, farthest.unsqueeze(2).expand(-1, -1, z.shape[2]))
        self.direction = functional.normalize(chosen, dim=2).mean(dim=(0, 1))

    def _whitened(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, H * W, C)."""
        return self.whiten(maps.float().flatten(2).transpose(1, 2))

    def __call__(self, maps: Tensor) -> Tensor:
        """(B, 2): novelty, mean cosine to the known anomalies' patches."""
        direction = functional.normalize(self._whitened(maps), dim=2)
        nearest = (direction @ self.memory.T).topk(min(self.nearest, len(self.memory)), dim=2).values.mean(2)
        return torch.stack([top_mean(-nearest, self.topk), top_mean(direction @ self.direction, self.topk)], dim=1)


class EvidenceSum(Whitened):
    """Whitened distance and direction of the image and of its patches."""

    name, title = "evidence", "Evidence (ours)"
    citation = "osad-bench"
    kind: ClassVar[str] = "ours"
    departures = "docs/deviations.md#whitened-and-evidence"

    class Config(Whitened.Config):
        """Hyper-parameters; all are ours, none was tuned."""

        patches: int = Field(
            8000, ge=2, description="normal patches a scale that the covariance is estimated from (ours)"
        )
        memory: int = Field(1000, ge=1, description="of these, how many are remembered for the novelty (ours)")
        nearest: int = Field(3, ge=1, description="nearest remembered patches that make a patch's novelty (ours)")
        topk: float = Field(
            0.1, gt=0, le=1, description="share of positions that make an image's measure (as DevNet's)"
        )

    def evidence(self) -> Sequence[Fit]:
        """Of the image and of its patches."""
        settings = self.config.model_dump(include={"patches", "memory", "nearest", "topk"})
        return [Pooled, partial(Patches, **settings)]
