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

from functools import partial
from typing import ClassVar

import torch
from pydantic import Field
from sklearn.cluster import KMeans
from torch import Tensor
from torch.nn import functional

from osad_bench.methods.base import Context, Method, Pyramid, TrainingSet
from osad_bench.methods.parts.coreset import distances, patches, remember
from osad_bench.methods.parts.heads import top_count, top_mean
from osad_bench.methods.parts.whitening import Fit, Pooled, Units, Whitening, out_of_fold, pooled
from osad_bench.methods.whitened import Whitened


class Images(Pooled):
    """Distance to the nearest normals, and direction, of averages (n, C)."""

    def __init__(self, normals: Tensor, anomalies: Tensor, generator: torch.Generator, *, nearest: int = 5) -> None:
        super().__init__(normals, anomalies, generator)
        self.normals, self.nearest = self.whiten(normals), min(nearest, len(normals))

    def _distance(self, z: Tensor) -> Tensor:
        near = torch.cdist(z, self.normals).topk(self.nearest, dim=1, largest=False).indices
        return (z - self.normals[near].mean(1)).square().sum(1)


def places(maps: Tensor) -> Tensor:
    """Each position's features, and PatchCore's averages around it: (n, C, H, W) -> (n, H * W, 2 C)."""
    return torch.cat([maps.float().flatten(2).transpose(1, 2), patches(maps)], dim=2)


class Patches:
    """Distance and direction of `places`."""

    def __init__(
        self, normals: Tensor, anomalies: Tensor, generator: torch.Generator, *, config: EvidenceSum.Config
    ) -> None:
        self.channels = normals.shape[2] // 2
        own, near = normals[..., : self.channels].flatten(0, 1), normals[..., self.channels :]
        some = torch.randperm(len(own), generator=generator)[: config.patches]
        self.whiten = Whitening.fit(own[some.to(own.device)])
        self.memory = remember(near, config.memory, config.candidates, config.projected, generator)
        z = self._whitened(anomalies)
        farthest = z.square().sum(2).topk(top_count(z.shape[1], config.topk), dim=1).indices
        chosen = z.gather(1, farthest.unsqueeze(2).expand(-1, -1, z.shape[2]))
        self.direction = functional.normalize(chosen, dim=2).mean(dim=(0, 1))

    def _whitened(self, rows: Tensor) -> Tensor:
        return self.whiten(rows[..., : self.channels])

    def __call__(self, rows: Tensor) -> Tensor:
        """(B, P, 2 C) -> (B, P, 2): log distance to the memory, mean cosine to the known anomalies' patches."""
        alike = functional.normalize(self._whitened(rows), dim=2) @ self.direction
        distance = distances(rows[..., self.channels :], self.memory).clamp_min(1e-6).log()
        return torch.stack([distance, alike], dim=2)


class Sorts:
    """Sorts of normals: k-means clusters of their averages (n, C), at most `count`."""

    def __init__(self, normals: Tensor, count: int, generator: torch.Generator) -> None:
        seed = int(torch.randint(2**31, (1,), generator=generator))
        kmeans = KMeans(min(count, len(normals)), n_init=4, random_state=seed).fit(normals.cpu().numpy())
        self.centres = torch.from_numpy(kmeans.cluster_centers_).to(normals)

    def __call__(self, rows: Tensor) -> Tensor:
        """One-hot sort of each average: (B, C) -> (B, sorts)."""
        sort = torch.cdist(rows, self.centres).argmin(dim=1)
        return functional.one_hot(sort, len(self.centres)).to(rows)


