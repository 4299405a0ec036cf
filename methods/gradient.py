"""The training loop that the gradient-trained methods share."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from osad_bench.methods.base import Batch, Context, Method, Mix, MixedConfig, Pyramid, Schedule, TrainingSet

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}


class GradientMethod(Method):
    """A network trained by gradient descent on batches of normals, known anomalies and pseudo-anomalies.

    A subclass says what it is made of (`build`), what it minimises (`loss`) and how it scores (`score`).
    """

    schedule: ClassVar[Schedule | None] = Schedule()

    network: nn.Module

    @property
    def mix(self) -> Mix:
        """Shares of a training batch: half normals, half known anomalies, unless the settings have shares."""
        return self.config.mix if isinstance(self.config, MixedConfig) else Mix()

    @abc.abstractmethod
    def build(self, train: TrainingSet, context: Context) -> nn.Module:
        """Make the network; features of the training part may initialise it."""

    @abc.abstractmethod
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Terms of the loss, each a scalar; their sum is minimised and each has its own training curve."""

    @abc.abstractmethod
    def forward_score(self, pyramid: Pyramid) -> Tensor:
        """Scores of B images, shape (B,)."""

    def references(self, train: TrainingSet) -> Pyramid | None:  # noqa: ARG002
        """Draw normal maps that a training batch is compared with, for `Batch.reference`; None by default."""
        return None

    def settle(self, train: TrainingSet) -> None:
        """Take from the training part what scoring needs, with the features as they now are; after every epoch."""

    def score(self, pyramid: Pyramid) -> Tensor:
        """Scores of B images in evaluation mode, without gradients."""
        self.network.eval()
        with torch.no_grad():
            return self.forward_score(pyramid)

    def fit(self, train: TrainingSet, context: Context) -> None:
        """Run the schedule; the last epoch's network is the one that scores."""
        schedule = context.schedule
        self.network = self.build(train, context).to(context.device)
        parameters: list[Any] = [p for p in [*self.network.parameters(), *train.parameters()] if p.requires_grad]
        optimizer = OPTIMIZERS[schedule.optimizer](parameters, lr=schedule.lr, weight_decay=schedule.weight_decay)
        for epoch in range(schedule.epochs):
            if schedule.decay_every:
                for group in optimizer.param_groups:
                    group["lr"] = schedule.lr * schedule.decay ** (epoch // schedule.decay_every)
            self.network.train()
            train.train(True)
            totals: dict[str, float] = {}
            for _ in range(schedule.steps):
                batch = train.batch(schedule.batch, self.mix, self.pseudo_anomalies)
                batch.reference = self.references(train)
                terms = self.loss(batch)
                loss = torch.stack(list(terms.values())).sum()
                if not torch.isfinite(loss):
                    raise FloatingPointError(
                        f"loss is {loss.item()} in epoch {epoch + 1} ({', '.join(f'{k} {v.item():.3g}' for k, v in terms.items())})"
                    )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                if schedule.clip:
                    nn.utils.clip_grad_norm_(parameters, schedule.clip)
                optimizer.step()
                for name, value in terms.items():
                    totals[name] = totals.get(name, 0.0) + value.item() / schedule.steps
            train.train(False)
            self.settle(train)
            context.progress(epoch + 1, schedule.epochs, totals)
            if context.after_epoch:
                context.after_epoch(epoch)
