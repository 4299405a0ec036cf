"""Speed, as ratios of two ways to do the same thing timed in turns: ``tox -e perf``.

On a shared machine absolute times vary too much to compare; the ratio of two things timed in turns does not. Each line gives
the median ratio (how many times faster the second way is than the first) and the range over ``--repeat`` repetitions.
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
from rich.console import Console
from rich.table import Table

from osad_bench.benchmark import fit
from osad_bench.benchmark.features.backbones import load_backbone
from osad_bench.benchmark.features.cache import BATCH, FeatureCache, in_threads
from osad_bench.benchmark.features.extractor import PyramidExtractor, as_tensor, for_inference
from osad_bench.benchmark.features.views import resized
from osad_bench.benchmark.preset import load_preset
from osad_bench.datasets.catalogue import open_dataset

Work = Callable[[], object]


def seconds(work: Work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ratios(slow: Work, fast: Work, repeat: int) -> list[float]:
    slow(), fast()
    return [seconds(slow) / seconds(fast) for _ in range(repeat)]


def backbone_pairs() -> dict[str, tuple[Work, Work]]:
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

    return {
        "features: folded batch norms against plain ones": (through(plain, BATCH), through(fast, BATCH)),
        f"features: batches of {BATCH} against one of 32": (through(fast, 32), through(fast, BATCH)),
    }


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


def score_pair(folder: Path) -> tuple[Work, Work]:
    """The bare backbone over 64 images in memory against ``osad-bench score`` of the same 64 as files."""
    photos, model = folder / "photos", fit("mahalanobis", "textures", calibrate=0)
    photos.mkdir()
    textures = open_dataset("textures")
    size = model.about.preset.image_size
    names = [sample.id for sample in textures.samples[:64]]
    for number, name in enumerate(names):
        Image.fromarray(textures.read(textures.by_id[name])).save(photos / f"{number}.png")
    images = as_tensor(np.stack([resized(textures, name, size) for name in names]))
    model.extractor  # noqa: B018  # loaded before the clock runs

    def bare(part: torch.Tensor) -> None:
        with torch.inference_mode():
            model.extractor(part)

    return (
        lambda: list(in_threads(images.split(BATCH), bare)),
        lambda: model.score(photos, None),
    )


def start_pair() -> tuple[Work, Work]:
    """``import torch`` against ``osad-bench --help``: help never imports it."""
    script = Path(sys.executable).with_name("osad-bench")

    def run(*command: object) -> Work:
        return lambda: subprocess.run(list(map(str, command)), capture_output=True, check=True)

    return run(sys.executable, "-c", "import torch"), run(script, "--help")


def main() -> None:
    """Time the pairs and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeat", type=int, default=7, help="how often each pair is timed (7)")
    repeat = parser.parse_args().repeat
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder:
        pairs = backbone_pairs() | {
            "cache: second visit against the first": cache_pair(Path(folder)),
            "score: photographs against the bare backbone": score_pair(Path(folder)),
            "start: --help against import torch": start_pair(),
        }
        table = Table("what", "times faster, median", "range")
        for name, (slow, fast) in pairs.items():
            found = ratios(slow, fast, repeat)
            table.add_row(name, f"{median(found):.2f}", f"{min(found):.2f} to {max(found):.2f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
