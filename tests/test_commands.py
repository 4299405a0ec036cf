"""Every command that README and docs show is run here, page by page, on what the reader would have by then.

What trains for minutes is planned on the real data instead (``--dry-run`` reads names, methods, settings, images and store); the
nightly test of docs/photos-to-a-decision.md and the gate train. A command that is new on a page is found by itself.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torchvision.models import resnet18

from osad_bench.results.merge import merge
from tests.conftest import Done, code_blocks

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES.remove(ROOT / "docs" / "photos-to-a-decision.md")  # tests/benchmark/decide/test_docs.py
FENCED = re.compile(r"^ *```(?:sh|console|bash)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^    (osad-bench .*)$", re.MULTILINE)
INLINE = re.compile(r"`(osad-bench (?!datasets verify`)[a-z]+ [^`]*)`")
"""A command with arguments; one without is a name."""

SMALL = ("--set", "image_size=32", "--set", "schedule.epochs=1", "--set", "schedule.steps=2")
APPENDED: dict[str, tuple[str, ...]] = {
    "run": ("--dry-run",), "ablate": ("--dry-run",), "sweep": ("--dry-run",),
    "advise": ("--splits", "2", "--methods", "whitened", *SMALL), "fit": SMALL, "report": ("--no-figures", "--no-statistics"),
}  # fmt: skip
"""Keeps the test short."""
STANDS_FOR = {
    " --scheduler tcp://HOST:8786": "",
    "--device cuda": "--device cpu",
    "power reference --methods devnet,flos,saoe,mlep,dra,dpdl": "power DIR --methods dra,dpdl",  # of what is in DIR here
    "--rerun dpdl": "--rerun none",  # trains; tests/benchmark/grid does
    "verify results/reference/main.osad.zip": "verify results/reference/first.osad.zip --rerun none",
    "merge results/reference/main.osad.zip": "merge results/reference/first.osad.zip",  # read whole in tests/test_docs.py
    "/shared/": "", "$WORK/": "", "mine,": "./mine.py,", ",mine": "",
    "vit_small_patch14_dinov2": "vit_tiny_patch16_224",  # the same, an eighth of its size
    "show NAME": "show dpdl", "verify NAME": "verify brainmri",
    "--check FILE": "--check splits/*.tsv", "DOWNLOADS": "downloads", "--data-root FOLDER": "",
}  # fmt: skip
"""Placeholders of the pages, and what needs hardware or other machines."""
ANSWERS = {"check": {0, 1}, "score": {0, 1}}
"""Exit codes that are answers: a method fell, an anomaly was found (--fail-on)."""
NOT_HERE = re.compile(
    "aitex|mvtec/bottle|sdd|verify brainmri|cache --clear" + ("" if find_spec("pyarrow") else "|store compact")
)
"""Complete downloads, of which the tests have parts, a full cache, an extra: such a command may end by saying what is missing."""


def commands(text: str) -> list[str]:
    """The command lines of a page in order, without ``$``, the environment's folder and comments."""
    text = text.replace("\\\n", " ")
    rest = FENCED.sub("", text)
    lines = [line for block in FENCED.findall(text) for line in block.splitlines()]
    found = []
    for line in [*lines, *INDENTED.findall(rest), *INLINE.findall(rest)]:
        for part in re.split(r" && | \|\| ", re.sub(r"^\s*\$ |\s+#.*$| \(.*$", "", line)):
            command = re.sub(r"\s+", " ", part.replace(".venv/bin/", "")).strip()
            if command.startswith("osad-bench ") and "…" not in command:
                found.append(command)
    return list(dict.fromkeys(found))


def shown_first() -> dict[Path, list[str]]:
    """Page to its commands that no page before it shows."""
    seen, found = set[str](), dict[Path, list[str]]()
    for page in PAGES:
        new = [command for command in commands(page.read_text("utf-8")) if command not in seen]
        seen.update(new)
        if new:
            found[page] = new
    return found


