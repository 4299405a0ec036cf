"""Feature pyramids of a frozen backbone and resized images, computed once and kept on disk as memory maps.

One *view* of a data set is its clean images or one draw of a pseudo-anomaly generator; a view has a row a sample and
fills in as rows are asked for. Files of a view::

    meta.json        what it holds
    part0.float16 …  rows of (C, H, W), one file a scale (frozen backbone), or part0.uint8, rows of images (fine-tuning)
    done.u8          one byte a row, set after the row is on disk: a kill at any moment leaves no half-written row marked
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from osad_bench.benchmark.features.backbones import Backbone
from osad_bench.benchmark.features.extractor import PyramidExtractor, as_tensor, for_inference, pyramid_shapes
from osad_bench.benchmark.features.views import CLEAN, CPU, View, render
from osad_bench.benchmark.preset import Preset
from osad_bench.core.locks import locked
from osad_bench.datasets.base import Dataset

BATCH = 8
"""Images a forward pass. Always the same (the last batch is padded): features do not depend on what is asked for.

Eight keeps the maps in the processor's cache: 1.5 times the images per second of 32, measured on 2 cores.
"""
FLUSH = 128
"""Images between two flushes to disk."""

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
        """Memory maps with a row a *sample of the data set*, of which those of `ids` are filled.

        Returns
        -------
        list of arrays
            Frozen preset: one float16 array (n, C, H, W) a scale. Otherwise one uint8 array (n, size, size, 3).
        """
        identity = {
            "fingerprint": dataset.fingerprint,
            "image_size": preset.image_size,
            "view": [view.generator, view.draw],
            "format": 1,
        }
        if preset.frozen:
            identity |= {
                "backbone": backbone.name, "weights": backbone.weights,
                "scales": list(preset.scales), "stages": list(preset.stages),
            }  # fmt: skip
        name = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:24]
        index = {sample.id: row for row, sample in enumerate(dataset.samples)}
        wanted = np.array([index[name] for name in ids], dtype=np.int64)
        folder = self.root / "features" / name
        meta = _layout_of(folder, identity, len(dataset.samples))
        if meta is None or len(_missing(folder, wanted)):  # a complete view needs no lock and may be read-only
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder / "lock"):
                meta = _layout_of(folder, identity, len(dataset.samples))
                if meta is None:
                    meta = _new_layout(folder, identity, len(dataset.samples), _shapes(preset, backbone))
                missing = _missing(folder, wanted)
                if len(missing):
                    _fill(folder, dataset, preset, backbone, view, missing, device, progress)
        dtype = np.dtype(meta["dtype"])
        return [
            np.memmap(folder / file, dtype=dtype, mode="r", shape=(meta["rows"], *shape))
            for file, shape in zip(meta["files"], meta["shapes"])
        ]


META, DONE = "meta.json", "done.u8"


def _shapes(preset: Preset, backbone: Backbone) -> list[list[int]]:
    """Shape of a row in each of a view's files."""
    size = preset.image_size
    return pyramid_shapes(preset, backbone) if preset.frozen else [[size, size, 3]]


def _layout_of(folder: Path, identity: dict[str, Any], rows: int) -> dict[str, Any] | None:
    """A view's meta file; None where there is none yet, or where its files are not as it says (a damaged cache)."""
    try:
        meta: dict[str, Any] = json.loads((folder / META).read_bytes())
        wide = np.dtype(meta["dtype"]).itemsize
        sizes = {file: rows * math.prod(shape) * wide for file, shape in zip(meta["files"], meta["shapes"])} | {
            DONE: rows
        }
        sound = meta["identity"] == identity and all((folder / file).stat().st_size == n for file, n in sizes.items())
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return meta if sound else None


def _missing(folder: Path, wanted: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Those of the wanted rows that are not computed yet."""
    done = np.fromfile(folder / DONE, dtype=np.uint8)
    missing: npt.NDArray[np.int64] = wanted[done[wanted] == 0]
    return missing


def _new_layout(folder: Path, identity: dict[str, Any], rows: int, shapes: list[list[int]]) -> dict[str, Any]:
    """Create a view's files, empty (sparse where the file system can); the meta file last."""
    dtype = np.dtype(np.float16 if "backbone" in identity else np.uint8)
    files = [f"part{i}.{dtype.name}" for i in range(len(shapes))]
    for file, size in [*((f, int(np.prod(s)) * dtype.itemsize) for f, s in zip(files, shapes)), (DONE, 1)]:
        (folder / file).unlink(missing_ok=True)  # who has mapped a damaged one keeps it
        with (folder / file).open("wb") as stream:
            stream.truncate(rows * size)
    temporary = folder / f"{META}.{os.getpid()}.tmp"
    meta = {"identity": identity, "files": files, "shapes": shapes, "dtype": dtype.name, "rows": rows}
    temporary.write_text(json.dumps(meta, indent=1))
    temporary.replace(folder / META)
    return meta


def _fill(
    folder: Path,
    dataset: Dataset,
    preset: Preset,
    backbone: Backbone,
    view: View,
    rows: npt.NDArray[np.int64],
    device: torch.device,
    progress: Progress | None,
) -> None:
    """Compute rows of a view. Written, not mapped: a full disk is an error here, not a crash."""
    meta = json.loads((folder / META).read_text())
    extractor = None
    if preset.frozen:
        module = for_inference(backbone.module)
        extractor = PyramidExtractor(module, backbone.mean, backbone.std, preset).eval().to(device)
    with ExitStack() as stack:
        streams = [stack.enter_context((folder / file).open("r+b")) for file in meta["files"]]
        marks = stack.enter_context((folder / DONE).open("r+b"))
        unmarked: list[int] = []

        def flush() -> None:
            for stream in streams:
                stream.flush()
                os.fsync(stream.fileno())
            for row in unmarked:
                marks.seek(row)
                marks.write(b"\1")
            marks.flush()
            unmarked.clear()

        finished = 0
        for part, values in _computed(dataset, preset, view, rows, extractor, device):
            for stream, value in zip(streams, values):
                for row, one in zip(part, value):
                    stream.seek(int(row) * one.nbytes)
                    stream.write(one.tobytes())
            unmarked += part.tolist()
            finished += len(part)
            if len(unmarked) >= FLUSH or finished == len(rows):
                flush()
            if progress:
                progress(f"{dataset.full_name}: {view}", finished, len(rows))


def _computed(
    dataset: Dataset,
    preset: Preset,
    view: View,
    rows: npt.NDArray[np.int64],
    extractor: PyramidExtractor | None,
    device: torch.device,
) -> Iterator[tuple[npt.NDArray[np.int64], list[npt.NDArray[Any]]]]:
    """Rows and what is to be written of them, batch by batch, in order."""

    def compute(part: npt.NDArray[np.int64]) -> list[npt.NDArray[Any]]:
        images = np.stack([render(dataset, dataset.samples[row].id, preset.image_size, view) for row in part])
        return [images] if extractor is None else features_of(images, extractor, device)

    return in_threads((rows[start : start + BATCH] for start in range(0, len(rows), BATCH)), compute)


def features_of(
    images: npt.NDArray[np.uint8], extractor: PyramidExtractor, device: torch.device
) -> list[npt.NDArray[np.float16]]:
    """Features of at most `BATCH` images (n, size, size, 3) by a frozen backbone: one array (n, C, H, W) per map."""
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