class Calibrated:
    """Evidence of an image compared with held-out normals of its sort.

    Parameters
    ----------
    fit
        Makes the evidence.
    normals, anomalies
        (n, ..., F), n at least 4, and (M, ..., F).
    sorts
        One-hot sort of each normal, (n, sorts).
    """

    def __init__(
        self,
        fit: Fit,
        normals: Tensor,
        anomalies: Tensor,
        sorts: Tensor,
        config: EvidenceSum.Config,
        generator: torch.Generator,
    ) -> None:
        self.direction, self.topk = config.direction, config.topk
        self.evidence = fit(normals, anomalies, generator)
        measures, index = out_of_fold(fit, normals, anomalies, config.folds, config.measured, generator)
        self.units = Units.of(measures)
        sums, sorts = self._sum(measures), sorts[index.to(sorts.device)]
        self.usual = (sorts.T @ sums + config.prior * sums.mean()) / (sorts.sum(0) + config.prior)
        self.spread = (sums - sorts @ self.usual).std(correction=0).clamp_min(1e-9)

    def _sum(self, measures: Tensor) -> Tensor:
        """(B, ..., 2) -> (B,): both measures of each place, then the mean over the top share of places."""
        units = self.units(measures).double()
        return top_mean((units[..., 0] + self.direction * units[..., 1]).reshape(len(units), -1), self.topk)

    def __call__(self, rows: Tensor, sorts: Tensor) -> Tensor:
        """(B, ..., F) and the images' one-hot sorts (B, sorts) -> (B,)."""
        return (self._sum(self.evidence(rows)) - sorts @ self.usual) / self.spread


class EvidenceSum(Method):
    """Distance from the normals and likeness to the known anomalies, of the image and of its patches."""

    name, title, version = "evidence", "Evidence (ours)", 3
    citation = "osad-bench"
    kind: ClassVar[str] = "ours"
    departures = "docs/deviations.md#whitened-and-evidence"
    ablations: ClassVar[dict[str, dict[str, object]]] = {
        "without the known anomalies": {"direction": 0.0},
        "without sorts": {"sorts": 1},
    }

    class Config(Whitened.Config):
        """Hyper-parameters; all are ours."""

        folds: int = Field(3, ge=2, description="parts of the normals for the out-of-fold units (ours: bounds time)")
        direction: float = Field(
            0.5, ge=0, description="weight of likeness to the known anomalies; distance: 1 (ours, by validation)"
        )
        sorts: int = Field(4, ge=1, description="clusters of the normals, at most (ours, by validation)")
        prior: float = Field(
            30.0,
            gt=0,
            description="normals that the mean of all sorts weighs as in a sort's mean (ours, by validation)",
        )
        nearest: int = Field(5, ge=1, description="nearest normals that an image is compared with (ours)")
        patches: int = Field(
            8000, ge=2, description="normal patches a scale that the covariance is estimated from (ours)"
        )
        memory: int = Field(1500, ge=1, description="patches remembered a scale (ours: as PatchCore's here)")
        candidates: int = Field(
            10_000, ge=1, description="random normal patches the memory is chosen from (ours: bounds time)"
        )
        projected: int = Field(64, ge=1, description="dimensions in which the memory is chosen (ours: as PatchCore's)")
        topk: float = Field(
            0.1, gt=0, le=1, description="share of positions that make an image's evidence (as DevNet's)"
        )

    def fit(self, train: TrainingSet, context: Context) -> None:
        """Sorts and evidence of each scale."""
        config = self.config
        of_images, of_patches = partial(Images, nearest=config.nearest), partial(Patches, config=config)
        self.scales = []
        for normals, seen in zip(train.normals(), train.seen()):
            rows, known = pooled(normals), pooled(seen)
            sorts = Sorts(rows, config.sorts, context.generator)
            shared = sorts(rows), config, context.generator
            image = Calibrated(of_images, rows, known, *shared)
            patch = Calibrated(of_patches, places(normals), places(seen), *shared)
            self.scales.append((sorts, image, patch))

    def score(self, pyramid: Pyramid) -> Tensor:
        """Sum over scales of the image's and its patches' evidence, (B,)."""
        total = []
        for maps, (sorts, image, patch) in zip(pyramid, self.scales):
            rows = pooled(maps)
            sort = sorts(rows)
            total += [image(rows, sort), patch(places(maps), sort)]
        return torch.stack(total).sum(0)
