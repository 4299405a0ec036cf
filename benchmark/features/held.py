"""Cached images for a training loop: held in a GPU's own memory if they fit, else read from the memory map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from osad_bench.methods.base import on

SHARE = 0.5
"""Share of a GPU's free memory that images may take; the rest is left to the network."""
CHUNK = 256
"""Images copied at a time."""

Rows = npt.NDArray[np.int64]


@dataclass
class _OnDevice:
    """Images of one data set at one size, (n, height, width, 3) uint8, and which of them are filled."""

    images: Tensor
    present: npt.NDArray[np.bool_]


_kept: dict[tuple[str, torch.device], _OnDevice] = {}
"""The images of the last data set only, by their file, as cells of one data set follow each other."""


class HeldImages:
    """Rows of a memory map of images, as tensors on a device.

    Parameters
    ----------
    images
        uint8 of shape (n, height, width, 3), see `Preset.shape`; at least `rows` are filled.
    rows
        Row numbers that will be asked for.
    device
        Device of the tensors.
    spare
        Hold none on the device, not even those of an earlier cell.
    """

    def __init__(self, images: npt.NDArray[np.uint8], rows: Rows, device: torch.device, spare: bool = False) -> None:
        self.images, self.device = images, device
        if spare:
            _kept.clear()
        self.held = _hold(images, rows, device) if device.type == "cuda" and not spare else None

    def __call__(self, rows: Rows) -> Tensor:
        """Images (B, 3, height, width), uint8, channels last; a copy."""
        if self.held is not None:
            found = self.held.index_select(0, on(torch.from_numpy(rows), self.device))
        else:
            found = on(torch.from_numpy(self.images[rows]), self.device)
        return found.permute(0, 3, 1, 2)


def _hold(images: npt.NDArray[np.uint8], rows: Rows, device: torch.device) -> Tensor | None:
    """All images on the device, of which `rows` are filled; None if they do not fit."""
    key = str(getattr(images, "filename", id(images))), device
    if key not in _kept:
        _kept.clear()  # frees the images of the last data set
        if images.nbytes > SHARE * _free(device):
            return None
        empty = torch.empty(images.shape, dtype=torch.uint8, device=device)
        _kept[key] = _OnDevice(empty, np.zeros(len(images), dtype=bool))
    one = _kept[key]
    missing = np.unique(rows[~one.present[rows]])
    for start in range(0, len(missing), CHUNK):
        part = missing[start : start + CHUNK]
        for row, image in zip(part.tolist(), on(torch.from_numpy(images[part]), device)):
            one.images[row].copy_(image)
    one.present[missing] = True
    return one.images


def _free(device: torch.device) -> int:
    """Free bytes of the device's memory, including what torch has reserved but not allocated."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
