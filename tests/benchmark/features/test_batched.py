"""Pseudo-anomalies of batches: what the generators give for each image, from the same source of random numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from osad_bench.benchmark.features import batched, pseudo
from osad_bench.benchmark.features.batched import TWINS, changed


def pictures(count: int, high: int, wide: int) -> np.ndarray:
    """Coloured areas with grain."""
    random = np.random.default_rng(high)
    areas = random.integers(0, 256, (count, high // 8 + 1, wide // 8 + 1, 3))
    smooth = areas.repeat(8, axis=1).repeat(8, axis=2)[:, :high, :wide]
    return (smooth + random.integers(-9, 10, smooth.shape)).clip(0, 255).astype(np.uint8)


def sources(count: int, seed: int = 0) -> list[np.random.Generator]:
    return np.random.default_rng(seed).spawn(count)


def tensor(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2)


@pytest.mark.parametrize("generator", TWINS, ids=lambda one: one.__name__)
@pytest.mark.parametrize("size", [(64, 64), (57, 96), (8, 9)])
def test_a_twin_gives_the_generators_image_of_each(generator, size):
    """Therefore areas, shapes, places, colours and opacities are drawn alike, without a test of each distribution."""
    images = pictures(40, *size)
    found = TWINS[generator](tensor(images), sources(40)).permute(0, 2, 3, 1).numpy()
    expected = np.stack([generator(image, source)[0] for image, source in zip(images, sources(40))])
    assert found.dtype == np.uint8
    difference = np.abs(found.astype(int) - expected)
    assert (difference > 0).mean() < 1e-3, "single precision rounds a hue another way, in few pixels"
    assert difference.max() <= 8, "and by one level of the hue"
    assert (expected != images).mean() > 0.01


@pytest.mark.parametrize("draw", [pseudo.draw_patch, pseudo.draw_cutpaste])
def test_a_batch_at_once_as_on_a_gpu_gives_what_its_images_give_alone_as_on_a_cpu(draw):
    images = torch.from_numpy(pictures(9, 57, 96))
    pastes = [draw(57, 96, source) for source in sources(9)]
    alone = torch.cat([batched._pasted(images[i : i + 1], pastes[i : i + 1]) for i in range(9)])
    assert torch.equal(batched._pasted(images, pastes), alone)


def test_the_given_images_are_left_alone():
    images = tensor(pictures(3, 32, 32))
    for twin in TWINS.values():
        before = images.clone()
        twin(images, sources(3))
        assert torch.equal(images, before)


def test_a_generator_without_a_twin_is_called_image_by_image_beside_one_that_has_one():
    def strangers(image, random):
        return np.full_like(image, random.integers(256)), np.ones(image.shape[:2], dtype=bool)

    images = pictures(4, 32, 32)
    found = changed(tensor(images), [pseudo.cutmix, strangers, strangers, pseudo.cutmix], sources(4)).permute(
        0, 2, 3, 1
    )
    drawn = sources(4)
    for i, generator in enumerate([pseudo.cutmix, strangers, strangers, pseudo.cutmix]):
        expected = generator(images[i], drawn[i])[0]
        assert (found[i].numpy() != expected).mean() < 1e-3
