"""AHL: meta-learning over heterogeneous anomaly distributions, on top of DRA or DevNet (Zhu et al., CVPR 2024).

Heterogeneous anomaly distributions (Sec. 3.2): the training normals are clustered by k-means; each ordered pair of
clusters, and one random halving, is an *episode* whose support and query hold normals of one and the other, half of the
known anomalies each, and pseudo-anomalies of one sort drawn for the episode.

Collaborative differentiable learning (Sec. 3.3): from the unified model theta each episode i takes a few gradient steps
on its support, theta_i <- theta_i - a grad L(support_i; theta_i) from theta_i = theta, and theta then descends the
weighted query losses sum_i w_i L(query_i; theta_i), L the base's loss. The weights are w = softmax(r) of rewards: a
sequence model reads the scores that the episodes' models gave the query images in the last epochs and predicts their
next ones, p; with e_S the mean of (p - label)^2 over images of sort S, r_i = -(e_normal / 2 + e_pseudo / 2 + e_seen), so
that an episode whose predicted scores lie nearer the labels weighs more. The feature extractor is the trained base's,
frozen; the heads start as the base's.

Departures: the last epoch scores (public code: the best on test images); clusters are filled by cluster (public code: by
position), both scales of a reference are of one image, the optimiser steps after a gradient exists, batch norm keeps the
base's statistics, inner steps follow each other. Scores are standardised and squashed before they meet labels.

Source: Zhu, Ding, Pang and Shen, "Anomaly heterogeneity learning for open-set supervised anomaly detection", CVPR 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from typing import ClassVar

import torch
from pydantic import Field
from sklearn.cluster import KMeans
from torch import Tensor, nn
from torch.func import functional_call

from osad_bench.methods.ahl.episodes import Episode, Half, pooled_normals
from osad_bench.methods.ahl.inner import Parameters, meta_gradient
from osad_bench.methods.ahl.weighting import Weighing
from osad_bench.methods.base import (
    NORMAL,
    PSEUDO,
    SEEN,
    Batch,
    Context,
    Method,
    Mix,
    MixedConfig,
    Pyramid,
    Schedule,
    TrainingSet,
)  # fmt: skip
from osad_bench.methods.devnet import DevNet
from osad_bench.methods.dra import DRA
from osad_bench.methods.gradient import GradientMethod


class AHLConfig(MixedConfig):
    """Hyper-parameters of AHL; the base has its published ones."""

    seen_share: float = Field(
        0.5, ge=0, lt=1, description="known anomalies of a support or query batch, a share (as DRA; public code: 1/3)"
    )
    pseudo_share: float = Field(
        0.25, ge=0, lt=1, description="pseudo-anomalies of a support or query batch (as DRA; public code: 1/3)"
    )

    clusters: int = Field(3, ge=2, description="k-means clusters of the normals (Sec. 4.1: 3)")
    inner_lr: float = Field(2e-4, gt=0, description="step size on an episode's support (Sec. 4.1: 2e-4)")
    inner_steps: int = Field(3, ge=1, description="gradient steps on an episode's support (Sec. 4.1: 3)")
    first_order: bool = Field(
        False, description="leave second derivatives out of the outer step (public code: for all inner steps but one)"
    )
    outer_lr: float = Field(2e-3, gt=0, description="Adam step of the unified model (Sec. 4.1: 2e-3)")
    outer_weight_decay: float = Field(1e-4, ge=0, description="of that Adam (public code: 1e-4)")
    outer_epochs: int = Field(30, ge=0, description="meta-epochs, an outer step each (public code: 30)")
    outer_decay_every: int = Field(10, ge=1, description="meta-epochs until the step falls (public code: 10)")
    outer_decay: float = Field(0.1, gt=0, le=1, description="factor by which it falls (public code: 0.1)")
    outer_clip: float = Field(1.0, gt=0, description="largest norm of the outer gradient (public code: 1)")
    batch: int = Field(48, ge=4, description="images of a support or query batch (public code: 48)")
    history: int = Field(5, ge=1, description="epochs of scores the sequence model reads (Sec. 4.1: 5)")
    weighting: bool = Field(True, description="weigh episodes by predicted reward (ablation of Table 4: False)")
    reward_normal: float = Field(0.5, ge=0, description="weight of the normals' error in a reward (public code: 0.5)")
    reward_pseudo: float = Field(0.5, ge=0, description="weight of the pseudo-anomalies' error (public code: 0.5)")
    reward_seen: float = Field(1.0, ge=0, description="weight of the known anomalies' error (public code: 1)")
    sequence_layers: int = Field(2, ge=1, description="layers of the sequence model's LSTM (public code: 2)")
    sequence_lr: float = Field(2e-3, gt=0, description="Adam step of the sequence model (public code: 2e-3)")
    sequence_weight_decay: float = Field(1e-3, ge=0, description="of that Adam (public code: 1e-3)")
    judged: int = Field(
        8, ge=4, description="query images of an episode whose scores are followed (public code: all; ours bounds time)"
    )
    pool: int = Field(128, ge=8, description="pseudo-anomalies of each sort kept as features (ours)")


class AHL(Method):
    """Anomaly heterogeneity learning over DRA."""

    name, title = "ahl", "AHL"
    citation = "Zhu et al., Anomaly heterogeneity learning for open-set supervised anomaly detection, CVPR 2024"
    departures = "docs/deviations.md#ahl"
    base: ClassVar[type[GradientMethod]] = DRA
    schedule: ClassVar[Schedule | None] = DRA.schedule
    pseudo_anomalies: ClassVar[tuple[str, ...]] = ("texture", "cutpaste", "cutmix")
    ablations: ClassVar[dict[str, dict[str, object]]] = {
        "without the sequence model": {"weighting": False},
        "base only": {"outer_epochs": 0},
    }
    Config = AHLConfig

    def fit(self, train: TrainingSet, context: Context) -> None:
        """Train the base, then meta-learn its heads on frozen features."""
        meta = self.config.outer_epochs
        total = context.schedule.epochs + meta
        self.model = self.base()
        self.model.fit(
            train,
            replace(
                context, after_epoch=None, progress=lambda epoch, _, values: context.progress(epoch, total, values)
            ),
        )
        if meta:
            self._meta_learn(train, context)

    def score(self, pyramid: Pyramid) -> Tensor:
        """Scores of the unified model, (B,)."""
        return self.model.score(pyramid)

    def _meta_learn(self, train: TrainingSet, context: Context) -> None:
        config, network = self.config, self.model.network
        train.train(False)
        # Batch norm keeps the trained base's statistics: an episode's few images would replace them.
        network.eval()
        objective = _Objective(self.model)
        parameters = {name: p.detach().clone() for name, p in objective.named_parameters()}

        def loss(values: Parameters, batch: Batch) -> Tensor:
            value: Tensor = functional_call(objective, values, (batch,))
            return value

        pools = [self._pool(train, sort) for sort in self.pseudo_anomalies]
        seen = train.seen()
        episodes, sorts = self._episodes(train, pools, context.generator)
        judged = self._judged(train, seen, pools, episodes, sorts, context.generator)
        weigh = Weighing(len(episodes), config, judged.target.cpu())
        leaves = {name: value.requires_grad_() for name, value in parameters.items()}
        optimizer = torch.optim.Adam(leaves.values(), lr=config.outer_lr, weight_decay=config.outer_weight_decay)
        for epoch in range(config.outer_epochs):
            for group in optimizer.param_groups:
                group["lr"] = config.outer_lr * config.outer_decay ** (epoch // config.outer_decay_every)
            weights = weigh.weights() if config.weighting else torch.full((len(episodes),), 1 / len(episodes))
            total: Parameters = {name: torch.zeros_like(value) for name, value in leaves.items()}
            query_loss, scores = 0.0, []
            start = {name: value.detach() for name, value in leaves.items()}
            for weight, episode, sort in zip(weights.tolist(), episodes, sorts):
                support, query = (
                    self._batch(train, seen, pools[sort], half, context.generator)
                    for half in (episode.support, episode.query)
                )
                gradients, value, adapted = meta_gradient(
                    loss, start, support, query, config.inner_lr, config.inner_steps, config.first_order
                )
                query_loss += weight * value.item()
                total = {name: total[name] + weight * gradients[name] for name in total}
                if config.weighting:
                    scores.append(objective.scores_with(adapted, judged.pyramid))
            for name, leaf in leaves.items():
                leaf.grad = total[name]
            nn.utils.clip_grad_norm_(list(leaves.values()), config.outer_clip)
            optimizer.step()
            curve = {"query": query_loss}
            if config.weighting:
                curve["sequence"] = weigh.observe(torch.stack(scores, dim=1).cpu())
                curve["spread of weights"] = float(weights.max() - weights.min())
            with torch.no_grad():
                for name, parameter in objective.named_parameters():
                    parameter.copy_(leaves[name])
            done = context.schedule.epochs + epoch + 1
            context.progress(done, context.schedule.epochs + config.outer_epochs, curve)
            if context.after_epoch:
                context.after_epoch(epoch)

    def _pool(self, train: TrainingSet, sort: str) -> Pyramid:
        """Features of pseudo-anomalies of one sort, made from random training normals."""
        with torch.no_grad():
            return train.batch(self.config.pool, Mix(normal=0, seen=0, pseudo=1), (sort,)).pyramid

    def _episodes(
        self, train: TrainingSet, pools: Sequence[Pyramid], generator: torch.Generator
    ) -> tuple[list[Episode], list[int]]:
        """Ordered pairs of clusters and a random halving, each with a sort of pseudo-anomaly.

        A pseudo-anomaly belongs to the cluster nearest to its pooled features.
        """
        features = pooled_normals(train).cpu()
        count = min(self.config.clusters, len(features))
        kmeans = KMeans(count, n_init=4, random_state=int(torch.randint(2**31, (1,), generator=generator)))
        labels = torch.from_numpy(kmeans.fit_predict(features.double().numpy())).long()
        clusters = [c for c in range(count) if (labels == c).sum() >= 2]
        near = [torch.from_numpy(kmeans.predict(p[0].mean(dim=(2, 3)).double().cpu().numpy())).long() for p in pools]
        pairs: list[tuple[int, int] | None] = [*permutations(clusters, 2), None]
        sorts = torch.randint(len(pools), (len(pairs),), generator=generator).tolist()

        episodes = []
        for pair, sort in zip(pairs, sorts):
            every = torch.arange(len(near[sort]))
            order = torch.randperm(train.n_normal, generator=generator)
            halves = order.chunk(2) if train.n_normal > 1 else (order, order)
            normals = [(labels == c).nonzero().flatten() for c in pair] if pair else list(halves)
            fakes = [(near[sort] == c).nonzero().flatten() for c in pair] if pair else [every, every]
            mixed = torch.randperm(train.n_seen, generator=generator)
            known = list(mixed.chunk(2)) if train.n_seen > 1 else [mixed, mixed]
            halves_of = [Half(n, k, f if len(f) else every) for n, k, f in zip(normals, known, fakes)]
            episodes.append(Episode(*halves_of))
        return episodes, sorts

    def _batch(
        self, train: TrainingSet, seen: Pyramid, pool: Pyramid, half: Half, generator: torch.Generator, size: int = 0
    ) -> Batch:
        """Draw a batch from one half of an episode, with the shares of the settings."""
        normals, anomalies, fakes = self.config.mix.counts(size or self.config.batch)

        def draw(index: Tensor, count: int) -> Tensor:
            rounds = [torch.randperm(len(index), generator=generator) for _ in range(-(-count // len(index)))]
            return index[torch.cat(rounds)[:count]] if rounds else index[:0]

        normal = draw(half.normal, normals)
        known, fake = draw(half.seen, anomalies), draw(half.pseudo, fakes)
        pyramid = [
            torch.cat([n, s[known], p[fake]])
            for n, s, p in zip(train.normals(normal.tolist()), seen, pool, strict=True)
        ]
        target = torch.tensor([NORMAL] * len(normal) + [SEEN] * len(known) + [PSEUDO] * len(fake))
        with torch.no_grad():
            reference = self.model.references(train)
        return Batch(pyramid, target.to(pyramid[0].device), reference)

    def _judged(
        self,
        train: TrainingSet,
        seen: Pyramid,
        pools: Sequence[Pyramid],
        episodes: Sequence[Episode],
        sorts: Sequence[int],
        generator: torch.Generator,
    ) -> Batch:
        """Fixed query images of all episodes: what the sequence model follows from epoch to epoch."""
        parts = [
            self._batch(train, seen, pools[sort], episode.query, generator, size=self.config.judged)
            for episode, sort in zip(episodes, sorts)
        ]
        return Batch(
            [torch.cat(scale) for scale in zip(*(part.pyramid for part in parts))],
            torch.cat([part.target for part in parts]),
        )


class _Objective(nn.Module):
    """The base's summed loss as a function of its network's parameters, for `torch.func`."""

    def __init__(self, base: GradientMethod) -> None:
        super().__init__()
        self.network = base.network
        self.call: list[GradientMethod] = [base]  # in a list, so that nothing is registered twice

    def forward(self, batch: Batch | None, pyramid: Pyramid | None = None) -> Tensor:
        """Loss of a batch, or scores of a pyramid."""
        if pyramid is not None:
            return self.call[0].forward_score(pyramid)
        assert batch is not None
        return torch.stack(list(self.call[0].loss(batch).values())).sum()

    def scores_with(self, parameters: Parameters, pyramid: Pyramid) -> Tensor:
        """Scores (B,) that the network would give with other parameters."""
        with torch.no_grad():
            scores: Tensor = functional_call(self, parameters, (None, pyramid))
        return scores


class AHLDevNet(AHL):
    """Anomaly heterogeneity learning over DevNet."""

    name, title = "ahl-devnet", "AHL (DevNet)"
    base: ClassVar[type[GradientMethod]] = DevNet
    schedule: ClassVar[Schedule | None] = DevNet.schedule
