"""Long photographs for methods that look at squares: cut along the longer side into tiles, which stand one below the other.

Squeezed to a square, a part of 500 x 1250 pixels loses 2.5 times as much along its length as across. With three tiles it is
resized to three squares, and a method sees the positions of all three as those of one photograph: its score is over all
tiles, and `put_back` arranges its heat map as the photograph again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

MOST_TILES = 16
"""Largest number of tiles of a photograph."""


def fitting(height: int, width: int) -> int:
    """Number of square tiles, 1 to `MOST_TILES`, that comes nearest to a photograph's proportions."""
    ratio = max(height, width) / max(1, min(height, width))
    whole = int(ratio)
    return min(MOST_TILES, whole if ratio * ratio < whole * (whole + 1) else whole + 1)


def squared(image: npt.NDArray[np.uint8] | Image.Image, size: int, tiles: int = 1) -> npt.NDArray[np.uint8]:
    """An RGB image, (H, W, 3) or Pillow's, to (tiles * size, size, 3) by Pillow's antialiased bilinear filter.

    A photograph that is wider than high is cut into parts from left to right, of which the left one comes first.
    """
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    wide = tiles > 1 and image.width > image.height
    shape = (tiles * size, size) if wide else (size, tiles * size)  # Pillow's: width first
    resized = np.asarray(image.resize(shape, Image.Resampling.BILINEAR))
    return np.concatenate(np.split(resized, tiles, axis=1)) if wide else resized


def put_back(heat: npt.NDArray[Any], height: int, width: int, tiles: int = 1) -> npt.NDArray[Any]:
    """Arrange a map of what `squared` made as the photograph itself is.

    Parameters
    ----------
    heat
        (tiles * h, w).
    height, width
        Of the photograph.

    Returns
    -------
    array of shape (h, tiles * w) for a photograph that is wider than high, else `heat`
    """
    if tiles == 1 or width <= height:
        return heat
    return np.concatenate(np.split(heat, tiles), axis=1)
