"""Pseudo-anomalies of whole batches as tensor operations, on the images' device.

Each function is the batched twin of a generator of `pseudo`, with one random generator per image: it makes the same draws
and gives the same images, except for one grey level in the few pixels where single precision rounds differently. A
generator without a twin, such as a plug-in's, is called image by image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from osad_bench.benchmark.features import pseudo
from osad_bench.benchmark.features.pseudo import Noise, Paste, Texture
from osad_bench.methods.base import on

Generators = Sequence[np.random.Generator]
"""One random generator per image."""

PerImage = Callable[[pseudo.RGB, np.random.Generator], tuple[pseudo.RGB, pseudo.Mask]]
Twin = Callable[[Tensor, Generators], Tensor]


def changed(images: Tensor, generators: Sequence[PerImage], random: Generators) -> Tensor:
    """Pseudo-anomalies of images (B, 3, H, W), uint8, one generator per image, by its batched twin if it has one."""
    result = images
    for generator in dict.fromkeys(generators):
        places = [i for i, one in enumerate(generators) if one is generator]
        some, index = [random[i] for i in places], None
        if len(places) < len(generators):
            index = on(torch.tensor(places), images.device)
        part = images if index is None else images[index]
        if generator in TWINS:
            part = TWINS[generator](part, some)
        else:
            arrays = part.permute(0, 2, 3, 1).cpu().numpy()
            made = np.stack([generator(image, source)[0] for image, source in zip(arrays, some)])
            part = on(torch.from_numpy(made), images.device).permute(0, 3, 1, 2)
        if index is None:
            return part
        result = result.clone() if result is images else result
        result[index] = part
    return result


def cutmix(images: Tensor, random: Generators) -> Tensor:
    """Twin of `pseudo.cutmix`: (B, 3, H, W) -> the same shape, uint8, channels last."""
    high, wide = images.shape[2:]
    return paste(images, [pseudo.draw_patch(high, wide, source) for source in random])


def cutpaste(images: Tensor, random: Generators) -> Tensor:
    """Twin of `pseudo.cutpaste`: (B, 3, H, W) -> the same shape, uint8, channels last."""
    high, wide = images.shape[2:]
    return paste(images, [pseudo.draw_cutpaste(high, wide, source) for source in random])


def texture(images: Tensor, random: Generators) -> Tensor:
    """Twin of `pseudo.texture`: (B, 3, H, W) -> the same shape, uint8, channels last.

    Image by image on the device: a mask that covers too little is drawn again, so the number of draws differs by image.
    """
    return torch.stack([_textured(image, source) for image, source in zip(images.permute(0, 2, 3, 1), random)]).permute(
        0, 3, 1, 2
    )


TWINS: dict[PerImage, Twin] = {pseudo.cutmix: cutmix, pseudo.cutpaste: cutpaste, pseudo.texture: texture}
"""The batched twin of each generator that has one."""

FIXED = 16
"""Binary digits after the point with which Pillow computes the source of a pixel."""


def _fixed(paste: Paste) -> list[int]:
    """The matrix of a rotation in fixed point, as Pillow's nearest-neighbour transform computes it for pixel centres."""
    matrix = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    if paste.degrees is not None:
        matrix = pseudo.turning(paste.h, paste.w, paste.degrees)[2]
    a, b, c, d, e, f = matrix
    return [math.floor(x * (1 << FIXED) + 0.5) for x in (a, b, c + (a + b) / 2, d, e, f + (d + e) / 2)]


def paste(images: Tensor, pastes: Sequence[Paste]) -> Tensor:
    """Apply one paste to each image.

    Parameters
    ----------
    images
        uint8 of shape (B, 3, H, W).

    Returns
    -------
    tensor of the same shape, channels last
    """
    rows = images.permute(0, 2, 3, 1)
    step = 1 if images.device.type == "cpu" else len(pastes)  # on a CPU, one patch at a time fits its cache
    starts = range(0, len(pastes), step)
    return torch.cat([_pasted(rows[i : i + step], pastes[i : i + step]) for i in starts]).permute(0, 3, 1, 2)


