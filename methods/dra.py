"""DRA: disentangled abnormality representations (Ding, Pang and Shen, CVPR 2022).

Four heads over one pyramid, each trained by a deviation loss (Sec. 3): *seen* anomalies, *pseudo*-anomalies made by
CutMix, a latent *residual* against normal references, and a holistic *normality* head whose target is 1 for normals.
Training minimises their sum; an image's score is the first three minus the last:

- seen: g_s(M), M the feature map, top 10 % of |1x1 convolution|; pseudo-anomalies are left out of its loss;
- pseudo: g_p(M), the same form; seen anomalies are left out of its loss;
- residual: g_r(conv(mean_r M_r - M)), M_r the maps of normal references; any anomaly is its target;
- normality: |MLP(average of M)|, its target 1 for normals;
- L = L_s + L_p + L_r + L_n, each a deviation loss (DevNet 2019, Eq. 7); score = g_s + g_p + g_r - g_n.

Departures: references are clean training normals (public code: augmented ones, one in two a pseudo-anomaly), the same
five for every test image, so that scores are not random; the prior's draws are taken once.

Source: Ding, Pang and Shen, "Catching both gray and black swans: open-set supervised anomaly detection", CVPR 2022. Its
public code was read for facts only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from osad_bench.methods.base import (
    NORMAL,
    PSEUDO,
    SEEN,
    Batch,
    Context,
    Mix,
    MixedConfig,
    Pyramid,
    Schedule,
    TrainingSet,
)
from osad_bench.methods.gradient import GradientMethod
from osad_bench.methods.parts.heads import HolisticHead, OverScales, PatchHead, ResidualHead
from osad_bench.methods.parts.losses import Deviation


class DRA(GradientMethod):
    """Disentangled abnormality representations."""

    name, title = "dra", "DRA"
    citation = "Ding et al., Catching both gray and black swans: open-set supervised anomaly detection, CVPR 2022"
    departures = "docs/deviations.md#dra"
    pseudo_anomalies = ("cutmix",)
    schedule = Schedule(epochs=30)
    ablations: ClassVar[dict[str, dict[str, object]]] = {
        f"without {head}": {head: False} for head in ("seen", "pseudo", "residual", "normality")
    }

    class Config(MixedConfig):
        """Hyper-parameters of DRA."""

        # Half normals, half known anomalies; every other normal becomes a pseudo-anomaly: 12, 24 and 12 of 48.
        seen_share: float = Field(0.5, ge=0, lt=1, description="known anomalies of a batch, a share (public code: 1/2)")
        pseudo_share: float = Field(
            0.25, ge=0, lt=1, description="pseudo-anomalies of a batch (public code: each normal becomes one by 1/2)"
        )

        topk: float = Field(0.1, gt=0, le=1, description="share of positions that make a map's score (Sec. 4.1)")
        margin: float = Field(5.0, gt=0, description="margin of the deviation loss (DevNet 2019, Eq. 7)")
        draws: int = Field(5000, ge=2, description="draws of the loss's Gaussian prior (DevNet 2019, Eq. 5)")
        width: int = Field(256, ge=1, description="hidden units of the normality head (public code: 256)")
        references: int = Field(5, ge=1, description="normal references of the residual head (Sec. 4.1)")
        seen: bool = Field(True, description="use the seen-anomaly head (ablation of Sec. 4.5)")
        pseudo: bool = Field(True, description="use the pseudo-anomaly head (ablation of Sec. 4.5)")
        residual: bool = Field(True, description="use the latent-residual head (ablation of Sec. 4.5)")
        normality: bool = Field(True, description="use the holistic normality head (ablation of Sec. 4.5)")

        @model_validator(mode="after")
        def _some_head(self) -> DRA.Config:
            if not (self.seen or self.pseudo or self.residual or self.normality):
                raise ValueError("at least one of seen, pseudo, residual and normality must be true")
            return self

    reference: Pyramid
    """Mean map of the references, (C, H, W) a scale, for scoring."""

    def build(self, train: TrainingSet, context: Context) -> nn.Module:
        """The heads that are switched on; the references that score are fixed here."""
        self.deviation = Deviation.draw(context.generator, self.config.margin, self.config.draws)
        count = min(self.config.references, train.n_normal)
        self.fixed = torch.randperm(train.n_normal, generator=context.generator)[:count].tolist()
        return dra_heads(train.shapes, self.config)

    def references(self, train: TrainingSet) -> Pyramid | None:
        """Mean maps of normals, (C, H, W) a scale: anew at each step and with gradients, as the images themselves."""
        if not self.config.residual:
            return None
        return mean_map(train.batch(len(self.fixed), Mix(1, 0, 0), ()).pyramid)

    def settle(self, train: TrainingSet) -> None:
        """Reference maps as the features now are: clean training normals, the same for every image."""
        if self.config.residual:
            self.reference = mean_map(train.normals(self.fixed))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The deviation losses."""
        scores = head_scores(self.network, batch.pyramid, batch.reference)
        return head_losses(scores, batch.target, self.deviation)

    def forward_score(self, pyramid: Pyramid) -> Tensor:
        """Seen plus pseudo plus residual minus normality, shape (B,)."""
        return combine(head_scores(self.network, pyramid, self.reference if self.config.residual else None))


def mean_map(pyramid: Pyramid) -> Pyramid:
    """Mean over images: (B, C, H, W) -> (C, H, W) a scale."""
    return [x.mean(0) for x in pyramid]


def dra_heads(shapes: Sequence[tuple[int, int, int]], config: DRA.Config) -> nn.ModuleDict:
    """The heads that are switched on, by name."""
    heads: dict[str, Callable[[int], nn.Module]] = {
        "seen": lambda channels: PatchHead(channels, config.topk),
        "pseudo": lambda channels: PatchHead(channels, config.topk),
        "residual": lambda channels: ResidualHead(channels, config.topk),
        "normality": lambda channels: HolisticHead(channels, config.width),
    }
    return nn.ModuleDict({name: OverScales(shapes, head) for name, head in heads.items() if getattr(config, name)})


def head_scores(network: nn.Module, pyramid: Pyramid, reference: Pyramid | None) -> dict[str, Tensor]:
    """Scores (B,) of each head; `reference` are the mean maps (C, H, W) of normals that the residual head subtracts from."""
    residual = [mean - x for x, mean in zip(pyramid, reference)] if reference is not None else pyramid
    return {name: head(residual if name == "residual" else pyramid) for name, head in network.named_children()}


def head_losses(scores: dict[str, Tensor], target: Tensor, deviation: Deviation) -> dict[str, Tensor]:
    """Deviation loss of each head; a head for one sort of anomaly does not see the other."""
    every = torch.ones_like(target, dtype=torch.bool)
    sees = {"seen": target != PSEUDO, "pseudo": target != SEEN, "residual": every, "normality": every}
    return {
        name: deviation(
            score[sees[name]], ((target == NORMAL) if name == "normality" else (target != NORMAL))[sees[name]]
        )
        for name, score in scores.items()
    }


def combine(scores: dict[str, Tensor]) -> Tensor:
    """Seen plus pseudo plus residual minus normality, (B,)."""
    return torch.stack([-score if name == "normality" else score for name, score in scores.items()]).sum(0)
