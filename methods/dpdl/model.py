"""DPDL: distribution prototype diffusion learning (CVPR 2025). No public code exists: this is the first.

Normal images are carried onto C Gaussian prototypes by a Schroedinger bridge (Eqs. 4 and 8 to 14, `bridge.py`), normals
drawn to their prototype and known and pseudo-anomalies pushed away from it (Eqs. 16 and 17, DPL, `readings.py`); all
features are spread over the hypersphere (Eq. 19, DFL, `dispersion.py`). Three heads score an image (Eqs. 20 to 22): M_a on
the map, M_n on its average, M_r on the residual between the carried point and its prototype; the score is
S_a + S_r - S_n. The sum of all losses is Eq. 23.

The paper can be read in more than one way; `reading` has them:

- `printed`: Eqs. 12, 16, 17 and 22 as they stand;
- `shrunk`: normals arrive at the closest prototype (Sec. 4.2), which is trained; variances are constant ("set to the
  identity", Sec. 4.2);
- `cluster`: as `shrunk`, with sigma_c and prototypes those of the normals' clusters, renewed each epoch ("diagonal
  matrices for sigma_c", Sec. 4.2; Eq. 22 divides by sigma_c*);
- `position`: as `cluster`, each position carried for itself ("pixel-wise feature vectors", Sec. 4.4);
- `likelihood`: as `cluster`, with the carried point's distance to its prototype added to the score. Not in the paper; later
  code of its first author (another method) does so.

Source: "Distribution prototype diffusion learning for open-set supervised anomaly detection", CVPR 2025. The equations
were derived again; docs/deviations.md lists the printed forms, ours, and what the paper leaves open.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from osad_bench.methods.base import NORMAL, Batch, Context, Mix, MixedConfig, Pyramid, Schedule, TrainingSet
from osad_bench.methods.dpdl.dispersion import dispersion_loss
from osad_bench.methods.dpdl.prototypes import Codebook
from osad_bench.methods.dpdl.readings import Nearest, Printed, maps_of, points_of
from osad_bench.methods.gradient import GradientMethod
from osad_bench.methods.parts.heads import HolisticHead, OverScales, PatchHead
from osad_bench.methods.parts.losses import Deviation, binary_focal
from osad_bench.methods.saving import part_of

POINTS = 20_000
"""Points that a codebook is learned from where positions are points, at most: bounds time."""


class DPDL(GradientMethod):
    """Distribution prototype diffusion learning."""

    name, title, version = "dpdl", "DPDL", 2
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

        reading: Literal["printed", "shrunk", "cluster", "position", "likelihood"] = Field(
            "cluster", description="what the prototypes are (ours, by validation; each reading's source: see above)"
        )
        prototypes: int = Field(32, ge=1, description="C, prototypes (Sec. 5.3; Fig. 3 has 8 to 64)")
        per_prototype: int = Field(
            10, ge=1, description="training normals for each prototype, at least: fewer normals lower C (ours)"
        )
        eps: float = Field(1e-3, gt=0, description="entropic regularisation of the bridge (Sec. 4.2)")
        variance: float = Field(1.0, gt=0, description="of reading=printed: S at the start (Sec. 4.2: the identity)")
        variance_range: float = Field(
            10.0, gt=1, description="of reading=printed: S stays within this factor of its start, either way (ours)"
        )
        shrinkage: float = Field(
            0.1, gt=0, lt=1, description="S of the other readings (start of S in LightSB's public code)"
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
            1.0, gt=0, description="of bound=hinge: how far an anomaly's term of DPL is pushed above the normals' mean (ours)"
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
        """Codebook of the normals of each scale (Eq. 15), as the network sees them in training; bridges and heads."""
        config, generator = self.config, context.random("codebook")
        count = max(min(config.prototypes, train.n_normal // config.per_prototype), 1)
        size = context.schedule.batch
        train.train(True)
        with torch.no_grad():
            batches = [train.batch(size, Mix(1, 0, 0), ()).pyramid for _ in range(-(-train.n_normal // size))]
        codebooks = []
        for maps in zip(*batches):
            points = points_of(torch.cat(maps), config.reading)
            some = torch.randperm(len(points), generator=generator)[: max(POINTS, train.n_normal)]
            codebooks.append(Codebook.learn(points[some.to(points.device)], count, generator))
        return self._network(codebooks, train.shapes, context)

    def _network(
        self, codebooks: Sequence[Codebook], shapes: Sequence[tuple[int, int, int]], context: Context
    ) -> nn.ModuleDict:
        """One bridge per scale and the heads that are switched on."""
        config = self.config
        self.deviation = Deviation.draw(context.random("prior"), config.deviation_margin, config.draws)
        self.generator = context.random("transport")
        self.recent: list[list[Tensor]] = [[] for _ in shapes]
        signed = config.loss != "deviation"  # logits for the others
        heads: dict[str, Callable[[int], nn.Module]] = {}
        if config.anomaly_head:
            heads["anomaly"] = lambda channels: PatchHead(channels, config.topk, signed)
        if config.normal_head:
            heads["normal"] = lambda channels: HolisticHead(channels, config.width, signed)
        if config.residual_head:
            heads["residual"] = lambda channels: PatchHead(channels, config.topk, signed)
        made = nn.ModuleDict()
        for name, head in heads.items():
            with context.initialised(name):
                made[name] = OverScales(shapes, head)
        network = nn.ModuleDict({"bridges": nn.ModuleList(map(self._bridge, codebooks)), "heads": made})
        network.register_buffer("usual", torch.ones(len(shapes), 2))
        return network

    def _bridge(self, codebook: Codebook) -> Printed | Nearest:
        config = self.config
        if config.reading == "printed":
            return Printed(codebook, config.eps, config.variance, config.variance_range)
        return Nearest(codebook, config.eps, config.shrinkage, learned=config.reading == "shrunk")

    @property
    def bridges(self) -> Sequence[Any]:
        """The bridge of each scale."""
        return list(self.network["bridges"])  # type: ignore[call-overload]

    def _points(self, pyramid: Pyramid) -> list[Tensor]:
        """Points of each scale."""
        return [points_of(x, self.config.reading) for x in pyramid]

    def _inputs(self, pyramid: Pyramid, points: list[Tensor]) -> dict[str, Pyramid]:
        """What each head sees: the maps, and for M_r the residual of the carried points as maps (Eq. 22)."""
        heads = self.network["heads"]  # type: ignore[index]
        inputs = dict.fromkeys(heads, pyramid)
        if "residual" in inputs:
            if not self.network.training:  # a score is the same whenever it is asked for
                self.generator.manual_seed(0)
            carried = [
                bridge.carry(x, self.config.transport, self.config.steps, self.generator)
                for x, bridge in zip(points, self.bridges)
            ]
            residual = [bridge.residual(x) for x, bridge in zip(carried, self.bridges)]
            inputs["residual"] = [maps_of(x, like, self.config.reading) for x, like in zip(residual, pyramid)]
        return inputs

    def _scores(self, pyramid: Pyramid, points: list[Tensor]) -> dict[str, Tensor]:
        """Scores of each head, (B,)."""
        inputs = self._inputs(pyramid, points)
        return {name: head(inputs[name]) for name, head in self.network["heads"].items()}  # type: ignore[index, operator, union-attr]

    def _binary(self, scores: Tensor, positive: Tensor) -> Tensor:
        """L_binary, by `loss`."""
        if self.config.loss == "deviation":
            return self.deviation(scores, positive)
        return binary_focal(scores, positive, gamma=self.config.gamma if self.config.loss == "focal" else 0.0)

    def _prototype_loss(self, points: Tensor, anomalous: Tensor, bridge: Printed | Nearest) -> tuple[Tensor, Tensor]:
        """L_DPL of the normals (Eq. 16) and of the anomalies (Eq. 17), times eps, so that they are of order 1."""
        misfit = bridge.misfit(points).view(len(anomalous), -1).mean(1)  # over positions, where they are points
        normal = misfit[~anomalous].mean()
        if self.config.bound == "hinge":
            return normal, (self.config.margin - (misfit[anomalous] - normal.detach())).clamp_min(0).mean()
        weight = self.config.anomaly_weight if self.config.bound == "weight" else 1.0
        return normal, -weight * misfit[anomalous].mean()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """All terms of Eq. 23."""
        config, anomalous, points = self.config, batch.target != NORMAL, self._points(batch.pyramid)
        if self.renewed:
            for kept, rows in zip(self.recent, points):
                kept.append(rows.detach().view(len(anomalous), -1, rows.shape[1])[~anomalous].flatten(0, 1))
        scores = self._scores(batch.pyramid, points)
        terms = {name: self._binary(score, anomalous ^ (name == "normal")) for name, score in scores.items()}
        if config.dpl:
            pairs = [self._prototype_loss(x, anomalous, bridge) for x, bridge in zip(points, self.bridges)]
            terms["dpl_normal"], terms["dpl_anomaly"] = (torch.stack(part).mean().float() for part in zip(*pairs))
        if config.dfl and config.dispersion:
            dispersed = [dispersion_loss(x.flatten(1), config.kappa) for x in batch.pyramid]
            terms["dfl"] = config.dispersion * torch.stack(dispersed).mean()
        return terms

    @property
    def renewed(self) -> bool:
        """Whether the prototypes follow the normals from epoch to epoch."""
        return self.config.reading in ("cluster", "position", "likelihood")

    def settle(self, train: TrainingSet) -> None:
        """Prototypes of the normals in this epoch's batches; for `likelihood` what is usual for their distance."""
        if self.renewed:
            for bridge, kept in zip(self.bridges, self.recent):
                bridge.refresh(torch.cat(kept))
                kept.clear()
        if self.config.reading == "likelihood":
            distances = self._distances(train.normals())
            std, mean = torch.std_mean(distances, dim=1)
            self.network.usual.copy_(torch.stack([mean, std.nan_to_num(1).clamp_min(1e-9)], dim=1))  # type: ignore[operator, union-attr]

    def _distances(self, pyramid: Pyramid) -> Tensor:
        """Whitened distance of each image to its prototype, (scales, B)."""
        return torch.stack([bridge.distance(x) for x, bridge in zip(self._points(pyramid), self.bridges)])

    def _likelihood(self, pyramid: Pyramid) -> Tensor:
        """That distance in units of the training normals', mean over scales, (B,); 0 for the other readings."""
        if self.config.reading != "likelihood":
            return torch.zeros(len(pyramid[0]), device=pyramid[0].device)
        mean, std = self.network.usual.unsqueeze(2).unbind(1)  # type: ignore[operator, union-attr]
        return ((self._distances(pyramid) - mean) / std).mean(0)

    def forward_score(self, pyramid: Pyramid) -> Tensor:
        """S_a + S_r - S_n (Sec. 4.4, Inference), shape (B,)."""
        scores = self._scores(pyramid, self._points(pyramid))
        parts = [-score if name == "normal" else score for name, score in scores.items()]
        return torch.stack([*parts, self._likelihood(pyramid)]).sum(0)

    def forward_map(self, pyramid: Pyramid) -> Tensor:
        """The same sum at each position, M_n's score and the likelihood being those of the whole image: (B, H, W)."""
        inputs = self._inputs(pyramid, self._points(pyramid))
        whole = self._likelihood(pyramid)[:, None, None]
        total = whole.expand(-1, *pyramid[0].shape[2:])
        for name, head in self.network["heads"].items():  # type: ignore[index, operator, union-attr]
            total = total - head(inputs[name])[:, None, None] if name == "normal" else total + head.map(inputs[name])
        return total

    def restore(self, state: Mapping[str, Tensor], shapes: Sequence[tuple[int, int, int]]) -> None:
        """Build bridges with as many prototypes as were learned, then take the weights."""
        weights = part_of(state, "network")
        device, start = next(iter(weights.values())).device, "mu" if self.config.reading == "printed" else "centres"
        centres = [weights[f"bridges.{i}.{start}"] for i in range(len(shapes))]
        codebooks = [Codebook(one, torch.ones_like(one[:, 0]), torch.ones_like(one)) for one in centres]
        self.network = self._network(codebooks, shapes, Context(0, device, Schedule())).to(device)
        self.network.load_state_dict(weights)
