"""Pseudo-anomalies: generators that draw a plausible defect into a normal image.

Each takes an image, uint8 of shape (H, W, 3), and a `numpy.random.Generator`, and returns the changed image and the
mask of the pixels it may have changed, bool of shape (H, W). Outside the mask the image is untouched; the given array
is never written to. A plug-in registers its own under the entry point group ``osad_bench.pseudo_anomalies``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

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
            f"image of {image.shape[0]} x {image.shape[1]} pixels is too small: at least {MIN_SIDE} x {MIN_SIDE} is needed"
        )
    return image.shape[0], image.shape[1]


@dataclass(frozen=True)
class Jitter:
    """Colour jitter: factors of brightness, contrast and saturation, and a shift of the hue in steps of 1/256."""

    factors: tuple[float, float, float]
    hue: int

    @classmethod
    def draw(cls, generator: np.random.Generator, strength: float = 0.1) -> Jitter:
        """Draw factors in 1 +- strength, and a shift of the hue of +- strength of the full circle."""
        low, high = 1 - strength, 1 + strength
        factors = generator.uniform(low, high), generator.uniform(low, high), generator.uniform(low, high)
        return cls(factors, round(generator.uniform(-strength, strength) * 255) % 256)

    def __call__(self, patch: RGB) -> RGB:
        """(h, w, 3) -> the same shape."""
        picture = Image.fromarray(patch)
        for enhance, factor in zip((ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color), self.factors):
            picture = enhance(picture).enhance(factor)
        hsv = np.array(picture.convert("HSV"))
        hsv[..., 0] += np.uint8(self.hue)  # hue is a circle: the sum wraps around
        return np.array(Image.fromarray(hsv, "HSV").convert("RGB"))


@dataclass(frozen=True)
class Paste:
    """A rectangle of an image, its colours jittered, perhaps turned, pasted elsewhere in the image.

    Attributes
    ----------
    y, x, h, w
        Top, left, height and width of the rectangle that is cut, in pixels.
    jitter
        The change of its colours.
    degrees
        Rotation, counter-clockwise; None for none.
    tall, broad
        Height and width of the rotated rectangle's bounding box; nothing is pasted in the box's corners.
    to_y, to_x
        Top and left of the place where that box is pasted.
    """

    y: int
    x: int
    h: int
    w: int
    jitter: Jitter
    degrees: float | None
    tall: int
    broad: int
    to_y: int
    to_x: int

    def __call__(self, image: RGB) -> tuple[RGB, Mask]:
        """Return the changed image and the mask of what was pasted."""
        cut = self.jitter(image[self.y : self.y + self.h, self.x : self.x + self.w])
        opaque = np.ones(cut.shape[:2], dtype=bool)
        if self.degrees is not None:
            turned = np.array(Image.fromarray(cut).convert("RGBA").rotate(self.degrees, expand=True))
            turned = turned[: self.tall, : self.broad]
            cut, opaque = turned[..., :3], turned[..., 3] > 0
        mask = np.zeros(image.shape[:2], dtype=bool)
        mask[self.to_y : self.to_y + self.tall, self.to_x : self.to_x + self.broad] = opaque
        changed = image.copy()
        changed[mask] = cut[opaque]
        return changed, mask


def turning(h: int, w: int, degrees: float) -> tuple[int, int, list[float]]:
    """How Pillow rotates a picture of h x w about its centre and enlarges it to hold the corners.

    Returns
    -------
    height, width, matrix
        Size of the rotated picture, and (a, b, c, d, e, f): the source of (x, y) is (a x + b y + c, d x + e y + f).
    """
    angle = -math.radians(degrees % 360.0)
    cosine, sine = round(math.cos(angle), 15), round(math.sin(angle), 15)
    c, f = w / 2 - cosine * (w / 2) - sine * (h / 2), h / 2 + sine * (w / 2) - cosine * (h / 2)
    corners = [(cosine * x + sine * y + c, -sine * x + cosine * y + f) for x, y in ((0, 0), (w, 0), (w, h), (0, h))]
    broad, tall = (math.ceil(max(values)) - math.floor(min(values)) for values in zip(*corners))
    left, above = (w - broad) / 2, (h - tall) / 2
    c, f = cosine * left + sine * above + c, -sine * left + cosine * above + f
    return tall, broad, [cosine, sine, c, -sine, cosine, f]


def _elsewhere(high: int, wide: int, h: int, w: int, generator: np.random.Generator) -> tuple[int, int, int, int]:
    """Draw two different places (top, left, top, left) for a patch of h x w in an image of high x wide."""
    places = (high - h + 1) * (wide - w + 1)
    source = int(generator.integers(places))
    target = (source + int(generator.integers(1, places))) % places
    row = wide - w + 1
    return source // row, source % row, target // row, target % row


def draw_patch(high: int, wide: int, generator: np.random.Generator) -> Paste:
    """Draw a patch of 2 to 15 % of the area, with an aspect of 0.3 to 3.3 (`cutmix`)."""
    area = generator.uniform(0.02, 0.15) * high * wide
    # log(w / h) is uniform, so that wide and tall patches are equally likely; the limits let the patch fit a long image.
    low, top = max(0.3, area / (high - 1) ** 2), min(3.3, (wide - 1) ** 2 / area)
    aspect = math.exp(generator.uniform(math.log(min(low, top)), math.log(max(low, top))))
    h = min(max(round(math.sqrt(area / aspect)), 1), high - 1)
    w = min(max(round(area / h), 1), wide - 1)
    y, x, to_y, to_x = _elsewhere(high, wide, h, w, generator)
    return Paste(y, x, h, w, Jitter.draw(generator), None, h, w, to_y, to_x)


def draw_scar(high: int, wide: int, generator: np.random.Generator) -> Paste:
    """Draw a thin strip, rotated by up to 45 degrees (`cutpaste`)."""
    scale = min(high, wide) / 256  # the paper gives the strip's size in pixels of a 256 x 256 image
    w = min(max(round(generator.uniform(2, 16) * scale), 1), wide - 1)
    h = min(max(round(generator.uniform(10, 25) * scale), 2), high - 1)
    y, x = int(generator.integers(high - h + 1)), int(generator.integers(wide - w + 1))
    jitter, degrees = Jitter.draw(generator), generator.uniform(-45, 45)
    tall, broad, _ = turning(h, w, degrees)
    tall, broad = min(tall, high - 1), min(broad, wide - 1)
    to_y, to_x = int(generator.integers(high - tall + 1)), int(generator.integers(wide - broad + 1))
    return Paste(y, x, h, w, jitter, degrees, tall, broad, to_y, to_x)


def draw_cutpaste(high: int, wide: int, generator: np.random.Generator) -> Paste:
    """Draw a patch or, equally likely, a scar (`cutpaste`)."""
    return (draw_scar if generator.random() < 0.5 else draw_patch)(high, wide, generator)


def cutmix(image: RGB, generator: np.random.Generator) -> tuple[RGB, Mask]:
    """Paste a patch of the image elsewhere in the same image.

    This is what DRA calls CutMix (Ding, Pang and Shen, "Catching both gray and black swans", CVPR 2022), after Yun et al.,
    "CutMix", ICCV 2019: 2 to 15 % of the area, aspect 0.3 to 3.3, colour jitter 0.1.

    Parameters
    ----------
    image
        uint8 of shape (H, W, 3), at least 8 pixels per side.
    generator
        Source of every random choice.

    Returns
    -------
    image, mask
        uint8 of shape (H, W, 3), and bool of shape (H, W), True where it may have changed.

    Raises
    ------
    ValueError
        The image has another shape or type, or is too small.
    """
    return draw_patch(*_checked(image), generator)(image)


def cutpaste(image: RGB, generator: np.random.Generator) -> tuple[RGB, Mask]:
    """Paste a patch or, equally likely, a thin turned scar of the image elsewhere in it.

    Li, Sohn, Yoon and Pfister, "CutPaste: self-supervised learning for anomaly detection and localization", CVPR 2021,
    Sections 2.1 and 2.2: the patch covers 2 to 15 % of the area with an aspect of 0.3 to 3.3; the scar is 2 to 16
    pixels wide and 10 to 25 long in an image of 256, turned by up to 45 degrees; the colours of both are jittered by
    0.1.

    Parameters
    ----------
    image
        uint8 of shape (H, W, 3), at least 8 pixels per side.
    generator
        Source of every random choice.

    Returns
    -------
    image, mask
        uint8 of shape (H, W, 3), and bool of shape (H, W), True where it may have changed.

    Raises
    ------
    ValueError
        The image has another shape or type, or is too small.
    """
    return draw_cutpaste(*_checked(image), generator)(image)


@dataclass(frozen=True)
class Noise:
    """Perlin's gradient noise (SIGGRAPH 1985): the angle of the gradient at each corner of its cells.

    Attributes
    ----------
    angles
        Radians, (cells_y + 1, cells_x + 1).
    """

    angles: npt.NDArray[np.float64]

    @classmethod
    def draw(cls, cells_y: int, cells_x: int, generator: np.random.Generator) -> Noise:
        """Draw gradients in random directions for cells_y x cells_x cells."""
        return cls(generator.uniform(0, 2 * np.pi, size=(cells_y + 1, cells_x + 1)))

    def __call__(self, high: int, wide: int) -> npt.NDArray[np.float64]:
        """Values, (high, wide), about -0.7 to 0.7."""
        cells_y, cells_x = self.angles.shape[0] - 1, self.angles.shape[1] - 1
        y, x = np.arange(high) * cells_y / high, np.arange(wide) * cells_x / wide
        row, column = y.astype(int), x.astype(int)
        fy, fx = (y - row)[:, None], (x - column)[None, :]

        def corner(below: int, right: int) -> npt.NDArray[np.float64]:
            angle = self.angles[np.ix_(row + below, column + right)]
            return np.asarray(np.cos(angle) * (fx - right) + np.sin(angle) * (fy - below), dtype=np.float64)

        smooth_y, smooth_x = (f**3 * (f * (f * 6 - 15) + 10) for f in (fy, fx))
        above = corner(0, 0) * (1 - smooth_x) + corner(0, 1) * smooth_x
        under = corner(1, 0) * (1 - smooth_x) + corner(1, 1) * smooth_x
        return np.asarray(above * (1 - smooth_y) + under * smooth_y, dtype=np.float64)


TRIES, ENOUGH, THRESHOLD = 8, 0.002, 0.5
"""Largest number of draws of the mask's noise, share of the image that it has to exceed DRAEM's threshold in, and that
threshold, for noise in [-1, 1]."""
SPARE = 0.98
"""Quantile of the last draw that serves as threshold if no draw covered enough."""


def draw_noise(high: int, wide: int, generator: np.random.Generator) -> Noise:
    """Draw noise on 1 to 64 cells per side (powers of 2), for a mask."""
    most = int(math.log2(min(64, min(high, wide) // 2)))
    cells = 2 ** generator.integers(0, most + 1, size=2)
    return Noise.draw(int(cells[0]), int(cells[1]), generator)


def _noise_mask(high: int, wide: int, generator: np.random.Generator) -> Mask:
    """Perlin noise above DRAEM's threshold; never empty."""
    noise = np.zeros((high, wide))
    for _ in range(TRIES):
        # sqrt(2) brings two-dimensional Perlin noise to the range -1 to 1.
        noise = math.sqrt(2) * draw_noise(high, wide, generator)(high, wide)
        mask = noise > THRESHOLD
        if mask.mean() >= ENOUGH:
            return mask
    return np.asarray(noise >= np.quantile(noise, SPARE))


