"""Pseudo-anomalies: bounds, share of the area, nothing changed outside the mask."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osad_bench.benchmark.features.pseudo import cutmix, cutpaste, texture

GENERATORS = [cutmix, cutpaste, texture]


def picture(high: int, wide: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (high, wide, 3)).astype(np.uint8)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(GENERATORS), st.integers(8, 90), st.integers(8, 90), st.integers(0, 2**31))
def test_only_the_mask_changes_and_the_original_never(generate, high, wide, seed):
    image = picture(high, wide, seed)
    before = image.copy()
    changed, mask = generate(image, np.random.default_rng(seed))
    assert changed.shape == image.shape
    assert changed.dtype == np.uint8
    assert mask.shape == image.shape[:2]
    assert mask.dtype == bool
    assert mask.any()
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(changed[~mask], image[~mask])


@pytest.mark.parametrize("generate", GENERATORS)
def test_the_random_source_alone_decides(generate):
    image = picture(64, 64, 0)
    first, same, other = (generate(image, np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()


def test_a_cutmix_patch_covers_2_to_15_percent_and_is_a_rectangle():
    shares = []
    for seed in range(200):
        _, mask = cutmix(picture(100, 120, seed), np.random.default_rng(seed))
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        shares.append(mask.mean())
    assert min(shares) > 0.018
    assert max(shares) < 0.16
    assert 0.07 < np.mean(shares) < 0.10, "uniform in 0.02 to 0.15"


def test_cutpaste_draws_patches_and_scars_alike():
    shares = np.array([cutpaste(picture(128, 128, s), np.random.default_rng(s))[1].mean() for s in range(200)])
    assert 0.35 < (shares < 0.015).mean() < 0.65


@pytest.mark.parametrize("generate", GENERATORS)
@pytest.mark.parametrize("bad", [np.zeros((32, 32), np.uint8), np.zeros((32, 32, 3)), np.zeros((4, 64, 3), np.uint8)])
def test_what_is_no_usable_image_is_refused(generate, bad):
    with pytest.raises(ValueError, match="uint8 image of shape|too small"):
        generate(bad, np.random.default_rng(0))


@pytest.mark.parametrize("generate", [cutmix, cutpaste])
def test_what_is_pasted_comes_from_the_image_with_its_colours_jittered_by_a_tenth(generate):
    """A flat grey image has nothing to paste but grey: only its brightness may change, by a tenth."""
    grey = np.full((64, 64, 3), 128, np.uint8)
    levels = [generate(grey, np.random.default_rng(seed))[0] for seed in range(100)]
    assert all((image == image[..., :1]).all() for image in levels), "grey stays grey"
    changes = np.array([np.abs(image.astype(int) - 128).max() for image in levels])
    assert changes.max() <= 13
    assert changes.max() >= 8, "and it is jittered"


def test_a_texture_overlay_covers_some_of_the_image_and_is_opaque_to_any_degree_from_a_tenth():
    shares, strengths = [], []
    for seed in range(200):
        black = np.zeros((96, 96, 3), np.uint8)
        changed, mask = texture(black, np.random.default_rng(seed))
        shares.append(mask.mean())
        strengths.append(changed[mask].max())
    assert min(shares) >= 0.002
    assert max(shares) < 0.6
    assert 0.02 < np.mean(shares) < 0.2
    assert max(strengths) > 200, "nearly opaque and bright"
    assert min(strengths) < 40, "and barely visible"
