"""A training set of tensors in memory: for tests of methods, the contract checks, and use without the benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from osad_bench.methods.base import NORMAL, PSEUDO, SEEN, Batch, Mix, Pyramid


@dataclass
class InMemory:
    """Feature pyramids as a `TrainingSet`.

    Attributes
    ----------
    normal, known
        Features of the training normals and of the known anomalies, one tensor (N, C, H, W) a scale.
    pseudo
        Features of pseudo-anomalies, drawn from whatever generators a method names; empty if it names none.
    generator
        Draws the batches.
    below
        A trainable layer applied to every scale, in place of a backbone that is fine-tuned.
    """

    normal: Pyramid
    known: Pyramid
    pseudo: Pyramid = field(default_factory=list)
    generator: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))
    below: nn.Module = field(default_factory=nn.Identity)

    def __post_init__(self) -> None:
        self.n_normal, self.n_seen = len(self.normal[0]), len(self.known[0])
        self.shapes: list[tuple[int, int, int]] = [tuple(scale.shape[1:]) for scale in self.normals([0])]  # type: ignore[misc]

    def _draw(self, count: int, size: int) -> Tensor:
        """`size` numbers below `count`, without repetition while they last."""
        if not size:
            return torch.zeros(0, dtype=torch.long)
        rounds = [torch.randperm(count, generator=self.generator) for _ in range(-(-size // count))]
        return torch.cat(rounds)[:size]

    def batch(self, size: int, mix: Mix, pseudo: Sequence[str]) -> Batch:
        """Draw a random batch with the shares of `mix`; see `TrainingSet.batch`."""
        normal, seen, fake = mix.counts(size)
        if fake and not (pseudo and self.pseudo):
            raise ValueError("the mix asks for pseudo-anomalies: name generators, and give `pseudo` their features")
        sources = [(self.normal, normal, NORMAL), (self.known, seen, SEEN), (self.pseudo, fake, PSEUDO)]
        rows = [(source, self._draw(len(source[0]), count)) for source, count, _ in sources if count]
        pyramid = [torch.cat([source[i][index] for source, index in rows]) for i in range(len(self.normal))]
        target = torch.cat([torch.full((count,), label) for _, count, label in sources])
        return Batch([self.below(scale) for scale in pyramid], target)

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
