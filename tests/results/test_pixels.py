"""Pixel AUROC and AUPRO against scikit-learn, and against a slow loop over thresholds and regions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import label
from sklearn.metrics import roc_auc_score

from osad_bench.results.pixels import enlarged, pixel_metrics


@pytest.fixture(scope="module")
def drawn():
    """Twelve maps of 8 x 6 places and masks of 40 x 31 pixels: no region, one, several, two that touch by a corner."""
    random, maps, masks = np.random.default_rng(3), [], []
    for number in range(12):
        mask = np.zeros((40, 31), dtype=bool)
        for _ in range(number % 4):
            top, left = random.integers(0, 30), random.integers(0, 22)
            mask[top : top + random.integers(2, 10), left : left + random.integers(2, 9)] = True
        if number == 7:
            mask[2:5, 2:5] = mask[5:8, 5:8] = True
        blurred = np.asarray(Image.fromarray(mask.astype(np.float32)).resize((6, 8), Image.Resampling.BILINEAR))
        maps.append(2 * blurred + random.normal(0, 0.6, (8, 6)))
        masks.append(mask)
    return maps, masks


def slow_aupro(maps, masks, limit):
    """Every value as a threshold, every region by itself."""
    sound = np.concatenate([heat[~mask] for heat, mask in zip(maps, masks)])
    regions = []
    for heat, mask in zip(maps, masks):
        numbers, count = label(mask, structure=np.ones((3, 3)))
        regions += [heat[numbers == number] for number in range(1, count + 1)]
    points = [(0.0, 0.0)]
    for threshold in np.unique(np.concatenate([heat.ravel() for heat in maps]))[::-1]:
        points.append(((sound >= threshold).mean(), np.mean([(one >= threshold).mean() for one in regions])))
    area = 0.0
    for (x, y), (next_x, next_y) in itertools.pairwise(points):
        if next_x > limit:
            area += (limit - x) * (y + (y + (next_y - y) * (limit - x) / (next_x - x))) / 2
            break
        area += (next_x - x) * (y + next_y) / 2
    return area / limit


def test_pixel_auroc_is_scikit_learns_and_aupro_that_of_a_slow_loop(drawn):
    maps, masks = drawn
    auroc, aupro = pixel_metrics(maps, masks)
    large = [enlarged(heat, *mask.shape) for heat, mask in zip(maps, masks)]
    marked, values = (np.concatenate([one.ravel() for one in group]) for group in (masks, large))
    assert auroc == pytest.approx(roc_auc_score(marked, values), abs=1e-3)
    assert aupro == pytest.approx(slow_aupro(large, masks, 0.3), abs=1e-3)
    assert 0.5 < aupro < auroc < 1


def test_a_small_region_counts_as_much_as_a_large_one():
    mask = np.zeros((20, 20), dtype=bool)
    mask[2:14, 2:14] = mask[17:19, 17:19] = True
    large, small = np.zeros((20, 20)), np.zeros((20, 20))
    large[2:14, 2:14] = small[17:19, 17:19] = 1.0
    for heat in (large, small):
        # half of the regions is found without a false pixel; the rest comes in with all others
        assert pixel_metrics([heat], [mask])[1] == pytest.approx(0.5 + 0.5 * 0.3 / 2, abs=1e-6)
    assert pixel_metrics([large], [mask])[0] > pixel_metrics([small], [mask])[0]


def test_perfect_and_reversed_maps():
    mask = np.zeros((16, 16), dtype=bool)
    mask[4:9, 5:12] = True
    assert pixel_metrics([mask.astype(float), np.zeros((16, 16))], [mask, np.zeros_like(mask)]) == (1.0, 1.0)
    auroc, aupro = pixel_metrics([1.0 - mask], [mask])
    assert (auroc, aupro) == (0.0, 0.0)


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ValueError, match="no pixel"):
        pixel_metrics([np.zeros((2, 2))], [np.zeros((4, 4), dtype=bool)])
    with pytest.raises(ValueError, match="not finite"):
        pixel_metrics([np.full((2, 2), np.nan)], [np.ones((4, 4), dtype=bool)])
