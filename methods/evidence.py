"""Evidence: distance and likeness in closed form, no training. This project's own method, apart from the published ones.

What the published methods showed on frozen features: a good estimate of the normals is worth more than a head trained on
ten anomalies, the known anomalies' directions add to it, and image and patches fail on different defects. `whitened` measures
distance and direction of the image as a whole; this method measures them for the image and for its patches:

- image, far from normal: log |z - mean of the nearest normals|^2, z the whitened average;
- image, like a known anomaly: mean cosine of z to the known anomalies' averages;
- patch, far from normal: log distance to PatchCore's memory of normal patches;
- patch, like a known anomaly: mean cosine of the whitened patch to the longest whitened patches of the known anomalies,
  those farthest from the normals' mean.

A place (an image, or one of its patches) has the evidence e = distance + w direction, each in units of its spread over
the places of held-out training normals (`whitened` derives why); w = 1/2, because direction misleads where the test
anomalies are of a kind that no known one shows. An image's patch evidence is the mean of its patches' top share.

Normals are of several sorts (cells of one crystal and of many, slices of different height). An image is not anomalous
because its sort lies far from the mean or looks like the known anomalies, so each evidence is compared with what is usual
for the sort of the image: with k-means clusters s of the normals' averages,

    score = sum over scales, image and patches of (e - m_s) / spread,
    m_s = (sum of e over the held-out normals of s + n_0 m) / (their number + n_0),

m the mean of all and n_0 the prior's weight: the posterior mean of a normal model of sort means, with variances in the
ratio n_0. Nothing is fitted to anomalies but their directions.
Chosen by validation on training parts alone: docs/deviations.md, "Whitened and Evidence".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field
from sklearn.cluster import KMeans
from torch import Tensor
from torch.nn import functional

from osad_bench.methods.base import Context, Method, MethodConfig, Pyramid, Random, TrainingSet
from osad_bench.methods.parts.coreset import nearest, patches, remember
from osad_bench.methods.parts.heads import over_scales, top_count, top_mean
from osad_bench.methods.parts.whitening import Evidence, Fold, Gaussian, Pooled, Units, Whitening, pooled
from osad_bench.methods.saving import unpack


class Config(MethodConfig):
    """Hyper-parameters; all are ours."""

    folds: int = Field(3, ge=2, description="parts of the normals for the out-of-fold units (ours: bounds time)")
    measured: int = Field(512, ge=8, description="normals measured for the units, at most (ours: bounds time)")
    direction: float = Field(
        0.5, ge=0, description="weight of likeness to the known anomalies; distance: 1 (ours, by validation)"
    )
    sorts: int = Field(4, ge=1, description="clusters of the normals, at most (ours, by validation)")
    prior: float = Field(
        30.0, gt=0, description="normals that the mean of all sorts weighs as in a sort's mean (ours, by validation)"
    )
    nearest: int = Field(5, ge=1, description="nearest normals that an image is compared with (ours)")
    patches: int = Field(
        8000, ge=2, description="normal patches per scale that the covariance is estimated from (ours)"
    )
    memory: int = Field(1500, ge=1, description="patches remembered per scale (ours: as PatchCore's here)")
    candidates: int = Field(
        10_000, ge=1, description="random normal patches the memory is chosen from (ours: bounds time)"
    )
    projected: int = Field(64, ge=1, description="dimensions in which the memory is chosen (ours)")
    topk: float = Field(0.1, gt=0, le=1, description="share of positions that make an image's evidence (as DevNet's)")


@dataclass(frozen=True)
class Images:
    """Distance to the nearest normals: the whitening of averages, and the whitened normals (n, C)."""

    whiten: Whitening
    normals: Tensor
    neighbours: int

    @classmethod
    def of(cls, whiten: Whitening, normals: Tensor, neighbours: int) -> Images:
        """From the whitening and the normals' averages (n, C)."""
        return cls(whiten, whiten(normals), min(neighbours, len(normals)))

    def __call__(self, rows: Tensor) -> Tensor:
        """(B, C) -> (B,): log squared distance from the mean of the nearest normals."""
        z = self.whiten(rows)
        near = torch.cdist(z, self.normals).topk(self.neighbours, dim=1, largest=False).indices
        return (z - self.normals[near].mean(1)).square().sum(1).clamp_min(1e-12).log()


