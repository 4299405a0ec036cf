"""What foreign code may change of the interpreter and the process, and how each is put back."""

from __future__ import annotations

import builtins
import decimal
import gc
import locale
import logging
import multiprocessing
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any, NamedTuple

SIGNALS = (
    "SIGINT",
    "SIGTERM",
    "SIGHUP",
    "SIGQUIT",
    "SIGALRM",
    "SIGVTALRM",
    "SIGPROF",
    "SIGCHLD",
    "SIGPIPE",
    "SIGUSR1",
    "SIGUSR2",
)
"""Those that programs use."""


class Part(NamedTuple):
    """One thing that is kept: `get` reads it, and `put` makes it what `get` gave before."""

    get: Callable[[], Any]
    put: Callable[[Any], object]


@contextmanager
def kept(parts: Sequence[Part]) -> Iterator[None]:
    """Context manager: at its end each part is as it was at its beginning, the first of `parts` put back first.

    What this system does not have, or what cannot be had or put back, is passed over.
    """
    before = []
    for part in parts:
        with suppress(Exception):
            before.append((part.put, part.get()))
    try:
        yield
    finally:
        for put, value in before:
            with suppress(Exception):
                put(value)


def _names_of(module: ModuleType) -> Part:
    """The names of a module, such as what `print` is; names that came are left."""
    return Part(lambda: dict(vars(module)), vars(module).update)


def _put_modules(before: Mapping[str, ModuleType]) -> None:
    """Modules that were imported are the same ones again; others that were imported since stay."""
    if not all(sys.modules.get(name) is module for name, module in before.items()):
        sys.modules.update(before)


def _put_path(before: list[str]) -> None:
    """What stood on the path stands there again; what came stands behind it, for imports that a plug-in makes late."""
    if sys.path != before:
        sys.path[:] = dict.fromkeys([*before, *sys.path])


def _put_environment(before: Mapping[str, str]) -> None:
    if os.environ != before:
        os.environ.clear()
        os.environ.update(before)
        time.tzset()


def folder() -> str | None:
    """The working directory; None where it was removed."""
    try:
        return os.getcwd()  # noqa: PTH109 (a string, to be compared and gone back to)
    except OSError:
        return None


def _put_folder(before: str | None) -> None:
    if before is not None and folder() != before:
        os.chdir(before)


def _mask() -> int:
    mask = os.umask(0o77)
    os.umask(mask)
    return mask


def _handlers() -> dict[int, Any]:
    """What signals do; one that was not set from Python is left out."""
    found = {
        getattr(signal, name): signal.getsignal(getattr(signal, name)) for name in SIGNALS if hasattr(signal, name)
    }
    return {number: handler for number, handler in found.items() if handler is not None}


def _put_handlers(before: Mapping[int, Any]) -> None:
    for number, handler in before.items():
        if signal.getsignal(number) != handler:
            signal.signal(number, handler)


def _wakeup() -> int:
    """The file descriptor that hears of signals (`benchmark.cli.ending`); asyncio takes it away."""
    number = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(number, warn_on_full_buffer=False)
    return number


def _put_alarm(before: tuple[float, float]) -> None:
    if before[0] == 0:  # else it is another's, and runs on
        signal.setitimer(signal.ITIMER_REAL, 0)


def _limits() -> dict[int, tuple[int, int]]:
    import resource  # not everywhere

    numbers = {getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}
    return {number: resource.getrlimit(number) for number in numbers}


def _put_limits(before: Mapping[int, tuple[int, int]]) -> None:
    """Soft limits; a hard one that was lowered stays low."""
    import resource

    for number, (soft, hard) in before.items():
        if resource.getrlimit(number) != (soft, hard):
            most = resource.getrlimit(number)[1]
            resource.setrlimit(number, (soft if most in (hard, resource.RLIM_INFINITY) else min(soft, most), most))


def _log() -> tuple[int, list[Any], int]:
    root = logging.getLogger()
    return root.level, list(root.handlers), root.manager.disable


def _put_log(before: tuple[int, list[Any], int]) -> None:
    root = logging.getLogger()
    root.handlers[:], root.manager.disable = before[1], before[2]
    root.setLevel(before[0])


PROCESS = (
    Part(sys.gettrace, sys.settrace),  # first: else what follows would be traced
    Part(sys.getprofile, sys.setprofile),
    *map(_names_of, (builtins, sys, os, threading)),
    Part(lambda: dict(sys.modules), _put_modules),
    Part(lambda: list(sys.path), _put_path),
    Part(sys.getrecursionlimit, sys.setrecursionlimit),
    Part(sys.getswitchinterval, sys.setswitchinterval),
    Part(lambda: sys.get_int_max_str_digits(), lambda value: sys.set_int_max_str_digits(value)),  # new in 3.10.7
    Part(gc.isenabled, lambda value: gc.enable() if value else gc.disable()),
    Part(gc.get_threshold, lambda value: gc.set_threshold(*value)),
    Part(gc.get_debug, gc.set_debug),
    Part(random.getstate, random.setstate),
    Part(_log, _put_log),
    Part(lambda: decimal.getcontext().copy(), decimal.setcontext),
    Part(socket.getdefaulttimeout, socket.setdefaulttimeout),
    Part(lambda: tempfile.tempdir, lambda value: setattr(tempfile, "tempdir", value)),
    Part(lambda: multiprocessing.get_start_method(allow_none=True), lambda value: multiprocessing.set_start_method(value, force=True)),
    Part(lambda: locale.setlocale(locale.LC_ALL), lambda value: locale.setlocale(locale.LC_ALL, value)),
    Part(lambda: dict(os.environ), _put_environment),
    Part(folder, _put_folder),
    Part(_mask, os.umask),
    Part(lambda: os.sched_getaffinity(0), lambda value: os.sched_setaffinity(0, value)),
    Part(_limits, _put_limits),
    Part(_handlers, _put_handlers),
    Part(_wakeup, lambda value: signal.set_wakeup_fd(value, warn_on_full_buffer=False)),
    Part(lambda: signal.getitimer(signal.ITIMER_REAL), _put_alarm),
    Part(lambda: signal.pthread_sigmask(signal.SIG_BLOCK, ()), lambda value: signal.pthread_sigmask(signal.SIG_SETMASK, value)),
)  # fmt: skip
"""The interpreter and the process. Torch and NumPy: `benchmark.cell.state`."""
