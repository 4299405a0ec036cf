"""Dispersion feature learning: features spread over the hypersphere (DPDL, Sec. 4.3, Eq. 19)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def dispersion_loss(features: Tensor, kappa: float) -> Tensor:
    """L_DFL: mean over images of log( 1/(U-1) sum_{j != i} exp(kappa cos(x_i, x_j)) ), between -kappa and kappa.

    Parameters
    ----------
    features
        (U, d), U at least 2; the paper prints x / ||x||^2 but says unit norm: unit norm it is.
    kappa
        Concentration, positive; published: 10.
    """
    unit = functional.normalize(features, dim=1)
    similarity = kappa * unit @ unit.T
    others = similarity.masked_fill(torch.eye(len(unit), dtype=torch.bool, device=unit.device), -math.inf)
    return (others.logsumexp(1) - math.log(len(unit) - 1)).mean()
