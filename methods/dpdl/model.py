"""DPDL: distribution prototype diffusion learning (CVPR 2025). No public code exists: this is the first.

Normal images are carried onto a mixture of C prototypes by a Schroedinger bridge (Eqs. 4 and 8 to 14, `bridge.py`); the
potential of known and pseudo-anomalies is pushed away from it (Eqs. 16 and 17, DPL); all features are spread over the
hypersphere (Eq. 19, DFL, `dispersion.py`). Three heads score an image (Eqs. 20 to 22): M_a on the map, M_n on its
average, M_r on the residual between the carried point and its prototype; the score is S_a + S_r - S_n. The sum of all
losses is Eq. 23.

Source: "Distribution prototype diffusion learning for open-set supervised anomaly detection", CVPR 2025. The equations
were derived again; docs/deviations.md lists the printed forms, ours, and what the paper leaves open.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from osad_bench.methods.base import NORMAL, Batch, Context, MixedConfig, Pyramid, Schedule, TrainingSet
from osad_bench.methods.dpdl.bridge import Bridge
from osad_bench.methods.dpdl.dispersion import dispersion_loss
from osad_bench.methods.dpdl.prototypes import codebook
from osad_bench.methods.gradient import GradientMethod
from osad_bench.methods.parts.heads import HolisticHead, OverScales, PatchHead
from osad_bench.methods.parts.losses import Deviation, binary_focal


def unit(x: Tensor) -> Tensor:
    """Maps (B, C, H, W) as points on the unit sphere, (B, C H W)."""
    return functional.normalize(x.flatten(1), dim=1)


class DPDL(GradientMethod):
    """Distribution prototype diffusion learning."""

    name, title = "dpdl", "DPDL"
    citation = "Distribution prototype diffusion learning for open-set supervised anomaly detection, CVPR 2025"
    departures = "docs/deviations.md#dpdl"
    pseudo_anomalies = ("cutmix",)
    schedule = Schedule(optimizer="adamw", lr=2e-4, weight_decay=1e-5, epochs=50, steps=20, decay_every=None, clip=None)
    ablations: ClassVar[dict[str, dict[str, object]]] = {
        "without DPL": {"dpl": False},
        "without DFL": {"dfl": False},
        "without M_n": {"normal_head": False},
        "without M_a": {"anomaly_head": False},
        "without M_r": {"residual_head": False},
    }

    class Config(MixedConfig):
        """Hyper-parameters of DPDL; the shares of a batch are ours."""

        prototypes: int = Field(32, ge=1, description="C, prototypes (Sec. 5.3; Fig. 3 has 8 to 64)")
        eps: float = Field(1e-3, gt=0, description="entropic regularisation of the bridge (Sec. 4.2)")
        variance: float = Field(1.0, gt=0, description="S at the start (Sec. 4.2: the identity; LightSB's code: 0.1)")
        variance_range: float = Field(
            10.0, gt=1, description="S stays within this factor of its start, either way (ours, docs/deviations.md)"
        )
        kappa: float = Field(10.0, gt=0, description="concentration of DFL (Sec. 4.3)")
        dispersion: float = Field(0.01, ge=0, description="lambda, weight of DFL (Eq. 23; Sec. 5.7)")
        transport: Literal["mean", "sample", "sde"] = Field(
            "mean",
            description="the carried point: the plan's mean, a draw from it, or the SDE's end (the paper names none)",
        )
        steps: int = Field(20, ge=1, description="Euler-Maruyama steps of transport=sde (not given in the paper)")
        bound: Literal["hinge", "weight", "none"] = Field(
            "weight",
            description="how the anomalies' potential is kept from growing without limit (ours, docs/deviations.md)",
        )
        margin: float = Field(
            1.0, gt=0, description="of bound=hinge: eps log Z of an anomaly above the normals' mean (ours)"
        )
        anomaly_weight: float = Field(0.1, gt=0, lt=1, description="of bound=weight: the anomalies' share (ours)")
        loss: Literal["deviation", "bce", "focal"] = Field(
            "deviation", description="L_binary of Eqs. 20 to 22 (not named in the paper; DevNet's and DRA's)"
        )
        deviation_margin: float = Field(5.0, gt=0, description="of loss=deviation (DevNet 2019, Eq. 7)")
        draws: int = Field(5000, ge=2, description="of the prior of loss=deviation (DevNet 2019, Eq. 5)")
        gamma: float = Field(2.0, ge=0, description="of loss=focal (Lin et al. 2017, Sec. 4.1: 2)")
        topk: float = Field(0.1, gt=0, le=1, description="share of positions that make a map's score (Eq. 20)")
        width: int = Field(
            256, ge=1, description="hidden units of M_n (not given in the paper; DRA's public code: 256)"
        )
        dpl: bool = Field(True, description="distribution prototype learning, Eqs. 16 and 17 (Fig. 2)")
        dfl: bool = Field(True, description="dispersion feature learning, Eq. 19 (Fig. 2)")
        anomaly_head: bool = Field(True, description="M_a, Eq. 20 (Table 3)")
        normal_head: bool = Field(True, description="M_n, Eq. 21 (Table 3)")
        residual_head: bool = Field(True, description="M_r, Eq. 22 (Table 3)")

    def build(self, train: TrainingSet, context: Context) -> nn.Module:
        """Prototypes by k-means over the normal features of each scale, a bridge a scale, and the heads."""
        config, self.generator = self.config, context.generator
        self.deviation = Deviation.draw(context.generator, config.deviation_margin, config.draws)
        normals = [unit(x) for x in train.normals()]
        bridges = [
            Bridge(
                *codebook(x, config.prototypes, context.generator), config.eps, config.variance, config.variance_range
            )
            for x in normals
        ]
        signed = config.loss != "deviation"  # logits for the others
        heads: dict[str, nn.Module] = {}
        if config.anomaly_head:
            heads["anomaly"] = OverScales(train.shapes, lambda channels: PatchHead(channels, config.topk, signed))
        if config.normal_head:
            heads["normal"] = OverScales(train.shapes, lambda channels: HolisticHead(channels, config.width, signed))
        if config.residual_head:
            heads["residual"] = OverScales(train.shapes, lambda channels: PatchHead(channels, config.topk, signed))
        self.bridges, self.heads = bridges, nn.ModuleDict(heads)
        return nn.ModuleList([*bridges, self.heads])

    def _residual(self, x: Tensor, components: Tensor, bridge: Bridge) -> Tensor:
        """(psi(x) - mu_c*) / sigma_c* as a map (Eq. 22), in units in which its entries are of order 1: (B, C, H, W)."""
        start = unit(x)
        if self.config.transport == "mean":
            carried = bridge.mean_plan(start, components)
        elif self.config.transport == "sample":
            carried = bridge.sample_plan(start, self.generator)
        else:
            carried = bridge.run_sde(start, self.config.steps, self.generator)
        nearest = bridge.nearest(carried)
        residual = (carried - bridge.mean[nearest]) / bridge.variance[nearest]
        return math.sqrt(residual.shape[1]) * residual.view_as(x)

    def _components(self, pyramid: Pyramid) -> list[Tensor]:
        """Log weights of the plan's components, (B, C) a scale."""
        return [bridge.log_components(unit(x)) for x, bridge in zip(pyramid, self.bridges)]

    def _scores(self, pyramid: Pyramid, components: list[Tensor]) -> dict[str, Tensor]:
        """Scores of each head, (B,)."""
        inputs = dict.fromkeys(self.heads, pyramid)
        if "residual" in inputs:
            inputs["residual"] = [self._residual(*each) for each in zip(pyramid, components, self.bridges)]
        return {name: head(inputs[name]) for name, head in self.heads.items()}

    def _binary(self, scores: Tensor, positive: Tensor) -> Tensor:
        """L_binary, by `loss`."""
        if self.config.loss == "deviation":
            return self.deviation(scores, positive)
        return binary_focal(scores, positive, gamma=self.config.gamma if self.config.loss == "focal" else 0.0)

    def _prototype_loss(self, components: Tensor, anomalous: Tensor, bridge: Bridge) -> tuple[Tensor, Tensor]:
        """L_DPL of the normals (Eq. 16) and of the anomalies (Eq. 17), times eps, so that they are of order 1."""
        potential = bridge.eps * components.logsumexp(1)
        target = bridge.eps * bridge.log_potential(bridge.samples).mean()
        normal = potential[~anomalous].mean()
        if self.config.bound == "hinge":
            pushed = (self.config.margin - (potential[anomalous] - normal.detach())).clamp_min(0).mean()
        else:
            weight = self.config.anomaly_weight if self.config.bound == "weight" else 1.0
            pushed = weight * (target - potential[anomalous].mean())
        return normal - target, pushed

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """All terms of Eq. 23."""
        config, anomalous = self.config, batch.target != NORMAL
        components = self._components(batch.pyramid)
        scores = self._scores(batch.pyramid, components)
        terms = {name: self._binary(score, anomalous ^ (name == "normal")) for name, score in scores.items()}
        if config.dpl:
            pairs = [self._prototype_loss(plan, anomalous, bridge) for plan, bridge in zip(components, self.bridges)]
            terms["dpl_normal"], terms["dpl_anomaly"] = (torch.stack(part).mean().float() for part in zip(*pairs))
        if config.dfl and config.dispersion:
            dispersed = [dispersion_loss(x.flatten(1), config.kappa) for x in batch.pyramid]
            terms["dfl"] = config.dispersion * torch.stack(dispersed).mean()
        return terms

    def forward_score(self, pyramid: Pyramid) -> Tensor:
        """S_a + S_r - S_n (Sec. 4.4, Inference), shape (B,)."""
        scores = self._scores(pyramid, self._components(pyramid))
        return torch.stack([-score if name == "normal" else score for name, score in scores.items()]).sum(0)
