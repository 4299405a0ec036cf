"""One DRA cell in `paper` beside the same cell trained as published code does: how many times faster ours is.

    python tests/perf_cell.py [--backbone resnet18] [--size 448] [--steps 2] [--repeat 3] [--precision auto]

Both train on the same photographs for so many steps and score the same 26 test images (`perf_loops`). Each has processes of its
own, as ours changes how its process keeps memory (`osad_bench.core.memory`). Their processor time is compared, one thread each,
without imports; the cache is empty at the start. Ours fine-tunes in the number format that a run would choose on this machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import perf_loops as loops
import torch

from osad_bench.benchmark.cell.machine import Machine, precision_of
from osad_bench.benchmark.features.backbones import load_backbone

LOOPS = ("as published", "ours")


def timed(loop: str, photos: str, cache: Path, backbone: str, size: int, steps: int, precision: str) -> float:
    """Seconds of processor time of one cell."""
    torch.set_num_threads(1)
    paper = loops.Paper.of(photos, cache, "cpu", size)
    if backbone != paper.backbone.name:
        paper.backbone = load_backbone(backbone)
    paper.precision = precision_of(Machine(cache, precision=precision), paper.backbone.module)
    start = time.process_time()
    if loop == "ours":
        loops.as_ours(paper, steps)
    else:
        loops.as_published(paper, steps, 0)
    return time.process_time() - start


def main() -> None:
    """Print seconds of both and the ratio, with its range."""
    if len(sys.argv) == 2 and sys.argv[1].startswith("["):
        loop, photos, cache, *rest = json.loads(sys.argv[1])
        print(timed(loop, photos, Path(cache), *rest))
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--backbone", default="resnet18", help="resnet18 has random weights here")
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--precision", default="auto", help="of ours; published code trains in float32")
    given = parser.parse_args()
    seconds: dict[str, list[float]] = {loop: [] for loop in LOOPS}
    with tempfile.TemporaryDirectory() as name:
        photos = loops.photographs(Path(name) / "photographs", 40, 6, 20)
        for number in range(given.repeat):
            for loop in LOOPS:
                task = [
                    loop,
                    photos,
                    f"{name}/cache {number}",
                    given.backbone,
                    given.size,
                    given.steps,
                    given.precision,
                ]
                command = [sys.executable, __file__, json.dumps(task)]
                seconds[loop].append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    ratios = [slow / fast for slow, fast in zip(*seconds.values())]
    for loop, found in seconds.items():
        print(f"{loop}: {median(found):.1f} s ({min(found):.1f} to {max(found):.1f})")
    print(f"times faster: {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
