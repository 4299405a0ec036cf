"""Commands that are started without standard input, output or error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = str(Path(sys.executable).with_name("osad-bench"))


def shell(line: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of shell, in which ``"$@"`` are the arguments."""
    return subprocess.run(["sh", "-c", line, "sh", *arguments], cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_a_command_without_a_standard_stream_ends_as_with_it(tmp_path, closed):
    done = shell(f'"$@" {closed}', COMMAND, "--version", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_standard_error_no_message_gets_among_the_data(tmp_path):
    done = shell('"$@" 2>&-', COMMAND, "nosuch", folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")


WRITES = """
import os
from osad_bench.core.text import open_closed
open_closed()
kept = open("kept", "w")
os.write({number}, b"words")
kept.write("mine")
"""


@pytest.mark.parametrize("number", [1, 2])
def test_no_file_gets_what_is_meant_for_a_closed_stream(tmp_path, number):
    done = shell(f'"$@" {number}>&-', sys.executable, "-c", WRITES.format(number=number), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "kept").read_text() == "mine"


OPENED = """
from osad_bench.core.text import open_closed
kept = open("kept", "w")
assert kept.fileno() == 1
open_closed()
print("words", flush=True)
kept.write("mine")
"""


def test_a_file_that_has_the_number_of_a_closed_stream_already_keeps_it(tmp_path):
    done = shell('"$@" >&-', sys.executable, "-c", OPENED, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "kept").read_text() == "mine"


@pytest.mark.parametrize("asked", [("methods", "list"), ("--help",)])  # printed by rich, and by typer
def test_a_reader_that_is_gone_is_no_error(asked):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as gone:
        done = subprocess.run([COMMAND, *asked], stdout=gone, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (141, "")
