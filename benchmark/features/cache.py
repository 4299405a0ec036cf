"""Resized images, and feature pyramids of a frozen backbone, computed once and kept on disk as memory maps.

Each file has one row per sample of a data set and fills in as rows are asked for (see `rows`). Images are read and resized
once per data set and size, for fine-tuning and for frozen backbones alike. Features are kept per *view*, the clean images
or one draw of a pseudo-anomaly generator: (C, H, W) in half precision per scale.
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
from osad_bench.benchmark.features.holdings import name_dataset
from osad_bench.benchmark.features.rows import Computed, Layout, Rows, kept_rows
from osad_bench.benchmark.features.views import CLEAN, CPU, View, resized, shown
from osad_bench.benchmark.preset import Preset
from osad_bench.datasets.base import Dataset

BATCH = 8
"""Images per forward pass, always: the last batch is padded, so that features do not depend on which images are asked for.

Eight keeps the maps in the processor's cache: 1.5 times the images per second of 32, measured on 2 cores.
"""

Progress = Callable[[str, int, int], None]
"""Called with what is computed, images done and images in total."""


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

        Parameters
        ----------
        progress
            Called after each batch.

        Returns
        -------
        list of arrays
            Frozen preset: one float16 array (n, C, H, W) per scale.
            Otherwise one uint8 array (n, height, width, 3), see `Preset.shape`.

        Raises
        ------
        DatasetError
            An image cannot be read.
        OSError
            The disk is full, or rows are missing and the cache cannot be written.
        """
        if not preset.frozen:
            return [self.images(dataset, preset, ids, progress)]
        identity = {
            "fingerprint": dataset.fingerprint, "image_size": preset.image_size, "view": [view.generator, view.draw],
            "format": 1, "backbone": backbone.name, "weights": backbone.weights, "scales": list(preset.scales),
            "stages": list(preset.stages),
        } | _tiles(preset)  # fmt: skip

        def compute(missing: Rows) -> Computed:
            names = [dataset.samples[row].id for row in missing]
            images = self.images(dataset, preset, names, progress)
            module = for_inference(backbone.module)
            extractor = PyramidExtractor(module, backbone.mean, backbone.std, preset).eval().to(device)

            def features(part: Rows) -> list[npt.NDArray[Any]]:
                changed = [shown(images[row], dataset.samples[row].id, view) for row in part]
                return features_of(np.stack(changed), extractor, device)

            return _in_batches(missing, features, f"{dataset.full_name}: {view}", progress)

        def layout() -> Layout:
            return [("float16", shape) for shape in pyramid_shapes(preset, backbone)]

        return self._kept("features", identity, dataset, ids, layout, compute)

    def images(
        self, dataset: Dataset, preset: Preset, ids: Sequence[str], progress: Progress | None = None
    ) -> npt.NDArray[np.uint8]:
        """Memory map (n, H, W, 3) of resized images, one per *sample of the data set*, of which those of `ids` are filled.

        Raises
        ------
        DatasetError, OSError
            See `rows`.
        """
        size, tiles = preset.image_size, preset.tiles
        identity = {"fingerprint": dataset.fingerprint, "image_size": size, "format": 1} | _tiles(preset)

        def compute(missing: Rows) -> Computed:
            def read(part: Rows) -> list[npt.NDArray[Any]]:
                return [np.stack([resized(dataset, dataset.samples[row].id, size, tiles) for row in part])]

            return _in_batches(missing, read, f"{dataset.full_name}: reading", progress)

        (images,) = self._kept("images", identity, dataset, ids, lambda: [("uint8", (*preset.shape, 3))], compute)
        return images

    def _kept(
        self,
        sort: str,
        identity: dict[str, Any],
        dataset: Dataset,
        ids: Sequence[str],
        layout: Callable[[], Layout],
        compute: Callable[[Rows], Computed],
    ) -> list[npt.NDArray[Any]]:
        """Memory maps in the folder of a sort (images, features), named by a digest of their identity."""
        name = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:24]
        index = {sample.id: row for row, sample in enumerate(dataset.samples)}
        wanted = np.array([index[name] for name in ids], dtype=np.int64)
        name_dataset(self.root, dataset.fingerprint, dataset.full_name)
        return kept_rows(self.root / sort / name, identity, len(dataset.samples), wanted, layout, compute)


def _tiles(preset: Preset) -> dict[str, int]:
    """A part of the identity that was added later: left out at its default, so that older caches stay valid."""
    return {} if preset.tiles == 1 else {"tiles": preset.tiles}


def _in_batches(
    rows: Rows, compute: Callable[[Rows], list[npt.NDArray[Any]]], what: str, progress: Progress | None
) -> Computed:
    """Compute rows batch by batch, in order; yields row numbers and values."""
    finished = 0
    for part, values in in_threads((rows[start : start + BATCH] for start in range(0, len(rows), BATCH)), compute):
        yield part, values
        finished += len(part)
        if progress:
            progress(what, finished, len(rows))


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
    """Yield each part with its computed value, in order.

    One part per core at a time, each with one thread of torch: as fast as one batch on all cores (0.93 times, measured on
    two), and the result does not depend on the number of cores.
    """
    workers = torch.get_num_threads()
    ahead: deque[tuple[Part, Future[Value]]] = deque()
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    try:
        for part in parts:
            ahead.append((part, pool.submit(compute, part)))
            if len(ahead) > 2 * workers:
                part, value = ahead.popleft()
                yield part, value.result()
        for part, value in ahead:
            yield part, value.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # an interrupted command does not wait for the running parts
        torch.set_num_threads(workers)
