"""What the tests of methods share: random pyramids, contexts, and methods fitted to the synthetic textures."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from osad_bench.methods.base import Context, Schedule
from osad_bench.methods.in_memory import InMemory

SHAPES = ((6, 4, 4), (6, 2, 2))


@pytest.fixture
def pyramid() -> Callable[..., list[torch.Tensor]]:
    """Draw a pyramid of `size` images, N(shift, 1)."""

    def draw(size: int = 5, seed: int = 0, shift: float = 0.0, shapes=SHAPES, dtype=torch.float32):
        generator = torch.Generator().manual_seed(seed)
        return [torch.randn(size, *shape, generator=generator, dtype=dtype) + shift for shape in shapes]

    return draw


@pytest.fixture
def train(pyramid) -> Callable[..., InMemory]:
    """A training set in memory: 40 normals, 5 known anomalies, 40 pseudo-anomalies."""

    def make(normals: int = 40, seen: int = 5, shift: float = 1.0, shapes=SHAPES, seed: int = 0) -> InMemory:
        return InMemory(
            pyramid(normals, seed + 1, shapes=shapes),
            pyramid(seen, seed + 2, shift, shapes),
            pyramid(normals, seed + 3, shift / 2, shapes),
        )

    return make


@pytest.fixture
def context() -> Callable[..., Context]:
    """A context with a short schedule."""

    def make(seed: int = 0, **schedule) -> Context:
        values = {"epochs": 2, "steps": 3, "batch": 12} | schedule
        return Context(seed, torch.device("cpu"), Schedule(**values))

    return make
