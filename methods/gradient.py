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

    A subclass supplies the network (`build`), the terms of the loss (`loss`) and the scores (`forward_score`).
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
        """Compute what scoring needs from the training part with its current features; called after every epoch."""

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
        """Run the schedule; the last epoch's network is the one that scores.

        Raises
        ------
        FloatingPointError
            The loss is not finite; the message names the epoch and the terms.
        """
        schedule = context.schedule
        self.network = self.build(train, context).to(context.device)
        parameters: list[Any] = [p for p in [*self.network.parameters(), *train.parameters()] if p.requires_grad]
        more = {"fused": True} if context.device.type == "cuda" else {}
        optimizer = OPTIMIZERS[schedule.optimizer](
            parameters, lr=schedule.lr, weight_decay=schedule.weight_decay, **more
        )
        references = self.references(train)
        for epoch in range(schedule.epochs):
            if schedule.decay_every:
                for group in optimizer.param_groups:
                    group["lr"] = schedule.lr * schedule.decay ** (epoch // schedule.decay_every)
            self.network.train()
            train.train(True)
            losses = _Losses(epoch)
            for _ in range(schedule.steps):
                batch = train.batch(schedule.batch, self.mix, self.pseudo_anomalies, references)
                loss = losses.add(self.loss(batch))
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                if schedule.clip:
                    nn.utils.clip_grad_norm_(parameters, schedule.clip)
                optimizer.step()
            curve = losses.means()
            train.train(False)
            self.settle(train)
            context.progress(epoch + 1, schedule.epochs, curve)
            if context.after_epoch:
                context.after_epoch(epoch)


class _Losses:
    """Loss terms of an epoch's steps. On a GPU they are read at the end of the epoch, because reading waits for the step."""

    def __init__(self, epoch: int) -> None:
        self.epoch, self.steps = epoch, list[tuple[list[str], Tensor]]()

    def add(self, terms: dict[str, Tensor]) -> Tensor:
        """The sum of a step's terms."""
        values = torch.stack(list(terms.values()))
        self.steps.append((list(terms), values.detach()))
        if values.device.type == "cpu":
            self._checked(*self.steps[-1])
        return values.sum()

    def _checked(self, names: list[str], values: Tensor) -> dict[str, float]:
        """The terms as numbers; FloatingPointError where their sum is not finite."""
        terms = dict(zip(names, values.tolist()))
        if not torch.isfinite(values.sum()):
            each = ", ".join(f"{name} {value:.3g}" for name, value in terms.items())
            raise FloatingPointError(f"loss is {values.sum().item()} in epoch {self.epoch + 1} ({each})")
        return terms

    def means(self) -> dict[str, float]:
        """Mean of each term over the steps."""
        totals: dict[str, float] = {}
        for names, values in self.steps:
            for name, value in self._checked(names, values.cpu()).items():
                totals[name] = totals.get(name, 0.0) + value / len(self.steps)
        return totals
