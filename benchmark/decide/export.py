"""A model as one ONNX graph, from the resized photograph to its score, for machines without Python or torch.

The graph takes ``image``, uint8 (1, 3, tiles * size, size), RGB, resized as `datasets.reading.tiles.squared` does it, and gives ``score``,
(1,), higher = more anomalous. Features are rounded to half precision within it, as the benchmark's cache does. What else
its user needs (the image size, the sorted scores of the held-out normals) is in the graph's metadata as JSON.
"""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from osad_bench.benchmark.cell.state import as_cells_run
from osad_bench.benchmark.decide.model import Below, Fitted
from osad_bench.benchmark.features.extractor import PyramidExtractor
from osad_bench.core.border import said
from osad_bench.core.errors import InputError
from osad_bench.core.files import write_named
from osad_bench.core.text import printable
from osad_bench.methods.parts import coreset

EXPORTED = ("devnet", "evidence", "mahalanobis", "patchcore", "whitened")
"""Methods whose scores are the same in ONNX (the tests compare them): those in closed form, and DevNet."""


def check_export(method: str) -> None:
    """Check that a method can be exported, before anything is fitted.

    Raises
    ------
    InputError
        The method is not one of `EXPORTED`, or the package onnx is missing.
    """
    if method not in EXPORTED:
        raise InputError(f"--onnx: {method} cannot be exported; these can: {', '.join(EXPORTED)}")
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise InputError("--onnx needs the package onnx: pip install 'osad-bench[onnx]'") from None


def distances(x: Tensor, y: Tensor) -> Tensor:
    """`torch.cdist`, which ONNX lacks: Euclidean distances (..., n, C), (..., m, C) -> (..., n, m).

    In double precision, as |x|^2 + |y|^2 - 2 x y loses digits where x and y are near each other.
    """
    a, b = x.double(), y.double()
    squares = a.square().sum(-1, keepdim=True) + b.square().sum(-1)[..., None, :] - 2 * a @ b.transpose(-1, -2)
    return squares.clamp_min(0).sqrt().to(x.dtype)


def squared_to(memory: Tensor) -> Callable[[Tensor], Tensor]:
    """`methods.parts.coreset.squared_to`, in double precision as well."""
    return lambda part: distances(part.double(), memory.double()).square().to(part.dtype)


@contextmanager
def _with_distances() -> Iterator[None]:
    """`torch.cdist` replaced by `distances`, and distances to a memory of patches by their squares."""
    before = torch.cdist, coreset.squared_to
    torch.cdist, coreset.squared_to = distances, squared_to  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.cdist, coreset.squared_to = before


class _Graph(nn.Module):
    """From the image to its score, in one module."""

    def __init__(self, model: Fitted) -> None:
        super().__init__()
        self.extractor = copy.deepcopy(model.extractor).cpu().to(memory_format=torch.contiguous_format)
        self.frozen = not isinstance(model.below, PyramidExtractor)
        self.below = copy.deepcopy(model.below).cpu() if self.frozen else None
        self.method = model.method

    def forward(self, image: Tensor) -> Tensor:
        """(1, 3, tiles * size, size), uint8 -> (1,)."""
        pyramid = self.extractor(image)
        if isinstance(self.below, Below):
            pyramid = [scale.half().float() for scale in pyramid]
            if len(self.below.normalisers):
                pyramid = [layer(scale) for layer, scale in zip(self.below.normalisers, pyramid)]
            if len(self.below.adapters):
                pyramid = [self.below.adapters[str(scale.shape[1])](scale) for scale in pyramid]
        return self.method.score(pyramid).double()


def export(model: Fitted, path: Path) -> None:
    """Write a model as an ONNX file.

    Parameters
    ----------
    model
        Fitted on the CPU, its method one of `EXPORTED`.

    Raises
    ------
    InputError
        See `check_export`; or this torch cannot export the method.
    OSError
        The file cannot be written.
    """
    check_export(model.about.method)
    preset = model.about.preset
    graph = _Graph(model).eval()
    example = torch.zeros(1, 3, *preset.shape, dtype=torch.uint8)
    with as_cells_run(model.about.preset, model.machine), torch.no_grad(), warnings.catch_warnings(), _with_distances():
        warnings.simplefilter("ignore")
        try:
            program: Any = torch.onnx.export(
                graph, (example,), input_names=["image"], output_names=["score"], dynamo=True, verbose=False
            )
        except Exception as error:  # torch 2.4, for one, raises Unsupported
            raise InputError(
                f"--onnx: torch {torch.__version__} cannot export {model.about.method} ({printable(said(error))[:200]}). The model "
                "itself is kept; for the export, update torch"
            ) from error
    program.model.metadata_props["osad_bench"] = json.dumps(
        {
            "method": model.about.method,
            "image_size": preset.image_size,
            "tiles": preset.tiles,
            "held_out_scores": sorted(model.calibration.tolist()),
            "decision": "p = (1 + number of held-out scores >= score) / (held-out scores + 1); anomaly where p <= false alarms",
        }
    )
    write_named(path, program.model_proto.SerializeToString())
