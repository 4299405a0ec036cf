"""Pseudo-anomalies: generators that draw a plausible defect into a normal image.

Each takes an image, uint8 of shape (H, W, 3), and a `numpy.random.Generator`, and returns the changed image and the
mask of the pixels it may have changed, bool of shape (H, W). Outside the mask the image is untouched; the given array
is never written to. A stranger registers one under the entry point group ``osad_bench.pseudo_anomalies``.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance

RGB = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

MIN_SIDE = 8
"""Smallest height and width of an image that a defect can be drawn into, in pixels."""


def _checked(image: RGB) -> tuple[int, int]:
    """Height and width of a usable image."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"expected a uint8 image of shape (H, W, 3), got {image.dtype} {image.shape}")
    if min(image.shape[:2]) < MIN_SIDE:
        raise ValueError(
            f"image of {image.shape[0]} x {image.shape[1]} pixels is too small: {MIN_SIDE} x {MIN_SIDE} at least"
        )
    return image.shape[0], image.shape[1]


def _jittered(patch: RGB, generator: np.random.Generator, strength: float = 0.1) -> RGB:
    """Colour jitter: brightness, contrast and saturation by a factor of 1 +- strength, hue by +- strength of a turn."""
    picture = Image.fromarray(patch)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        picture = enhance(picture).enhance(generator.uniform(1 - strength, 1 + strength))
    hsv = np.array(picture.convert("HSV"))
    hsv[..., 0] += np.uint8(round(generator.uniform(-strength, strength) * 255) % 256)  # hue is a circle: wraps
    return np.array(Image.fromarray(hsv, "HSV").convert("RGB"))


def _elsewhere(high: int, wide: int, h: int, w: int, generator: np.random.Generator) -> tuple[int, int, int, int]:
    """Two different places, top and left each, for a patch of h x w in an image of high x wide."""
    places = (high - h + 1) * (wide - w + 1)
    source = int(generator.integers(places))
    target = (source + int(generator.integers(1, places))) % places
    row = wide - w + 1
    return source // row, source % row, target // row, target % row


def _patch(image: RGB, generator: np.random.Generator) -> tuple[RGB, Mask]:
    """Cut a patch of 2 to 15 % of the area, aspect 0.3 to 3.3, jitter its colours, paste it elsewhere in the image."""
    high, wide = _checked(image)
    area = generator.uniform(0.02, 0.15) * high * wide
    # The aspect w / h is drawn so that wide and tall are alike, from those at which the patch fits a long image.
    low, top = max(0.3, area / (high - 1) ** 2), min(3.3, (wide - 1) ** 2 / area)
    aspect = math.exp(generator.uniform(math.log(min(low, top)), math.log(max(low, top))))
    h = min(max(round(math.sqrt(area / aspect)), 1), high - 1)
    w = min(max(round(area / h), 1), wide - 1)
    y, x, to_y, to_x = _elsewhere(high, wide, h, w, generator)
    changed = image.copy()
    changed[to_y : to_y + h, to_x : to_x + w] = _jittered(image[y : y + h, x : x + w], generator)
    mask = np.zeros((high, wide), dtype=bool)
    mask[to_y : to_y + h, to_x : to_x + w] = True
    return changed, mask


def _scar(image: RGB, generator: np.random.Generator) -> tuple[RGB, Mask]:
    """Cut a thin strip, jitter its colours, turn it by up to 45 degrees, paste it elsewhere in the image."""
    high, wide = _checked(image)
    scale = min(high, wide) / 256  # the paper gives the strip's size in pixels of a 256 x 256 image
    w = min(max(round(generator.uniform(2, 16) * scale), 1), wide - 1)
    h = min(max(round(generator.uniform(10, 25) * scale), 2), high - 1)
    y, x = int(generator.integers(high - h + 1)), int(generator.integers(wide - w + 1))
    strip = Image.fromarray(_jittered(image[y : y + h, x : x + w], generator)).convert("RGBA")
    turned = np.array(strip.rotate(generator.uniform(-45, 45), expand=True))
    turned = turned[: high - 1, : wide - 1]
    opaque = turned[..., 3] > 0
    to_y = int(generator.integers(high - turned.shape[0] + 1))
    to_x = int(generator.integers(wide - turned.shape[1] + 1))
    mask = np.zeros((high, wide), dtype=bool)
    mask[to_y : to_y + turned.shape[0], to_x : to_x + turned.shape[1]] = opaque
    changed = image.copy()
    changed[mask] = turned[..., :3][opaque]
    return changed, mask


def cutmix(image: RGB, generator: np.random.Generator) -> tuple[RGB, Mask]:
    """Paste a patch of the image elsewhere in the same image.

    What DRA calls CutMix (Ding, Pang and Shen, "Catching both gray and black swans", CVPR 2022), after Yun et al.,
    "CutMix", ICCV 2019: 2 to 15 % of the area, aspect 0.3 to 3.3, colour jitter 0.1.

    Parameters
    ----------
    image
        uint8 of shape (H, W, 3), 8 pixels a side at least.
    generator
        Source of every random choice.

    Returns
    -------
    image, mask
        uint8 of shape (H, W, 3), and bool of shape (H, W), True where it may have changed.
    """
    return _patch(image, generator)