def places(maps: Tensor) -> Tensor:
    """Each position's features, and PatchCore's averages around it: (n, C, H, W) -> (n, H * W, 2 C)."""
    return torch.cat([maps.float().flatten(2).transpose(1, 2), patches([maps])], dim=2)


@dataclass(frozen=True)
class Patches:
    """Distance of `places` to a memory of normals, and their whitening."""

    whiten: Whitening
    memory: Tensor

    @classmethod
    def fit(cls, normals: Tensor, config: Config, generator: torch.Generator) -> Patches:
        """From (n, P, 2 C)."""
        channels = normals.shape[2] // 2
        own, near = normals[..., :channels].flatten(0, 1), normals[..., channels:]
        some = torch.randperm(len(own), generator=generator)[: config.patches]
        whiten = Whitening.fit(own[some.to(own.device)])
        return cls(whiten, remember(near, config.memory, config.candidates, config.projected, generator))

    def __call__(self, rows: Tensor) -> Tensor:
        """(B, P, 2 C) -> (B, P, 2): log distance to the memory, length of the whitened features."""
        own, near = rows.chunk(2, dim=2)
        distance = nearest(near, self.memory)[0].clamp_min(1e-6).log()
        return torch.stack([distance, self.whiten(own).norm(dim=2)], dim=2)


def direction(whiten: Whitening, anomalies: Tensor, topk: float) -> Tensor:
    """Mean unit vector (C,) of those whitened positions of the known anomalies (M, C, H, W) that are longest."""
    z = whiten(anomalies.float().flatten(2).transpose(1, 2))
    farthest = z.square().sum(2).topk(top_count(z.shape[1], topk), dim=1).indices
    chosen = z.gather(1, farthest.unsqueeze(2).expand(-1, -1, z.shape[2]))
    return functional.normalize(chosen, dim=2).mean(dim=(0, 1))


def alike(whiten: Whitening, maps: Tensor, length: Tensor, direction: Tensor) -> Tensor:
    """Cosine of whitened positions to a direction, weighed by the direction's length.

    The root is symmetric, so <R (x - m), d> = <x - m, R d>: the direction is transformed instead of each position.

    Parameters
    ----------
    maps
        (B, C, H, W).
    length
        |R (x - m)| of each position, (B, H W).
    direction
        d, (C,).

    Returns
    -------
    tensor of shape (B, H W)
    """
    turned = whiten.root @ direction
    return (turned @ maps.float().flatten(2) - whiten.mean @ turned) / length.clamp_min(1e-12)


@dataclass(frozen=True)
class Sorts:
    """Sorts of normals: `centres` (at most `count`, C) of the k-means clusters of their averages."""

    centres: Tensor

    @classmethod
    def fit(cls, normals: Tensor, count: int, generator: torch.Generator) -> Sorts:
        """From averages (n, C)."""
        seed = int(torch.randint(2**31, (1,), generator=generator))
        kmeans = KMeans(min(count, len(normals)), n_init=4, random_state=seed).fit(normals.cpu().numpy())
        return cls(torch.from_numpy(kmeans.cluster_centers_).to(normals))

    def __call__(self, rows: Tensor) -> Tensor:
        """One-hot sort of each average: (B, C) -> (B, sorts)."""
        sort = torch.cdist(rows, self.centres).argmin(dim=1)
        return functional.one_hot(sort, len(self.centres)).to(rows)


@dataclass(frozen=True)
class Usual:
    """What is usual for normals: units of both measures, mean evidence of each sort (sorts,), spread around it."""

    units: Units
    mean: Tensor
    spread: Tensor

    @classmethod
    def fit(cls, measures: Tensor, sorts: Tensor, config: Config) -> Usual:
        """From the measures (m, ..., 2) of held-out normals and their one-hot sorts (m, sorts)."""
        units = Units.of(measures)
        sums = top_evidence(units, measures, config)
        mean = (sorts.T @ sums + config.prior * sums.mean()) / (sorts.sum(0) + config.prior)
        return cls(units, mean, (sums - sorts @ mean).std(correction=0).clamp_min(1e-9))


