"""The training loop that the gradient-trained methods share."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from osad_bench.methods.base import Batch, Context, Method, Mix, MixedConfig, Pyramid, Schedule, TrainingSet
from osad_bench.methods.in_memory import InMemory
from osad_bench.methods.saving import State, part_of

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}


class GradientMethod(Method):
    """A network trained by gradient descent on batches of normals, known anomalies and pseudo-anomalies.

    A subclass says what it is made of (`build`), what it minimises (`loss`) and how it scores (`forward_score`).
    """

    schedule: ClassVar[Schedule | None] = Schedule()

    network: nn.Module

    @property
    def mix(self) -> Mix:
        """Shares of a training batch: half normals, half known anomalies, unless the settings have shares."""
        return self.config.mix if isinstance(self.config, MixedConfig) else Mix()

    def references(self, train: TrainingSet) -> int:  # noqa: ARG002
        """How many further normals each training batch brings as `Batch.reference`; 0 by default."""
        return 0

    @abc.abstractmethod
    def build(self, train: TrainingSet, context: Context) -> nn.Module:
        """Make the network; features of the training part may initialise it.

        Make each head inside ``with context.initialised(name)``, so that its initial weights do not depend on the others.
        `restore` calls this with a training set that has shapes and no images.
        """

    @abc.abstractmethod
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Terms of the loss, each a scalar; their sum is minimised and each has its own training curve."""

    @abc.abstractmethod
    def forward_score(self, pyramid: Pyramid) -> Tensor:
        """Scores of B images, shape (B,)."""

    def settle(self, train: TrainingSet) -> None:
        """Take from the training part what scoring needs, with the features as they now are; called after every epoch."""

    def score(self, pyramid: Pyramid) -> Tensor:
        """Scores of B images in evaluation mode, without gradients."""
        self.network.eval()
        with torch.no_grad():
            return self.forward_score(pyramid)

    def forward_map(self, pyramid: Pyramid) -> Tensor | None:  # noqa: ARG002
        """Where the anomaly is, (B, H, W) like the first map; None (the default): the method has no map."""
        return None

    def score_map(self, pyramid: Pyramid) -> Tensor | None:
        """Map of B images in evaluation mode, without gradients; see `Method.score_map`."""
        self.network.eval()
        with torch.no_grad():
            return self.forward_map(pyramid)

    def state(self) -> State:
        """Weights and buffers of the network; a method that scores with anything else adds it."""
        return {f"network.{name}": value.detach() for name, value in self.network.state_dict().items()}

    def restore(self, state: Mapping[str, Tensor], shapes: Sequence[tuple[int, int, int]]) -> None:
        """Build the network again and give it these weights."""
        weights = part_of(state, "network")
        device = next(iter(weights.values())).device
        context = Context(0, device, self.schedule or Schedule())
        self.network = self.build(InMemory.empty(shapes), context).to(device)
        self.network.load_state_dict(weights)

    def fit(self, train: TrainingSet, context: Context) -> None:
        """Run the schedule; the last epoch's network is the one that scores."""
        schedule = context.schedule
        self.network = self.build(train, context).to(context.device)
        parameters: list[Any] = [p for p in [*self.network.parameters(), *train.parameters()] if p.requires_grad]
        optimizer = OPTIMIZERS[schedule.optimizer](parameters, lr=schedule.lr, weight_decay=schedule.weight_decay)
        references = self.references(train)
        for epoch in range(schedule.epochs):
            if schedule.decay_every:
                for group in optimizer.param_groups:
                    group["lr"] = schedule.lr * schedule.decay ** (epoch // schedule.decay_every)
            self.network.train()
            train.train(True)
            totals: dict[str, float] = {}
            for _ in range(schedule.steps):
                batch = train.batch(schedule.batch, self.mix, self.pseudo_anomalies, references)
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
