"""The state of torch, NumPy and the process around a cell: the same for every cell, and restored after it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from osad_bench.benchmark.cell.machine import Machine
from osad_bench.benchmark.preset import Preset


@contextmanager
def _torch_as_it_was() -> Iterator[None]:
    """Restore torch's global state and NumPy's random state afterwards, and kill processes that a method left."""
    grad, dtype, threads = torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads()
    strict, warn = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark, anomaly = torch.backends.cudnn.benchmark, torch.is_anomaly_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    precision, errors = torch.get_float32_matmul_precision(), np.geterr()
    children = set(multiprocessing.active_children())
    random, numpy_random = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002 (the state methods may touch)
    of_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    alive = set(threading.enumerate())
    try:
        yield
    finally:
        torch.set_grad_enabled(grad)
        torch.set_default_dtype(dtype)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict, warn_only=warn)
        torch.backends.cudnn.benchmark = benchmark
        torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
        torch.autograd.set_detect_anomaly(anomaly)
        torch.set_default_device(None)
        torch.set_float32_matmul_precision(precision)
        torch.set_flush_denormal(False)
        np.seterr(**errors)
        torch.set_rng_state(random)
        if of_gpus:
            torch.cuda.set_rng_state_all(of_gpus)
        np.random.set_state(numpy_random)  # noqa: NPY002
        for child in set(multiprocessing.active_children()) - children:
            child.kill()  # otherwise the interpreter waits for it at the end of the command
        for thread in set(threading.enumerate()) - alive:
            if not thread.daemon:  # the interpreter waits for it at the end of the command
                _LEFT_BEHIND.append(thread)


_LEFT_BEHIND: list[threading.Thread] = []


def left_behind() -> bool:
    """Whether a thread that a method started would keep this process from ending."""
    return any(thread.is_alive() for thread in _LEFT_BEHIND)


class TimeLimitError(BaseException):
    """A cell took longer than its time limit; not an Exception, so that a method's own handlers do not catch it."""


@contextmanager
def time_limited(seconds: float | None) -> Iterator[None]:
    """Raise `TimeLimitError` in this thread after so many seconds; needs the main thread and SIGALRM, else no limit."""
    if seconds is None or not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def over(*_: object) -> None:
        raise TimeLimitError(f"took longer than --time-limit {seconds:g} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
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
