"""Every command of docs/photos-to-a-decision.md, on real photographs: a part of the Head CT set."""

from __future__ import annotations

import csv
import shlex
import shutil
from pathlib import Path

import pytest

from tests.conftest import code_blocks

QUICK = ["--set", "image_size=64", "--set", "schedule.epochs=2", "--set", "schedule.steps=4"]
"""Appended, so that the test takes seconds; the page's commands take the usual image size."""


@pytest.fixture
def photos(real_data: Path, tmp_path: Path) -> Path:
    """60 + 20 slices without haemorrhage, 12 with, and 30 others that arrive later."""
    place = {"train/good": range(100, 160), "test/good": range(160, 180), "test/bleeding": range(12)}
    later = [*range(180, 200), *range(50, 60)]
    source = real_data / "headct" / "head_ct" / "head_ct"
    folders = {tmp_path / "photos" / name: numbers for name, numbers in place.items()} | {tmp_path / "incoming": later}
    for folder, numbers in folders.items():
        folder.mkdir(parents=True)
        for number in numbers:
            shutil.copy(source / f"{number:03}.png", folder)
    return tmp_path


@pytest.mark.nightly
def test_every_command_of_the_page_runs_on_real_photographs(cli, root, photos, monkeypatch):
    pytest.importorskip("onnxruntime")
    page = root / "docs" / "photos-to-a-decision.md"
    commands = [shlex.split(line) for block in code_blocks(page, "sh") for line in block.splitlines()]
    assert len(commands) == 7
    for command in commands:
        into = command[command.index(">") + 1] if ">" in command else None
        words = command[1 : command.index(">")] if into else command[1:]
        done = cli(*words, *(QUICK if words[0] in ("fit", "advise") else []))
        assert done.returncode == (1 if "--fail-on" in words else 0), (words, done.stderr)
        if into:
            (photos / into).write_text(done.stdout, "utf-8")
    rows = list(csv.DictReader((photos / "scores.csv").open(encoding="utf-8")))
    assert len(rows) == 30
    assert {row["decision"] for row in rows} == {"anomaly", "normal"}
    assert (photos / "sheet.html").stat().st_size > 50_000
    assert (photos / "whitened.onnx").exists()
    monkeypatch.chdir(photos)
    (program,) = code_blocks(page, "python")
    small = program.replace('"folder:photos")', '"folder:photos", set={"image_size": [64]})')
    assert small != program
    scope: dict[str, object] = {}
    exec(small, scope)
    assert len(scope["table"]) == 30  # type: ignore[arg-type]
