"""What a worker process runs first, so that no worker outlives its parent. Imports nothing heavy, to start at once."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from osad_bench.core.processes import is_alive

_ENDING = {getattr(signal, name) for name in ("SIGINT", "SIGHUP") if hasattr(signal, name)}

events: Any = None
"""In a worker: the queue that sends epochs to the parent, or None."""
number = 0
"""In a worker: its index in the pool, from 0."""


def begin_worker(queue: Any, run: int, counter: Any, environment: dict[str, str]) -> None:
    """Set up a worker: it ends when the process `run` is gone, and Ctrl-C is that process's business.

    Parameters
    ----------
    environment
        That process's environment variables: a worker that was forked from another process has that one's.
    """
    global events, number
    events = queue
    if queue is not None:
        queue.cancel_join_thread()  # a killed worker may have kept the queue's lock: nobody waits for it at the end
    os.environ.clear()
    os.environ.update(environment)
    with counter.get_lock():
        number = counter.value
        counter.value += 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            pr_set_pdeathsig = 1
            ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)

    parent = os.getppid()  # that process, or the one that forks its workers and ends with it

    def watch() -> None:
        while os.getppid() == parent and is_alive(run):
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Context manager: processes started in it never get Ctrl-C or SIGHUP; this one gets them at the end of the context."""
    if not hasattr(signal, "pthread_sigmask") or threading.current_thread() is not threading.main_thread():
        yield
        return
    # Child processes inherit the mask. This process may still get a signal in another of its threads, and Python would then
    # raise KeyboardInterrupt in this one, with a child half started: so the handlers only record it meanwhile.
    heard: list[int] = []
    handlers = {number: signal.signal(number, lambda one, _: heard.append(one)) for number in _ENDING}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in heard[:1]:
            signal.raise_signal(number)
