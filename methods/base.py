"""The contract every method meets, written so that this docstring is the tutorial.

A method is a class with a `Config` and two functions::

    class MyMethod(Method):
        \"\"\"One line of purpose (paper, year).\"\"\"

        name, title, version = "mymethod", "MyMethod", 1

        class Config(MethodConfig):
            strength: float = Field(1.0, gt=0, description="what it does (paper, Eq. 3)")

        def fit(self, train: TrainingSet, context: Context) -> None: ...
        def score(self, pyramid: Pyramid) -> Tensor: ...          # (B,), higher = more anomalous

Methods see *feature pyramids*, never files: a list, one entry a scale, of tensors (B, C, H, W). Whether the features
come from a frozen backbone's cache or from one that is being fine-tuned is the benchmark's business.
A `Config` that derives from `MixedConfig` gives training batches pseudo-anomalies too, of the generators that the method
names in `pseudo_anomalies`.

Most methods are heads trained by gradient descent and subclass `osad_bench.methods.gradient.GradientMethod`,
which supplies the loop and asks only for `build`, `loss` and `score`.
"""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

NORMAL, SEEN, PSEUDO = 0, 1, 2
"""Targets of a batch: normal, seen (labelled) anomaly, pseudo-anomaly."""

Pyramid = list[Tensor]
"""One tensor (B, C, H, W) a scale, finest image first."""


class MethodConfig(BaseModel):
    """Base of a method's validated hyper-parameters; defaults are the published ones, each description names its source."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Schedule(BaseModel):
    """How a method is trained by gradient descent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = Field(2e-4, ge=0)  # 0: as the networks start
    weight_decay: float = Field(1e-5, ge=0)
    epochs: int = Field(50, ge=1)
    steps: int = Field(20, ge=1)
    decay_every: int | None = Field(10, ge=0)
    decay: float = Field(0.1, gt=0)
    clip: float | None = Field(1.0, gt=0)
    batch: int = Field(48, ge=4)


@dataclass(frozen=True)
class Mix:
    """Shares of a training batch; they sum to 1."""

    normal: float = 0.5
    seen: float = 0.5
    pseudo: float = 0.0

    def counts(self, size: int) -> tuple[int, int, int]:
        """Images of a batch of `size`: normal, seen, pseudo."""
        seen, pseudo = round(size * self.seen), round(size * self.pseudo)
        if self.normal and seen + pseudo >= size:
            raise ValueError(
                f"a batch of {size} with {seen} known and {pseudo} pseudo-anomalies has no normal: make it larger, or their"
                " shares smaller"
            )
        return size - seen - pseudo, seen, pseudo


class MixedConfig(MethodConfig):
    """Settings of a method whose training batches hold pseudo-anomalies beside normals and known anomalies."""

    seen_share: float = Field(0.25, ge=0, lt=1, description="known anomalies of a training batch, a share (ours)")
    pseudo_share: float = Field(0.25, ge=0, lt=1, description="pseudo-anomalies of a training batch, a share (ours)")

    @model_validator(mode="after")
    def _normals_and_anomalies(self) -> MixedConfig:
        if not 0 < self.seen_share + self.pseudo_share < 1:
            raise ValueError(
                "seen_share and pseudo_share together must be above 0 and below 1: a batch needs anomalies and normals"
            )
        return self

    @property
    def mix(self) -> Mix:
        """Shares of a training batch; what the anomalies leave is normal."""
        return Mix(1 - self.seen_share - self.pseudo_share, self.seen_share, self.pseudo_share)


@dataclass
class Batch:
    """A training batch: `pyramid` of B images and `target` (B,), int64, of NORMAL, SEEN or PSEUDO.

    `reference` is the pyramid of the further normals that `TrainingSet.batch` was asked for, None where it was not.
    """

    pyramid: Pyramid
    target: Tensor
    reference: Pyramid | None = None


