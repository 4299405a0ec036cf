"""From the bytes of an image file to uint8 RGB, whatever mode the file has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from osad_bench.datasets.base import DatasetError

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""File name endings taken for images, compared without regard to case."""

MAX_PIXELS = 2**26
"""Largest image that is decoded (67 megapixels, 200 MB as RGB): far above any data set here, far below a bomb."""

Box = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels; right and bottom lie outside."""


def open_image(path: Path) -> Image.Image:
    """Open an image file and read its header, not its pixels.

    Raises
    ------
    DatasetError
        The file is missing, empty, no image, or larger than `MAX_PIXELS`; the message names it.
    """
    try:
        image = Image.open(path)
    except FileNotFoundError:
        raise DatasetError(f"image {path} is missing: restore it from the original download") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DatasetError(f"image {path} is refused as a decompression bomb: {error}") from None
    except UnidentifiedImageError:
        what = "is empty (0 bytes)" if path.stat().st_size == 0 else "is not an image in a known format"
        raise DatasetError(f"image {path} {what}: restore it from the original download, or remove it") from None
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise DatasetError(
            f"image {path} is refused as a decompression bomb: its header says {image.width} x {image.height} pixels, "
            f"the limit is {MAX_PIXELS}"
        )
    return image


def read_rgb(path: Path, box: Box | None = None) -> npt.NDArray[np.uint8]:
    """Decode an image, or a box of it, to RGB.

    Palettes, CMYK and grey become RGB; transparency is dropped, as every published loader does; 16-bit grey keeps its
    full range, 0 to 65535 becoming 0 to 255 (Pillow's own conversion would clip it at 255). EXIF rotation is not
    applied: pixels are read as stored.

    Returns
    -------
    array of shape (H, W, 3), uint8

    Raises
    ------
    DatasetError
        The file is missing, broken or too large, or the box does not lie within it; the message names it.
    """
    with open_image(path) as image:
        try:
            image.load()
        except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and others
            raise DatasetError(
                f"image {path} is broken ({error}): restore it from the original download, or remove it"
            ) from error
        part: Image.Image = image
        if box is not None:
            left, top, right, bottom = box
            if not (0 <= left < right <= image.width and 0 <= top < bottom <= image.height):
                raise DatasetError(
                    f"image {path} is {image.width} x {image.height}: the box {box} does not lie within it"
                )
            part = image.crop(box)
        if part.mode.startswith("I"):  # I;16 and its byte orders, and I, as which Pillow opens some 16-bit files
            wide = np.asarray(part).astype(np.int64)
            grey = np.clip((wide * 255 + 32767) // 65535, 0, 255).astype(np.uint8)
            return np.ascontiguousarray(np.repeat(grey[:, :, None], 3, axis=2))
        if part.mode == "F":
            raise DatasetError(
                f"image {path} holds floating-point values, whose range is not known: save it with 8 or 16 bits"
            )
        return np.array(part.convert("RGB"), dtype=np.uint8)


def read_mask(path: Path) -> npt.NDArray[np.bool_]:
    """Decode a mask: True wherever any channel's raw value is not 0 (a palette's index counts, not its colour).

    Returns
    -------
    array of shape (H, W), bool

    Raises
    ------
    DatasetError
        The file is missing, broken or too large; the message names it.
    """
    with open_image(path) as image:
        try:
            raw = np.asarray(image if image.mode not in {"RGBA", "LA", "PA", "CMYK"} else image.convert("RGB"))
        except Exception as error:  # as in read_rgb
            raise DatasetError(f"mask {path} is broken ({error}): restore it from the original download") from error
    return np.asarray(raw.any(axis=2) if raw.ndim == 3 else raw != 0)


def read_bands(path: Path) -> npt.NDArray[np.uint8]:
    """Read the first three bands of a NumPy array file as RGB; values 0 to 255 lose their fraction, others are clipped.

    Returns
    -------
    array of shape (H, W, 3), uint8

    Raises
    ------
    DatasetError
        The file is missing, broken, too large, holds Python objects, or is not of shape (H, W, 3 or more).
    """
    try:
        # Mapped, so that a header that promises terabytes costs nothing; pickled objects would run a stranger's code.
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise DatasetError(f"image {path} is missing: restore it from the original download") from None
    except Exception as error:  # NumPy raises ValueError, EOFError, OSError, SyntaxError and others
        what = "is empty (0 bytes)" if path.stat().st_size == 0 else f"is broken ({error})"
        raise DatasetError(f"image {path} {what}: restore it from the original download, or remove it") from error
    shape: tuple[int, ...] = getattr(stored, "shape", ())
    if len(shape) != 3 or shape[2] < 3 or not np.issubdtype(stored.dtype, np.number) or 0 in shape:
        raise DatasetError(
            f"image {path} holds {getattr(stored, 'dtype', 'no array')} {shape}; expected (H, W, 3 or more)"
        )
    if shape[0] * shape[1] > MAX_PIXELS:
        raise DatasetError(
            f"image {path} is refused as a decompression bomb: {shape[1]} x {shape[0]} pixels, the limit is {MAX_PIXELS}"
        )
    bands = np.asarray(stored[:, :, :3])
    if np.iscomplexobj(bands) or not np.isfinite(bands).all():
        raise DatasetError(
            f"image {path} holds values that are no finite numbers: restore it from the original download"
        )
    return np.ascontiguousarray(np.clip(bands, 0, 255).astype(np.uint8))
