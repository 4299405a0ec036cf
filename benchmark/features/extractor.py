"""uint8 images to feature pyramids."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from osad_bench.benchmark.features.backbones import Backbone
from osad_bench.benchmark.preset import Preset
from osad_bench.core.errors import InputError
from osad_bench.core.memory import keep_freed


def _fold(module: nn.Module) -> None:
    """Merge each batch norm into the convolution registered right before it."""
    children = list(module.named_children())
    for _, child in children:
        _fold(child)
    for (name, conv), (after, norm) in itertools.pairwise(children):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, name, fuse_conv_bn_eval(conv, norm))
            # timm's batch norm includes its activation.
            setattr(module, after, getattr(norm, "act", nn.Identity()))


@lru_cache(maxsize=2)
def for_inference(backbone: nn.Module) -> nn.Module:
    """A copy that gives the same maps faster: batch norms folded, channels last. It is made once; do not train it.

    Folding assumes that layers are called in the order of their registration; a backbone for which that is wrong (checked
    on random images) is not folded.
    """
    plain = copy.deepcopy(backbone).eval()
    folded = copy.deepcopy(plain)
    _fold(folded)
    probe = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        try:
            same = all(
                torch.allclose(a, b, rtol=1e-3, atol=1e-3 * float(a.abs().max()))
                for a, b in zip(plain(probe), folded(probe))
            )
        except RuntimeError:
            same = False
    return (folded if same else plain).to(memory_format=torch.channels_last)


class PyramidExtractor(nn.Module):
    """From uint8 images to the feature pyramid: normalise, rescale (nearest neighbour, as in DRA), run the backbone."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, mean: Sequence[float], std: Sequence[float], preset: Preset) -> None:
        super().__init__()
        keep_freed()
        self.backbone = backbone
        self.scales, self.stages = preset.scales, preset.stages
        self.memory_format = torch.channels_last
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [0, 255] -> one map (B, C, h, w) per scale and stage."""
        x = (images.float() / 255 - self.mean) / self.std
        pyramid = []
        for scale in self.scales:
            scaled = x if scale == 1 else nn.functional.interpolate(x, scale_factor=scale, mode="nearest")
            maps = self.backbone(scaled.contiguous(memory_format=self.memory_format))
            pyramid += [maps[stage] for stage in self.stages]
        return pyramid


def as_tensor(images: npt.NDArray[np.uint8]) -> Tensor:
    """(B, H, W, 3) uint8 array -> (B, 3, H, W) uint8 tensor."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)


def pyramid_shapes(preset: Preset, backbone: Backbone) -> list[list[int]]:
    """(C, H, W) of each map of the pyramid.

    Raises
    ------
    InputError
        The backbone has no such stages, cannot take images of that size at those scales, or its weights do not fit.
    """
    module = backbone.module
    try:
        return _shapes(module, preset.shape, preset.scales, preset.stages)
    except (IndexError, RuntimeError, ValueError) as error:
        raise InputError(
            f"the backbone {backbone.name} makes no pyramid of image_size {preset.image_size}, scales "
            f"{list(preset.scales)} and stages {list(preset.stages)} ({str(error).splitlines()[0]}); stages count from 0, "
            "or from -1 backwards, and scales are above 0"
        ) from None


@lru_cache(maxsize=16)
def _shapes(
    backbone: nn.Module, shape: tuple[int, int], scales: tuple[float, ...], stages: tuple[int, ...]
) -> list[list[int]]:
    preset = Preset(backbone="any", frozen=True, image_size=shape[1], scales=scales, stages=stages)
    extractor = PyramidExtractor(copy.deepcopy(backbone), (0.0,) * 3, (1.0,) * 3, preset).eval()
    with torch.inference_mode():
        return [list(scale.shape[1:]) for scale in extractor(torch.zeros(1, 3, *shape))]
