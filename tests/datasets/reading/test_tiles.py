"""Long photographs as a column of squares, and maps of them put back."""

from __future__ import annotations

import numpy as np
import pytest

from osad_bench.datasets.reading.tiles import fitting, put_back, squared


def stripes(high: int, wide: int) -> np.ndarray:
    """Brightness grows along the longer side."""
    along = np.linspace(0, 255, max(high, wide)).astype(np.uint8)
    grey = along[:, None] if high > wide else along[None, :]
    return np.repeat(np.broadcast_to(grey, (high, wide))[:, :, None], 3, axis=2)


@pytest.mark.parametrize(("high", "wide"), [(120, 40), (40, 120)])
def test_a_long_photograph_becomes_squares_one_below_the_other_and_its_map_lies_on_it_again(high, wide):
    image = stripes(high, wide)
    made = squared(image, 16, 3)
    assert made.shape == (48, 16, 3)
    brightness = [made[16 * tile : 16 * tile + 16].mean() for tile in range(3)]
    assert brightness == sorted(brightness)
    assert brightness == pytest.approx([42.5, 127.5, 212.5], abs=2)
    back = put_back(made[:, :, 0], high, wide, 3)
    assert back.shape == ((48, 16) if high > wide else (16, 48))
    assert np.abs(back - squared(image, 48)[:: 1 if high > wide else 3, :: 3 if high > wide else 1, 0]).max() < 10


def test_one_tile_is_the_square_that_it_always_was():
    image = np.random.default_rng(0).integers(0, 255, (30, 90, 3), dtype=np.uint8)
    assert squared(image, 24).shape == (24, 24, 3)
    heat = np.arange(6).reshape(2, 3)
    assert put_back(heat, 30, 90) is heat


def test_the_fitting_number_of_tiles_is_nearest_to_the_ratio_of_the_sides():
    assert [fitting(500, 1250), fitting(1250, 500), fitting(80, 60), fitting(10, 10_000)] == [3, 3, 1, 16]
