"""Training sets: the parts of a split as feature pyramids, to train a method on and to score.

`CachedFeatures` serves a frozen backbone's cached features through an optional normaliser and a trainable adapter;
`FineTuned` runs images through a backbone that is trained along with the method. Both meet the contract
`osad_bench.methods.base.TrainingSet`, so that a method's code is the same for both.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from osad_bench.benchmark.cell.below import Adapter, Normaliser, through
from osad_bench.benchmark.cell.offload import KeptInMainMemory
from osad_bench.benchmark.cell.shared import Shelf
from osad_bench.benchmark.cell.split import Split
from osad_bench.benchmark.features.augment import rotate
from osad_bench.benchmark.features.backbones import Backbone
from osad_bench.benchmark.features.batched import changed
from osad_bench.benchmark.features.cache import FeatureCache
from osad_bench.benchmark.features.extractor import PyramidExtractor
from osad_bench.benchmark.features.held import HeldImages
from osad_bench.benchmark.features.views import CLEAN, View
from osad_bench.benchmark.preset import Preset
from osad_bench.core.registry import pseudo_anomalies
from osad_bench.datasets.base import Dataset
from osad_bench.methods.base import NORMAL, PSEUDO, SEEN, Batch, Method, Mix, Pyramid, on, seed_of
from osad_bench.methods.saving import State

EVAL_BATCH = 32
"""Images per scoring batch, always: the last batch is padded, so that no score depends on how many images are scored.

With 32, the scores of all methods also do not depend on an image's place in its batch; with 8 they do, because matrix
products with few rows are computed differently.
"""


def preset_for(method: type[Method], preset: Preset) -> Preset:
    """The preset as a method uses it: with the method's own stages, if any, and without adapter if it is not trained."""
    changes: dict[str, Any] = {}
    if method.stages is not None:
        changes["stages"] = method.stages
    if method.schedule is None:
        changes["adapter"] = "none"
    return preset.model_copy(update=changes) if changes else preset


def needed(split: Split, preset: Preset, generators: Sequence[str]) -> dict[View, Sequence[str]]:
    """The views that a cell with these pseudo-anomaly generators reads, each with the ids of the images it reads."""
    views: dict[View, Sequence[str]] = {CLEAN: [name for ids in split.parts().values() for name in ids]}
    if preset.frozen:
        views |= {View(name, draw): split.train_normal for name in generators for draw in range(preset.pseudo_draws)}
    return views


def _divided(pyramid: Pyramid, counts: tuple[int, int, int], references: int, device: torch.device) -> Batch:
    """Separate the batch from the references that went through the network with it; `counts` of normals, seen, pseudo."""
    target = on(torch.tensor([NORMAL] * counts[0] + [SEEN] * counts[1] + [PSEUDO] * counts[2]), device)
    reference = [scale[len(target) :] for scale in pyramid] if references else None
    return Batch([scale[: len(target)] for scale in pyramid], target, reference, counts[0])


def score_rows(
    method: Method,
    read: Callable[[npt.NDArray[np.int64]], Pyramid],
    rows: npt.NDArray[np.int64],
    measured: Callable[[npt.NDArray[np.int64]], list[Tensor]] | None = None,
) -> Tensor:
    """Scores of rows by a fitted method; a row's score does not depend on the other rows.

    Parameters
    ----------
    read
        Function that returns the features of rows.
    rows
        (n,), row numbers of images.
    measured
        Function that returns what `Method.measure` returned for rows; None to compute it now.

    Returns
    -------
    tensor of shape (len(rows),), float64, on the CPU

    Raises
    ------
    ValueError
        The method does not return one score per image.
    """
    values = []
    for start in range(0, len(rows), EVAL_BATCH):
        part = rows[start : start + EVAL_BATCH]
        padded = np.concatenate([part, np.repeat(part[-1:], EVAL_BATCH - len(part))])
        with torch.no_grad():
            if measured is None:
                found = method.score(read(padded))
            else:
                found = method.score_measured(measured(padded), partial(read, padded))
        if not isinstance(found, Tensor) or found.is_complex():
            what = f"{found.dtype} numbers" if isinstance(found, Tensor) else f"a {type(found).__name__}"
            raise ValueError(f"{method.name}.score returned {what}, expected a tensor of real numbers, one per image")
        if found.shape != (EVAL_BATCH,):
            raise ValueError(f"{method.name}.score returned shape {tuple(found.shape)} for {EVAL_BATCH} images")
        values.append(found.detach()[: len(part)].double())
    return torch.cat(values).cpu() if values else torch.zeros(0, dtype=torch.float64)


