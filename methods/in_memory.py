"""A training set of tensors in memory: for tests of methods, the contract checks, and use without the benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from osad_bench.methods.base import NORMAL, PSEUDO, SEEN, Batch, Mix, Pyramid, seed_of


@dataclass
class InMemory:
    """Feature pyramids as a `TrainingSet`.

    Attributes
    ----------
    normal, known
        Features of the training normals and of the known anomalies, one tensor (N, C, H, W) per scale.
    pseudo
        Features of pseudo-anomalies, used whichever generators a method names; may be empty if it names none.
    seed
        Seed of the random batches.
    below
        A trainable layer applied to every scale, in place of a backbone that is fine-tuned.
    """

    normal: Pyramid
    known: Pyramid
    pseudo: Pyramid = field(default_factory=list)
    seed: int = 0
    below: nn.Module = field(default_factory=nn.Identity)

    def __post_init__(self) -> None:
        self.n_normal, self.n_seen = len(self.normal[0]), len(self.known[0])
        first = self._clean([scale[:1] for scale in self.normal])
        self.shapes: list[tuple[int, int, int]] = [(x.shape[1], x.shape[2], x.shape[3]) for x in first]
        self.streams = {
            sort: torch.Generator().manual_seed(seed_of(self.seed, sort))
            for sort in ("normal", "seen", "pseudo", "reference")
        }

    @classmethod
    def empty(cls, shapes: Sequence[tuple[int, int, int]]) -> InMemory:
        """Return a training set without images, to build a network from when its weights are read from a file."""
        none = [torch.zeros(0, *shape) for shape in shapes]
        return cls(none, none)

    def _draw(self, sort: str, source: Pyramid, size: int) -> Pyramid:
        """`size` random images of `source`; none is drawn again before all were drawn."""
        count = len(source[0]) if source else 0
        rounds = [torch.randperm(count, generator=self.streams[sort]) for _ in range(-(-size // count) if size else 0)]
        index = torch.cat([*rounds, torch.zeros(0, dtype=torch.long)])[:size]
        return [scale[index] for scale in source]

    def batch(self, size: int, mix: Mix, pseudo: Sequence[str], references: int = 0) -> Batch:
        """Draw a random batch with the shares of `mix`; see `TrainingSet.batch`.

        Raises
        ------
        ValueError
            The batch is too small for the mix, or the mix asks for pseudo-anomalies and there are none.
        """
        normal, seen, fake = mix.counts(size)
        if fake and not (pseudo and self.pseudo):
            raise ValueError("the mix asks for pseudo-anomalies: name generators, and give `pseudo` their features")
        parts = [
            self._draw("normal", self.normal, normal),
            self._draw("seen", self.known, seen),
            self._draw("pseudo", self.pseudo, fake),
            self._draw("reference", self.normal, references),
        ]
        pyramid = [self.below(torch.cat(scale)) for scale in zip(*(part for part in parts if part))]
        target = torch.tensor([NORMAL] * normal + [SEEN] * seen + [PSEUDO] * fake)
        reference = [scale[len(target) :] for scale in pyramid] if references else None
        return Batch([scale[: len(target)] for scale in pyramid], target, reference, normal)

    def _clean(self, pyramid: Pyramid) -> Pyramid:
        before = self.below.training
        self.below.eval()
        with torch.no_grad():
            clean = [self.below(scale) for scale in pyramid]
        self.below.train(before)
        return clean

    def normals(self, index: Sequence[int] | None = None) -> Pyramid:
        """Clean features of the training normals, or of those at `index`."""
        return self._clean(self.normal if index is None else [scale[torch.as_tensor(index)] for scale in self.normal])

    def seen(self) -> Pyramid:
        """Clean features of the known anomalies."""
        return self._clean(self.known)

    def parameters(self) -> list[nn.Parameter]:
        """The parameters of `below`."""
        return list(self.below.parameters())

    def train(self, mode: bool = True) -> None:
        """Put `below` into training or evaluation mode."""
        self.below.train(mode)