def cutpaste(image: RGB, generator: np.random.Generator) -> tuple[RGB, Mask]:
    """Paste a patch or, equally likely, a thin turned scar of the image elsewhere in it.

    Li, Sohn, Yoon and Pfister, "CutPaste: self-supervised learning for anomaly detection and localization", CVPR 2021,
    Sections 2.1 and 2.2: the patch covers 2 to 15 % of the area with an aspect of 0.3 to 3.3; the scar is 2 to 16
    pixels wide and 10 to 25 long in an image of 256, turned by up to 45 degrees; the colours of both are jittered by
    0.1.

    Parameters
    ----------
    image
        uint8 of shape (H, W, 3), 8 pixels a side at least.
    generator
        Source of every random choice.

    Returns
    -------
    image, mask
        uint8 of shape (H, W, 3), and bool of shape (H, W), True where it may have changed.
    """
    return _scar(image, generator) if generator.random() < 0.5 else _patch(image, generator)


def _perlin(
    high: int, wide: int, cells_y: int, cells_x: int, generator: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Perlin's gradient noise (SIGGRAPH 1985), (high, wide), about -0.7 to 0.7, on cells_y x cells_x cells."""
    angles = generator.uniform(0, 2 * np.pi, size=(cells_y + 1, cells_x + 1))
    y, x = np.arange(high) * cells_y / high, np.arange(wide) * cells_x / wide
    row, column = y.astype(int), x.astype(int)
    fy, fx = (y - row)[:, None], (x - column)[None, :]

    def corner(below: int, right: int) -> npt.NDArray[np.float64]:
        angle = angles[np.ix_(row + below, column + right)]
        return np.asarray(np.cos(angle) * (fx - right) + np.sin(angle) * (fy - below), dtype=np.float64)

    smooth_y, smooth_x = (f**3 * (f * (f * 6 - 15) + 10) for f in (fy, fx))
    above = corner(0, 0) * (1 - smooth_x) + corner(0, 1) * smooth_x
    under = corner(1, 0) * (1 - smooth_x) + corner(1, 1) * smooth_x
    return np.asarray(above * (1 - smooth_y) + under * smooth_y, dtype=np.float64)


def _noise_mask(high: int, wide: int, generator: np.random.Generator) -> Mask:
    """Perlin noise above DRAEM's threshold, 0.5 of -1 to 1, on 1 to 64 cells a side; never empty."""
    most = int(math.log2(min(64, min(high, wide) // 2)))
    noise = np.zeros((high, wide))
    for _ in range(8):
        cells = 2 ** generator.integers(0, most + 1, size=2)
        # sqrt(2) brings two-dimensional Perlin noise to the range -1 to 1.
        noise = math.sqrt(2) * _perlin(high, wide, int(cells[0]), int(cells[1]), generator)
        mask = noise > 0.5
        if mask.mean() >= 0.002:
            return mask
    return np.asarray(noise >= np.quantile(noise, 0.98))


def _drawn_texture(high: int, wide: int, generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """Draw a random two-coloured texture, (high, wide, 3) in 0 to 255: waves, checks, marble, clouds or speckle."""
    y, x = np.mgrid[0:high, 0:wide] / min(high, wide)
    angle = generator.uniform(0, np.pi)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    frequency = 2 * np.pi * 2 ** generator.uniform(1, 5)
    style = generator.integers(5)
    if style == 0:
        pattern = np.sin(frequency * u)
    elif style == 1:
        pattern = np.sign(np.sin(frequency * u) * np.sin(frequency * v))
    elif style == 4:
        pattern = generator.normal(size=(high, wide))
    else:
        octaves = [2**k for k in range(1, 6) if 2**k <= min(high, wide) // 2]
        pattern = np.sum([_perlin(high, wide, n, n, generator) * 2 / n for n in octaves], axis=0)
        if style == 2:
            pattern = np.sin(frequency * (u + 0.3 * pattern))
    span = np.ptp(pattern)
    share = ((pattern - pattern.min()) / (span if span > 0 else 1.0))[:, :, None]
    first, second = generator.uniform(0, 255, size=(2, 3))
    return np.asarray(first * (1 - share) + second * share, dtype=np.float64)


def texture(image: RGB, generator: np.random.Generator) -> tuple[RGB, Mask]:
    """Blend a foreign texture into the image where Perlin noise is high.

    After Zavrtanik, Kristan and Skocaj, "DRAEM: a discriminatively trained reconstruction embedding for surface
    anomaly detection", ICCV 2021, Section 3.3 and Eq. 2: the blend's opacity is uniform in 0.1 to 1. DRAEM takes the
    textures from the Describable Textures data set; here they are drawn, so that nothing need be downloaded.

    Parameters
    ----------
    image
        uint8 of shape (H, W, 3), 8 pixels a side at least.
    generator
        Source of every random choice.

    Returns
    -------
    image, mask
        uint8 of shape (H, W, 3), and bool of shape (H, W), True where it may have changed.
    """
    high, wide = _checked(image)
    mask = _noise_mask(high, wide, generator)
    opacity = generator.uniform(0.1, 1.0)
    foreign = _drawn_texture(high, wide, generator)
    blended = np.clip(np.rint((1 - opacity) * image + opacity * foreign), 0, 255).astype(np.uint8)
    return np.where(mask[:, :, None], blended, image), mask
