"""What the speed measurements share: photographs, the `paper` loop, and the same cell as published code trains it.

Weights are random: speed does not depend on them. Used by tests/perf.py and tools/gpu_bench.py.
"""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models import resnet18

from osad_bench.benchmark.cell.split import Split, split
from osad_bench.benchmark.cell.training import FineTuned, _divided
from osad_bench.benchmark.features.backbones import IMAGENET_MEAN, IMAGENET_STD, Backbone, ResNetStages
from osad_bench.benchmark.features.cache import FeatureCache
from osad_bench.benchmark.features.pseudo import cutmix
from osad_bench.benchmark.preset import Preset, load_preset
from osad_bench.datasets.base import Dataset
from osad_bench.datasets.catalogue import open_dataset
from osad_bench.methods.base import NORMAL, PSEUDO, SEEN, Batch, Context, Mix, Schedule
from osad_bench.methods.dpdl.prototypes import Codebook
from osad_bench.methods.dpdl.readings import Nearest
from osad_bench.methods.dra import DRA, combine, dra_heads, head_losses, head_scores, mean_map
from osad_bench.methods.gradient import GradientMethod
from osad_bench.methods.parts.losses import Deviation
from osad_bench.results.record import Protocol


def photograph(path: Path, side: int, seed: int, spot: bool) -> None:
    """A smooth picture with grain, as of a product, with a defect where one is asked for: PNG of side x side."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(60, 200, (12, 12, 3)).astype(np.uint8))
    pixels = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC)).astype(np.int16)
    pixels = pixels + random.integers(-4, 5, (side, side, 1))
    if spot:
        y, x = random.integers(0, side - side // 8, 2)
        pixels[y : y + side // 8, x : x + side // 8] += 50
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, compress_level=1)


def photographs(folder: Path, train: int, test: int, anomalies: int, side: int = 900) -> str:
    """A data set in MVTec AD's layout; gives the name it is opened by."""
    parts = [("train/good", train, False), ("test/good", test, False), ("test/spot", anomalies, True)]
    jobs = []
    for part, count, spot in parts:
        (folder / part).mkdir(parents=True)
        jobs += [(folder / part / f"{i:04}.png", side, len(jobs) + i, spot) for i in range(count)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda job: photograph(*job), jobs))
    return f"folder:{folder}"


def random_backbone() -> Backbone:
    """ResNet-18 with random weights."""
    torch.manual_seed(0)
    network = ResNetStages(resnet18(weights=None))
    return Backbone("resnet18", lambda: network, IMAGENET_MEAN, IMAGENET_STD, "random")


