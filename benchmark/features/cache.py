"""Feature pyramids of a frozen backbone and resized images, computed once and kept on disk as memory maps.

One *view* of a data set is its clean images or one draw of a pseudo-anomaly generator. It has one row per sample and
fills in as rows are asked for (see `rows`): (C, H, W) in half precision per scale (frozen backbone), or images in uint8
(fine-tuning).
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from osad_bench.benchmark.features.backbones import Backbone
from osad_bench.benchmark.features.extractor import PyramidExtractor, as_tensor, for_inference, pyramid_shapes
from osad_bench.benchmark.features.rows import Computed, Rows, kept_rows
from osad_bench.benchmark.features.views import CLEAN, CPU, View, render
from osad_bench.benchmark.preset import Preset
from osad_bench.datasets.base import Dataset

BATCH = 8
"""Images per forward pass. Always the same (the last batch is padded): features do not depend on what is asked for.

Eight keeps the maps in the processor's cache: 1.5 times the images per second of 32, measured on 2 cores.
"""

Progress = Callable[[str, int, int], None]


class FeatureCache:
    """All views of all data sets below one folder.

    Parameters
    ----------
    root
        The cache folder; several processes may share it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def rows(
        self,
        dataset: Dataset,
        preset: Preset,
        backbone: Backbone,
        ids: Sequence[str],
        view: View = CLEAN,
        device: torch.device = CPU,
        progress: Progress | None = None,
    ) -> list[npt.NDArray[Any]]:
        """Memory maps with one row per *sample of the data set*, of which those of `ids` are filled.

        Returns
        -------
        list of arrays
            Frozen preset: one float16 array (n, C, H, W) per scale. Otherwise one uint8 array (n, height, width, 3) of `Preset.shape`.
        """
        identity = {
            "fingerprint": dataset.fingerprint,
            "image_size": preset.image_size,
            "view": [view.generator, view.draw],
            "format": 1,
        }
        if preset.tiles != 1:
            identity["tiles"] = preset.tiles
        if preset.frozen:
            identity |= {
                "backbone": backbone.name, "weights": backbone.weights,
                "scales": list(preset.scales), "stages": list(preset.stages),
            }  # fmt: skip
        name = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:24]
        index = {sample.id: row for row, sample in enumerate(dataset.samples)}

        def compute(missing: Rows) -> Computed:
            finished = 0
            for part, values in _computed(dataset, preset, backbone, view, missing, device):
                yield part, values
                finished += len(part)
                if progress:
                    progress(f"{dataset.full_name}: {view}", finished, len(missing))

        return kept_rows(
            self.root / "features" / name,
            identity,
            len(dataset.samples),
            np.array([index[name] for name in ids], dtype=np.int64),
            lambda: _layout(preset, backbone),
            compute,
        )


def _layout(preset: Preset, backbone: Backbone) -> list[tuple[str, list[int]]]:
    """Type and shape of a row in each of a view's files."""
    if not preset.frozen:
        return [("uint8", [*preset.shape, 3])]
    return [("float16", shape) for shape in pyramid_shapes(preset, backbone)]


def _computed(
    dataset: Dataset, preset: Preset, backbone: Backbone, view: View, rows: Rows, device: torch.device
) -> Computed:
    """Rows and what is to be written of them, batch by batch, in order."""
    extractor = None
    if preset.frozen:
        module = for_inference(backbone.module)
        extractor = PyramidExtractor(module, backbone.mean, backbone.std, preset).eval().to(device)

    def compute(part: Rows) -> list[npt.NDArray[Any]]:
        images = np.stack(
            [render(dataset, dataset.samples[row].id, preset.image_size, view, preset.tiles) for row in part]
        )
        return [images] if extractor is None else features_of(images, extractor, device)

    return in_threads((rows[start : start + BATCH] for start in range(0, len(rows), BATCH)), compute)


def features_of(
    images: npt.NDArray[np.uint8], extractor: PyramidExtractor, device: torch.device
) -> list[npt.NDArray[np.float16]]:
    """Features of at most `BATCH` images (n, H, W, 3) by a frozen backbone: one array (n, C, H, W) per map."""
    padded = np.concatenate([images, np.repeat(images[-1:], BATCH - len(images), axis=0)])
    with torch.inference_mode():
        scales = extractor(as_tensor(padded).to(device))
    return [scale[: len(images)].half().cpu().numpy() for scale in scales]


Part = TypeVar("Part")
Value = TypeVar("Value")


def in_threads(parts: Iterable[Part], compute: Callable[[Part], Value]) -> Iterator[tuple[Part, Value]]:
    """Each part with what is computed of it, in order.

    One part per core at a time, each on one thread of torch: as fast as one batch on all cores (0.93 times, measured on
    two), and the result does not depend on how many cores there are.
    """
    workers = torch.get_num_threads()
    ahead: deque[tuple[Part, Future[Value]]] = deque()
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            for part in parts:
                ahead.append((part, pool.submit(compute, part)))
                if len(ahead) > 2 * workers:
                    part, value = ahead.popleft()
                    yield part, value.result()
            for part, value in ahead:
                yield part, value.result()
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(workers)
