"""DRA: disentangled abnormality representations (Ding, Pang and Shen, CVPR 2022).

Four heads over one pyramid, each trained by a deviation loss (Sec. 3.3): *seen* anomalies (Eq. 1), *pseudo*-anomalies
made by CutMix (Eq. 2), a latent *residual* against normal references (Eqs. 3 to 5), and a holistic *normality* head
(Eq. 6) whose target is 1 for normals. Training minimises their sum (Eq. 7); an image's score is the first three minus
the last (Eq. 8).

Source: Ding, Pang and Shen, "Catching both gray and black swans: open-set supervised anomaly detection", CVPR 2022. Its
public code was read for facts only. Departures: docs/deviations.md.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from pydantic import Field
from torch import Tensor, nn

from osad_bench.methods.base import NORMAL, PSEUDO, SEEN, Batch, Context, MethodConfig, Mix, Pyramid, TrainingSet
from osad_bench.methods.gradient import GradientMethod
from osad_bench.methods.heads import HolisticHead, OverScales, PatchHead, ResidualHead
from osad_bench.methods.losses import Deviation


class DRA(GradientMethod):
    """Disentangled abnormality representations."""

    name, title = "dra", "DRA"
    citation = "Ding et al., Catching both gray and black swans: open-set supervised anomaly detection, CVPR 2022"
    pseudo_anomalies = ("cutmix",)
    mix = Mix(normal=0.5, seen=0.25, pseudo=0.25)

    class Config(MethodConfig):
        """Hyper-parameters of DRA."""

        topk: float = Field(0.1, gt=0, le=1, description="share of positions that make a map's score (Sec. 4.1)")
        margin: float = Field(5.0, gt=0, description="margin of the deviation loss (DevNet's)")
        references: int = Field(5, ge=1, description="normal references of the residual head (Sec. 4.1)")

    reference: Pyramid
    """Mean map of the references, (C, H, W) a scale, for scoring."""

    def build(self, train: TrainingSet, context: Context) -> nn.Module:
        """The four heads; the references that score are fixed here."""
        self.deviation = Deviation.draw(context.generator, self.config.margin)
        count = min(self.config.references, train.n_normal)

        def draw() -> list[int]:
            return torch.randperm(train.n_normal, generator=context.generator)[:count].tolist()

        self.fixed = draw()
        self.draw_reference: Callable[[], Pyramid] = lambda: mean_map(train.normals(draw()))
        top, shapes = self.config.topk, train.shapes
        return nn.ModuleDict(
            {
                "seen": OverScales(shapes, lambda channels: PatchHead(channels, top)),
                "pseudo": OverScales(shapes, lambda channels: PatchHead(channels, top)),
                "residual": OverScales(shapes, lambda channels: ResidualHead(channels, top)),
                "normality": OverScales(shapes, HolisticHead),
            }
        )

    def settle(self, train: TrainingSet) -> None:
        """Reference maps as the features now are."""
        self.reference = mean_map(train.normals(self.fixed))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The four deviation losses (Eq. 7); a head for one sort of anomaly does not see the other."""
        target, heads = batch.target, self._heads
        scores = heads(batch.pyramid, self.draw_reference())
        return {
            "seen": self._deviation(scores["seen"], target != NORMAL, target != PSEUDO),
            "pseudo": self._deviation(scores["pseudo"], target != NORMAL, target != SEEN),
            "residual": self.deviation(scores["residual"], target != NORMAL),
            "normality": self.deviation(scores["normality"], target == NORMAL),
        }

    def _deviation(self, scores: Tensor, anomalous: Tensor, keep: Tensor) -> Tensor:
        return self.deviation(scores[keep], anomalous[keep])

    def _heads(self, pyramid: Pyramid, reference: Pyramid) -> dict[str, Tensor]:
        """Scores of each head, (B,)."""
        residual = [mean - x for x, mean in zip(pyramid, reference)]  # Eq. 3
        inputs = {"seen": pyramid, "pseudo": pyramid, "residual": residual, "normality": pyramid}
        network: nn.ModuleDict = self.network  # type: ignore[assignment]
        return {name: network[name](maps) for name, maps in inputs.items()}

    def forward_score(self, pyramid: Pyramid) -> Tensor:
        """Seen plus pseudo plus residual minus normality (Eq. 8), shape (B,)."""
        scores = self._heads(pyramid, self.reference)
        return scores["seen"] + scores["pseudo"] + scores["residual"] - scores["normality"]


def mean_map(pyramid: Pyramid) -> Pyramid:
    """Mean over images: (B, C, H, W) -> (C, H, W) a scale."""
    return [x.mean(0) for x in pyramid]
