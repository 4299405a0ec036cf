"""Pixel metrics: whether heat maps mark the defective pixels of the test images, where a data set has masks.

- pixel AUROC: over the pixels of all test images together, defective pixels against all others.
- AUPRO: the area under a curve, divided by `LIMIT`. The curve gives the share of a defective region that is marked, averaged
  over regions (8-connected; each counts the same whatever its size), against the share of marked pixels outside of regions,
  from 0 to `LIMIT`.

P. Bergmann, K. Batzner, M. Fauser, D. Sattlegger, C. Steger: "The MVTec Anomaly Detection Dataset: a comprehensive
real-world dataset for unsupervised anomaly detection", International Journal of Computer Vision 129, 2021.

Maps are resized to the masks (bilinear), one image at a time. Values are sorted into `LEVELS` levels with about equally many
map values in each. Pixels of one level count as ties, which changes neither metric by more than 0.001.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

Map = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]

LIMIT = 0.3
"""Largest share of marked pixels outside of defects that AUPRO takes into account."""

LEVELS = 1 << 14
"""Levels that map values are sorted into."""


def enlarged(heat: Map, height: int, width: int) -> npt.NDArray[np.float32]:
    """A map of shape (h, w), resized bilinearly to (height, width)."""
    values = np.ascontiguousarray(heat, dtype=np.float32)
    return np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR))


def pixel_metrics(maps: Sequence[Map], masks: Iterable[Mask], limit: float = LIMIT) -> tuple[float, float]:
    """Pixel AUROC and AUPRO of the test images of one cell.

    Parameters
    ----------
    maps
        One (h, w) per image, finite, higher = more anomalous, in any unit.
    masks
        One (H, W) per image, True where it is defective; all False for a normal image. As many as maps.
    limit
        See `LIMIT`; above 0 and at most 1.

    Returns
    -------
    pixel_auroc, aupro
        Both in [0, 1].

    Raises
    ------
    ValueError
        A value is not finite, no pixel is defective, all are, or there are not as many masks as maps.
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
    # From the highest level down: the pixels that a threshold below it marks.
    sums = [np.cumsum(one[::-1]) for one in (sound, defective, regions)]
    outside, inside, overlap = (np.r_[0.0, one / one[-1]] for one in sums)
    auroc = _area(outside, inside)
    within = outside < limit
    x, y = np.r_[outside[within], limit], np.r_[overlap[within], np.interp(limit, outside, overlap)]
    return auroc, _area(x, y) / limit


def _area(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float:
    """Area under a polygonal line, by trapezoids."""
    return float(((y[1:] + y[:-1]) / 2 * np.diff(x)).sum())
