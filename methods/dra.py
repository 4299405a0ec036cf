"""DRA: disentangled abnormality representations (Ding, Pang and Shen, CVPR 2022).

Four heads over one pyramid, each trained by a deviation loss (Sec. 3): *seen* anomalies, *pseudo*-anomalies made by
CutMix, a latent *residual* against normal references, and a holistic *normality* head whose target is 1 for normals.
Training minimises their sum; an image's score is the first three minus the last:

- seen: g_s(M), M the feature map, top 10 % of |1x1 convolution|; pseudo-anomalies are left out of its loss;
- pseudo: g_p(M), the same form; seen anomalies are left out of its loss;
- residual: g_r(conv(mean_r M_r - M)), M_r the maps of normal references; any anomaly is its target;
- normality: |MLP(average of M)|, its target 1 for normals;
- L = L_s + L_p + L_r + L_n, each a deviation loss (DevNet 2019, Eq. 7); score = g_s + g_p + g_r - g_n.

A batch is a third normals, a third known anomalies and a third pseudo-anomalies. In training the references are drawn anew
at each step and go through the network in one forward pass with the batch.

Departures: references are clean training normals (public code: augmented ones, one in two a pseudo-anomaly), the same
five for every test image, so that scores are not random; the prior's draws are taken once.

Source: Ding, Pang and Shen, "Catching both gray and black swans: open-set supervised anomaly detection", CVPR 2022. Its
public code was read for facts only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    MixedConfig,
    Pyramid,
    Schedule,
    TrainingSet,
)
from osad_bench.methods.gradient import GradientMethod
from osad_bench.methods.parts.heads import HolisticHead, OverScales, PatchHead, ResidualHead
from osad_bench.methods.parts.losses import Deviation
from osad_bench.methods.saving import State, pack, unpack


class DRA(GradientMethod):
    """Disentangled abnormality representations."""

    name, title, version = "dra", "DRA", 2
    citation = "Ding et al., Catching both gray and black swans: open-set supervised anomaly detection, CVPR 2022"
    departures = "docs/deviations.md#dra"
    pseudo_anomalies = ("cutmix",)
    schedule = Schedule(epochs=30)
    ablations: ClassVar[dict[str, dict[str, object]]] = {
        f"without {head}": {head: False} for head in ("seen", "pseudo", "residual", "normality")
    }

    class Config(MixedConfig):
        """Hyper-parameters of DRA."""

        # The public code draws 32 normals and 16 known anomalies, and each normal becomes a pseudo-anomaly with probability 1/2.
        seen_share: float = Field(
            1 / 3, ge=0, lt=1, description="share of known anomalies in a batch (public code: 1/3)"
        )
        pseudo_share: float = Field(
            1 / 3, ge=0, lt=1, description="share of pseudo-anomalies in a batch (public code: 1/3 on average)"
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
    """Mean map of the references, (C, H, W) per scale, for scoring."""

    def build(self, train: TrainingSet, context: Context) -> nn.Module:
        """The heads that are switched on; the normal references for scoring are chosen here."""
        config = self.config
        self.deviation = Deviation.draw(context.random("prior"), config.margin, config.draws)
        order = torch.randperm(train.n_normal, generator=context.random("references"))
        self.fixed = order[: config.references].tolist()
        return dra_heads(train.shapes, config, context)

    def references(self, train: TrainingSet) -> int:
        """Normals that each training batch is compared with."""
        return min(self.config.references, train.n_normal) if self.config.residual else 0

    def settle(self, train: TrainingSet) -> None:
        """Reference maps from the current features: clean training normals, the same for every image."""
        if self.config.residual:
            self.reference = mean_map(train.normals(self.fixed))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Deviation loss of each head, by its name."""
        reference = mean_map(batch.reference) if batch.reference is not None else None
        scores = head_scores(self.network, batch.pyramid, reference)
        return head_losses(scores, batch.target, self.deviation)

    @property
    def _compared(self) -> Pyramid | None:
        """Reference maps where a head needs them."""
        return self.reference if self.config.residual else None

    def forward_score(self, pyramid: Pyramid) -> Tensor:
        """Seen plus pseudo plus residual minus normality, shape (B,)."""
        return combine(head_scores(self.network, pyramid, self._compared))

    def forward_map(self, pyramid: Pyramid) -> Tensor:
        """The same sum at each position, normality being that of the whole image: (B, H, W)."""
        return combine(head_maps(self.network, pyramid, self._compared))

    def state(self) -> State:
        """The network and the reference maps."""
        return super().state() | (pack(self.reference, "reference") if self.config.residual else {})

    def restore(self, state: Mapping[str, Tensor], shapes: Sequence[tuple[int, int, int]]) -> None:
        """Build the network again; take its weights and the reference maps."""
        super().restore(state, shapes)
        if self.config.residual:
            self.reference = unpack(list[Tensor], state, "reference")


