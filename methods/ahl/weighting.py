"""AHL's weights of episodes (Sec. 3.3): a sequence model predicts scores, their errors are rewards."""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor, nn

from osad_bench.methods.ahl.config import AHLConfig
from osad_bench.methods.base import NORMAL, PSEUDO, SEEN


class SequenceModel(nn.Module):
    """Predicts the next scores of T models from their last ones: a bidirectional LSTM and a linear layer."""

    def __init__(self, models: int, layers: int = 2) -> None:
        super().__init__()
        self.lstm = nn.LSTM(models, models, layers, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * models, models)

    def forward(self, history: Tensor) -> Tensor:
        """Scores (N, epochs, T) -> (N, T)."""
        states, _ = self.lstm(history)
        prediction: Tensor = self.out(torch.relu(states[:, -1]))
        return prediction


def rewards(predicted: Tensor, target: Tensor, weights: tuple[float, float, float] = (0.5, 0.5, 1.0)) -> Tensor:
    """Reward of each of T models: minus the squared error of its predicted scores, by sort of image (Sec. 3.3).

    Parameters
    ----------
    predicted
        (N, T), in 0 to 1.
    target
        (N,) of NORMAL, SEEN and PSEUDO.
    weights
        Of the mean errors of normals, pseudo-anomalies and seen anomalies, in this order.

    Returns
    -------
    tensor of shape (T,), at most 0
    """
    error = (predicted - (target != NORMAL).to(predicted.dtype)[:, None]) ** 2
    total = torch.zeros(predicted.shape[1], dtype=predicted.dtype)
    for sort, weight in zip((NORMAL, PSEUDO, SEEN), weights):
        if (target == sort).any():
            total -= weight * error[target == sort].mean(0)
    return total


class Weighing:
    """Weights of the episodes, from the scores that the sequence model predicts for their models."""

    def __init__(self, models: int, config: AHLConfig, target: Tensor) -> None:
        self.config, self.models, self.target = config, models, target
        self.past: deque[Tensor] = deque(maxlen=config.history)
        self.sequence = SequenceModel(models, config.sequence_layers)
        self.optimizer = torch.optim.Adam(
            self.sequence.parameters(), lr=config.sequence_lr, weight_decay=config.sequence_weight_decay
        )

    @property
    def _full(self) -> bool:
        return len(self.past) == self.past.maxlen

    def weights(self) -> Tensor:
        """Softmax of the rewards, (T,); equal until the history is full."""
        if not self._full:
            return torch.full((self.models,), 1 / self.models)
        weights = self.config.reward_normal, self.config.reward_pseudo, self.config.reward_seen
        with torch.no_grad():
            predicted = torch.sigmoid(self.sequence(torch.stack(list(self.past), dim=1)))
        return torch.softmax(rewards(predicted, self.target, weights), dim=0)

    def observe(self, scores: Tensor) -> float:
        """Take this epoch's scores (N, T) and learn to predict them from the last ones; return the squared error."""
        # Scores have no unit; standardised over images and models, 0 is the middle and a logistic maps them to (0, 1).
        scores = (scores - scores.mean()) / scores.std().clamp_min(1e-12)
        error = torch.zeros(())
        if self._full:
            error = nn.functional.mse_loss(self.sequence(torch.stack(list(self.past), dim=1)), scores)
            self.optimizer.zero_grad()
            error.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        self.past.append(scores)
        return error.item()