def evidence_of(units: Units, measures: Tensor, config: Config) -> Tensor:
    """Distance plus weighted direction of each place, in units: (B, ..., 2) -> (B, ...)."""
    scaled = units(measures).double()
    return scaled[..., 0] + config.direction * scaled[..., 1]


def top_evidence(units: Units, measures: Tensor, config: Config) -> Tensor:
    """Mean of each image's top share of places, (B, ..., 2) -> (B,)."""
    return top_mean(evidence_of(units, measures, config).reshape(len(measures), -1), config.topk)


@dataclass(frozen=True)
class Normals:
    """All that is known of one scale from the training normals alone.

    Attributes
    ----------
    gaussian, sorts, patches
        Fitted to all normals.
    patches_of_others
        For each fold of the Gaussian, the whitening of the other normals' positions.
    held
        For each fold, what `Patches` fitted to the others measures of the normals held out, (m, P, 2).
    """

    gaussian: Gaussian
    sorts: Sorts
    patches: Patches
    patches_of_others: list[Whitening]
    held: list[Tensor]

    @classmethod
    def fit(cls, normals: Tensor, config: Config, random: Random) -> Normals:
        """From features (n, C, H, W), n at least 4."""
        rows, at = pooled(normals), places(normals)
        folds = Fold.divide(len(rows), config.folds, config.measured, random("folds"))
        gaussian, sorts = Gaussian.fit(rows, folds), Sorts.fit(rows, config.sorts, random("sorts"))
        generator, whitenings, held = random("patches"), [], []
        patches = Patches.fit(at, config, generator)
        for fold in folds:
            others = Patches.fit(at[fold.others], config, generator)
            whitenings.append(others.whiten)
            held.append(others(at[fold.held]))
        return cls(gaussian, sorts, patches, whitenings, held)


@dataclass(frozen=True)
class Scale:
    """All that is known of one scale: from the normals, and the known anomalies' directions and what follows from them."""

    sorts: Sorts
    images: Images
    image_direction: Tensor
    of_images: Usual
    patches: Patches
    direction: Tensor
    of_patches: Usual

    @classmethod
    def fit(cls, known: Normals, normals: Callable[[Tensor], Tensor], seen: Tensor, config: Config) -> Scale:
        """From what is known of the normals, a function that reads some of them (their index), and the known anomalies."""
        gaussian, rows = known.gaussian, pooled(seen)

        def of_image(whiten: Whitening, others: Tensor) -> Evidence:
            images, alike = Images.of(whiten, others, config.nearest), Pooled.of(whiten, rows)
            return lambda held: torch.stack([images(held), alike(held)[:, 1]], dim=1)

        index = torch.cat([fold.held for fold in gaussian.folds])
        sorts = known.sorts(gaussian.rows[index.to(gaussian.rows.device)])
        measures = []
        for fold, whiten, held in zip(gaussian.folds, known.patches_of_others, known.held):
            likeness = alike(whiten, normals(fold.held), held[..., 1], direction(whiten, seen, config.topk))
            measures.append(torch.stack([held[..., 0], likeness], dim=2))
        return cls(
            known.sorts,
            Images.of(gaussian.whiten, gaussian.rows, config.nearest),
            Pooled.of(gaussian.whiten, rows).direction,
            Usual.fit(gaussian.out_of_fold(of_image), sorts, config),
            known.patches,
            direction(known.patches.whiten, seen, config.topk),
            Usual.fit(torch.cat(measures), sorts, config),
        )

    def measure(self, maps: Tensor) -> list[Tensor]:
        """What depends on the normals alone: averages (B, C), their distance (B,), and of places (B, P, 2)."""
        rows = pooled(maps)
        return [rows, self.images(rows), self.patches(places(maps))]

    def evidence(self, measures: list[Tensor], maps: Tensor) -> tuple[Tensor, Tensor]:
        """Both measures of the image, (B, 2), and of its places, (B, P, 2)."""
        rows, distance, of_places = measures
        image = torch.stack([distance, Pooled(self.images.whiten, self.image_direction)(rows)[:, 1]], dim=1)
        likeness = alike(self.patches.whiten, maps, of_places[..., 1], self.direction)
        return image, torch.stack([of_places[..., 0], likeness], dim=2)


