"""Layers between cached features and a method: a normaliser per map, and a trainable adapter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from osad_bench.methods.base import Pyramid, on


class Normaliser(nn.Module):
    """Centre and scale (or whiten) channels by the training normals' statistics over images and positions."""

    mean: Tensor
    matrix: Tensor

    def __init__(self, mode: str, mean: Tensor, matrix: Tensor) -> None:
        super().__init__()
        self.mode = mode
        self.register_buffer("mean", mean)
        self.register_buffer("matrix", matrix)

    @classmethod
    def fit(cls, features: Tensor, mode: str) -> Normaliser:
        """Fit to the training normals' features (n, C, H, W).

        `mode` is ``standardise`` or ``whiten``.
        """
        rows = features.float().permute(0, 2, 3, 1).reshape(-1, features.shape[1])
        if mode == "standardise":
            std, mean = torch.std_mean(rows, dim=0, correction=0)
            return cls(mode, mean, 1 / std.clamp_min(1e-6))
        # whiten (ZCA): symmetric inverse square root of the covariance over positions, shrunk as by Ledoit and Wolf
        from sklearn.covariance import ledoit_wolf

        few = rows[torch.linspace(0, len(rows) - 1, min(len(rows), 20_000)).long()].double().numpy()
        covariance, _ = ledoit_wolf(few)
        values, vectors = np.linalg.eigh(covariance)
        root = (vectors / np.sqrt(values)) @ vectors.T
        return cls(mode, torch.from_numpy(few.mean(0)).float(), torch.from_numpy(root).float())

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        centred = x - self.mean.view(1, -1, 1, 1)
        if self.mode == "standardise":
            return centred * self.matrix.view(1, -1, 1, 1)
        return nn.functional.conv2d(centred, self.matrix[:, :, None, None])


class Adapter(nn.Module):
    """A trainable layer over frozen features, shared by all scales; it takes the place of fine-tuning.

    `kind` is ``linear`` (C' = width) or ``residual`` (C' = C, the identity at first).
    """

    def __init__(self, channels: int, kind: str, width: int) -> None:
        super().__init__()
        self.kind = kind
        if kind == "linear":
            self.out = nn.Conv2d(channels, width, 1)
        else:
            self.inner, self.out = nn.Conv2d(channels, width, 1), nn.Conv2d(width, channels, 1)
            nn.init.zeros_(self.out.weight)
            assert self.out.bias is not None
            nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H, W)."""
        if self.kind == "linear":
            return torch.relu(self.out(x))
        change: Tensor = self.out(torch.relu(self.inner(x)))
        return x + change


def through(
    arrays: Sequence[npt.NDArray[Any]], normalisers: nn.ModuleList, adapters: nn.ModuleDict, device: torch.device
) -> Pyramid:
    """Turn rows of cached features, (n, C, H, W) per map, into the pyramid of a method: normalised, then adapted."""
    pyramid = [on(torch.from_numpy(np.ascontiguousarray(array)), device).float() for array in arrays]
    if len(normalisers):
        pyramid = [layer(scale) for layer, scale in zip(normalisers, pyramid)]
    return [adapters[str(scale.shape[1])](scale) for scale in pyramid] if len(adapters) else pyramid
