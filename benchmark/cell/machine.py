"""Where and how cells run: device, precision, folders, limits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from osad_bench.core.errors import InputError

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Machine:
    """Where and how cells run; nothing here may change a score on one kind of device.

    Attributes
    ----------
    data_root, cache
        Folders of the original downloads (None: the default) and of the feature cache.
    weights
        File with the backbone's weights; None for the backbone's own source.
    device
        ``cpu``, ``cuda`` or ``cuda:N``.
    precision
        In which a backbone is fine-tuned: ``float32``, ``bfloat16``, or ``auto`` for bfloat16 where a GPU is made for it.
    threads
        CPU threads of a process that fine-tunes; None leaves torch's choice. Over cached features it is always one.
    oracle
        Also score the test part after every epoch, to measure what choosing the best test epoch would be worth.
    pixels
        Also measure the heat maps of the test part against the masks, where there are both.
    time_limit
        Seconds after which a cell fails; None for no limit. Needs a system with SIGALRM.
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


def precision_of(machine: Machine) -> torch.dtype:
    """In which a backbone is fine-tuned.

    Raises
    ------
    InputError
        No such precision.
    """
    if known_precision(machine.precision) == "auto":
        device = torch.device(machine.device)
        fast = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
        return torch.bfloat16 if fast else torch.float32
    return PRECISIONS[machine.precision]


def known_precision(name: str) -> str:
    """The name, where it is one.

    Raises
    ------
    InputError
        No such precision.
    """
    if name not in {"auto", *PRECISIONS}:
        raise InputError(f"--precision {name}: expected auto, {' or '.join(PRECISIONS)}")
    return name


def pick_device(device: str) -> str:
    """``auto`` to cuda where there is one, else cpu.

    Raises
    ------
    InputError
        A CUDA device was asked for that does not exist.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"--device {device} is not usable here ({str(error).splitlines()[0]}); use --device cpu or auto"
        ) from None
    return device