class TrainingSet(Protocol):
    """What a method may see of the training part of a split."""

    shapes: list[tuple[int, int, int]]
    """(C, H, W) of each scale."""
    n_normal: int
    n_seen: int

    def batch(self, size: int, mix: Mix, pseudo: Sequence[str], references: int = 0) -> Batch:
        """Draw a random training batch, augmented as the preset says, with gradients to `parameters`.

        Normals, known anomalies, pseudo-anomalies and references come from random streams of their own, so that a change
        of one count leaves the other draws as they were.

        Parameters
        ----------
        size, mix
            Images of the batch, and their shares.
        pseudo
            Names of the pseudo-anomaly generators to draw from, each equally likely.
        references
            Further normals that go through the network in the same forward pass, for `Batch.reference`.
        """

    def normals(self, index: Sequence[int] | None = None) -> Pyramid:
        """Clean features (no augmentation, no gradient) of the training normals, or of those at `index`."""

    def seen(self) -> Pyramid:
        """Clean features (no augmentation, no gradient) of the known anomalies."""

    def parameters(self) -> list[nn.Parameter]:
        """What is trained below the pyramid: the backbone when it is fine-tuned, the adapter when there is one."""

    def train(self, mode: bool = True) -> None:
        """Put what lies below the pyramid into training or evaluation mode."""


def derived_seed(seed: int, purpose: str) -> int:
    """Seed below 2**63 that another seed fixes for one purpose."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:8], "big") >> 1


def _silent(epoch: int, epochs: int, values: dict[str, float]) -> None:
    """Report nothing."""


@dataclass
class Context:
    """Everything else a method may use while it is fitted.

    Attributes
    ----------
    seed
        Fixes all of the method's own draws. It depends on the data, the protocol and the method's name, never on its
        settings, so that variants of a method differ by what they change and by no random number.
    device
        Where tensors live.
    schedule
        The schedule to train by: the preset's, laid over the method's published one.
    progress
        Call ``progress(epoch, epochs, {"loss": value, ...})`` after each epoch: it feeds the progress bar and the
        training curve of the record.
    after_epoch
        Called by the shared loop after each epoch with the epoch's index (the oracle diagnostic hooks in here).
    """

    seed: int
    device: torch.device
    schedule: Schedule
    progress: Callable[[int, int, dict[str, float]], None] = _silent
    after_epoch: Callable[[int], None] | None = None
    extras: dict[str, Any] = field(default_factory=dict)
    _streams: dict[str, torch.Generator] = field(default_factory=dict, repr=False)

    @property
    def generator(self) -> torch.Generator:
        """The CPU generator for whatever has no purpose of its own: ``random("")``."""
        return self.random("")

    def random(self, purpose: str) -> torch.Generator:
        """A CPU generator per purpose, the only source of a method's own draws: those for one never shift another's."""
        if purpose not in self._streams:
            self._streams[purpose] = torch.Generator().manual_seed(derived_seed(self.seed, f"random/{purpose}"))
        return self._streams[purpose]

    @contextmanager
    def initialised(self, name: str) -> Iterator[None]:
        """Make layers inside this context: their weights depend on the seed and `name` alone, not on layers made before."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(self.seed, f"layers/{name}"))
            yield


class Method(abc.ABC):
    """An open-set supervised anomaly detection method.

    Parameters
    ----------
    config
        Validated hyper-parameters; None for the published defaults.
    """

    name: ClassVar[str]
    """As typed on the command line."""
    title: ClassVar[str]
    """As printed in tables."""
    version: ClassVar[int] = 1
    """Raise it when a change alters scores: records of older versions are then computed anew."""
    citation: ClassVar[str] = ""
    departures: ClassVar[str] = ""
    """Where to read how it differs from its paper and public code, and what that does to AUC."""
    kind: ClassVar[str] = "published"
    """`published`, `floor` (a reference that trains nothing) or `ours`."""
    schedule: ClassVar[Schedule | None] = None
    """The published schedule; None for a method that is not trained by gradient descent."""
    stages: ClassVar[tuple[int, ...] | None] = None
    """Backbone stages that the method reads in place of the preset's, -1 the last; None for the preset's."""
    pseudo_anomalies: ClassVar[tuple[str, ...]] = ()
    """Names of the pseudo-anomaly generators the method draws from."""
    ablations: ClassVar[dict[str, dict[str, object]]] = {}
    """What `osad-bench ablate` takes away: the name a table prints (``without M_r``) to the settings of `Config` that
    it changes (``{"residual": False}``). The complete method is always run beside them."""

    Config: ClassVar[type[MethodConfig]] = MethodConfig

    def __init__(self, config: MethodConfig | None = None) -> None:
        self.config: Any = config if config is not None else self.Config()

    @abc.abstractmethod
    def fit(self, train: TrainingSet, context: Context) -> None:
        """Learn from the training part."""

    @abc.abstractmethod
    def score(self, pyramid: Pyramid) -> Tensor:
        """Anomaly scores.

        Parameters
        ----------
        pyramid
            Features of B images; no gradient is asked for.

        Returns
        -------
        tensor of shape (B,), finite, higher = more anomalous
        """
