"""Prototypes: the codebook of normal features (DPDL, Sec. 4.2, Eq. 15).

The paper initialises C prototypes from a vector-quantised codebook of normal features; here k-means makes it.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.cluster import KMeans
from torch import Tensor

LLOYD = 3
"""Steps of k-means by which prototypes follow the normals from epoch to epoch."""
PRIOR = 10
"""Normals that the variance within all clusters weighs as in the variance within one."""


def nearest(points: Tensor, centres: Tensor) -> Tensor:
    """Index of the centre closest to each point, c* of Eq. 15: (B, d), (C, d) -> (B,); carries no gradient."""
    with torch.no_grad():
        return torch.cdist(points, centres).argmin(1)


@dataclass(frozen=True)
class Codebook:
    """Clusters of normals: `centres` (C, d), `shares` (C,) of the normals, which sum to 1, and variances `spread` (C, d)."""

    centres: Tensor
    shares: Tensor
    spread: Tensor

    @classmethod
    def learn(cls, points: Tensor, count: int, generator: torch.Generator) -> Codebook:
        """Cluster normals by k-means.

        Parameters
        ----------
        points
            (n, d), normal features.
        count
            C, the number of prototypes wanted. There are fewer, with a warning, where there are fewer distinct points.
        generator
            Source of the initial centres.
        """
        rows = points.cpu().numpy()
        distinct = len({row.tobytes() for row in rows})
        if distinct < count:
            warnings.warn(
                f"{distinct} distinct normal features for {count} prototypes: {distinct} are used", stacklevel=2
            )
            count = distinct
        seed = int(torch.randint(2**31, (1,), generator=generator))
        labels = KMeans(count, n_init=1, max_iter=100, random_state=seed).fit_predict(_rotated(rows))
        return cls._of(points, torch.from_numpy(np.unique(labels, return_inverse=True)[1]).to(points.device))

    @classmethod
    def around(cls, points: Tensor, centres: Tensor) -> Codebook:
        """Move centres to the means of the points closest to them, by a few steps of k-means.

        A centre that no point is closest to stays where it is.
        """
        centres = centres.clone()
        for _ in range(LLOYD):
            labels = nearest(points, centres)
            present = torch.unique(labels)
            centres[present] = (
                _sums(points, labels, len(centres))[present] / _sizes(labels, len(centres))[present, None]
            )
        return cls._of(points, nearest(points, centres), centres)

    @classmethod
    def _of(cls, points: Tensor, labels: Tensor, centres: Tensor | None = None) -> Codebook:
        """From the cluster of each point; `centres` are given where some have no point."""
        count = int(labels.max()) + 1 if centres is None else len(centres)
        sizes = _sizes(labels, count).to(points)
        if centres is None:
            centres = _sums(points, labels, count) / sizes[:, None]
        squares = _sums((points - centres[labels]).square(), labels, count)
        within = squares.sum(0) / len(points)
        spread = (squares + PRIOR * within) / (sizes[:, None] + PRIOR)
        # One normal more in each cluster keeps the logarithm of an empty one's share finite.
        shares = (sizes + (sizes == 0).any()) / (sizes + (sizes == 0).any()).sum()
        return cls(centres, shares, spread)


def _sizes(labels: Tensor, count: int) -> Tensor:
    return torch.bincount(labels, minlength=count)


def _sums(points: Tensor, labels: Tensor, count: int) -> Tensor:
    """Sum of the points of each label, (n, d) -> (count, d)."""
    member = torch.nn.functional.one_hot(labels, count).to(points)
    return member.T @ points


def _rotated(rows: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.floating[Any]]:
    """The points with their distances in n coordinates where d is larger: n points span at most n dimensions."""
    if rows.shape[1] <= rows.shape[0]:
        return rows
    values, vectors = np.linalg.eigh((rows @ rows.T).astype(np.float64))
    return np.asarray(vectors * np.sqrt(values.clip(0)))