WAVES, CHECKS, MARBLE, CLOUDS, SPECKLE = range(5)
"""Styles of a drawn texture."""


@dataclass(frozen=True)
class Texture:
    """A random two-coloured texture.

    Attributes
    ----------
    angle, frequency
        Direction of its waves in radians, and their angular frequency in radians per shorter side (2 to 32 waves).
    octaves
        For marble and clouds: cells per side, and the noise on them.
    speckle
        For the style speckle: values (high, wide); None for the others.
    first, second
        Colours, (3,) each, 0 to 255.
    """

    style: int
    angle: float
    frequency: float
    octaves: list[tuple[int, Noise]]
    speckle: npt.NDArray[np.float64] | None
    first: npt.NDArray[np.float64]
    second: npt.NDArray[np.float64]

    @classmethod
    def draw(cls, high: int, wide: int, generator: np.random.Generator) -> Texture:
        """Draw a texture of high x wide pixels."""
        angle = generator.uniform(0, np.pi)
        frequency = 2 * np.pi * 2 ** generator.uniform(1, 5)
        style = int(generator.integers(5))
        speckle = generator.normal(size=(high, wide)) if style == SPECKLE else None
        sides = [2**k for k in range(1, 6) if 2**k <= min(high, wide) // 2] if style in (MARBLE, CLOUDS) else []
        octaves = [(n, Noise.draw(n, n, generator)) for n in sides]
        first, second = generator.uniform(0, 255, size=(2, 3))
        return cls(style, angle, frequency, octaves, speckle, first, second)

    def __call__(self, high: int, wide: int) -> npt.NDArray[np.float64]:
        """Colours (high, wide, 3), 0 to 255."""
        y, x = np.mgrid[0:high, 0:wide] / min(high, wide)
        u = x * np.cos(self.angle) + y * np.sin(self.angle)
        if self.speckle is not None:
            pattern = self.speckle
        elif self.style == WAVES:
            pattern = np.sin(self.frequency * u)
        elif self.style == CHECKS:
            v = y * np.cos(self.angle) - x * np.sin(self.angle)
            pattern = np.sign(np.sin(self.frequency * u) * np.sin(self.frequency * v))
        else:
            pattern = np.sum([noise(high, wide) * 2 / n for n, noise in self.octaves], axis=0)
            if self.style == MARBLE:
                pattern = np.sin(self.frequency * (u + 0.3 * pattern))
        span = np.ptp(pattern)
        share = ((pattern - pattern.min()) / (span if span > 0 else 1.0))[:, :, None]
        return np.asarray(self.first * (1 - share) + self.second * share, dtype=np.float64)


def texture(image: RGB, generator: np.random.Generator) -> tuple[RGB, Mask]:
    """Blend a foreign texture into the image where Perlin noise is high.

    After Zavrtanik, Kristan and Skocaj, "DRAEM: a discriminatively trained reconstruction embedding for surface
    anomaly detection", ICCV 2021, Section 3.3 and Eq. 2: the blend's opacity is uniform in 0.1 to 1. DRAEM takes the
    textures from the Describable Textures data set; here they are generated, so that nothing has to be downloaded.

    Parameters
    ----------
    image
        uint8 of shape (H, W, 3), at least 8 pixels per side.
    generator
        Source of every random choice.

    Returns
    -------
    image, mask
        uint8 of shape (H, W, 3), and bool of shape (H, W), True where it may have changed.

    Raises
    ------
    ValueError
        The image has another shape or type, or is too small.
    """
    high, wide = _checked(image)
    mask = _noise_mask(high, wide, generator)
    opacity = generator.uniform(0.1, 1.0)
    foreign = Texture.draw(high, wide, generator)(high, wide)
    blended = np.clip(np.rint((1 - opacity) * image + opacity * foreign), 0, 255).astype(np.uint8)
    return np.where(mask[:, :, None], blended, image), mask
