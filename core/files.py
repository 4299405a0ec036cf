"""Files that are written whole or not at all, and removal of the temporary files of writers that died."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import select
import socket
import stat
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO

from osad_bench.core.errors import InputError
from osad_bench.core.processes import is_alive

MOST_TEXT = 2**24
"""Most bytes of a settings file, a record or another text written by hand or by one cell; larger files are refused."""

FORGOTTEN = 3600.0
"""Seconds without a write after which the writer of a temporary file counts as dead, on whatever machine it ran."""

_NAME = re.compile(r"\.osad-([0-9a-f]{8})-([0-9]+)-[0-9a-f]{32}\.tmp")


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode("utf-8", "surrogateescape")).hexdigest()[:8]


def is_temporary(name: str) -> bool:
    """Whether `prepared` gave a file this name."""
    return _NAME.fullmatch(name) is not None


def read_bounded(path: Path, most: int = MOST_TEXT) -> bytes:
    """The bytes of a file that a user named; it may be a pipe, and is refused where it does not begin or end.

    Raises
    ------
    InputError
        It holds more than `most` bytes, or is a pipe that nobody writes to.
    OSError
        It cannot be read.
    """
    with _opened(path) as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise InputError(
            f"{path} is larger than {most / 2**20:.0f} MB, the most for a file of its kind: name another file"
        )
    return content


def check_writable(path: Path, option: str) -> None:
    """Refuse a place of a file or folder to be made that cannot be written, before the work whose result it is to hold.

    Parameters
    ----------
    option
        What asked for it, such as ``--out``.

    Raises
    ------
    InputError
        No file can be made in the nearest folder above it that exists, or none of this name.
    """
    place = path.absolute()
    above = next((folder for folder in place.parents if folder.exists()), place)
    try:
        with tempfile.TemporaryFile(dir=above):
            pass
        with suppress(FileNotFoundError):
            place.lstat()  # fails for a name that is too long
    except OSError as error:
        raise InputError(f"{option} {path} cannot be written: {above}: {error.strerror}") from None


def check_file_writable(path: Path, option: str) -> None:
    """Refuse what `check_writable` refuses, and a folder: for a place where a file is to be made.

    Raises
    ------
    InputError
        See `check_writable`.
    """
    check_writable(path, option)
    if path.is_dir():
        raise InputError(f"{option} {path} is a folder: give the name of a file")


PATIENCE = 10
"""Seconds that the first bytes of a pipe are waited for."""


def _opened(path: Path) -> BinaryIO:
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    stream = os.fdopen(descriptor, "rb")
    if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        if not select.select([stream], [], [], PATIENCE)[0]:
            stream.close()
            raise InputError(f"{path} is a pipe that nobody writes to: nothing was read")
        os.set_blocking(descriptor, True)
    return stream


@contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """Context manager: open a regular file for reading. Anything else is refused, as a pipe or device might never end.

    Raises
    ------
    OSError
        It is missing, cannot be read, or is not a regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file (a pipe, device, socket or folder)", str(path))
        yield stream


@contextmanager
def prepared(path: Path, write: Callable[[IO[bytes]], object]) -> Iterator[Path]:
    """Context manager: have `write` write a temporary file to its stream, flush it to disk, and yield its path.

    The file lies beside `path`, so that it can be renamed to it; the folder is created where it is missing. A file that was
    not renamed is deleted at the end.

    Raises
    ------
    OSError
        The disk is full, or the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".osad-{_host()}-{os.getpid()}-{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("w+b") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` to the file `path` atomically: at any moment the old file or the new one is there, whole.

    Raises
    ------
    OSError
        The disk is full, or the folder cannot be written; an earlier file at `path` is kept.
    """
    with prepared(path, lambda stream: stream.write(content)) as temporary:
        temporary.replace(path)


IN_PLACE = (errno.EACCES, errno.EPERM, errno.EBUSY)
"""What the system says where a file may be written, and its folder may not (a file that is mounted, say)."""


def write_named(path: Path, content: str | bytes) -> None:
    """Write a file that a user named: whole or not at all, or straight into the device or pipe that it is.

    Its folder is made where it is missing; a link is followed.

    Raises
    ------
    OSError
        It cannot be written; what was there stays. The error names `path`.
    """
    data = content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and (not path.is_file() or path.absolute().parts[1:2] in (("dev",), ("proc",))):
            path.write_bytes(data)  # as /dev/stdout, which may be a file that the command writes to already
            return
        target = Path(os.path.realpath(path))
        try:
            write_whole(target, data)
        except OSError as error:
            if error.errno not in IN_PLACE or not target.exists():
                raise
            target.write_bytes(data)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def clear_forgotten(*folders: Path) -> int:
    """Delete the temporary files of dead writers in these folders; return how many were deleted.

    A writer counts as dead if its process is gone (same machine) or if it wrote nothing for `FORGOTTEN` seconds (any
    machine). Files and folders that cannot be read or deleted are left alone.
    """
    cleared = 0
    for folder in folders:
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                match = _NAME.fullmatch(entry.name)
                if match is None:
                    continue
                with suppress(OSError):
                    if _is_dead(match, entry.stat(follow_symlinks=False).st_mtime):
                        os.unlink(entry.path)  # noqa: PTH108 (an entry's path is text)
                        cleared += 1
    return cleared


def _is_dead(match: re.Match[str], written: float) -> bool:
    if time.time() - written > FORGOTTEN:
        return True
    return match[1] == _host() and not is_alive(int(match[2]))
