"""Heads that turn a feature pyramid into image scores and maps, shared by DevNet, DRA, AHL, FLOS, SAOE, MLEP and DPDL."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from osad_bench.methods.base import Pyramid


def top_mean(scores: Tensor, share: float) -> Tensor:
    """Mean of the largest `share` of each row's values, at least one: (B, N) -> (B,).

    Multiple-instance learning as in Pang et al. 2021, Eq. 2 (there 10 %).
    """
    return scores.topk(top_count(scores.shape[1], share), dim=1).values.mean(dim=1)


def top_count(positions: int, share: float) -> int:
    """Number of positions in a share of them, rounded down, at least one."""
    return max(int(positions * share), 1)


def over_scales(maps: Sequence[Tensor]) -> Tensor:
    """Mean of maps (B, h, w) of several scales, resized bilinearly to the first one's size: (B, H, W)."""
    size = maps[0].shape[1:]
    aligned = [maps[0], *(functional.interpolate(x[:, None], size, mode="bilinear")[:, 0] for x in maps[1:])]
    return torch.stack(aligned).mean(0)


class PatchHead(nn.Module):
    """One score per position by a 1x1 convolution; the image's is the mean of the top share of their magnitudes.

    With `signed` the scores are logits: their magnitude is not taken.

    This is DevNet's anomaly score learner on images (Pang et al. 2021, Sec. 3.2), and DRA's seen and pseudo-anomaly heads
    (Ding, Pang and Shen, CVPR 2022, Sec. 3).
    """

    def __init__(self, channels: int, top: float = 0.1, signed: bool = False) -> None:
        super().__init__()
        self.score, self.top, self.signed = nn.Conv2d(channels, 1, 1), top, signed

    def map(self, x: Tensor) -> Tensor:
        """Score of each position, (B, C, H, W) -> (B, H, W), not negative unless signed."""
        scores: Tensor = self.score(x)[:, 0]
        return scores if self.signed else scores.abs()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B,), not negative unless signed."""
        return top_mean(self.map(x).flatten(1), self.top)


class HolisticHead(nn.Module):
    """How normal an image looks as a whole: average pool and two linear layers (DRA, Sec. 3)."""

    def __init__(self, channels: int, width: int = 256, signed: bool = False) -> None:
        super().__init__()
        self.signed = signed
        self.layers = nn.Sequential(nn.Linear(channels, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B,), high for normal images; not negative unless signed."""
        score: Tensor = self.layers(x.mean(dim=(2, 3))).flatten()
        return score if self.signed else score.abs()


class ResidualHead(nn.Module):
    """Score of a map's difference from normal references, after one convolution (DRA, Sec. 3)."""

    def __init__(self, channels: int, top: float = 0.1) -> None:
        super().__init__()
        self.mix = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU())
        self.head = PatchHead(channels, top)

    def map(self, residual: Tensor) -> Tensor:
        """Score of each position, (B, C, H, W) -> (B, H, W), not negative."""
        return self.head.map(self.mix(residual))

    def forward(self, residual: Tensor) -> Tensor:
        """(B, C, H, W) -> (B,), not negative."""
        if not self.training and torch.is_grad_enabled():
            return self._of_top(residual)
        score: Tensor = self.head(self.mix(residual))
        return score

    def _of_top(self, residual: Tensor) -> Tensor:
        """The same score where batch norm is fixed, computed again at the top positions alone.

        Only they have a gradient, so that nested gradients (AHL's inner loop) cost a fraction of the whole map's.
        """
        conv = self.mix[0]
        assert isinstance(conv, nn.Conv2d)
        assert conv.bias is not None
        with torch.no_grad():
            scores = self.map(residual).flatten(1)
            top = scores.topk(top_count(scores.shape[1], self.head.top), dim=1).indices  # (B, k)
        wide = residual.shape[3]
        corner = top // wide * (wide + 2) + top % wide  # where a position's 3 x 3 window starts in the padded map
        step = ((wide + 2) * torch.arange(3)[:, None] + torch.arange(3)).flatten().to(top.device)
        where = (corner[:, :, None] + step).flatten(1)[:, None]  # (B, 1, 9 k)
        windows = functional.pad(residual, (1, 1, 1, 1)).flatten(2).take_along_dim(where, 2)
        windows = windows.view(*residual.shape[:2], -1, 9)  # (B, C, k, 9)
        x = torch.einsum("bckj,ocj->bok", windows, conv.weight.flatten(2)) + conv.bias[:, None]
        kept: Tensor = self.head.score(self.mix[1:](x[..., None]))  # (B, C, k, 1), a map again -> (B, 1, k, 1)
        return kept.abs().flatten(1).mean(dim=1)


class OverScales(nn.Module):
    """One head for all scales with the same number of channels; an image's score is the mean over scales."""

    def __init__(self, shapes: Sequence[tuple[int, int, int]], build: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({str(channels): build(channels) for channels, *_ in shapes})

    def forward(self, pyramid: Pyramid) -> Tensor:
        """Maps (B, C, H, W) -> (B,)."""
        return torch.stack([self.heads[str(x.shape[1])](x) for x in pyramid]).mean(0)

    def map(self, pyramid: Pyramid) -> Tensor:
        """Mean over scales of the heads' scores of positions: maps (B, C, H, W) -> (B, H, W) of the first scale.

        For heads that have a `map` of their own.
        """
        return over_scales([self.heads[str(x.shape[1])].map(x) for x in pyramid])  # type: ignore[operator]
