from __future__ import annotations

import os
import subprocess
import sys

import pytest

from osad_bench.datasets.catalogue import open_dataset
from osad_bench.datasets.reading import first_visit


def test_off_a_terminal_a_long_visit_is_announced_in_one_line_per_task(monkeypatch, capsys, mvtec):
    monkeypatch.setattr(first_visit, "PATIENCE", 0.0)
    dataset = open_dataset("mvtec/carpet", mvtec)
    dataset.fingerprint  # noqa: B018
    dataset.pixel_digests  # noqa: B018
    assert capsys.readouterr().err.splitlines() == [
        "mvtec/carpet: hashing files, first visit: 11 files",
        "mvtec/carpet: comparing images, first visit: 11 files",
    ]


def test_a_quick_visit_says_nothing(capsys, mvtec):
    dataset = open_dataset("mvtec/carpet", mvtec)
    dataset.fingerprint  # noqa: B018
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_on_a_terminal_a_bar_is_drawn_and_the_cursor_is_given_back_after_an_interruption():
    import pty

    code = """
import time
from osad_bench.datasets.reading import first_visit
first_visit.PATIENCE = 0.0
bar = first_visit.FirstVisit("photos")
for done in range(1, 6):
    bar("hashing files", done, 10)
    time.sleep(0.15)
raise KeyboardInterrupt
"""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", code], stderr=theirs, env=os.environ | {"TERM": "xterm"})
    os.close(theirs)
    text = b""
    while True:
        try:
            block = os.read(ours, 65536)
        except OSError:  # Linux's way to say that the other end is closed
            break
        if not block:
            break
        text += block
    process.wait(timeout=60)
    os.close(ours)
    assert b"photos: hashing files, first visit" in text
    hidden, shown = text.rfind(b"\x1b[?25l"), text.rfind(b"\x1b[?25h")
    assert 0 <= hidden < shown, "the cursor is shown again"
