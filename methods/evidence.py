"""Evidence: distance and likeness in closed form, no training. This project's own method, apart from the published ones.

What the published methods taught on frozen features: well-estimated normals are worth more than a head trained on ten
anomalies, the known anomalies' directions add to them, and image and patches fail on different defects. `whitened` has
distance and direction of the image as a whole; this measures both where they say more, of the image and of its patches:

- image, far from normal: log |z - mean of the nearest normals|^2, z the whitened average;
- image, like a known anomaly: mean cosine of z to the known anomalies' averages;
- patch, far from normal: log distance to PatchCore's memory of normal patches;
- patch, like a known anomaly: mean cosine of the whitened patch to those whitened patches of the known anomalies that
  are longest, farthest from the normals' mean.

A place (an image, or one of its patches) has the evidence e = distance + w direction, each in units of its spread over
the places of held-out training normals (`whitened` derives why); w = 1/2, because direction misleads where the test
anomalies are of a kind that no known one shows. An image's patch evidence is the mean of its patches' top share.

Normals are of several sorts (cells of one crystal and of many, slices of different height), and a sort that lies far out
or looks like the known anomalies is not anomalous for that. So each evidence is compared with what is usual for the
sort of the image: with k-means clusters s of the normals' averages,

    score = sum over scales, image and patches of (e - m_s) / spread,
    m_s = (sum of e over the held-out normals of s + n_0 m) / (their number + n_0),

m the mean of all and n_0 the prior's weight: the posterior mean of a normal model of sort means, with variances in the
ratio n_0. Nothing is fitted to anomalies but their directions.
Chosen by validation on training parts alone: docs/deviations.md, "Whitened and Evidence".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from pydantic import Field
from sklearn.cluster import KMeans
from torch import Tensor
from torch.nn import functional

from osad_bench.methods.base import Context, Method, MethodConfig, Pyramid, TrainingSet
from osad_bench.methods.parts.coreset import nearest, patches, remember
from osad_bench.methods.parts.heads import over_scales, top_count, top_mean
from osad_bench.methods.parts.whitening import Fit, Pooled, Units, Whitening, out_of_fold, pooled
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
    """Distance to the nearest normals, and direction, of averages (n, C)."""

    pooled: Pooled
    normals: Tensor
    neighbours: int

    @classmethod
    def fit(cls, normals: Tensor, anomalies: Tensor, *, neighbours: int = 5) -> Images:
        """From averages (n, C) and (M, C)."""
        evidence = Pooled.fit(normals, anomalies)
        return cls(evidence, evidence.whiten(normals), min(neighbours, len(normals)))

    def __call__(self, rows: Tensor) -> Tensor:
        """(B, C) -> (B, 2): log squared distance from the mean of the nearest normals, mean cosine."""
        z = self.pooled.whiten(rows)
        near = torch.cdist(z, self.normals).topk(self.neighbours, dim=1, largest=False).indices
        distance = (z - self.normals[near].mean(1)).square().sum(1).clamp_min(1e-12).log()
        return torch.stack([distance, self.pooled(rows)[:, 1]], dim=1)


def places(maps: Tensor) -> Tensor:
    """Each position's features, and PatchCore's averages around it: (n, C, H, W) -> (n, H * W, 2 C)."""
    return torch.cat([maps.float().flatten(2).transpose(1, 2), patches([maps])], dim=2)


@dataclass(frozen=True)
class Patches:
    """Distance and direction of `places`."""

    whiten: Whitening
    memory: Tensor
    direction: Tensor

    @classmethod
    def fit(cls, normals: Tensor, anomalies: Tensor, *, config: Config, generator: torch.Generator) -> Patches:
        """From (n, P, 2 C) and (M, P, 2 C)."""
        channels = normals.shape[2] // 2
        own, near = normals[..., :channels].flatten(0, 1), normals[..., channels:]
        some = torch.randperm(len(own), generator=generator)[: config.patches]
        whiten = Whitening.fit(own[some.to(own.device)])
        memory = remember(near, config.memory, config.candidates, config.projected, generator)
        z = whiten(anomalies[..., :channels])
        farthest = z.square().sum(2).topk(top_count(z.shape[1], config.topk), dim=1).indices
        chosen = z.gather(1, farthest.unsqueeze(2).expand(-1, -1, z.shape[2]))
        return cls(whiten, memory, functional.normalize(chosen, dim=2).mean(dim=(0, 1)))

    def __call__(self, rows: Tensor) -> Tensor:
        """(B, P, 2 C) -> (B, P, 2): log distance to the memory, mean cosine to the known anomalies' patches."""
        own, near = rows.chunk(2, dim=2)
        alike = functional.normalize(self.whiten(own), dim=2) @ self.direction
        return torch.stack([nearest(near, self.memory)[0].clamp_min(1e-6).log(), alike], dim=2)


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
    def fit(
        cls, fit: Fit, normals: Tensor, anomalies: Tensor, sorts: Tensor, config: Config, generator: torch.Generator
    ) -> Usual:
        """From held-out normals.

        Parameters
        ----------
        fit
            Fits the evidence.
        normals, anomalies
            (n, ..., F), n at least 4, and (M, ..., F).
        sorts
            One-hot sort of each normal, (n, sorts).
        """
        measures, index = out_of_fold(fit, normals, anomalies, config.folds, config.measured, generator)
        units, sorts = Units.of(measures), sorts[index.to(sorts.device)]
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
class Scale:
    """All that is known of one scale."""

    sorts: Sorts
    images: Images
    of_images: Usual
    patches: Patches
    of_patches: Usual