@dataclass
class Paper:
    """The preset `paper` on one data set, with what a cell of it needs."""

    dataset: Dataset
    division: Split
    preset: Preset
    backbone: Backbone
    cache: FeatureCache
    device: torch.device
    precision: torch.dtype = torch.float32

    @classmethod
    def of(cls, data: str, cache: Path, device: str, size: int) -> Paper:
        dataset = open_dataset(data)
        preset = load_preset("paper", {"image_size": size})[1]
        division = split(dataset, Protocol(shots=10))
        return cls(dataset, division, preset, random_backbone(), FeatureCache(cache), torch.device(device))

    def train(self, kind: type[FineTuned] = FineTuned) -> FineTuned:
        torch.manual_seed(0)
        return kind(
            self.dataset, self.division, self.preset, self.backbone, self.cache, ("cutmix", "cutpaste", "texture"), 0,
            self.device, None, self.precision,
        )  # fmt: skip

    def sync(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


class Ready(FineTuned):
    """The same training set with its batches drawn, changed and turned before: tensors on the device."""

    ready: dict[tuple[object, ...], tuple[Iterator[int], list[Tensor]]]

    def batch(self, size: int, mix: Mix, pseudo: Sequence[str], references: int = 0) -> Batch:
        counts = mix.counts(size)
        key = (counts, references)
        self.ready = getattr(self, "ready", {})
        if key not in self.ready:
            self.ready[key] = iter(range(10**9)), [self.draw(counts, pseudo, references) for _ in range(3)]
        number, batches = self.ready[key]
        return _divided(self._through(batches[next(number) % 3]), counts, references, self.device)


class Contiguous(FineTuned):
    """The same without channels last."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.trunk = self.trunk.to(memory_format=torch.contiguous_format)
        self.trunk.memory_format = torch.contiguous_format


def schedule_of(method: GradientMethod, **changes: object) -> Schedule:
    return (method.schedule or Schedule()).model_copy(update=changes)


def epochs(
    method: GradientMethod, paper: Paper, kind: type[FineTuned], count: int, steps: int, **more: object
) -> list[float]:
    """Seconds per step of `count` epochs after a first one that does not count."""
    times: list[float] = []

    def tell(*_: object) -> None:
        paper.sync()
        times.append(time.perf_counter())

    schedule = schedule_of(method, epochs=count + 1, steps=steps, **more)
    method.fit(paper.train(kind), Context(0, paper.device, schedule, progress=tell))
    return [(after - before) / steps for before, after in itertools.pairwise(times)]


# One DRA cell as published code trains it (facts: docs/deviations.md, "DRA"): files read, resized and changed by Pillow
# at every access, float32, no channels last, losses read at every step, test images one by one.


class Files(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Image files as published code reads them."""

    def __init__(self, paper: Paper, training: bool) -> None:
        self.read, self.samples, self.training = paper.dataset.read, paper.dataset.by_id, training
        self.size = paper.preset.image_size
        division = paper.division
        self.normal, self.seen = division.train_normal, division.train_anomaly
        self.test = [*division.test_normal, *division.test_anomaly]

    def __len__(self) -> int:
        return len(self.test)

    def one(self, name: str, sort: int, random: np.random.Generator) -> Tensor:
        image = Image.fromarray(self.read(self.samples[name]))
        image = image.resize((self.size, self.size), Image.Resampling.BILINEAR)
        if sort == PSEUDO:
            image = Image.fromarray(cutmix(np.asarray(image), random)[0])
        if self.training:
            image = image.rotate(float(random.uniform(-180, 180)))
        x = torch.from_numpy(np.array(image)).permute(2, 0, 1).float().contiguous() / 255
        return (x - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(IMAGENET_STD).view(3, 1, 1)

    def __getitem__(self, index: int | tuple[str, int, int]) -> tuple[Tensor, int]:
        if isinstance(index, int):
            return self.one(self.test[index], NORMAL, np.random.default_rng(0)), 0
        name, sort, seed = index
        return self.one(name, sort, np.random.default_rng(seed)), sort


class Batches(torch.utils.data.Sampler[list[tuple[str, int, int]]]):
    """32 draws of normals, each a pseudo-anomaly with probability 1/2, 16 known anomalies, five references."""

    def __init__(self, files: Files, steps: int) -> None:
        self.files, self.steps = files, steps

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[tuple[str, int, int]]]:
        random = np.random.default_rng(0)
        for _ in range(self.steps):
            normals = random.choice(len(self.files.normal), 37)
            sorts = [PSEUDO if random.random() < 0.5 else NORMAL for _ in range(32)]
            names = [(self.files.normal[i], sort) for i, sort in zip(normals[:32], sorts)]
            names += [(self.files.seen[i], SEEN) for i in random.choice(len(self.files.seen), 16)]
            names += [(self.files.normal[i], NORMAL) for i in normals[32:]]
            yield [(name, sort, int(random.integers(2**31))) for name, sort in names]


def as_published(paper: Paper, steps: int, workers: int) -> tuple[Tensor, float, float]:
    """Train and test one DRA cell in this way; gives scores, seconds of training and seconds of the test."""
    device, config = paper.device, DRA.Config()
    trunk = copy.deepcopy(paper.backbone.module).to(device).eval()

    def pyramid(x: Tensor) -> list[Tensor]:
        return [trunk(s)[-1] for s in (x, nn.functional.interpolate(x, scale_factor=0.5, mode="nearest"))]

    files = Files(paper, training=True)
    with torch.no_grad():
        empty = torch.zeros(1, 3, files.size, files.size, device=device)
        shapes = [(x.shape[1], x.shape[2], x.shape[3]) for x in pyramid(empty)]
    heads = dra_heads(shapes, config, Context(0, device, Schedule())).to(device)

    optimizer = torch.optim.Adam([*trunk.parameters(), *heads.parameters()], lr=2e-4, weight_decay=1e-5)
    loader = torch.utils.data.DataLoader(
        files, batch_sampler=Batches(files, steps), num_workers=workers, pin_memory=device.type == "cuda"
    )
    start = time.perf_counter()
    trunk.train(), heads.train()
    for images, sorts in loader:
        maps = pyramid(images.to(device))
        reference = mean_map([x[48:] for x in maps])
        deviation = Deviation.draw(torch.Generator().manual_seed(0))
        terms = head_losses(head_scores(heads, [x[:48] for x in maps], reference), sorts[:48].to(device), deviation)
        loss = sum(terms.values())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([*trunk.parameters(), *heads.parameters()], 1.0)
        optimizer.step()
        loss.item()
    paper.sync()
    trained = time.perf_counter()
    trunk.eval(), heads.eval()
    scores = []
    tests = Files(paper, training=False)
    with torch.no_grad():
        some = torch.stack([tests.one(name, NORMAL, np.random.default_rng(0)) for name in tests.normal[:5]])
        reference = mean_map(pyramid(some.to(device)))
        for image, _ in torch.utils.data.DataLoader(tests, batch_size=1, num_workers=workers):
            scores.append(combine(head_scores(heads, pyramid(image.to(device)), reference)).item())
    return torch.tensor(scores), trained - start, time.perf_counter() - trained


def as_ours(paper: Paper, steps: int) -> tuple[Tensor, float, float]:
    """The same cell in `paper`: what the cache lacks counts as training."""
    method = DRA()
    start = time.perf_counter()
    train = paper.train()
    method.fit(train, Context(0, paper.device, schedule_of(method, epochs=1, steps=steps)))
    paper.sync()
    trained = time.perf_counter()
    scores = train.scores(method)
    return scores, trained - start, time.perf_counter() - trained


def saved_bytes(work: Callable[[], Tensor]) -> tuple[Tensor, int]:
    """Result of a forward pass and the bytes that autograd keeps for the backward pass, each storage once."""
    storages: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        return work(), sum(storages.values())


def bridges(
    shapes: Sequence[tuple[int, int, int]], batch: int, device: torch.device
) -> tuple[list[Nearest], list[Tensor]]:
    """DPDL's bridge of each scale with 32 prototypes, and a batch of points for each."""
    found, leaves = [], []
    for channels, height, width in shapes:
        centres = torch.randn(32, channels * height * width, device=device)
        book = Codebook(centres, torch.full((32,), 1 / 32, device=device), torch.ones_like(centres))
        found.append(Nearest(book, 1e-3, 0.1).to(device))
        leaves.append(torch.randn(batch, centres.shape[1], device=device, requires_grad=True))
    return found, leaves


def _step(bridge: Nearest, x: Tensor, logits: Tensor) -> Tensor:
    return bridge.residual(bridge.mean_plan(x, logits)).mean() + bridge.misfit(x, logits).mean()


def bridged(found: Sequence[Nearest], leaves: Sequence[Tensor]) -> Tensor:
    """All that a step of DPDL asks of its bridges."""
    parts = [_step(one, x, one.logits(x)) for one, x in zip(found, leaves)]
    return torch.stack(parts).sum()