def _pasted(images: Tensor, pastes: Sequence[Paste]) -> Tensor:
    """(B, H, W, 3) -> the same shape. The pixels of all patches, of any sizes, are concatenated."""
    device, (count, high, wide, channels) = images.device, images.shape
    pixels = images.reshape(-1, channels)
    first = [(i * high + p.y) * wide + p.x for i, p in enumerate(pastes)]
    place = [(i * high + p.to_y) * wide + p.to_x for i, p in enumerate(pastes)]
    sizes = [(p.h, p.w, p.tall, p.broad) for p in pastes]
    kind = torch.int32 if count * high * wide < 2**31 else torch.int64
    whole = [[*one, *size, p.jitter.hue, *_fixed(p)] for p, size, *one in zip(pastes, sizes, first, place)]
    first, place, h, w, tall, broad, hue, a, b, c, d, e, f = on(torch.tensor(whole, dtype=kind), device).T
    factors = on(torch.tensor([p.jitter.factors for p in pastes]), device).T

    patches = _Ragged(h, w, sum(p.h * p.w for p in pastes))
    each = patches.each
    cut = pixels.index_select(0, each(first) + patches.row * wide + patches.column)
    cut = _jittered(cut, [each(one) for one in factors], each(hue), patches)

    if any(p.degrees is not None for p in pastes):
        turned = _Ragged(tall, broad, sum(p.tall * p.broad for p in pastes))
        each, row, column = turned.each, turned.row, turned.column
        from_x = (each(a) * column + each(b) * row + each(c)) >> FIXED
        from_y = (each(d) * column + each(e) * row + each(f)) >> FIXED
        inside = (from_x >= 0) & (from_x < each(w)) & (from_y >= 0) & (from_y < each(h))
        source = torch.where(inside, each(patches.start.to(kind)) + from_y * each(w) + from_x, 0)
        to = each(place) + row * wide + column
        cut = torch.where(inside[:, None], cut.index_select(0, source), pixels.index_select(0, to))
    else:
        to = each(place) + patches.row * wide + patches.column
    return pixels.index_copy(0, to.long(), cut).view(images.shape)


class _Ragged:
    """Concatenated pixels of B rectangles of different sizes, `total` pixels together.

    Attributes
    ----------
    row, column
        (total,) each: row and column of each pixel in its rectangle.
    start, sizes
        (B,) each: index of each rectangle's first pixel, and its number of pixels.
    """

    def __init__(self, high: Tensor, wide: Tensor, total: int) -> None:
        self.sizes = (high * wide).long()
        self.start = self.sizes.cumsum(0) - self.sizes
        place = torch.arange(total, device=wide.device, dtype=wide.dtype)
        self._which: Tensor | None = None
        if len(wide) > 1:
            numbers = torch.arange(len(wide), device=wide.device)
            self._which = numbers.repeat_interleave(self.sizes, output_size=total)
        place = place - self.each(self.start.to(wide.dtype))
        self.row = place // self.each(wide)
        self.column = place - self.row * self.each(wide)

    def each(self, values: Tensor) -> Tensor:
        """Repeat values (B,) of rectangles for each of their pixels: (total,)."""
        return values if self._which is None else values[self._which]


def _grey(r: Tensor, g: Tensor, b: Tensor) -> Tensor:
    """Pillow's grey level of colours."""
    return (r.int() * 19595 + g.int() * 38470 + b.int() * 7471 + 0x8000) >> 16


def _blend(first: Tensor | float, second: Tensor, share: Tensor) -> Tensor:
    """Pillow's blend (extrapolated where `share` is above 1): whole numbers from 0 to 255, as float."""
    return (first + share * (second - first)).clamp(0, 255).floor()


def _jittered(pixels: Tensor, factors: Sequence[Tensor], hue: Tensor, patches: _Ragged) -> Tensor:
    """`pseudo.Jitter` of the pixels (P, 3) of several patches, with factors and hue given per pixel."""
    brightness, contrast, saturation = factors
    colours = [_blend(0.0, colour, brightness) for colour in pixels.T.float()]
    sums = torch.cat([patches.start.new_zeros(1), _grey(*colours).cumsum(0, dtype=torch.int64)])
    total = sums[patches.start + patches.sizes] - sums[patches.start]
    mean = patches.each((total.double() / patches.sizes + 0.5).floor().float())
    colours = [_blend(mean, colour, contrast) for colour in colours]
    grey = _grey(*colours).float()
    colours = [_blend(grey, colour, saturation) for colour in colours]
    return _turned(colours, hue)


