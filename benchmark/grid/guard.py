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

_ENDING = {getattr(signal, name) for name in ("SIGINT", "SIGHUP") if hasattr(signal, name)}

events: Any = None
"""In a worker: the queue that sends epochs to the parent, or None."""
number = 0
"""In a worker: its index in the pool, from 0."""


def begin_worker(queue: Any, parent: int, counter: Any) -> None:
    """Set up a worker: it ends when the process `parent` is gone, and ignores Ctrl-C, which the parent handles."""
    global events, number
    events = queue
    with counter.get_lock():
        number = counter.value
        counter.value += 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            pr_set_pdeathsig = 1
            ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)

    def watch() -> None:
        while os.getppid() == parent:
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
