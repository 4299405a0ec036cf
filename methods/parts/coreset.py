"""PatchCore's memory: patches of normals, a greedy coreset of them, and distances to it (Roth et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

CHUNK = 512
"""Patches compared with the memory at a time: their matrix of distances (3 MB) stays in a processor's cache."""


def smoothed(features: Tensor) -> Tensor:
    """Average over 3 x 3 neighbours (Sec. 3.1), (B, C, H, W) -> the same shape."""
    last = features.float().contiguous(memory_format=torch.channels_last)  # twice as fast, and rows come out in order
    return functional.avg_pool2d(last, 3, stride=1, padding=1, count_include_pad=False)


def patches(stages: Sequence[Tensor]) -> Tensor:
    """One vector per position from the maps of several stages of one scale (Sec. 3.1).

    Parameters
    ----------
    stages
        Maps (B, C_i, H_i, W_i), the finest first. Each is smoothed and resized bilinearly to the first one's size, and all
        channels are concatenated.

    Returns
    -------
    tensor of shape (B, H * W, C), float32, C the sum of the C_i
    """
    near = [smoothed(stage) for stage in stages]
    size = near[0].shape[2:]
    same = [near[0], *(functional.interpolate(one, size, mode="bilinear", align_corners=False) for one in near[1:])]
    return torch.cat([one.flatten(2).transpose(1, 2) for one in same], dim=2)


def coreset(points: Tensor, size: int, projected: int, generator: torch.Generator) -> Tensor:
    """Indices of a greedy k-centre coreset (Algorithm 1): each new point is the one farthest from those chosen before.

    Parameters
    ----------
    points
        (N, C).
    size
        Number of points to choose; all are chosen where there are not more.
    projected
        Dimensions of the random projection in which distances are measured (Johnson and Lindenstrauss).

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
    closest = torch.full((len(points),), torch.inf, device=points.device)
    for _ in range(size - 1):
        last = points[chosen[-1]]
        closest = torch.minimum(closest, norms - 2 * (points @ last) + norms[chosen[-1]])
        closest[chosen[-1]] = -torch.inf
        chosen.append(int(closest.argmax()))
    return torch.tensor(chosen)


def remember(points: Tensor, size: int, candidates: int, projected: int, generator: torch.Generator) -> Tensor:
    """A coreset of `size` patches, chosen from `candidates` random patches of normals, (B, P, C) -> (size, C)."""
    points = points.flatten(0, 1)
    points = points[torch.randperm(len(points), generator=generator)[:candidates].to(points.device)]
    return points[coreset(points, size, projected, generator).to(points.device)]


def squared_to(memory: Tensor) -> Callable[[Tensor], Tensor]:
    """Squared distances of patches (n, C) to a memory (m, C), (n, m).

    <(-2 p, |p|^2, 1), (m, 1, |m|^2)> = |p - m|^2 as `torch.cdist` computes it, but the memory's side is made once. An
    exported graph has another, in double precision, in its place (`benchmark.decide.export`).
    """
    norms = memory.pow(2).sum(dim=1, keepdim=True)
    right = torch.cat([memory, torch.ones_like(norms), norms], dim=1).T

    def squared(part: Tensor) -> Tensor:
        norms = part.pow(2).sum(dim=1, keepdim=True)
        return torch.cat([part.mul(-2), norms, torch.ones_like(norms)], dim=1) @ right

    return squared


def nearest(points: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """Distance of each patch to the nearest remembered one, and that one's index: (B, P, C) -> (B, P) each.

    To the last bit what `torch.cdist` and `min` give, in two thirds of their time.
    """
    squared = squared_to(memory)
    found = [squared(part).min(dim=1) for part in points.flatten(0, 1).split(CHUNK)]  # type: ignore[no-untyped-call]
    values, indices = (torch.cat(parts).view(points.shape[:2]) for parts in zip(*found))
    return values.clamp_min(0).sqrt(), indices
