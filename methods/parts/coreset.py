"""PatchCore's memory: patches of normals, a greedy coreset of them, and distances to it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def patches(features: Tensor) -> Tensor:
    """Positions averaged over 3 x 3 neighbours (Sec. 3.1), (B, C, H, W) -> (B, H * W, C)."""
    last = features.float().contiguous(memory_format=torch.channels_last)  # twice as fast, and rows come out in order
    near = functional.avg_pool2d(last, 3, stride=1, padding=1, count_include_pad=False)
    return near.flatten(2).transpose(1, 2)


def coreset(points: Tensor, size: int, projected: int, generator: torch.Generator) -> Tensor:
    """Indices of a greedy k-centre coreset (Algorithm 1): each next point is the one farthest from those chosen.

    Parameters
    ----------
    points
        (N, C).
    size
        How many to choose, at most N.
    projected
        Dimensions of the random projection that distances are measured in (Johnson and Lindenstrauss).

    Returns
    -------
    tensor of shape (size,), int64, without repetition
    """
    if size >= len(points):
        return torch.arange(len(points))
    if projected < points.shape[1]:
        points = points @ (torch.randn(points.shape[1], projected, generator=generator) / projected**0.5).to(points)
    norms = points.square().sum(1)
    chosen = [int(torch.randint(len(points), (1,), generator=generator))]
    nearest = torch.full((len(points),), torch.inf, device=points.device)
    for _ in range(size - 1):
        last = points[chosen[-1]]
        nearest = torch.minimum(nearest, norms - 2 * (points @ last) + norms[chosen[-1]])
        nearest[chosen[-1]] = -torch.inf
        chosen.append(int(nearest.argmax()))
    return torch.tensor(chosen)


def remember(points: Tensor, size: int, candidates: int, projected: int, generator: torch.Generator) -> Tensor:
    """A coreset of `size` of at most `candidates` random patches of normals, (B, P, C) -> (size, C)."""
    points = points.flatten(0, 1)
    points = points[torch.randperm(len(points), generator=generator)[:candidates].to(points.device)]
    return points[coreset(points, size, projected, generator).to(points.device)]


def distances(points: Tensor, memory: Tensor) -> Tensor:
    """Distance of each patch to the nearest remembered one, (B, P, C) -> (B, P)."""
    return torch.cdist(points.flatten(0, 1), memory).min(dim=1).values.view(points.shape[:2])
