"""Throughput of `osad-bench score` beside the bare backbone, as a ratio of two things timed in turns: at least 0.8.

    python tests/perf_score.py [METHOD] [--repeat 5]

Both go over the same 64 photographs with the same threads. The backbone has them in memory, resized; `score` has files
(JPEG, 1024 x 768) and reads, resizes and scores them. ``tox -e perf -- score`` runs it with the other pairs.
"""

from __future__ import annotations

import argparse
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
from osad_bench.benchmark.features.cache import BATCH, in_threads
from osad_bench.benchmark.features.extractor import as_tensor
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


def main() -> None:
    """Print the median ratio and its range."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("method", nargs="?", default="mahalanobis")
    parser.add_argument("--repeat", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as name:
        bare, score = score_pair(Path(name), given.method)
        bare(), score()
        found = []
        for _ in range(given.repeat):
            times = []
            for work in (bare, score):
                start = time.process_time()
                work()
                times.append(time.process_time() - start)
            found.append(times[0] / times[1])
    print(f"{given.method}: {median(found):.2f} of the bare backbone ({min(found):.2f} to {max(found):.2f})")


if __name__ == "__main__":
    main()
