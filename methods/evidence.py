"""Evidence: four measures in closed form, no training. This project's own method, apart from the published ones.

What the published methods taught on frozen features: a well-estimated normal distribution of pooled features is worth
more than a head trained on ten anomalies, the known anomalies' directions add to it, and the two fail on different
images. `whitened` has both for the image as a whole; this adds both for its patches, where small defects are:

===========  ============================================  =====================================================
             far from normal                               like a known anomaly
===========  ============================================  =====================================================
whole image  log squared radius of the whitened average    mean cosine to the known anomalies
patches      novelty: minus the mean cosine to the three   mean cosine to the patches of the known anomalies that
             nearest of a memory of normal patches          lie farthest from the normals
===========  ============================================  =====================================================

A patch measure is the mean of an image's top share. The four measures of each scale are put in units of their spread
over held-out training normals and added with equal weights (`whitened` derives why): nothing is tuned on anomalies.

Chosen by validation on training parts alone; the figures are in docs/deviations.md, "Evidence".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from osad_bench.methods.heads import top_mean
from osad_bench.methods.whitened import Fit, Pooled, Whitened, Whitening

SAMPLE, MEMORY, NEAREST, SHARE = 8000, 1000, 3, 0.1
"""Normal patches that the covariance is estimated from, those remembered, how many neighbours count, and the share of an
image's positions that make its measure."""


class Patches:
    """Novelty and direction of whitened patches."""

    def __init__(self, normals: Tensor, anomalies: Tensor, generator: torch.Generator) -> None:
        rows = normals.float().permute(0, 2, 3, 1).reshape(-1, normals.shape[1])
        rows = rows[torch.randperm(len(rows), generator=generator)[:SAMPLE].to(rows.device)]
        self.whiten = Whitening.fit(rows)
        self.memory = functional.normalize(self.whiten(rows[:MEMORY]), dim=1)
        z = self._whitened(anomalies)
        count = max(int(z.shape[1] * SHARE), 1)
        farthest = z.square().sum(2).topk(count, dim=1).indices
        chosen = z.gather(1, farthest.unsqueeze(2).expand(-1, -1, z.shape[2]))
        self.direction = functional.normalize(chosen, dim=2).mean(dim=(0, 1))

    def _whitened(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, H * W, C)."""
        return self.whiten(maps.float().flatten(2).transpose(1, 2))

    def __call__(self, maps: Tensor) -> Tensor:
        """(B, 2): novelty, mean cosine to the known anomalies' patches."""
        direction = functional.normalize(self._whitened(maps), dim=2)
        nearest = (direction @ self.memory.T).topk(min(NEAREST, len(self.memory)), dim=2).values.mean(2)
        return torch.stack([top_mean(-nearest, SHARE), top_mean(direction @ self.direction, SHARE)], dim=1)


class EvidenceSum(Whitened):
    """Whitened distance and direction of the image and of its patches."""

    name, title = "evidence", "Evidence (ours)"
    citation = "osad-bench"
    kind: ClassVar[str] = "ours"
    evidence: ClassVar[Sequence[Fit]] = (Pooled, Patches)
