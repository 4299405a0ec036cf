"""Pausing Python's garbage collector while many lasting objects are made."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Context manager or decorator that pauses garbage collection.

    While hundreds of thousands of lasting objects are made, the collector would scan them again and again and free nothing,
    which takes longer than making them.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()
