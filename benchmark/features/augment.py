"""Augmentation of whole batches of uint8 images as tensor operations, on the images' device."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from osad_bench.methods.base import on


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Turn each image counter-clockwise about its centre: nearest neighbour, black outside the image.

    The same as ``torchvision.transforms.functional.rotate`` image by image, except for pixels whose source lies half-way
    between two (fewer than one in 10,000). Each pixel is moved as one 32-bit number; the images get a black frame so wide
    that no source needs a bounds check.

    Parameters
    ----------
    images
        uint8 of shape (B, 3, H, W).
    degrees
        Angles, (B,).

    Returns
    -------
    tensor of shape (B, 3, H, W), uint8, channels last
    """
    count, channels, high, wide = images.shape
    diagonal = math.ceil(math.hypot(high, wide)) + 2
    above, left = (diagonal - high + 1) // 2, (diagonal - wide + 1) // 2
    tall, broad = high + 2 * above, wide + 2 * left
    framed = images.new_zeros(count, tall, broad, 4)
    framed[:, above : above + high, left : left + wide, :channels] = images.permute(0, 2, 3, 1)
    pixels = framed.view(torch.int32).flatten()

    angle = torch.deg2rad(degrees.double())
    cosine, sine = on(torch.stack([angle.cos(), angle.sin()]).float(), images.device)[:, :, None]
    x = torch.arange(wide, device=images.device, dtype=torch.float32) - (wide - 1) / 2
    y = torch.arange(high, device=images.device, dtype=torch.float32) - (high - 1) / 2
    # The source of (x, y) is (cos x - sin y, sin x + cos y), each a sum of a term per column and a term per row.
    columns = cosine * x + ((wide - 1) / 2 + left), -sine * y
    rows = sine * x + ((high - 1) / 2 + above), cosine * y
    offset = torch.arange(count, device=images.device, dtype=torch.int32)[:, None, None] * (tall * broad)
    turned = []
    step = 1 if images.device.type == "cpu" else count  # on a CPU, one image at a time fits its cache
    for start in range(0, count, step):
        some = slice(start, start + step)
        across = (columns[0][some, None, :] + columns[1][some, :, None]).round_()
        place = (rows[0][some, None, :] + rows[1][some, :, None]).round_().mul_(broad).add_(across)
        turned.append(pixels.index_select(0, place.int().add_(offset[some]).flatten()))
    return torch.cat(turned).view(count, high, wide, 1).view(torch.uint8)[..., :channels].permute(0, 3, 1, 2)
