"""Keeps the tensors that autograd saves for the backward pass in main memory instead of a GPU's."""

from __future__ import annotations

import torch
from torch import Tensor


class KeptInMainMemory(torch.autograd.graph.saved_tensors_hooks):
    """Context for a forward pass, whose saved tensors wait in main memory for the backward pass.

    They come back with the same values and, where they are dense, the same strides, so that the same kernels compute the
    gradients. `torch.autograd.graph.save_on_cpu` loses the strides of channels last.
    """

    def __init__(self) -> None:
        super().__init__(_to_main_memory, _back)


def _to_main_memory(tensor: Tensor) -> tuple[torch.device, Tensor]:
    kept = torch.empty_like(tensor, device="cpu", pin_memory=tensor.device.type == "cuda")
    return tensor.device, kept.copy_(tensor, non_blocking=True)


def _back(kept: tuple[torch.device, Tensor]) -> Tensor:
    device, tensor = kept
    return tensor.to(device, non_blocking=True)