def mean_map(pyramid: Pyramid) -> Pyramid:
    """Mean over images: (B, C, H, W) -> (C, H, W) per scale."""
    return [x.mean(0) for x in pyramid]


def dra_heads(shapes: Sequence[tuple[int, int, int]], config: DRA.Config, context: Context) -> nn.ModuleDict:
    """The heads that are switched on, by name."""
    heads: dict[str, Callable[[int], nn.Module]] = {
        "seen": lambda channels: PatchHead(channels, config.topk),
        "pseudo": lambda channels: PatchHead(channels, config.topk),
        "residual": lambda channels: ResidualHead(channels, config.topk),
        "normality": lambda channels: HolisticHead(channels, config.width),
    }
    network = nn.ModuleDict()
    for name, head in heads.items():
        if getattr(config, name):
            with context.initialised(name):
                network[name] = OverScales(shapes, head)
    return network


def head_inputs(network: nn.Module, pyramid: Pyramid, reference: Pyramid | None) -> dict[str, Pyramid]:
    """What each head sees: the maps, and for the residual head the mean maps (C, H, W) of normals minus the maps."""
    inputs = {name: pyramid for name, _ in network.named_children()}
    if "residual" in inputs:
        assert reference is not None
        inputs["residual"] = [mean - x for x, mean in zip(pyramid, reference)]
    return inputs


def head_scores(network: nn.Module, pyramid: Pyramid, reference: Pyramid | None) -> dict[str, Tensor]:
    """Scores (B,) of each head."""
    inputs = head_inputs(network, pyramid, reference)
    return {name: head(inputs[name]) for name, head in network.named_children()}


def head_maps(network: nn.Module, pyramid: Pyramid, reference: Pyramid | None) -> dict[str, Tensor]:
    """Scores of positions (B, H, W) of each head; the normality head has one per image, (B, 1, 1), and is spread out."""
    inputs = head_inputs(network, pyramid, reference)
    _, _, height, width = pyramid[0].shape
    return {
        name: head(inputs[name])[:, None, None].expand(-1, height, width)
        if name == "normality"
        else head.map(inputs[name])  # type: ignore[operator]
        for name, head in network.named_children()
    }


def head_losses(scores: dict[str, Tensor], target: Tensor, deviation: Deviation) -> dict[str, Tensor]:
    """Deviation loss of each head; the seen head leaves out pseudo-anomalies, the pseudo head seen anomalies."""
    normal, sees = target == NORMAL, {"seen": target != PSEUDO, "pseudo": target != SEEN}
    return {
        name: deviation(score, normal if name == "normality" else ~normal, sees.get(name))
        for name, score in scores.items()
    }


def combine(scores: dict[str, Tensor]) -> Tensor:
    """Seen plus pseudo plus residual minus normality, of images (B,) or of positions (B, H, W)."""
    return torch.stack([-score if name == "normality" else score for name, score in scores.items()]).sum(0)
