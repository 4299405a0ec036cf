"""Pixel metrics: whether heat maps mark the defective pixels of the test images, where a data set has masks.

- pixel AUROC: of all pixels of all test images together, defective against other.
- AUPRO: the mean share of a defective region that is marked (regions are 8-connected, each counts the same whatever its
  size), over the share of marked pixels outside of regions, from 0 to `LIMIT`, divided by `LIMIT`.

P. Bergmann, K. Batzner, M. Fauser, D. Sattlegger, C. Steger: "The MVTec Anomaly Detection Dataset: a comprehensive
real-world dataset for unsupervised anomaly detection", International Journal of Computer Vision 129, 2021.

Maps are brought to the size of the masks (bilinear), one image at a time. Values are sorted into `LEVELS` levels, as many
map values in each: pixels within a level count as ties, which moves neither number by more than 0.001.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

Map = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]

LIMIT = 0.3
"""Share of marked pixels outside of defects up to which AUPRO looks."""

LEVELS = 1 << 14


def enlarged(heat: Map, height: int, width: int) -> npt.NDArray[np.float32]:
    """A map (h, w) at the size of its image, (height, width)."""
    values = np.ascontiguousarray(heat, dtype=np.float32)
    return np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR))


def pixel_metrics(maps: Sequence[Map], masks: Iterable[Mask], limit: float = LIMIT) -> tuple[float, float]:
    """Pixel AUROC and AUPRO of the test images of one cell.

    Parameters
    ----------
    maps
        One (h, w) per image, finite, higher = more anomalous, in any unit.
    masks
        One (H, W) per image, True where it is defective; all False for a normal image.

    Raises
    ------
    ValueError
        A value is not finite, or no pixel is defective, or all are.
    """
    from scipy.ndimage import label

    values = np.concatenate([np.asarray(heat, dtype=np.float32).ravel() for heat in maps])
    if not np.isfinite(values).all():
        raise ValueError("the heat maps hold values that are not finite; the method diverged")
    edges = np.unique(np.quantile(values, np.linspace(0, 1, LEVELS)).astype(np.float32))
    levels = len(edges) + 1
    sound, defective, regions = np.zeros(levels), np.zeros(levels), np.zeros(levels)
    count = 0
    for heat, mask in zip(maps, masks, strict=True):
        level = np.searchsorted(edges, enlarged(heat, mask.shape[0], mask.shape[1]).ravel(), side="right")
        marked = mask.ravel()
        sound += np.bincount(level[~marked], minlength=levels)
        if marked.any():
            region, found = label(mask, structure=np.ones((3, 3)))
            for number in range(1, found + 1):
                part = np.bincount(level[region.ravel() == number], minlength=levels)
                defective += part
                regions += part / part.sum()
            count += found
    if not count or not sound.any():
        raise ValueError("the test images' masks mark no pixel, or every pixel: there are no pixel metrics")
    # From the highest level down: what a threshold below it marks.
    sums = [np.cumsum(one[::-1]) for one in (sound, defective, regions)]
    outside, inside, overlap = (np.r_[0.0, one / one[-1]] for one in sums)
    auroc = _area(outside, inside)
    within = outside < limit
    x, y = np.r_[outside[within], limit], np.r_[overlap[within], np.interp(limit, outside, overlap)]
    return auroc, _area(x, y) / limit


def _area(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float:
    """Area below a line of points, by trapezoids."""
    return float(((y[1:] + y[:-1]) / 2 * np.diff(x)).sum())
