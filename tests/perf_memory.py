"""What keeping freed memory saves a backbone: processor time of the program and of the kernel, and the largest memory.

    python tests/perf_memory.py {features,training} [--given-back] [--repeat 8]

``--given-back`` leaves glibc as it is; run both in turns. EfficientNet-Lite0, one thread: the forward pass of 8 images at 320
pixels and two scales as in `quick`, or a training step of 16 images at 448 pixels as in `paper`.
"""

from __future__ import annotations

import argparse
import copy
import os
import resource
from statistics import median

import torch

from osad_bench.benchmark.features import extractor
from osad_bench.benchmark.features.backbones import load_backbone
from osad_bench.benchmark.preset import load_preset


def main() -> None:
    """Print medians."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["features", "training"])
    parser.add_argument("--given-back", action="store_true")
    parser.add_argument("--repeat", type=int, default=8)
    given = parser.parse_args()
    if given.given_back:
        extractor.keep_freed = lambda: None
    torch.set_num_threads(1)
    backbone = load_backbone("efficientnet_lite0")
    training = given.what == "training"
    preset = load_preset("paper" if training else "quick")[1]
    module = copy.deepcopy(backbone.module) if training else extractor.for_inference(backbone.module)
    network = extractor.PyramidExtractor(module, backbone.mean, backbone.std, preset)
    network = network.to(memory_format=torch.channels_last).train(training)
    count, size = 16 if training else 8, preset.image_size
    images = torch.randint(256, (count, size, size, 3), dtype=torch.uint8).permute(0, 3, 1, 2)

    def work() -> None:
        with torch.inference_mode(not training):
            maps = network(images)
        if training:
            sum(scale.square().mean() for scale in maps).backward()

    work()
    found = []
    for _ in range(given.repeat):
        before = os.times()
        work()
        after = os.times()
        found.append((after.user - before.user, after.system - before.system))
    program, kernel = (1000 * median(column) / count for column in zip(*found))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{program:.1f} ms per image, {kernel:.1f} ms of the kernel, {memory:.0f} MB at most")


if __name__ == "__main__":
    main()
