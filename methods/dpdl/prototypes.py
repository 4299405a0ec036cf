"""Prototypes: where the mixture of normal features starts (DPDL, Sec. 4.2, Eq. 15).

The paper initialises C prototypes from a vector-quantised codebook of normal features; here k-means makes it.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
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
    rows = features.cpu().numpy()
    distinct = len({row.tobytes() for row in rows})
    if distinct < count:
        warnings.warn(f"{distinct} distinct normal features for {count} prototypes: {distinct} are used", stacklevel=2)
        count = distinct
    seed = int(torch.randint(2**31, (1,), generator=generator))
    labels = KMeans(count, n_init=1, max_iter=100, random_state=seed).fit_predict(_rotated(rows))
    member = (labels == np.unique(labels)[:, None]).astype(rows.dtype)  # (C', n)
    sizes = member.sum(1, keepdims=True)
    return torch.from_numpy(member / sizes @ rows).to(features), torch.from_numpy(sizes[:, 0] / len(rows)).to(features)


def _rotated(rows: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.floating[Any]]:
    """The same points in as few coordinates as hold them: n points differ in at most n directions, and d is larger."""
    if rows.shape[1] <= rows.shape[0]:
        return rows
    values, vectors = np.linalg.eigh((rows @ rows.T).astype(np.float64))
    return np.asarray(vectors * np.sqrt(values.clip(0)))