SHOWN = shown_first()


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a reader of the pages has by then: photographs, records, a method of their own, a grid."""
    folder = tmp_path_factory.mktemp("reader")
    generator = np.random.default_rng(0)
    for place, count in {"train/good": 200, "test/good": 12, "test/scratch": 14}.items():
        (folder / "photos" / place).mkdir(parents=True)
        for number in range(count):
            pixels = generator.normal(128, 12, (40, 40, 3)).clip(0, 255).astype(np.uint8)
            if "scratch" in place:
                pixels[10:20, 10:20] = (250, 20, 20)
            Image.fromarray(pixels).save(folder / "photos" / place / f"{number}.png")
    shutil.copytree(folder / "photos" / "test" / "good", folder / "new-photos")
    for place, kind in {"healthy": "good", "rust": "scratch", "blight": "scratch"}.items():
        shutil.copytree(folder / "photos" / "test" / kind, folder / "downloads" / "leaves" / place)
    rows = [
        f"photos/{place}/{n}.png,{label},"
        for place, label in (("train/good", 0), ("test/scratch", 1))
        for n in range(14)
    ]
    (folder / "parts.csv").write_text("\n".join(["path,label,kind", *rows]))
    shutil.copytree(folder / "photos" / "train" / "good", folder / "uncertain" / "cells")
    kinds = ["", "mono", "poly"]
    rows = [f"cells/{number}.png,{int(number % 3 > 0)},{kinds[number % 3]}" for number in range(90)]
    (folder / "uncertain" / "uncertain.csv").write_text("\n".join(["path,label,kind", *rows]))
    (folder / "grid.toml").write_text('methods = ["dra"]\nseeds = 2\n')
    (folder / "small.toml").write_text('backbone = "efficientnet_lite0"\nfrozen = false\nimage_size = 96\n')
    torch.save(timm.create_model("vit_tiny_patch16_224").state_dict(), folder / "dinov2.pth")
    torch.save(resnet18().state_dict(), folder / "resnet18.pth")
    (own,) = code_blocks(ROOT / "docs" / "add-a-method.md", "python")
    for name in ("pooled.py", "mine.py"):
        (folder / name).write_text(own)
    shutil.copytree(ROOT / "results" / "reference", folder / "results" / "reference")
    for store in ("DIR", "HERE", "THERE", "osad-results", "all", "mine", "shots"):
        merge([ROOT / "results" / "reference" / "first.osad.zip"], folder / store)
    return folder


def run(cli: Callable[..., Done], reader: Path, data: Path, shown: str) -> str:
    """Run one command as a page shows it; empty where it ends as it should, else what went wrong."""
    command = shown
    for words, meant in STANDS_FOR.items():
        command = command.replace(words, meant)
    command, _, into = command.partition(" > ")
    name, *rest = shlex.split(command)[1:]
    rest = [
        found
        for word in rest
        for found in (sorted(str(path.relative_to(reader)) for path in reader.glob(word)) if "*" in word else [word])
    ]
    if name == "run" and not {"--methods", "--config"} & {*rest}:  # a part of a command, in a sentence
        rest += ["--methods", "whitened"]
    rest += [option for option in APPENDED.get(name, ()) if option not in rest]
    done = cli(name, *rest, folder=reader, OSAD_BENCH_DATA=str(data), OSAD_BENCH_CACHE=str(reader / "cache"))
    if into:
        (reader / into).write_text(done.stdout, "utf-8")
    if done.returncode in ANSWERS.get(name, {0}) or (NOT_HERE.search(command) and done.returncode == 2):
        return ""
    return f"{shown}: exit code {done.returncode}: {done.stderr[-500:]}"


@pytest.mark.parametrize("page", SHOWN, ids=lambda page: page.stem)
def test_every_command_of_the_page_runs(cli, reader, real_data, plug_in, installed, page: Path):
    plug_in(installed("dataset-plugin"))
    assert [problem for shown in SHOWN[page] if (problem := run(cli, reader, real_data, shown))] == []
