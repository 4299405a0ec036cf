"""Whether a process of this machine still runs."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def is_alive(pid: int) -> bool:
    """Whether a process of this machine runs; True where the system does not tell."""
    if os.name != "posix":
        return True  # os.kill would end it
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return state_of(pid)[:1] not in (["Z"], ["X"])  # a zombie, or dead: it has ended


def state_of(pid: int) -> list[str]:
    """Fields of Linux's ``/proc/PID/stat`` from the process state on; empty where the system does not tell."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    return []