def _turned(colours: Sequence[Tensor], hue: Tensor) -> Tensor:
    """Shift the hue of colours (three of (P,)) in steps of 1/256, in Pillow's integer HSV: uint8 (P, 3)."""
    r, g, b = colours
    top, low = torch.maximum(torch.maximum(r, g), b), torch.minimum(torch.minimum(r, g), b)
    span = top - low
    to_r, to_g, to_b = ((top - colour) / span.clamp_min(1) for colour in (r, g, b))
    sixth = torch.where(r == top, to_b - to_g, torch.where(g == top, 2 + to_r - to_b, 4 + to_g - to_r))
    angle = ((((sixth / 6 + 1) % 1) * 255).floor() + hue) % 256
    saturation = (span / top.clamp_min(1) * 255).floor() / 255  # 0 for grey, so that its hue does not matter
    parts = []
    for offset in (5, 3, 1):  # of red, green and blue on the circle of hues, in sixths
        k = (angle * 6 / 255 + offset) % 6
        parts.append((top * (1 - saturation * torch.minimum(k, 4 - k).clamp(0, 1)) + 0.5).floor())
    return torch.stack(parts, dim=1).to(torch.uint8)


def _noise(noise: Noise, high: int, wide: int, device: torch.device) -> Tensor:
    """Values of `pseudo.Noise` on the device, (high, wide), float32."""
    cells_y, cells_x = noise.angles.shape[0] - 1, noise.angles.shape[1] - 1
    gradients = np.stack([np.cos(noise.angles), np.sin(noise.angles)]).astype(np.float32)
    along, down = on(torch.from_numpy(gradients), device).unbind()
    y = torch.arange(high, device=device, dtype=torch.float64) * cells_y / high
    x = torch.arange(wide, device=device, dtype=torch.float64) * cells_x / wide
    row, column = y.long(), x.long()
    fy, fx = (y - row).float()[:, None], (x - column).float()[None, :]

    def corner(below: int, right: int) -> Tensor:
        rows, columns = row + below, column + right
        slope: Tensor = along[rows][:, columns] * (fx - right) + down[rows][:, columns] * (fy - below)
        return slope

    smooth_y, smooth_x = (f**3 * (f * (f * 6 - 15) + 10) for f in (fy, fx))
    above = torch.lerp(corner(0, 0), corner(0, 1), smooth_x)
    under = torch.lerp(corner(1, 0), corner(1, 1), smooth_x)
    return torch.lerp(above, under, smooth_y)


def _mask(high: int, wide: int, random: np.random.Generator, device: torch.device) -> Tensor:
    """True where the noise is high, (high, wide); see `pseudo.texture`."""
    values = torch.zeros(())
    for _ in range(pseudo.TRIES):
        values = math.sqrt(2) * _noise(pseudo.draw_noise(high, wide, random), high, wide, device)
        mask = values > pseudo.THRESHOLD
        if int(mask.sum()) / mask.numel() >= pseudo.ENOUGH:
            return mask
    spare: Tensor = values >= values.flatten().quantile(pseudo.SPARE)
    return spare


def _pattern(one: Texture, high: int, wide: int, device: torch.device) -> Tensor:
    """Colours of `pseudo.Texture` on the device, (high, wide, 3), float32."""
    side = min(high, wide)
    y = torch.arange(high, device=device, dtype=torch.float32)[:, None] / side
    x = torch.arange(wide, device=device, dtype=torch.float32)[None, :] / side
    u = x * math.cos(one.angle) + y * math.sin(one.angle)
    if one.speckle is not None:
        pattern = on(torch.from_numpy(one.speckle.astype(np.float32)), device)
    elif one.style == pseudo.WAVES:
        pattern = (one.frequency * u).sin()
    elif one.style == pseudo.CHECKS:
        v = y * math.cos(one.angle) - x * math.sin(one.angle)
        pattern = ((one.frequency * u).sin() * (one.frequency * v).sin()).sign()
    else:
        pattern = torch.stack([_noise(noise, high, wide, device) * (2 / n) for n, noise in one.octaves]).sum(0)
        if one.style == pseudo.MARBLE:
            pattern = (one.frequency * (u + 0.3 * pattern)).sin()
    low, top = torch.aminmax(pattern)
    share = ((pattern - low) / torch.where(top > low, top - low, 1.0))[:, :, None]
    first, second = on(torch.tensor(np.stack([one.first, one.second]), dtype=torch.float32), device).unbind()
    return first * (1 - share) + second * share


def _textured(image: Tensor, random: np.random.Generator) -> Tensor:
    """`pseudo.texture` of an image (H, W, 3), with draws in the same order."""
    high, wide, _ = image.shape
    mask = _mask(high, wide, random, image.device)
    opacity = random.uniform(0.1, 1.0)
    foreign = _pattern(Texture.draw(high, wide, random), high, wide, image.device)
    blended = ((1 - opacity) * image + opacity * foreign).round().clamp(0, 255).to(torch.uint8)
    return torch.where(mask[:, :, None], blended, image)