class _Parts:
    """Base of both kinds of training set: the rows of the split's parts, and the random draws of a batch."""

    shapes: list[tuple[int, int, int]]

    def __init__(self, dataset: Dataset, split: Split, seed: int, device: torch.device) -> None:
        index = {sample.id: row for row, sample in enumerate(dataset.samples)}
        self.normal_rows, self.seen_rows, self.test_rows = (
            np.array([index[name] for name in names], dtype=np.int64)  # the type also if there is none
            for names in (split.train_normal, split.train_anomaly, (*split.test_normal, *split.test_anomaly))
        )
        self.ids = [sample.id for sample in dataset.samples]
        self.n_normal, self.n_seen = len(self.normal_rows), len(self.seen_rows)
        # One stream per part of a batch, so that a method without pseudo-anomalies sees the same normals as one with them.
        self.streams = {
            part: torch.Generator().manual_seed(seed_of(seed, part))
            for part in ("normal", "seen", "pseudo", "reference", "augment")
        }
        self.device, self.training = device, False

    def _draw(self, part: str, n: int, size: int) -> npt.NDArray[np.int64]:
        """Draw `size` numbers below `n`; none repeats before all were drawn."""
        rounds = [torch.randperm(n, generator=self.streams[part]) for _ in range(-(-size // n))] if size else []
        drawn: npt.NDArray[np.int64] = (
            torch.cat(rounds)[:size] if rounds else torch.zeros(0, dtype=torch.long)
        ).numpy()
        return drawn

    def pyramid(self, rows: npt.NDArray[np.int64]) -> Pyramid:
        """Features of the clean images in these rows of the data set, (n, C, H, W) per map."""
        raise NotImplementedError

    def _chunks(self, rows: npt.NDArray[np.int64]) -> Iterator[Pyramid]:
        before = self.training
        self.train(False)
        try:
            with torch.no_grad():
                for start in range(0, len(rows), EVAL_BATCH):
                    yield self.pyramid(rows[start : start + EVAL_BATCH])
        finally:
            self.train(before)

    def train(self, mode: bool = True) -> None:
        """Switch the layers that are trained below the method to training or evaluation mode."""
        self.training = mode

    def _all(self, rows: npt.NDArray[np.int64]) -> Pyramid:
        return [torch.cat(scale) for scale in zip(*self._chunks(rows))]

    def normals(self, index: Sequence[int] | None = None) -> Pyramid:
        """Clean features (no pseudo-anomaly, no augmentation) of the training normals, or of those at `index`."""
        return self._all(self.normal_rows if index is None else self.normal_rows[np.asarray(index)])

    def seen(self) -> Pyramid:
        """Clean features of the known anomalies."""
        return self._all(self.seen_rows)

    def test(self) -> Iterator[Pyramid]:
        """Clean features of the test part, normals first, in batches of `EVAL_BATCH`."""
        yield from self._chunks(self.test_rows)

    def maps(self, method: Method) -> npt.NDArray[np.float32] | None:
        """Heat maps of the test part by a fitted method, normals first, (n, H, W); None for a method without maps."""
        found = []
        for pyramid in self.test():
            with torch.no_grad():
                heat = method.score_map(pyramid)
            if heat is None:
                return None
            found.append(heat.detach().float().cpu().numpy())
        return np.concatenate(found)

    def scores(self, method: Method) -> Tensor:
        """Scores of the test part by a fitted method, normals first: float64 (n,), on the CPU."""
        before = self.training
        self.train(False)
        try:
            return score_rows(method, self.pyramid, self.test_rows)
        finally:
            self.train(before)


class CachedFeatures(_Parts):
    """Training set of a frozen backbone's cached features; normaliser and adapters as the preset says."""

    def __init__(
        self,
        dataset: Dataset,
        split: Split,
        preset: Preset,
        backbone: Backbone,
        cache: FeatureCache,
        generators: Sequence[str],
        seed: int,
        device: torch.device,
        shelf: Shelf | None = None,
        precision: torch.dtype = torch.float32,  # noqa: ARG002 (frozen features are kept in half precision)
        spare: bool = False,  # noqa: ARG002 (no backward pass through a backbone)
    ) -> None:
        super().__init__(dataset, split, seed, device)
        self.shelf = shelf or Shelf(None, {})
        views = {
            view: cache.rows(dataset, preset, backbone, ids, view, device)
            for view, ids in needed(split, preset, generators).items()
        }
        self.clean = views[CLEAN]
        self.pseudo = {name: [rows for view, rows in views.items() if view.generator == name] for name in generators}
        self.normalisers, self.adapters = nn.ModuleList(), nn.ModuleDict()
        if preset.normalise != "none":
            self.normalisers = nn.ModuleList(self._normalisers(preset.normalise)).to(device)
        if preset.adapter != "none":
            for channels in {int(scale.shape[1]) for scale in self.clean}:
                self.adapters[str(channels)] = Adapter(channels, preset.adapter, preset.adapter_width).to(device)
        self.shapes = [tuple(scale.shape[1:]) for scale in self.pyramid(self.normal_rows[:1])]  # type: ignore[misc]

    def _normalisers(self, mode: str) -> list[Normaliser]:
        """Fit or read one normaliser per map of the pyramid."""

        def fit() -> State:
            normals = (torch.from_numpy(scale[self.normal_rows]) for scale in self.clean)
            return nn.ModuleList(Normaliser.fit(scale, mode) for scale in normals).state_dict()

        state = self.shelf.keep("normalisers", {}, fit)
        return [
            Normaliser(mode, state[f"{number}.mean"], state[f"{number}.matrix"]) for number in range(len(self.clean))
        ]

    def scores(self, method: Method) -> Tensor:
        """Scores of the test part by a fitted method; measures that depend on the training normals alone are kept."""
        if type(method).measure is Method.measure:
            return super().scores(method)
        shelf = self.shelf.of_method(type(method))
        measures = shelf.measures(method, len(self.ids), self.test_rows, self.pyramid, EVAL_BATCH)
        place = np.zeros(len(self.ids), dtype=np.int64)
        place[self.test_rows] = np.arange(len(self.test_rows))

        def measured(rows: npt.NDArray[np.int64]) -> list[Tensor]:
            return [torch.from_numpy(one[place[rows]]).to(self.device) for one in measures]

        return score_rows(method, self.pyramid, self.test_rows, measured)

    def _below(self, arrays: Sequence[npt.NDArray[Any]]) -> Pyramid:
        """float16 rows, (n, C, H, W) per map -> normalised and adapted pyramid."""
        return through(arrays, self.normalisers, self.adapters, self.device)

    def pyramid(self, rows: npt.NDArray[np.int64]) -> Pyramid:
        """Clean features of these rows of the data set."""
        return self._below([scale[rows] for scale in self.clean])

    def batch(self, size: int, mix: Mix, pseudo: Sequence[str], references: int = 0) -> Batch:
        """Draw a batch: normals and seen anomalies clean, pseudo-anomalies from the cached draws."""
        counts = mix.counts(size)
        parts = [
            [scale[self.normal_rows[self._draw("normal", self.n_normal, counts[0])]] for scale in self.clean],
            [scale[self.seen_rows[self._draw("seen", self.n_seen, counts[1])]] for scale in self.clean],
        ]
        views = [view for name in pseudo for view in self.pseudo[name]]
        if counts[2]:
            rows = self.normal_rows[self._draw("pseudo", self.n_normal, counts[2])]
            which = torch.randint(len(views), (counts[2],), generator=self.streams["augment"]).numpy()
            parts.append([np.stack([views[v][i][row] for v, row in zip(which, rows)]) for i in range(len(self.clean))])
        rows = self.normal_rows[self._draw("reference", self.n_normal, references)]
        parts.append([scale[rows] for scale in self.clean])
        pyramid = self._below([np.concatenate(scale) for scale in zip(*parts)])
        return _divided(pyramid, counts, references, self.device)

    def parameters(self) -> list[nn.Parameter]:
        """The adapters' parameters."""
        return list(self.adapters.parameters())

    def train(self, mode: bool = True) -> None:
        """Switch the adapters to training or evaluation mode."""
        super().train(mode)
        self.adapters.train(mode)


class FineTuned(_Parts):
    """Training set of images, with a backbone that is trained along with the method."""

    def __init__(
        self,
        dataset: Dataset,
        split: Split,
        preset: Preset,
        backbone: Backbone,
        cache: FeatureCache,
        generators: Sequence[str],
        seed: int,
        device: torch.device,
        shelf: Shelf | None = None,  # noqa: ARG002 (features change in training: nothing is kept)
        precision: torch.dtype = torch.float32,
        spare: bool = False,
    ) -> None:
        super().__init__(dataset, split, seed, device)
        rows = np.concatenate([self.normal_rows, self.seen_rows, self.test_rows])
        images = cache.images(dataset, preset, [self.ids[row] for row in rows])
        self.images = HeldImages(images, rows, device, spare)
        self.augment, self.precision, self.spare = preset.augment, precision, spare
        self.generators = {name: pseudo_anomalies.get(name) for name in generators}
        self.trunk = PyramidExtractor(copy.deepcopy(backbone.module), backbone.mean, backbone.std, preset)
        self.trunk = self.trunk.to(device).to(memory_format=torch.channels_last)
        self.trunk.eval()
        with torch.no_grad():
            self.shapes = [tuple(scale.shape[1:]) for scale in self.pyramid(self.normal_rows[:1])]  # type: ignore[misc]

    def _through(self, images: Tensor) -> Pyramid:
        """Run the backbone, which alone computes in `precision`; the maps are float32."""
        with (
            KeptInMainMemory() if self.spare else nullcontext(),
            torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32),
        ):
            pyramid: Pyramid = self.trunk(images)
        return [scale.float() for scale in pyramid]

    def pyramid(self, rows: npt.NDArray[np.int64]) -> Pyramid:
        """Clean features of these rows of the data set."""
        return self._through(self.images(rows))

    def batch(self, size: int, mix: Mix, pseudo: Sequence[str], references: int = 0) -> Batch:
        """Draw a batch of images, make the pseudo-anomalies, rotate, and run the backbone with gradients."""
        counts = mix.counts(size)
        images = self.draw(counts, pseudo, references)
        return _divided(self._through(images), counts, references, self.device)

    def draw(self, counts: tuple[int, int, int], pseudo: Sequence[str], references: int) -> Tensor:
        """Draw the images of a batch and its references, (B, 3, H, W), uint8, with pseudo-anomalies and rotation.

        `counts` are the numbers of normals, seen anomalies and pseudo-anomalies.
        """
        rows = [
            self.normal_rows[self._draw("normal", self.n_normal, counts[0])],
            self.seen_rows[self._draw("seen", self.n_seen, counts[1])],
            self.normal_rows[self._draw("pseudo", self.n_normal, counts[2])],
            self.normal_rows[self._draw("reference", self.n_normal, references)],
        ]
        images = self.images(np.concatenate(rows))
        if counts[2]:
            seed = int(torch.randint(2**62, (1,), generator=self.streams["augment"]))
            random = np.random.default_rng(seed).spawn(counts[2])
            chosen = [self.generators[pseudo[int(source.integers(len(pseudo)))]] for source in random]
            part = slice(counts[0] + counts[1], counts[0] + counts[1] + counts[2])
            images[part] = changed(images[part], chosen, random)
        if self.augment == "rotate":
            images = rotate(images, torch.rand(len(images), generator=self.streams["augment"]) * 360 - 180)
        return images

    def parameters(self) -> list[nn.Parameter]:
        """The backbone's parameters."""
        return list(self.trunk.parameters())

    def train(self, mode: bool = True) -> None:
        """Switch the backbone to training or evaluation mode."""
        super().train(mode)
        self.trunk.train(mode)
