"""Losses of image scores that several methods share. Scores have shape (B,), `anomalous` is bool of shape (B,)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Deviation:
    """Deviation loss: normal scores lie where a Gaussian's draws do, anomalies at least `margin` deviations above.

    Pang, Shen and van den Hengel, "Deep anomaly detection with deviation networks", KDD 2019, Eqs. 5 to 7; on images
    Pang, Ding, Shen and van den Hengel, 2021, Sec. 3: z = (score - mean) / std of 5000 draws from N(0, 1); the loss is
    |z| for a normal and max(0, margin - z) for an anomaly.

    Attributes
    ----------
    mean, std
        Of the reference draws.
    margin
        In deviations, published: 5.
    """

    mean: float
    std: float
    margin: float = 5.0

    @classmethod
    def draw(cls, generator: torch.Generator, margin: float = 5.0, size: int = 5000) -> Deviation:
        """Take the reference draws once (public code: at every step, which moves their mean by 0.014, a standard deviation)."""
        reference = torch.randn(size, generator=generator)
        return cls(reference.mean().item(), reference.std().item(), margin)

    def __call__(self, scores: Tensor, anomalous: Tensor, among: Tensor | None = None) -> Tensor:
        """Mean over the batch, or over the images for which `among` (bool, (B,)) holds, a scalar."""
        z = (scores - self.mean) / self.std
        losses = torch.where(anomalous, (self.margin - z).clamp_min(0), z.abs())
        # Weights, not losses[among]: the CPU would have to wait for the number of selected images.
        return losses.mean() if among is None else (losses * among).sum() / among.sum()


def binary_focal(logits: Tensor, anomalous: Tensor, gamma: float = 2.0) -> Tensor:
    """Focal loss, -(1 - p)^gamma log p for p the probability of the true class; gamma 0 is cross-entropy.

    Lin et al., "Focal loss for dense object detection", ICCV 2017, Eq. 4, without its class weight.
    """
    log_p = functional.logsigmoid(torch.where(anomalous, logits, -logits))
    return (-((1 - log_p.exp()) ** gamma) * log_p).mean()