class EvidenceSum(Method):
    """Distance from the normals and likeness to the known anomalies, of the image and of its patches."""

    name, title, version = "evidence", "Evidence (ours)", 4
    citation = "osad-bench"
    kind: ClassVar[str] = "ours"
    departures = "docs/deviations.md#whitened-and-evidence"
    ablations: ClassVar[dict[str, dict[str, object]]] = {
        "without the known anomalies": {"direction": 0.0},
        "without sorts": {"sorts": 1},
    }
    Config = Config

    def fit(self, train: TrainingSet, context: Context) -> None:
        """Sorts and evidence of each scale."""
        config = self.config
        self.scales = []
        for number, (normals, seen) in enumerate(zip(train.normals(), train.seen())):

            def random(purpose: str, number: int = number) -> torch.Generator:
                return context.random(f"{purpose}, scale {number}")

            rows, known = pooled(normals), pooled(seen)
            sorts = Sorts.fit(rows, config.sorts, random("sorts"))
            of_images = partial(Images.fit, neighbours=config.nearest)
            of_patches = partial(Patches.fit, config=config, generator=random("patches"))
            image_usual = Usual.fit(of_images, rows, known, sorts(rows), config, random("folds of images"))
            at, alike = places(normals), places(seen)
            patches = of_patches(at, alike)
            patch_usual = Usual.fit(of_patches, at, alike, sorts(rows), config, random("folds of patches"))
            self.scales.append(Scale(sorts, of_images(rows, known), image_usual, patches, patch_usual))

    def score(self, pyramid: Pyramid) -> Tensor:
        """Sum over scales of the image's and its patches' evidence, (B,)."""
        total = []
        for maps, scale in zip(pyramid, self.scales):
            rows = pooled(maps)
            sort = scale.sorts(rows)
            parts = (scale.images(rows), scale.of_images), (scale.patches(places(maps)), scale.of_patches)
            total += [self._compared(top_evidence(usual.units, m, self.config), sort, usual) for m, usual in parts]
        return torch.stack(total).sum(0)

    def score_map(self, pyramid: Pyramid) -> Tensor:
        """The same sum with the evidence of each place in place of its image's top share, mean over scales, (B, H, W)."""
        maps_of, image_sum = [], torch.zeros(())
        for maps, scale in zip(pyramid, self.scales):
            rows = pooled(maps)
            sort = scale.sorts(rows)
            image = top_evidence(scale.of_images.units, scale.images(rows), self.config)
            image_sum = image_sum + self._compared(image, sort, scale.of_images)
            place = evidence_of(scale.of_patches.units, scale.patches(places(maps)), self.config)
            place = self._compared(place, sort, scale.of_patches)
            maps_of.append(place.view(len(maps), *maps.shape[2:]))
        return over_scales(maps_of) * len(maps_of) + image_sum[:, None, None]

    @staticmethod
    def _compared(evidence: Tensor, sort: Tensor, usual: Usual) -> Tensor:
        """Evidence (B,) or (B, P) of images of these sorts, as far as it is more than usual."""
        mean = sort @ usual.mean
        return (evidence - mean.view(-1, *[1] * (evidence.dim() - 1))) / usual.spread

    def restore(self, state: Mapping[str, Tensor], shapes: Sequence[tuple[int, int, int]]) -> None:  # noqa: ARG002
        """Take back the scales."""
        self.scales = unpack(list[Scale], state, "scales")
