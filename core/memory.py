"""Freed memory kept by the process for its next tensors.

glibc gives a large block back to the system as soon as it is freed, and the next one is made of new pages, each of which the
kernel clears when it is first touched. A backbone frees and asks for hundreds of megabytes per batch: on a CPU that took a
quarter of the time of its forward pass, and half of that of a training step (docs/performance.md).
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Parameters of mallopt(3)."""

KEPT = 2**31 - 1
"""Free bytes at the end of the heap above which glibc gives memory back: the largest number that mallopt takes."""


@cache
def keep_freed() -> None:
    """Let this process keep up to `KEPT` bytes that it freed; does nothing where the C library is not glibc.

    All threads share one heap, as memory that one of them freed is of no use to the others otherwise. Blocks above a
    gigabyte still come from the system and go back to it.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 2**30)
        mallopt(_TRIM_THRESHOLD, KEPT)
        mallopt(_ARENA_MAX, 1)
