"""Evidence: four measures in closed form, no training. This project's own method, apart from the published ones.

What the published methods taught on frozen features: well-estimated normals are worth more than a head trained on ten
anomalies, the known anomalies' directions add to them, and image and patches fail on different defects. `whitened` has
distance and direction of the image as a whole; this measures both where they say more, of the image and of its patches:

- image, far from normal: log |z - mean of the nearest normals|^2, z the whitened average. Normals of several sorts
  (cells of one crystal and of many) are each compared with their own sort, which one mean for all cannot do;
- image, like a known anomaly: mean cosine of z to the known anomalies' averages;
- patches, far from normal: log distance to PatchCore's memory of normal patches;
- patches, like a known anomaly: mean cosine of whitened patches to those patches of the known anomalies that lie
  farthest from the normals.

A patch measure is the mean of an image's top share. The measures e_j of each scale are put in units of their spread over
held-out training normals (`whitened` derives why) and added: score = sum over scales and j of w_j (e_j - mean_j) / std_j,
with w = 1 for distance and a half for direction, which misleads where the test anomalies are of a kind that no known one
shows. Nothing is fitted to anomalies but their directions.
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
from osad_bench.methods.patchcore import distances, remember
from osad_bench.methods.whitened import Fit, Pooled, Whitened, Whitening


class Images(Pooled):
    """Distance to the nearest normals, and direction, of the average over positions."""

    def __init__(self, normals: Tensor, anomalies: Tensor, generator: torch.Generator, *, nearest: int = 5) -> None:
        super().__init__(normals, anomalies, generator)
        self.normals, self.nearest = self.whiten(self._pool(normals)), min(nearest, len(normals))

    def _distance(self, z: Tensor) -> Tensor:
        near = torch.cdist(z, self.normals).topk(self.nearest, dim=1, largest=False).indices
        return (z - self.normals[near].mean(1)).square().sum(1)


class Patches:
    """Distance and direction of patches; the settings are those of `EvidenceSum.Config`."""

    def __init__(
        self,
        normals: Tensor,
        anomalies: Tensor,
        generator: torch.Generator,
        *,
        patches: int = 8000,
        memory: int = 1500,
        candidates: int = 10_000,
        topk: float = 0.1,
    ) -> None:
        self.topk = topk
        rows = normals.float().permute(0, 2, 3, 1).reshape(-1, normals.shape[1])
        self.whiten = Whitening.fit(rows[torch.randperm(len(rows), generator=generator)[:patches].to(rows.device)])
        self.memory = remember(normals, memory, candidates, 64, generator)
        z = self._whitened(anomalies)
        farthest = z.square().sum(2).topk(top_count(z.shape[1], topk), dim=1).indices
        chosen = z.gather(1, farthest.unsqueeze(2).expand(-1, -1, z.shape[2]))
        self.direction = functional.normalize(chosen, dim=2).mean(dim=(0, 1))

    def _whitened(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, H * W, C)."""
        return self.whiten(maps.float().flatten(2).transpose(1, 2))

    def __call__(self, maps: Tensor) -> Tensor:
        """(B, 2): log distance to the memory, mean cosine to the known anomalies' patches."""
        distance = top_mean(distances(maps, self.memory), self.topk).clamp_min(1e-6).log()
        alike = functional.normalize(self._whitened(maps), dim=2) @ self.direction
        return torch.stack([distance, top_mean(alike, self.topk)], dim=1)


class EvidenceSum(Whitened):
    """Distance from the normals and likeness to the known anomalies, of the image and of its patches."""

    name, title, version = "evidence", "Evidence (ours)", 2
    citation = "osad-bench"
    kind: ClassVar[str] = "ours"
    departures = "docs/deviations.md#whitened-and-evidence"
    ablations: ClassVar[dict[str, dict[str, object]]] = {"without the known anomalies": {"direction": 0.0}}

    class Config(Whitened.Config):
        """Hyper-parameters; all are ours."""

        direction: float = Field(
            0.5, ge=0, description="weight of likeness to the known anomalies; distance: 1 (ours, by validation)"
        )
        nearest: int = Field(5, ge=1, description="nearest normals that an image is compared with (ours)")
        patches: int = Field(
            8000, ge=2, description="normal patches a scale that the covariance is estimated from (ours)"
        )
        memory: int = Field(1500, ge=1, description="patches remembered a scale (ours: as PatchCore's here)")
        candidates: int = Field(
            10_000, ge=1, description="random normal patches the memory is chosen from (ours: bounds time)"
        )
        topk: float = Field(
            0.1, gt=0, le=1, description="share of positions that make an image's measure (as DevNet's)"
        )

    def evidence(self) -> Sequence[Fit]:
        """Of the image and of its patches."""
        config = self.config
        return [
            partial(Images, nearest=config.nearest),
            partial(Patches, **config.model_dump(include={"patches", "memory", "candidates", "topk"})),
        ]
