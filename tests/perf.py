"""Speed, as ratios of two ways to do the same thing timed in turns: ``tox -e perf``.

Absolute times are noise on a shared machine; a ratio of two things timed in turns is not. Each line gives the median
ratio (how many times faster the second is than the first) and the range over the repetitions. Processor time of this
process is compared, so that other programs do not count; where other processes do the work, wall-clock time.
``tox -e perf -- WORD`` times only the pairs whose name holds the word. Figures: docs/performance.md.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import perf_harness as harness
import perf_loops as loops
import torch
from perf_score import score_pair
from rich.console import Console
from rich.table import Table
from torchvision.transforms.functional import rotate as rotate_one

from osad_bench.benchmark.cell.execute import execute
from osad_bench.benchmark.cell.machine import Machine
from osad_bench.benchmark.features import batched, pseudo
from osad_bench.benchmark.features.augment import rotate
from osad_bench.benchmark.features.backbones import load_backbone
from osad_bench.benchmark.features.cache import BATCH, FeatureCache
from osad_bench.benchmark.features.extractor import PyramidExtractor, as_tensor, for_inference
from osad_bench.benchmark.grid.plan import Grid, plan
from osad_bench.benchmark.preset import load_preset
from osad_bench.core.places import default_cache
from osad_bench.datasets.catalogue import open_dataset

Work = Callable[[], object]


def seconds(work: Work, clock: Callable[[], float]) -> float:
    start = clock()
    work()
    return clock() - start


def ratios(slow: Work, fast: Work, repeat: int, clock: Callable[[], float]) -> list[float]:
    slow(), fast()
    return [seconds(slow, clock) / seconds(fast, clock) for _ in range(repeat)]


def backbone_pairs() -> list[tuple[Work, Work]]:
    """Forward passes of the default backbone at the default size."""
    preset = load_preset("quick")[1]
    backbone = load_backbone(preset.backbone)
    plain = PyramidExtractor(backbone.module.eval(), backbone.mean, backbone.std, preset).eval()
    fast = PyramidExtractor(for_inference(backbone.module), backbone.mean, backbone.std, preset).eval()
    images = torch.randint(256, (32, 3, preset.image_size, preset.image_size), dtype=torch.uint8)

    def through(extractor: PyramidExtractor, batch: int) -> Work:
        def run() -> None:
            with torch.inference_mode():
                for part in images.split(batch):
                    extractor(part)

        return run

    return [(through(plain, BATCH), through(fast, BATCH)), (through(fast, 32), through(fast, BATCH))]


def cache_pair(folder: Path) -> tuple[Work, Work]:
    """Features of 48 small images: a first visit against a second."""
    textures, preset = open_dataset("textures"), load_preset("quick", {"image_size": 64})[1]
    backbone = load_backbone(preset.backbone)
    ids = [sample.id for sample in textures.samples[:48]]
    visits = iter(range(10**6))

    def visit(root: Path) -> None:
        for scale in FeatureCache(root).rows(textures, preset, backbone, ids):
            np.asarray(scale[:48]).sum()

    return lambda: visit(folder / str(next(visits))), lambda: visit(folder / "kept")


def start_pair() -> tuple[Work, Work]:
    """``import torch`` against ``osad-bench --help``: help never imports it."""
    script = Path(sys.executable).with_name("osad-bench")

    def run(*command: object) -> Work:
        return lambda: subprocess.run(list(map(str, command)), capture_output=True, check=True)

    return run(sys.executable, "-c", "import torch"), run(script, "--help")


def shared_pair(folder: Path, method: str) -> tuple[Work, Work]:
    """A closed-form cell on warm features of ELPV: nothing known of the normals, against all of it known."""
    machine = Machine(cache=folder / "shared pair")
    machine.cache.mkdir(exist_ok=True)
    features = default_cache() / "features"
    features.mkdir(parents=True, exist_ok=True)
    if not (machine.cache / "features").exists():
        (machine.cache / "features").symlink_to(features)
    (cell,) = plan(Grid(methods=[method], seeds=[0], floor=None), machine)

    def cold() -> None:
        shutil.rmtree(machine.cache / "shared", ignore_errors=True)
        execute(cell, machine)

    return cold, lambda: execute(cell, machine)


def rotation_pair() -> tuple[Work, Work]:
    """The rotations of one `paper` batch: image by image by torchvision, against the whole batch."""
    images = torch.randint(256, (48, 448, 448, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    degrees = torch.rand(48) * 360 - 180
    return (
        lambda: torch.stack([rotate_one(image, float(angle)) for image, angle in zip(images, degrees)]),
        lambda: rotate(images, degrees),
    )


def twin_pair(name: str) -> tuple[Work, Work]:
    """Pseudo-anomalies of 16 images at 448 pixels: image by image, against the whole batch."""
    images = np.random.default_rng(0).integers(0, 256, (16, 448, 448, 3), dtype=np.uint8)
    one, twin, there = getattr(pseudo, name), getattr(batched, name), as_tensor(images)
    return (
        lambda: [one(image, source) for image, source in zip(images, np.random.default_rng(0).spawn(16))],
        lambda: twin(there, np.random.default_rng(0).spawn(16)),
    )


def paper_of(folder: Path, size: int) -> loops.Paper:
    """The preset `paper` with random weights on 66 drawn photographs of 900 x 900 pixels."""
    photos = folder / "photographs"
    data = f"folder:{photos}" if photos.exists() else loops.photographs(photos, 40, 6, 20)
    return loops.Paper.of(data, folder / "paper", "cpu", size)


def input_pair(folder: Path) -> tuple[Work, Work]:
    """53 images of one DRA step in `paper`: read, resized and changed by Pillow as published code does, against ours."""
    paper = paper_of(folder, 448)
    files, train = loops.Files(paper, training=True), paper.train()
    (batch,) = loops.Batches(files, 1)
    return lambda: [files[index] for index in batch], lambda: train.draw((16, 16, 16), ("cutmix",), 5)


def bridge_pair() -> tuple[Work, Work]:
    """DPDL at 448 pixels, 4 images: the backbone's passes against the bridge's (d = 100,352 and 25,088, C = 32)."""
    backbone = load_random().train()
    images = torch.rand(4, 3, 448, 448).contiguous(memory_format=torch.channels_last)
    bridges, leaves = loops.bridges([(512, 14, 14), (512, 7, 7)], 4, torch.device("cpu"))

    def passes() -> None:
        halves = torch.nn.functional.interpolate(images, scale_factor=0.5)
        sum(backbone(x)[-1].square().mean() for x in (images, halves)).backward()

    return passes, lambda: loops.bridged(bridges, leaves).backward()


def load_random() -> torch.nn.Module:
    return loops.random_backbone().module.to(memory_format=torch.channels_last)


def key_pair(folder: Path) -> tuple[Work, Work]:
    """Keys of 1,200 planned cells: each hashed alone, against the whole plan, which hashes what they share once."""
    grid = Grid(methods=["whitened", "evidence", "dra", "devnet", "dpdl"], datasets=["textures"], seeds=200, floor=None)
    cells = plan(grid, Machine(cache=folder))
    return lambda: [cell.cell.key for cell in cells], lambda: plan(grid, Machine(cache=folder))


def main() -> None:
    """Time the pairs whose name holds the word given and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeat", type=int, default=7, help="how often each pair is timed (7)")
    parser.add_argument("word", nargs="?", default="", help="only pairs whose name holds it")
    given = parser.parse_args()
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pairs: dict[str, Callable[[], tuple[Work, Work]]] = {
            "features: folded batch norms against plain ones": lambda: backbone_pairs()[0],
            f"features: batches of {BATCH} against one of 32": lambda: backbone_pairs()[1],
            "cache: second visit against the first": lambda: cache_pair(folder),
            "score: photographs against the bare backbone": lambda: score_pair(folder),
            "start: --help against import torch": start_pair,
            "rotate: a paper batch against its images": rotation_pair,
            "cutmix: 16 images together against one by one": lambda: twin_pair("cutmix"),
            "cutpaste: 16 images together against one by one": lambda: twin_pair("cutpaste"),
            "texture: 16 images together against one by one": lambda: twin_pair("texture"),
            "input: a paper batch against published code's": lambda: input_pair(folder),
            "bridge: its passes against the backbone's": bridge_pair,
            "plan: 1,000 cells against their keys alone": lambda: key_pair(folder),
            "store: 1,500 records by the index against one by one": lambda: harness.index_pairs(folder)[0],
            "resume: 1,500 cells by the index against one by one": lambda: harness.index_pairs(folder)[1],
            "shared: evidence with the normals known": lambda: shared_pair(folder, "evidence"),
            "shared: whitened with the normals known": lambda: shared_pair(folder, "whitened"),
        }
        table = Table("what", "times faster, median", "range")
        for title, make in pairs.items():
            if given.word in title:
                clock = time.perf_counter if title.startswith("start") else time.process_time
                found = ratios(*make(), given.repeat, clock)
                table.add_row(title, f"{median(found):.2f}", f"{min(found):.2f} to {max(found):.2f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
