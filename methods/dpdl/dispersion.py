"""Dispersion feature learning: features spread over the hypersphere (DPDL, Sec. 4.3, Eq. 19)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

TINY = 1e-24
"""Squared norm below which features count as zero, and are like nothing."""


def dispersion_loss(features: Tensor, kappa: float) -> Tensor:
    """L_DFL: mean over images of log( 1/(U-1) sum_{j != i} exp(kappa cos(x_i, x_j)) ), between -kappa and kappa.

    Parameters
    ----------
    features
        (U, d), U at least 2. They are divided by their norm: the paper prints x / ||x||^2, but says unit norm.
    kappa
        Concentration, positive; published: 10.
    """
    products = features @ features.T  # the only pass over (U, d); squared norms are its diagonal
    shorter = products.diagonal().clamp_min(TINY).rsqrt()
    similarity = kappa * shorter[:, None] * products * shorter
    others = similarity.masked_fill(torch.eye(len(shorter), dtype=torch.bool, device=shorter.device), -math.inf)
    return (others.logsumexp(1) - math.log(len(shorter) - 1)).mean()
