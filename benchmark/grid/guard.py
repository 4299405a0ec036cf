"""The first thing a worker process runs: no worker outlives its parent. Imports nothing heavy, so that it is up at once."""

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
"""In a worker: the queue that epochs are sent back through; None where there is none."""
number = 0
"""In a worker: which of its pool's workers it is, counted from 0."""


def begin_worker(queue: Any, run: int, counter: Any, environment: dict[str, str]) -> None:
    """Set up a worker: it ends when the process `run` is gone, and Ctrl-C is that process's business.

    Parameters
    ----------
    environment
        That process's environment variables: a worker that was forked from another process has that one's.
    """
    global events, number
    events = queue
    if (
        queue is not None
    ):  # a worker that was killed at the wrong moment keeps the queue's lock: no other waits for it at its end
        queue.cancel_join_thread()
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
    """Processes started here never hear of Ctrl-C or a closed terminal; what comes meanwhile is heard afterwards."""
    if not hasattr(signal, "pthread_sigmask") or threading.current_thread() is not threading.main_thread():
        yield
        return
    # The mask is what processes inherit. This process may hear of a signal in another of its threads all the same, and
    # Python would then raise in this one, with a process half started: so its handlers only take note meanwhile.
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
