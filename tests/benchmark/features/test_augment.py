"""Augmentation of batches: the same pixels as image by image."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms.functional import rotate as rotate_one

from osad_bench.benchmark.features.augment import rotate


def images(count: int, size: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(size)
    return torch.randint(1, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("size", [32, 57, 96])
def test_a_batch_is_turned_as_torchvision_turns_each_image(size: int):
    batch = images(12, size)
    degrees = torch.rand(12, generator=torch.Generator().manual_seed(1)) * 360 - 180
    found = rotate(batch, degrees)
    expected = torch.stack([rotate_one(image, float(angle)) for image, angle in zip(batch, degrees)])
    assert found.dtype == torch.uint8
    assert found.shape == batch.shape
    assert (found != expected).float().mean() < 1e-3, "a pixel half-way between two may be either"
    assert (found == 0).any(), "corners are black"


def test_quarter_turns_move_whole_pixels():
    batch = images(4, 40)
    turned = rotate(batch, torch.tensor([0.0, 90.0, 180.0, -90.0]))
    for image, found, quarters in zip(batch, turned, (0, 1, 2, 3)):
        assert torch.equal(found, torch.rot90(image, quarters, (1, 2)))


def test_the_given_images_are_left_alone():
    batch = images(2, 33)
    before = batch.clone()
    rotate(batch, torch.tensor([30.0, -70.0]))
    assert torch.equal(batch, before)
