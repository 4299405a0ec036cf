"""SAOE: a supervised detector that also sees synthetic anomalies, CutMix and CutPaste (baseline of the OSAD papers).

A classifier of positions, as FLOS but with cross-entropy, trained on normals against known anomalies and synthetic ones:

- z(x) = mean of the K largest logits over positions, averaged over scales; p = 1 / (1 + exp(-z)); score = z;
- L = -log(1 - p) for a normal, -log p for a known or a synthetic anomaly.

Departures: Ding, Pang and Shen (CVPR 2022, Sec. 4.1) compare DRA with it and give no details, so head, shares of a batch
and schedule are ours; they add outlier exposure, images from outside the data set as further anomalies, which a training
set of one data set does not hold, so that part is absent.

Sources: Hendrycks, Mazeika and Dietterich, "Deep anomaly detection with outlier exposure", ICLR 2019 (cross-entropy
against auxiliary outliers); Li et al., "CutPaste", CVPR 2021; Yun et al., "CutMix", ICCV 2019.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from osad_bench.methods.base import NORMAL, Batch, Context, MixedConfig, Pyramid, TrainingSet
from osad_bench.methods.gradient import GradientMethod
from osad_bench.methods.parts.heads import OverScales, PatchHead
from osad_bench.methods.parts.losses import binary_focal


class SAOE(GradientMethod):
    """Classifier with synthetic anomalies."""

    name, title, version = "saoe", "SAOE", 2
    citation = "synthetic anomalies and outlier exposure, as in Ding et al., CVPR 2022"
    departures = "docs/deviations.md#saoe"
    pseudo_anomalies = ("cutmix", "cutpaste")

    network: OverScales

    class Config(MixedConfig):
        """Hyper-parameters of SAOE; the shares are ours."""

        topk: float = Field(
            0.1, gt=0, le=1, description="share of positions that make the image's logit (DRA, Sec. 4.1)"
        )

    def build(self, train: TrainingSet, context: Context) -> OverScales:
        """A head of logits over the pyramid."""
        with context.initialised("head"):
            return OverScales(train.shapes, lambda channels: PatchHead(channels, self.config.topk, signed=True))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy, known and synthetic anomalies alike."""
        return {"cross-entropy": binary_focal(self.network(batch.pyramid), batch.target != NORMAL, gamma=0)}

    def forward_score(self, pyramid: Pyramid) -> Tensor:
        """Logits, shape (B,)."""
        score: Tensor = self.network(pyramid)
        return score

    def forward_map(self, pyramid: Pyramid) -> Tensor:
        """Logit of each position, mean over scales, (B, H, W)."""
        return self.network.map(pyramid)
