"""DPDL: distribution prototype diffusion learning (CVPR 2025). No public code exists: this is the first.

Normal images are carried onto C Gaussian prototypes by a Schroedinger bridge (Eqs. 4 and 8 to 14, `bridge.py`). A loss draws
normals to their prototype and pushes known and pseudo-anomalies away from it (Eqs. 16 and 17, DPL, `readings.py`); another
spreads all features over the hypersphere (Eq. 19, DFL, `dispersion.py`). Three heads score an image (Eqs. 20 to 22): M_a on
the map, M_n on its average, M_r on the residual between the carried point and its prototype; the score is
S_a + S_r - S_n. The sum of all losses is Eq. 23.

The paper can be read in more than one way; the setting `reading` selects one:

- `printed`: Eqs. 12, 16, 17 and 22 as they stand;
- `shrunk`: normals arrive at the closest prototype (Sec. 4.2), which is trained; variances are constant ("set to the
  identity", Sec. 4.2);
- `cluster`: as `shrunk`, with sigma_c and prototypes those of the normals' clusters, renewed each epoch ("diagonal
  matrices for sigma_c", Sec. 4.2; Eq. 22 divides by sigma_c*);
- `position`: as `cluster`, with each position carried by itself ("pixel-wise feature vectors", Sec. 4.4);
- `likelihood`: as `cluster`, with the carried point's distance to its prototype added to the score. Not in the paper; later
  code of its first author (another method) does so.

Source: "Distribution prototype diffusion learning for open-set supervised anomaly detection", CVPR 2025. The equations
were derived again; docs/deviations.md lists the printed forms, ours, and what the paper leaves open.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from osad_bench.methods.base import NORMAL, Batch, Context, Mix, Pyramid, Schedule, TrainingSet
from osad_bench.methods.dpdl.config import DPDLConfig
from osad_bench.methods.dpdl.dispersion import dispersion_loss
from osad_bench.methods.dpdl.prototypes import Codebook
from osad_bench.methods.dpdl.readings import Nearest, Printed, maps_of, points_of
from osad_bench.methods.gradient import GradientMethod
from osad_bench.methods.parts.heads import HolisticHead, OverScales, PatchHead
from osad_bench.methods.parts.losses import Deviation, binary_focal
from osad_bench.methods.saving import part_of

POINTS = 20_000
"""Points that a codebook is learned from where positions are points, at most: bounds time."""


class Points(NamedTuple):
    """Points x (n, d) of one scale, and their logits (n, C) under its bridge, which a step uses twice."""

    x: Tensor
    logits: Tensor


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

    Config = DPDLConfig

    bridges: list[Printed | Nearest]
    """The bridge of each scale, parts of `network`."""
    heads: nn.ModuleDict
    """M_a, M_n and M_r, as far as they are switched on, parts of `network`."""

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
        self.heads, self.bridges = nn.ModuleDict(), [self._bridge(codebook) for codebook in codebooks]
        for name, head in heads.items():
            with context.initialised(name):
                self.heads[name] = OverScales(shapes, head)
        return nn.ModuleDict({"bridges": nn.ModuleList(self.bridges), "heads": self.heads})

    def _bridge(self, codebook: Codebook) -> Printed | Nearest:
        config = self.config
        if config.reading == "printed":
            return Printed(codebook, config.eps, config.variance, config.variance_range)
        return Nearest(codebook, config.eps, config.shrinkage, learned=config.reading == "shrunk")

    def _points(self, pyramid: Pyramid) -> list[Points]:
        """Points of each scale."""
        points = [points_of(x, self.config.reading) for x in pyramid]
        return [Points(x, bridge.logits(x)) for x, bridge in zip(points, self.bridges)]

    def _inputs(self, pyramid: Pyramid, points: list[Points]) -> dict[str, Pyramid]:
        """What each head sees: the maps, and for M_r the residual of the carried points as maps (Eq. 22)."""
        inputs = dict.fromkeys(self.heads, pyramid)
        if "residual" in inputs:
            # Scoring is repeatable, and does not change what training draws next.
            generator = self.generator if self.network.training else torch.Generator().manual_seed(0)
            carried = [
                bridge.carry(at.x, self.config.transport, self.config.steps, generator, at.logits)
                for at, bridge in zip(points, self.bridges)
            ]
            residual = [bridge.residual(x) for x, bridge in zip(carried, self.bridges)]
            inputs["residual"] = [maps_of(x, like, self.config.reading) for x, like in zip(residual, pyramid)]
        return inputs

    def _scores(self, pyramid: Pyramid, points: list[Points]) -> dict[str, Tensor]:
        """Scores of each head, (B,)."""
        inputs = self._inputs(pyramid, points)
        return {name: head(inputs[name]) for name, head in self.heads.items()}

    def _binary(self, scores: Tensor, positive: Tensor) -> Tensor:
        """L_binary, by `loss`."""
        if self.config.loss == "deviation":
            return self.deviation(scores, positive)
        return binary_focal(scores, positive, gamma=self.config.gamma if self.config.loss == "focal" else 0.0)

    def _prototype_loss(self, batch: Batch, points: Points, bridge: Printed | Nearest) -> tuple[Tensor, Tensor]:
        """L_DPL of the normals (Eq. 16) and of the anomalies (Eq. 17), times eps, so that they are of order 1."""
        misfit = (
            bridge.misfit(points.x, points.logits).view(len(batch.target), -1).mean(1)
        )  # over positions, where they are points
        normal, anomalous = batch.normals(misfit).mean(), batch.anomalies(misfit)
        if self.config.bound == "hinge":
            return normal, (self.config.margin - (anomalous - normal.detach())).clamp_min(0).mean()
        weight = self.config.anomaly_weight if self.config.bound == "weight" else 1.0
        return normal, -weight * anomalous.mean()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """All terms of Eq. 23."""
        config, anomalous, points = self.config, batch.target != NORMAL, self._points(batch.pyramid)
        if self.renewed:
            for kept, at in zip(self.recent, points):
                kept.append(batch.normals(at.x.detach().view(len(anomalous), -1, at.x.shape[1])).flatten(0, 1))
        scores = self._scores(batch.pyramid, points)
        terms = {name: self._binary(score, anomalous ^ (name == "normal")) for name, score in scores.items()}
        if config.dpl:
            pairs = [self._prototype_loss(batch, at, bridge) for at, bridge in zip(points, self.bridges)]
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
        """Prototypes of the normals in this epoch's batches; for `likelihood` the mean and spread of their distances."""
        for bridge, kept in zip(self.bridges, self.recent):
            if isinstance(bridge, Nearest) and self.renewed:
                bridge.refresh(torch.cat(kept))
                kept.clear()
        if self.config.reading == "likelihood":
            for at, bridge in zip(self._points(train.normals()), self.bridges):
                assert isinstance(bridge, Nearest)
                bridge.compare_with(at.x)

    def _likelihood(self, points: list[Points]) -> Tensor | int:
        """What `likelihood` adds to the score: each image's distance in units of the normals', mean over scales, (B,)."""
        if self.config.reading != "likelihood":
            return 0
        return torch.stack(
            [bridge.unusual(at.x) for at, bridge in zip(points, self.bridges) if isinstance(bridge, Nearest)]
        ).mean(0)

    def forward_score(self, pyramid: Pyramid) -> Tensor:
        """S_a + S_r - S_n (Sec. 4.4, Inference), shape (B,)."""
        points = self._points(pyramid)
        scores = self._scores(pyramid, points)
        parts = [-score if name == "normal" else score for name, score in scores.items()]
        return torch.stack(parts).sum(0) + self._likelihood(points)

    def forward_map(self, pyramid: Pyramid) -> Tensor:
        """The same sum at each position, M_n's score and the likelihood being those of the whole image: (B, H, W)."""
        points = self._points(pyramid)
        inputs = self._inputs(pyramid, points)
        whole = torch.zeros(len(pyramid[0]), device=pyramid[0].device) + self._likelihood(points)
        total = whole[:, None, None].expand(-1, *pyramid[0].shape[2:])
        for name, head in self.heads.items():
            total = total - head(inputs[name])[:, None, None] if name == "normal" else total + head.map(inputs[name])  # type: ignore[operator]
        return total

    def restore(self, state: Mapping[str, Tensor], shapes: Sequence[tuple[int, int, int]]) -> None:
        """Build bridges with as many prototypes as were learned, then take the weights."""
        weights = part_of(state, "network")
        device, start = next(iter(weights.values())).device, "mu" if self.config.reading == "printed" else "centres"
        centres = [weights[f"bridges.{i}.{start}"] for i in range(len(shapes))]
        codebooks = [Codebook(one, torch.ones_like(one[:, 0]), torch.ones_like(one)) for one in centres]
        self.network = self._network(codebooks, shapes, Context(0, device, Schedule())).to(device)
        self.network.load_state_dict(weights)
