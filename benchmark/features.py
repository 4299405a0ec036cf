"""Feature pyramids of a frozen backbone and resized images, computed once and kept on disk as memory maps.

One *view* of a data set is its clean images or one draw of a pseudo-anomaly generator; a view has a row a sample and
fills in as rows are asked for. Files of a view::

    meta.json        what it holds
    part0.float16 …  rows of (C, H, W), one file a scale (frozen backbone), or part0.uint8, rows of images (fine-tuning)
    done.u8          one byte a row, set after the row is on disk: a kill at any moment leaves no half-written row marked
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from filelock import FileLock
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from osad_bench.benchmark.backbones import Backbone
from osad_bench.benchmark.errors import InputError
from osad_bench.benchmark.preset import Preset
from osad_bench.benchmark.registry import pseudo_anomalies
from osad_bench.datasets.base import Dataset

BATCH = 8
"""Images a forward pass. Always the same (the last batch is padded): features do not depend on what is asked for.

Eight keeps the maps in the processor's cache: 1.5 times the images per second of 32, measured on 2 cores.
"""
FLUSH = 128
"""Images between two flushes to disk."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class View:
    """Clean images (``generator=None``) or the pseudo-anomalies of one draw."""

    generator: str | None = None
    draw: int = 0

    def __str__(self) -> str:
        return "images" if self.generator is None else f"{self.generator} #{self.draw + 1}"


CLEAN = View()
CPU = torch.device("cpu")


def resized(dataset: Dataset, name: str, size: int) -> npt.NDArray[np.uint8]:
    """One image, squeezed to (size, size, 3) by Pillow's antialiased bilinear filter."""
    image = Image.fromarray(dataset.read(dataset.by_id[name]))
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def pseudo_generator(name: str, sample: str, draw: int) -> np.random.Generator:
    """The random source of one pseudo-anomaly, a function of its name alone."""
    sha = hashlib.sha256(f"{name}/{draw}/{sample}".encode()).digest()
    return np.random.default_rng(np.frombuffer(sha, dtype=np.uint32))


def render(dataset: Dataset, name: str, size: int, view: View) -> npt.NDArray[np.uint8]:
    """The resized image of a sample as the view shows it."""
    image = resized(dataset, name, size)
    if view.generator is None:
        return image
    changed, _ = pseudo_anomalies.get(view.generator)(image, pseudo_generator(view.generator, name, view.draw))
    result: npt.NDArray[np.uint8] = changed
    return result


def _fold(module: nn.Module) -> None:
    """Merge each batch norm into the convolution registered right before it."""
    children = list(module.named_children())
    for _, child in children:
        _fold(child)
    for (name, conv), (after, norm) in itertools.pairwise(children):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, name, fuse_conv_bn_eval(conv, norm))
            # timm's batch norm carries its activation along.
            setattr(module, after, getattr(norm, "act", nn.Identity()))


def for_inference(backbone: nn.Module) -> nn.Module:
    """A copy that gives the same maps faster: batch norms folded, channels last.

    Folding takes registration order for call order; a backbone for which that is wrong (checked on random images) is
    used as it is.
    """
    plain = copy.deepcopy(backbone).eval()
    folded = copy.deepcopy(plain)
    _fold(folded)
    probe = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        try:
            same = all(
                torch.allclose(a, b, rtol=1e-3, atol=1e-3 * float(a.abs().max()))
                for a, b in zip(plain(probe), folded(probe))
            )
        except RuntimeError:
            same = False
    return (folded if same else plain).to(memory_format=torch.channels_last)


class PyramidExtractor(nn.Module):
    """uint8 images to the feature pyramid: normalise, rescale (nearest neighbour, as DRA), run the backbone."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, mean: Sequence[float], std: Sequence[float], preset: Preset) -> None:
        super().__init__()
        self.backbone = backbone
        self.scales, self.stages = preset.scales, preset.stages
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [0, 255] -> one map a scale and stage."""
        x = (images.float() / 255 - self.mean) / self.std
        pyramid = []
        for scale in self.scales:
            scaled = x if scale == 1 else nn.functional.interpolate(x, scale_factor=scale, mode="nearest")
            maps = self.backbone(scaled.contiguous(memory_format=torch.channels_last))
            pyramid += [maps[stage] for stage in self.stages]
        return pyramid


def as_tensor(images: npt.NDArray[np.uint8]) -> Tensor:
    """(B, H, W, 3) uint8 array -> (B, 3, H, W) uint8 tensor."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)


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
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):
            meta = _layout_of(folder, identity, len(dataset.samples))
            if meta is None:
                meta = _lay_out(folder, identity, len(dataset.samples), _shapes(preset, backbone))
            done = np.fromfile(folder / DONE, dtype=np.uint8)
            missing = wanted[done[wanted] == 0]
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


def pyramid_shapes(preset: Preset, backbone: Backbone) -> list[list[int]]:
    """(C, H, W) of each map of the pyramid.

    Raises
    ------
    InputError
        The backbone has no such stages, or cannot take images of that size at those scales.
    """
    extractor = PyramidExtractor(copy.deepcopy(backbone.module), backbone.mean, backbone.std, preset).eval()
    try:
        with torch.inference_mode():
            return [
                list(scale.shape[1:]) for scale in extractor(torch.zeros(1, 3, preset.image_size, preset.image_size))
            ]
    except (IndexError, RuntimeError, ValueError) as error:
        raise InputError(
            f"the backbone {backbone.name} makes no pyramid of image_size {preset.image_size}, scales "
            f"{list(preset.scales)} and stages {list(preset.stages)} ({str(error).splitlines()[0]}); stages count from 0, "
            "or from -1 backwards, and scales are above 0"
        ) from None


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


def _lay_out(folder: Path, identity: dict[str, Any], rows: int, shapes: list[list[int]]) -> dict[str, Any]:
    """Create a view's files, empty (sparse where the file system can); the meta file last."""
    dtype = np.dtype(np.float16 if "backbone" in identity else np.uint8)
    files = [f"part{i}.{dtype.name}" for i in range(len(shapes))]
    for file, size in [*((f, int(np.prod(s)) * dtype.itemsize) for f, s in zip(files, shapes)), (DONE, 1)]:
        (folder / file).unlink(missing_ok=True)  # who has mapped a damaged one keeps it
        with (folder / file).open("wb") as stream:
            stream.truncate(rows * size)
    temporary = folder / f"{META}.tmp"
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
    """Rows and what is to be written of them, a batch at a time, in order.

    One batch a core at a time, each on one thread of torch: as fast as one batch on all cores (0.93 times, measured on
    two), and the result does not depend on how many cores there are.
    """

    def compute(part: npt.NDArray[np.int64]) -> list[npt.NDArray[Any]]:
        images = np.stack([render(dataset, dataset.samples[row].id, preset.image_size, view) for row in part])
        if extractor is None:
            return [images]
        padded = np.concatenate([images, np.repeat(images[-1:], BATCH - len(images), axis=0)])
        with torch.inference_mode():
            scales = extractor(as_tensor(padded).to(device))
        return [scale[: len(images)].half().cpu().numpy() for scale in scales]

    workers = torch.get_num_threads()
    ahead: deque[tuple[npt.NDArray[np.int64], Future[list[npt.NDArray[Any]]]]] = deque()
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            for start in range(0, len(rows), BATCH):
                part = rows[start : start + BATCH]
                ahead.append((part, pool.submit(compute, part)))
                if len(ahead) > 2 * workers:
                    part, values = ahead.popleft()
                    yield part, values.result()
            for part, values in ahead:
                yield part, values.result()
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(workers)
