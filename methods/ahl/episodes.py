"""AHL's episodes (Sec. 3.2): pairs of heterogeneous distributions of normals, known anomalies and pseudo-anomalies."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from osad_bench.methods.base import (
    TrainingSet,
)  # fmt: skip


@dataclass(frozen=True)
class Half:
    """Where one half (support or query) of an episode takes its images: indices of normals, seen and pseudo-anomalies."""

    normal: Tensor
    seen: Tensor
    pseudo: Tensor


@dataclass(frozen=True)
class Episode:
    """A pair of distributions to learn on and to be judged on."""

    support: Half
    query: Half


def pooled_normals(train: TrainingSet, chunk: int = 256) -> Tensor:
    """Pooled clean features of the training normals, first scale, (N, C), a chunk at a time."""
    parts = [range(start, min(start + chunk, train.n_normal)) for start in range(0, train.n_normal, chunk)]
    return torch.cat([train.normals(part)[0].mean(dim=(2, 3)) for part in parts])
