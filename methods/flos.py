"""FLOS: the closed-set detector of the OSAD papers, a classifier of positions trained by the focal loss.

The same backbone, scales and head as DevNet, but each position's score is a logit, and the focal loss between normals and
known anomalies takes the place of the deviation loss:

- z(x) = mean of the K largest logits over positions, averaged over scales; p = 1 / (1 + exp(-z)), and p_t is p for an
  anomaly, 1 - p for a normal;
- FL = -(1 - p_t)^gamma log p_t (2017, Eq. 4), gamma 2; score = z.

Departures: Ding, Pang and Shen (CVPR 2022, Sec. 4.1) compare DRA with it and give no details, so head and schedule are
DevNet's; the class weight alpha_t of Eq. 5 is left out, since batches are half normals.

Source: Lin, Goyal, Girshick, He and Dollar, "Focal loss for dense object detection", ICCV 2017.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from osad_bench.methods.base import NORMAL, Batch, Context, MethodConfig, Pyramid, TrainingSet
from osad_bench.methods.gradient import GradientMethod
from osad_bench.methods.parts.heads import OverScales, PatchHead
from osad_bench.methods.parts.losses import binary_focal


class FLOS(GradientMethod):
    """Focal-loss classifier of normals and known anomalies."""

    name, title, version = "flos", "FLOS", 2
    citation = "Lin et al., Focal loss for dense object detection, ICCV 2017; as in Ding et al., CVPR 2022"
    departures = "docs/deviations.md#flos"

    network: OverScales

    class Config(MethodConfig):
        """Hyper-parameters of FLOS."""

        topk: float = Field(
            0.1, gt=0, le=1, description="share of positions that make the image's logit (DRA, Sec. 4.1)"
        )
        gamma: float = Field(2.0, ge=0, description="focus on what is still wrong (2017, Sec. 4.1: 2)")

    def build(self, train: TrainingSet, context: Context) -> OverScales:
        """A head of logits over the pyramid."""
        with context.initialised("head"):
            return OverScales(train.shapes, lambda channels: PatchHead(channels, self.config.topk, signed=True))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Focal loss (2017, Eq. 4)."""
        return {"focal": binary_focal(self.network(batch.pyramid), batch.target != NORMAL, self.config.gamma)}

    def forward_score(self, pyramid: Pyramid) -> Tensor:
        """Logits, shape (B,)."""
        score: Tensor = self.network(pyramid)
        return score

    def forward_map(self, pyramid: Pyramid) -> Tensor:
        """Logit of each position, mean over scales, (B, H, W)."""
        return self.network.map(pyramid)
