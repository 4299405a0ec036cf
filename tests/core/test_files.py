"""Files are there whole or not at all, and temporary files of processes that have ended are deleted."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from osad_bench.core import files
from osad_bench.core.errors import InputError
from osad_bench.core.files import (
    FORGOTTEN,
    clear_forgotten,
    is_temporary,
    open_regular,
    prepared,
    read_bounded,
    write_named,
    write_whole,
)


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    write_whole(tmp_path / "sub" / "a", b"old")

    def fails(stream) -> None:
        stream.write(b"new")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"), prepared(tmp_path / "sub" / "a", fails):
        pass
    assert [(path.name, path.read_bytes()) for path in (tmp_path / "sub").iterdir()] == [("a", b"old")]


def test_temporary_files_go_when_their_writer_is_gone_or_long_silent_and_others_stay(tmp_path: Path):
    def left_by(pid: int, host: str, age: float = 0.0) -> Path:
        with prepared(tmp_path / "x", lambda stream: None) as mine:
            _, here, *_ = mine.name.split("-")
        path = tmp_path / f".osad-{host or here}-{pid}-{os.urandom(16).hex()}.tmp"
        path.write_text("x")
        os.utime(path, (time.time() - age,) * 2)
        assert is_temporary(path.name)
        return path

    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    gone = [left_by(dead.pid, ""), left_by(os.getpid(), "", 2 * FORGOTTEN), left_by(1, "0" * 8, 2 * FORGOTTEN)]
    kept = [left_by(os.getpid(), ""), left_by(dead.pid, "0" * 8), tmp_path / "a.tmp", tmp_path / ".osad-x.tmp"]
    for path in kept[2:]:
        path.write_text("x")
        os.utime(path, (0, 0))
    assert clear_forgotten(tmp_path, tmp_path / "none") == len(gone)
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_a_file_that_does_not_end_is_refused(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"x" * 100)
    assert read_bounded(tmp_path / "a", 100) == b"x" * 100
    with pytest.raises(InputError, match="is larger than 0 MB"):
        read_bounded(tmp_path / "a", 99)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders here")
def test_a_pipe_among_files_is_refused_and_never_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(OSError, match="no regular file"), open_regular(path):
            pass


def test_a_named_file_is_whole_and_a_device_a_pipe_and_a_link_stay_what_they_are(tmp_path: Path):
    reading, writing = os.pipe()
    (tmp_path / "link").symlink_to(tmp_path / "new" / "target")
    for place in (tmp_path / "link", Path(f"/dev/fd/{writing}"), Path("/dev/null")):
        write_named(place, "text \udcff")
    assert (tmp_path / "new" / "target").read_text() == "text \\udcff"
    assert (tmp_path / "link").is_symlink()
    assert os.read(reading, 100) == b"text \\udcff"
    assert Path("/dev/null").is_char_device()
    os.close(reading), os.close(writing)


def test_a_named_file_that_cannot_be_written_stays_as_it_was_and_is_named(tmp_path: Path):
    path = tmp_path / "page.html"
    path.write_text("old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as Python does where it is not embedded
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # as a disk that fills up
    try:
        with pytest.raises(OSError, match="page.html") as error:
            write_named(path, "new" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert error.value.filename == str(path)
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("page.html", "old")]


def test_a_pipe_that_nobody_writes_to_is_not_waited_for(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(files, "PATIENCE", 0.1)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="a pipe that nobody writes to"):
        read_bounded(tmp_path / "pipe")
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as stream:
        stream.write(b"text")
    assert read_bounded(Path(f"/dev/fd/{reading}")) == b"text"
    os.close(reading)
