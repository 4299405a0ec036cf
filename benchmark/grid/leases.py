"""Leases: runs that share a store share the work, and each cell is computed by one of them.

A lease is a file ``leases/KEY`` in the store that only one process can make (O_EXCL, which network file systems support
even where they have no locks). It names its owner; the file's time of change is the owner's heartbeat. A lease has ended
when its owner has released it, when the owner's process is gone (same machine), or when there was no heartbeat for `STALE`
seconds (other machines). If a cell is computed twice even so, after a machine slept, both records have the same scores.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from osad_bench.benchmark.cell.execute import PlannedCell
from osad_bench.core.files import open_regular
from osad_bench.core.processes import is_alive, state_of
from osad_bench.results.store import Store, StoreError

BEAT, STALE, LOOK = 20.0, 120.0, 1.0
"""Seconds between two heartbeats, without one after which another machine's lease has ended, and between two looks at
what others compute."""
MOST = 10_000
"""Bytes of a lease that are read."""


@dataclass
class Leases:
    """The leases of one process below one store.

    Attributes
    ----------
    root
        The store's folder.
    elsewhere
        Cells that `mine` left to others.
    """

    root: Path
    elsewhere: list[PlannedCell] = field(default_factory=list)
    _held: set[str] = field(default_factory=set)

    def _path(self, key: str) -> Path:
        return self.root / "leases" / key

    def take(self, key: str) -> bool:
        """Whether this process now holds the cell's lease; False while another holds it.

        Raises
        ------
        OSError
            The folder cannot be written.
        """
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(2):
            try:
                descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
            except FileExistsError:
                if not _ended(path):
                    return False
                _remove(path)
                continue
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                json.dump(_owner(), stream)
            self._held.add(key)
            return True
        return False  # another process was faster

    def release(self, key: str) -> None:
        """Give a lease back; nothing happens for one that is not held."""
        if key in self._held:
            self._held.discard(key)
            with suppress(OSError):
                self._path(key).unlink()

    def beat(self) -> None:
        """Renew the heartbeat of all leases held."""
        for key in list(self._held):
            with suppress(OSError):
                os.utime(self._path(key))

    def mine(
        self, cells: Iterable[PlannedCell], store: Store, before: Mapping[str, datetime | None]
    ) -> Iterator[PlannedCell]:
        """Yield the cells that no other process computes or has computed meanwhile; put the others into `elsewhere`.

        A lease is taken only when its cell is asked for, so that two runs take turns.

        Parameters
        ----------
        before
            By key, when the records to be replaced were made; None where there is none.
        """
        self.elsewhere.clear()
        for cell in cells:
            if self.take(cell.key):
                if not computed(cell.key, store, before):
                    yield cell
                    continue
                self.release(cell.key)
            self.elsewhere.append(cell)

    @contextmanager
    def kept_alive(self) -> Iterator[None]:
        """Context manager: renews the heartbeat every `BEAT` seconds, and releases all leases at the end."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(BEAT):
                self.beat()

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            for key in list(self._held):
                self.release(key)
            with suppress(OSError):
                (self.root / "leases").rmdir()  # when it is empty


def made(key: str, store: Store) -> datetime | None:
    """When a cell's record was made; None where there is none, or a damaged one."""
    try:
        glance = store.glance(key)
    except StoreError:
        return None
    return None if glance is None else glance.created


def computed(key: str, store: Store, before: Mapping[str, datetime | None]) -> bool:
    """Whether the store has a record of the cell other than the one to be replaced."""
    return made(key, store) not in (None, before.get(key))


def _owner() -> dict[str, str | int]:
    return {"host": socket.gethostname(), "pid": os.getpid(), "born": _born(os.getpid())}


def _born(pid: int) -> str:
    """Start time of a process in the system's units, so that a reused id is noticed; empty where unknown."""
    return "".join(state_of(pid)[19:20])


def _ended(path: Path) -> bool:
    """Whether the owner of a lease is gone."""
    try:
        changed = path.stat().st_mtime
        with open_regular(path) as stream:
            owner = json.loads(stream.read(MOST))
        here, pid, born = owner["host"] == socket.gethostname(), int(owner["pid"]), str(owner["born"])
    except FileNotFoundError:
        return True
    except (OSError, ValueError, TypeError, KeyError, RecursionError):  # being written, or damaged
        return _silent(path)
    if not here:
        return time.time() - changed > STALE
    return not is_alive(pid) or (born != "" and _born(pid) not in ("", born))


def _silent(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > STALE
    except OSError:
        return True


def _remove(path: Path) -> None:
    """Remove an ended lease. It is renamed first, so that only one of several processes succeeds and no new lease is lost."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with suppress(OSError):
        path.rename(aside)
        if not _ended(aside):  # a new lease, made meanwhile: put it back
            with suppress(FileExistsError):
                os.link(aside, path)
        aside.unlink()
