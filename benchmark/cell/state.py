"""The state of torch, NumPy and the process around a cell: the same for every cell, and restored after it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch.utils._python_dispatch import _pop_mode

from osad_bench.benchmark.cell.machine import Machine
from osad_bench.benchmark.preset import Preset
from osad_bench.core.kept import Part, kept


def _flag(of: Any, name: str) -> Part:
    """A setting that is an attribute of a module or of one of torch's back ends."""
    return Part(lambda: getattr(of, name), lambda value: setattr(of, name, value))


def _put_modes(_: None) -> None:
    """Take away a default device and what else a method has put between torch's functions and their callers."""
    torch.set_default_device(None)
    torch.set_flush_denormal(False)
    for left, take in ((_function_modes, torch._C._pop_torch_function_stack), (_dispatch_modes, _pop_mode)):
        while left():
            take()  # type: ignore[no-untyped-call, unused-ignore]


def _function_modes() -> int:
    return int(torch._C._len_torch_function_stack())


def _dispatch_modes() -> int:
    return int(torch._C._len_torch_dispatch_stack())


def _autocasts() -> tuple[list[tuple[str, bool]], int]:
    """Whether each sort of device computes in a shorter type, and how deep in contexts that say so torch is."""
    depth = torch.autocast_increment_nesting() - 1  # type: ignore[no-untyped-call, unused-ignore]
    torch.autocast_decrement_nesting()  # type: ignore[no-untyped-call, unused-ignore]
    return [(device, torch.is_autocast_enabled(device)) for device in ("cpu", "cuda")], depth


def _put_autocasts(before: tuple[list[tuple[str, bool]], int]) -> None:
    for device, enabled in before[0]:
        torch.set_autocast_enabled(device, enabled)  # type: ignore[no-untyped-call, unused-ignore]
    while _autocasts()[1] > before[1]:
        torch.autocast_decrement_nesting()  # type: ignore[no-untyped-call, unused-ignore]
    torch.clear_autocast_cache()  # type: ignore[no-untyped-call, unused-ignore]


def _of_gpus() -> list[torch.Tensor]:
    return torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]


TORCH = (
    Part(lambda: None, _put_modes),  # first: else what follows would go through them
    Part(_autocasts, _put_autocasts),
    Part(torch.is_grad_enabled, torch.set_grad_enabled),
    Part(torch.get_default_dtype, torch.set_default_dtype),
    Part(torch.get_num_threads, torch.set_num_threads),
    Part(
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        lambda value: torch.use_deterministic_algorithms(value[0], warn_only=value[1]),
    ),
    _flag(torch.utils.deterministic, "fill_uninitialized_memory"),
    Part(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    _flag(torch.backends.cuda.matmul, "allow_tf32"),
    *(_flag(torch.backends.cudnn, name) for name in ("enabled", "benchmark", "deterministic", "allow_tf32")),
    Part(torch._C._get_mkldnn_enabled, torch._C._set_mkldnn_enabled),
    Part(
        lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        lambda value: torch.autograd.set_detect_anomaly(*value),
    ),
    Part(lambda: copy(torch._tensor_str.PRINT_OPTS), lambda value: setattr(torch._tensor_str, "PRINT_OPTS", value)),
    Part(torch.get_rng_state, torch.set_rng_state),
    Part(_of_gpus, lambda value: torch.cuda.set_rng_state_all(value) if value else None),
    Part(np.geterr, lambda value: np.seterr(**value)),
    Part(np.geterrcall, np.seterrcall),
    Part(np.get_printoptions, lambda value: np.set_printoptions(**value)),
    Part(np.random.get_state, np.random.set_state),
)
"""Torch's and NumPy's global state."""


@contextmanager
def _torch_as_it_was() -> Iterator[None]:
    """Put torch's and NumPy's state back, whatever a method does to them; end the processes that it left."""
    children = set(multiprocessing.active_children())
    alive = set(threading.enumerate())
    with kept(TORCH), torch.inference_mode(False), torch.enable_grad():
        try:
            yield
        finally:
            for child in set(multiprocessing.active_children()) - children:
                child.kill()  # the interpreter would wait for it when the command is over
            for thread in set(threading.enumerate()) - alive:
                if not thread.daemon:  # the interpreter would wait for it when the command is over
                    _LEFT_BEHIND.append(thread)


_LEFT_BEHIND: list[threading.Thread] = []


def left_behind() -> bool:
    """Whether a thread that a method started would keep this process from ending."""
    return any(thread.is_alive() for thread in _LEFT_BEHIND)


AGAIN = 10.0
"""Seconds after which a cell that went on after its time limit is told again."""


class TimeLimitError(BaseException):
    """A cell took longer than its time limit; not an Exception, so that a method's own handlers do not catch it."""


@contextmanager
def time_limited(seconds: float | None, spent: float = 0.0) -> Iterator[None]:
    """Raise `TimeLimitError` in this thread after so many seconds, and again where the method goes on all the same.

    `spent` seconds of the limit have passed already.
    """
    if seconds is None or not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def over(*_: object) -> None:
        raise TimeLimitError(f"took longer than --time-limit {seconds:g} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, max(seconds - spent, 0.001), AGAIN)  # 0 would be no limit
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def as_cells_run(preset: Preset, machine: Machine) -> Iterator[bool]:
    """Set up torch as for every cell, and restore it afterwards.

    Yields whether torch refuses algorithms that are not reproducible.
    """
    with _torch_as_it_was():
        deterministic = _make_deterministic(preset, machine)
        with _threads(preset, machine):
            yield deterministic


@contextmanager
def _threads(preset: Preset, machine: Machine) -> Iterator[None]:
    """Use one thread with cached features, so that scores do not depend on the number of cores; more for fine-tuning."""
    before = torch.get_num_threads()
    wanted = 1 if preset.frozen else machine.threads or before
    try:
        with threadpool_limits(wanted):
            torch.set_num_threads(wanted)
            yield
    finally:
        torch.set_num_threads(before)


def _make_deterministic(preset: Preset, machine: Machine) -> bool:
    """Make torch use reproducible algorithms; True if it will refuse any other."""
    strict = machine.device == "cpu"
    # Torch would fill each new tensor with NaN, to reveal reads of unwritten memory: a backbone would write twice as much.
    torch.utils.deterministic.fill_uninitialized_memory = preset.frozen  # type: ignore[attr-defined]
    if not strict:  # cuBLAS reads it when it is first used
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=not strict)
    torch.backends.cudnn.benchmark = False
    return strict
