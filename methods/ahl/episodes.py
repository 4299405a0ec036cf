"""AHL's episodes (Sec. 3.2): pairs of heterogeneous distributions of normals, known anomalies and pseudo-anomalies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import torch
from sklearn.cluster import KMeans
from torch import Tensor

from osad_bench.methods.base import NORMAL, PSEUDO, SEEN, Batch, Context, Mix, Pyramid, TrainingSet


@dataclass(frozen=True)
class Half:
    """Where one half (support or query) of an episode takes its images: indices of normals, seen and pseudo-anomalies."""

    normal: Tensor
    seen: Tensor
    pseudo: Tensor


@dataclass(frozen=True)
class Episode:
    """A pair of distributions, one to adapt to and one to score, and the index of the pool of its pseudo-anomalies."""

    support: Half
    query: Half
    pool: int


def pooled_normals(train: TrainingSet, chunk: int = 256) -> Tensor:
    """Pooled clean features (N, C) of the training normals, first scale, computed in chunks to bound memory."""
    parts = [range(start, min(start + chunk, train.n_normal)) for start in range(0, train.n_normal, chunk)]
    return torch.cat([train.normals(part)[0].mean(dim=(2, 3)) for part in parts])


def make_episodes(train: TrainingSet, pools: Sequence[Pyramid], clusters: int, context: Context) -> list[Episode]:
    """One episode per ordered pair of clusters of the normals, and one more from a random halving of all normals.

    A cluster of a single normal is in no pair. A pseudo-anomaly belongs to the cluster nearest to its pooled features.
    """
    generator = context.random("episodes")
    features = pooled_normals(train).cpu()
    count = min(clusters, len(features))
    kmeans = KMeans(count, n_init=4, random_state=int(torch.randint(2**31, (1,), generator=generator)))
    labels = torch.from_numpy(kmeans.fit_predict(features.double().numpy())).long()
    present = [c for c in range(count) if (labels == c).sum() >= 2]
    near = [torch.from_numpy(kmeans.predict(p[0].mean(dim=(2, 3)).double().cpu().numpy())).long() for p in pools]
    pairs: list[tuple[int, int] | None] = [*permutations(present, 2), None]
    chosen = torch.randint(len(pools), (len(pairs),), generator=generator).tolist()

    episodes = []
    for pair, pool in zip(pairs, chosen):
        every = torch.arange(len(near[pool]))
        order = torch.randperm(train.n_normal, generator=generator)
        halves = order.chunk(2) if train.n_normal > 1 else (order, order)
        normals = [(labels == c).nonzero().flatten() for c in pair] if pair else list(halves)
        fakes = [(near[pool] == c).nonzero().flatten() for c in pair] if pair else [every, every]
        mixed = torch.randperm(train.n_seen, generator=generator)
        known = list(mixed.chunk(2)) if train.n_seen > 1 else [mixed, mixed]
        support, query = (Half(n, k, f if len(f) else every) for n, k, f in zip(normals, known, fakes))
        episodes.append(Episode(support, query, pool))
    return episodes


class Drawer:
    """Draws batches of frozen features from one half of an episode.

    Parameters
    ----------
    train
        Gives the features of normals and known anomalies.
    pools
        Features of pseudo-anomalies, one pool per generator.
    mix
        Shares of a batch.
    references
        Number of normals that each batch brings as `Batch.reference`.
    context, purpose
        Give the random stream.
    """

    def __init__(
        self, train: TrainingSet, pools: Sequence[Pyramid], mix: Mix, references: int, context: Context, purpose: str
    ) -> None:
        self.train, self.pools, self.seen = train, pools, train.seen()
        self.mix, self.references = mix, references
        self.generator, self.of_references = context.random(purpose), context.random(f"{purpose}: references")

    def _draw(self, index: Tensor, count: int) -> Tensor:
        """`count` random entries of `index`; none is drawn again before all were drawn."""
        rounds = [torch.randperm(len(index), generator=self.generator) for _ in range(-(-count // len(index)))]
        return index[torch.cat(rounds)[:count]] if rounds else index[:0]

    def batch(self, half: Half, pool: int, size: int) -> Batch:
        """A batch of `size` images with the shares of `mix`."""
        normals, anomalies, fakes = self.mix.counts(size)
        normal = self._draw(half.normal, normals)
        known, fake = self._draw(half.seen, anomalies), self._draw(half.pseudo, fakes)
        pyramid = [
            torch.cat([n, s[known], p[fake]])
            for n, s, p in zip(self.train.normals(normal.tolist()), self.seen, self.pools[pool], strict=True)
        ]
        target = torch.tensor([NORMAL] * len(normal) + [SEEN] * len(known) + [PSEUDO] * len(fake))
        reference = None
        if self.references:
            order = torch.randperm(self.train.n_normal, generator=self.of_references)
            reference = self.train.normals(order[: self.references].tolist())
        return Batch(pyramid, target.to(pyramid[0].device), reference, len(normal))

    def judged(self, episodes: Sequence[Episode], size: int) -> Batch:
        """Fixed query images, `size` of each episode: the sequence model follows their scores from epoch to epoch."""
        parts = [self.batch(episode.query, episode.pool, size) for episode in episodes]
        return Batch(
            [torch.cat(scale) for scale in zip(*(part.pyramid for part in parts))],
            torch.cat([part.target for part in parts]),
        )