class EvidenceSum(Method):
    """Distance from the normals and likeness to the known anomalies, of the image and of its patches."""

    name, title, version = "evidence", "Evidence (ours)", 5
    citation = "osad-bench"
    kind: ClassVar[str] = "ours"
    departures = "docs/deviations.md#whitened-and-evidence"
    ablations: ClassVar[dict[str, dict[str, object]]] = {
        "without the known anomalies": {"direction": 0.0},
        "without sorts": {"sorts": 1},
    }
    Config = Config

    def fit(self, train: TrainingSet, context: Context) -> None:
        """All that is known of each scale."""
        config: Config = self.config

        def normals(random: Random) -> list[Normals]:
            def of_scale(number: int) -> Random:
                return lambda purpose: random(f"{purpose}, scale {number}")

            return [Normals.fit(maps, config, of_scale(i)) for i, maps in enumerate(train.normals())]

        settings = config.model_dump(exclude={"direction", "prior", "nearest", "topk"})
        known = context.shared("normals", list[Normals], normals, **settings)
        self.scales = []
        for number, (of_normals, seen) in enumerate(zip(known, train.seen())):

            def some(index: Tensor, number: int = number) -> Tensor:
                return train.normals(index.tolist())[number]

            self.scales.append(Scale.fit(of_normals, some, seen, config))

    def measure(self, pyramid: Pyramid) -> list[Tensor]:
        """What each scale measures by the normals alone, one after the other."""
        return [tensor for maps, scale in zip(pyramid, self.scales) for tensor in scale.measure(maps)]

    def _evidence(self, measures: list[Tensor], pyramid: Pyramid) -> Iterator[tuple[Scale, Tensor, Tensor, Tensor]]:
        """Each scale, with the one-hot sorts of the images, both measures of the images and those of their places."""
        for number, (scale, maps) in enumerate(zip(self.scales, pyramid)):
            of_scale = measures[3 * number : 3 * number + 3]
            yield scale, scale.sorts(of_scale[0]), *scale.evidence(of_scale, maps)

    def score(self, pyramid: Pyramid) -> Tensor:
        """Sum over scales of the image's and its patches' evidence, (B,)."""
        return self.score_measured(self.measure(pyramid), lambda: pyramid)

    def score_measured(self, measures: list[Tensor], pyramid: Callable[[], Pyramid]) -> Tensor:
        """`score` from what was measured by the normals alone."""
        total = []
        for scale, sort, image, place in self._evidence(measures, pyramid()):
            for usual, measured in ((scale.of_images, image), (scale.of_patches, place)):
                total.append(self._compared(top_evidence(usual.units, measured, self.config), sort, usual))
        return torch.stack(total).sum(0)

    def score_map(self, pyramid: Pyramid) -> Tensor:
        """The same sum with the evidence of each place in place of its image's top share, mean over scales, (B, H, W)."""
        maps_of, image_sum = [], torch.zeros(())
        for (scale, sort, image, place), maps in zip(self._evidence(self.measure(pyramid), pyramid), pyramid):
            of_image = top_evidence(scale.of_images.units, image, self.config)
            image_sum = image_sum + self._compared(of_image, sort, scale.of_images)
            of_place = evidence_of(scale.of_patches.units, place, self.config)
            of_place = self._compared(of_place, sort, scale.of_patches)
            maps_of.append(of_place.view(len(maps), *maps.shape[2:]))
        return over_scales(maps_of) * len(maps_of) + image_sum[:, None, None]

    @staticmethod
    def _compared(evidence: Tensor, sort: Tensor, usual: Usual) -> Tensor:
        """Evidence (B,) or (B, P) minus the mean of each image's sort, divided by the spread."""
        mean = sort @ usual.mean
        return (evidence - mean.view(-1, *[1] * (evidence.dim() - 1))) / usual.spread

    def restore(self, state: Mapping[str, Tensor], shapes: Sequence[tuple[int, int, int]]) -> None:  # noqa: ARG002
        """Take back the scales."""
        self.scales = unpack(list[Scale], state, "scales")
