"""AHL: meta-learning over heterogeneous anomaly distributions, on top of DRA or DevNet (Zhu et al., CVPR 2024).

Heterogeneous anomaly distributions (Sec. 3.2): the training normals are clustered by k-means. Each ordered pair of clusters,
and one random halving, is an *episode*: the support holds normals of the one and the query normals of the other, and each
holds half of the known anomalies and pseudo-anomalies of one sort that is drawn for the episode.

Collaborative differentiable learning (Sec. 3.3): from the unified model theta each episode i takes a few gradient steps
on its support, theta_i <- theta_i - a grad L(support_i; theta_i) from theta_i = theta, and theta then descends the
weighted query losses sum_i w_i L(query_i; theta_i), L the base's loss. The weights are w = softmax(r) of rewards: a
sequence model reads the scores that the episodes' models gave the query images in the last epochs and predicts their
next ones, p. With e_S the mean of (p - label)^2 over images of sort S, r_i = -(e_normal / 2 + e_pseudo / 2 + e_seen), so
that an episode whose predicted scores lie nearer the labels weighs more. The feature extractor is the trained base's,
frozen; the heads start as the base's.

Departures from the public code: the last epoch scores, not the best on test images; clusters hold the images of their
k-means label, not of a position in the list; both scales of a reference are of one image; the optimiser uses the gradient
of its own epoch; batch norm keeps the base's statistics; each inner step starts where the last one ended; scores are
standardised, and predictions squashed by a logistic, before they are compared with labels.

Source: Zhu, Ding, Pang and Shen, "Anomaly heterogeneity learning for open-set supervised anomaly detection", CVPR 2024.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from osad_bench.methods.ahl.config import AHLConfig
from osad_bench.methods.ahl.episodes import Drawer, make_episodes
from osad_bench.methods.ahl.inner import Parameters, meta_gradient
from osad_bench.methods.ahl.weighting import Weighing
from osad_bench.methods.base import Batch, Context, Method, Mix, Pyramid, Schedule, TrainingSet
from osad_bench.methods.devnet import DevNet
from osad_bench.methods.dra import DRA
from osad_bench.methods.gradient import GradientMethod
from osad_bench.methods.saving import State


class AHL(Method):
    """Anomaly heterogeneity learning over DRA."""

    name, title, version = "ahl", "AHL", 2
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

    def score_map(self, pyramid: Pyramid) -> Tensor | None:
        """The unified model's map, (B, H, W)."""
        return self.model.score_map(pyramid)

    def state(self) -> State:
        """State of the unified model, which is of the class `base`."""
        return self.model.state()

    def restore(self, state: Mapping[str, Tensor], shapes: Sequence[tuple[int, int, int]]) -> None:
        """Become the unified model that gave `state`."""
        self.model = self.base()
        self.model.restore(state, shapes)

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
        episodes = make_episodes(train, pools, config.clusters, context)
        references = self.model.references(train)
        drawer = Drawer(train, pools, config.mix, references, context, "support and query")
        judged = Drawer(train, pools, config.mix, 0, context, "judged").judged(episodes, config.judged)
        with context.initialised("sequence"):
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
            for weight, episode in zip(weights.tolist(), episodes):
                support, query = (
                    drawer.batch(half, episode.pool, config.batch) for half in (episode.support, episode.query)
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

    name, title, version = "ahl-devnet", "AHL (DevNet)", 2
    base: ClassVar[type[GradientMethod]] = DevNet
    schedule: ClassVar[Schedule | None] = DevNet.schedule
