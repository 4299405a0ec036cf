"""What a backward pass needs, kept in main memory until it is asked for, so that it takes nothing of a GPU's memory."""

from __future__ import annotations

import torch
from torch import Tensor


class KeptInMainMemory(torch.autograd.graph.saved_tensors_hooks):
    """Context for a forward pass: each tensor that autograd keeps in it waits in main memory.

    The gradients are the same to the last bit: the tensors come back as they were, in the same order in memory.
    `torch.autograd.graph.save_on_cpu` loses that order (channels last), and other kernels would compute the gradients.
    """

    def __init__(self) -> None:
        super().__init__(_to_main_memory, _back)


def _to_main_memory(tensor: Tensor) -> tuple[torch.device, Tensor]:
    kept = torch.empty_like(tensor, device="cpu", pin_memory=tensor.device.type == "cuda")
    return tensor.device, kept.copy_(tensor, non_blocking=True)


def _back(kept: tuple[torch.device, Tensor]) -> Tensor:
    device, tensor = kept
    return tensor.to(device, non_blocking=True)
