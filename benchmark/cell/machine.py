"""Where and how cells run: device, precision, folders, limits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from osad_bench.core.errors import InputError

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}

CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Machine:
    """Where and how cells run. Only the weights' digest is part of a cell's key.

    On one kind of device, only `precision` (of fine-tuning) and other weights may change scores.

    Attributes
    ----------
    data_root, cache
        Folders of the original downloads (None: the default) and of the feature cache.
    weights
        File with the backbone's weights; None for those the backbone gets itself (a package, or torch's cache).
    device
        ``cpu``, ``cuda`` or ``cuda:N``.
    precision
        Number format of fine-tuning: ``float32``, ``bfloat16``, or ``auto`` for bfloat16 where it gains (`precision_of`).
    threads
        CPU threads of a process that fine-tunes; None leaves torch's choice. With cached features it is always one.
    oracle
        Also score the test part after every epoch, to measure how much choosing the best test epoch would add.
    pixels
        Also compute pixel metrics of the test part's heat maps, if there are maps and masks.
    time_limit
        Seconds after which a cell is stopped and fails; None for no limit. Needs a system with SIGALRM.
    spare
        Fine-tune with little of a GPU's memory: images, and what the backbone's backward pass needs, wait in main memory.
        Slower, with the same scores; a cell that ran out of memory is tried again in this way.
    """

    cache: Path
    data_root: Path | None = None
    weights: Path | None = None
    device: str = "cpu"
    precision: str = "auto"
    threads: int | None = None
    oracle: bool = False
    pixels: bool = False
    time_limit: float | None = None
    spare: bool = False


def precision_of(machine: Machine, network: nn.Module, about: Path = CPUINFO) -> torch.dtype:
    """Number format in which a network is fine-tuned on this machine; ``auto`` is settled.

    bfloat16 is faster on GPUs built for it, and on CPUs that multiply matrices of it (AMX) except for networks with grouped
    convolutions (EfficientNet), whose gradients oneDNN computes more slowly in bfloat16 (docs/performance.md).

    Raises
    ------
    InputError
        No such precision.
    """
    if known_precision(machine.precision) != "auto":
        return PRECISIONS[machine.precision]
    device = torch.device(machine.device)
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        grouped = any(isinstance(layer, nn.Conv2d) and layer.groups > 1 for layer in network.modules())
        fast = not grouped and multiplies_bfloat16(about)
    return torch.bfloat16 if fast else torch.float32


def multiplies_bfloat16(about: Path = CPUINFO) -> bool:
    """Whether this CPU has instructions for products of bfloat16 matrices (Intel's AMX), as Linux says of it in `about`."""
    try:
        flags = re.search(r"^flags\s*:(.*)$", about.read_text(), re.MULTILINE)
    except OSError:
        return False
    return flags is not None and "amx_bf16" in flags[1].split()


def known_precision(name: str) -> str:
    """Return the name of a precision after checking it.

    Raises
    ------
    InputError
        No such precision.
    """
    if name not in {"auto", *PRECISIONS}:
        raise InputError(f"--precision {name}: expected auto, {' or '.join(PRECISIONS)}")
    return name


def pick_device(device: str) -> str:
    """Return a usable device; ``auto`` becomes cuda if there is a GPU, else cpu.

    Raises
    ------
    InputError
        There is no such device, or it cannot be used.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if torch.device(device).type not in ("cpu", "cuda"):
            raise RuntimeError("expected cpu, cuda or cuda:N")
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"--device {device} is not usable here ({str(error).splitlines()[0]}); use --device cpu or auto"
        ) from None
    return device
