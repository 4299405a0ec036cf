"""Throughput of `osad-bench score` beside the bare backbone, as ratios of processor times taken in turns: at least 0.8.

    python tests/perf_score.py [METHOD] [--repeat 3]

All go over the same 64 photographs with the same threads, each in a process of its own. The backbone has them in memory,
resized; `score` has files (JPEG, 1024 x 768) and reads, resizes and scores them. ``tox -e perf -- score`` times both in one process.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image

from osad_bench.benchmark import fit
from osad_bench.benchmark.decide.score import read_image
from osad_bench.benchmark.features import extractor
from osad_bench.benchmark.features.cache import BATCH, in_threads
from osad_bench.benchmark.features.extractor import as_tensor
from osad_bench.core.memory import keep_freed
from osad_bench.datasets.catalogue import open_dataset
from osad_bench.datasets.reading.tiles import squared

Work = Callable[[], object]


def score_pair(folder: Path, method: str = "mahalanobis") -> tuple[Work, Work]:
    """The bare backbone over 64 images in memory against ``osad-bench score`` of the same 64 as files."""
    photos, model = folder / f"photos {method}", fit(method, "textures", calibrate=0)
    photos.mkdir()
    textures, size = open_dataset("textures"), model.about.preset.image_size
    for number, sample in enumerate(textures.samples[:64]):
        large = Image.fromarray(textures.read(sample)).resize((1024, 768), Image.Resampling.BICUBIC)
        large.save(photos / f"{number:02}.jpg", quality=92)
    files = sorted(photos.iterdir())
    images = as_tensor(np.stack([squared(read_image(path, False), size) for path in files]))
    model.extractor  # noqa: B018  # loaded before the clock runs

    def bare(part: torch.Tensor) -> None:
        with torch.inference_mode():
            model.extractor(part)

    return lambda: list(in_threads(images.split(BATCH), bare)), lambda: model.score(photos, None)


SIDES = ("torch alone", "backbone", "score")
"""The backbone as torch runs it by itself; the backbone in a process that keeps freed memory, as ours do; the command."""


def seconds(side: str, method: str) -> float:
    """Processor time that one side takes for the 64 photographs, in a process that does nothing else."""
    torch.set_num_threads(2)
    if side == "torch alone":
        extractor.keep_freed = lambda: None
    else:
        keep_freed()  # as the command does, before there are threads
    with tempfile.TemporaryDirectory() as name:
        work = score_pair(Path(name), method)[side == "score"]
        work()
        times = []
        for _ in range(3):
            start = time.process_time()
            work()
            times.append(time.process_time() - start)
    return median(times)


def main() -> None:
    """Print the median ratio to each backbone, and its range."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("method", nargs="?", default="mahalanobis")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help="time this side alone and print its seconds")
    given = parser.parse_args()
    if given.side:
        print(seconds(given.side, given.method))
        return
    found: dict[str, list[float]] = {side: [] for side in SIDES}
    for _ in range(given.repeat):
        for side in SIDES:
            command = [sys.executable, __file__, given.method, "--side", side]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[side].append(float(done.stdout.split()[-1]))
    for side in SIDES[:2]:
        ratios = [bare / score for bare, score in zip(found[side], found["score"])]
        print(f"{given.method}: {median(ratios):.2f} of {side} ({min(ratios):.2f} to {max(ratios):.2f})")
    print(", ".join(f"{side} {1000 * median(times) / 64:.1f} ms" for side, times in found.items()), "per photograph")


if __name__ == "__main__":
    main()
