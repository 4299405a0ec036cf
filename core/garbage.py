"""Python's garbage collector, held while much is made that lasts."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Context manager: no search for garbage meanwhile.

    While hundreds of thousands of lasting objects are made, the collector goes through all of them again and again and
    finds nothing: it takes longer than making them.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()
