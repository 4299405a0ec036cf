"""Prototypes: where the mixture of normal features starts (DPDL, Sec. 4.2, Eq. 15).

The paper initialises C prototypes from a vector-quantised codebook of normal features; here k-means makes it.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor


def codebook(features: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Cluster means of normal features.

    Parameters
    ----------
    features
        (n, d), the normal training features.
    count
        C, how many prototypes are wanted.
    generator
        Source of the initial centres.

    Returns
    -------
    means, shares
        (C', d) and (C',): cluster means and the share of the features in each, which sums to 1. C' is less than `count`,
        with a warning, where there are fewer distinct features.
    """
    distinct = len(torch.unique(features, dim=0))
    if distinct < count:
        warnings.warn(f"{distinct} distinct normal features for {count} prototypes: {distinct} are used", stacklevel=2)
        count = distinct
    seed = int(torch.randint(2**31, (1,), generator=generator))
    found = KMeans(count, n_init=1, random_state=seed).fit(features.cpu().numpy())
    sizes = np.bincount(found.labels_, minlength=count)
    means = torch.from_numpy(found.cluster_centers_[sizes > 0]).to(features)
    return means, torch.from_numpy(sizes[sizes > 0] / sizes.sum()).to(features)
