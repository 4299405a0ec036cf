"""The contract every method meets, written so that this docstring is the tutorial.

A method is a class with a `Config` and two functions::

    class MyMethod(Method):
        \"\"\"One line of purpose (paper, year).\"\"\"

        name, title, version = "mymethod", "MyMethod", 1

        class Config(MethodConfig):
            strength: float = Field(1.0, gt=0, description="what it does (paper, Eq. 3)")

        def fit(self, train: TrainingSet, context: Context) -> None: ...
        def score(self, pyramid: Pyramid) -> Tensor: ...          # (B,), higher = more anomalous

Methods see *feature pyramids*, never files: a list of tensors (B, C, H, W), one per scale. The benchmark decides whether the
features come from the cache of a frozen backbone or from a backbone that is being fine-tuned.

Optional parts, each with a default:

- `score_map`: where in the image the anomaly is, (B, H, W); by default a method has no map.
- `state` and `restore`: what `fit` learned as tensors, so that a fitted method can be saved without pickle. The default
  serves a method whose attributes are tensors and lists of tensors.
- `stages`: the backbone stages that the method reads, in place of the preset's.
- ``context.shared(...)`` in `fit`: what depends on the training normals alone (a covariance, a coreset) is computed once
  for all seeds and shots. `measure` and `score_measured` do the same for what `score` computes per image from such values.
- A `Config` that derives from `MixedConfig`: training batches hold pseudo-anomalies too, made by the generators that the
  method names in `pseudo_anomalies`.

Most methods are heads trained by gradient descent and subclass `osad_bench.methods.gradient.GradientMethod`,
which supplies the loop and asks only for `build`, `loss` and `forward_score`.
"""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from osad_bench.methods.saving import State, pack, unpack

NORMAL, SEEN, PSEUDO = 0, 1, 2
"""Targets of a batch: normal, seen (labelled) anomaly, pseudo-anomaly."""

T = TypeVar("T")

Pyramid = list[Tensor]
"""One tensor (B, C, H, W) per scale (per scale and stage where there are several stages), finest image first."""


class MethodConfig(BaseModel):
    """Base of a method's validated hyper-parameters; defaults are the published ones, each description names its source."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Schedule(BaseModel):
    """How a method is trained by gradient descent.

    Attributes
    ----------
    optimizer, lr, weight_decay
        Optimiser, step size and weight decay.
    epochs, steps
        Number of epochs, and of batches per epoch.
    decay_every, decay
        The step size is multiplied by `decay` every `decay_every` epochs; None or 0: never.
    clip
        Largest norm of the gradient; None: unbounded.
    batch
        Images per batch.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = Field(2e-4, ge=0)  # 0: the weights stay as they were initialised
    weight_decay: float = Field(1e-5, ge=0)
    epochs: int = Field(50, ge=1)
    steps: int = Field(20, ge=1)
    decay_every: int | None = Field(10, ge=0)
    decay: float = Field(0.1, gt=0)
    clip: float | None = Field(1.0, gt=0)
    batch: int = Field(48, ge=4)


@dataclass(frozen=True)
class Mix:
    """Shares of normals, seen anomalies and pseudo-anomalies in a training batch, each from 0 to 1; they sum to 1."""

    normal: float = 0.5
    seen: float = 0.5
    pseudo: float = 0.0

    def counts(self, size: int) -> tuple[int, int, int]:
        """Numbers of normals, seen anomalies and pseudo-anomalies in a batch of `size` images.

        Raises
        ------
        ValueError
            The batch is too small to hold a normal beside the anomalies.
        """
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
        """Shares of a training batch; the rest beside the anomalies is normal."""
        return Mix(1 - self.seen_share - self.pseudo_share, self.seen_share, self.pseudo_share)


@dataclass
class Batch:
    """A training batch.

    Attributes
    ----------
    pyramid
        Features of B images.
    target
        (B,), int64: NORMAL, SEEN or PSEUDO of each image.
    reference
        Features of further normals that the images are compared with; None where the batch was drawn without any.
    n_normal
        Number of normals, if they come first in the batch; None for any other order. Where it is given, `normals` and
        `anomalies` slice instead of selecting by `target`, so that a training step does not wait for the GPU.
    """

    pyramid: Pyramid
    target: Tensor
    reference: Pyramid | None = None
    n_normal: int | None = None

    def normals(self, rows: Tensor) -> Tensor:
        """Those of `rows`, one per image, that belong to normals."""
        return rows[self.target == NORMAL] if self.n_normal is None else rows[: self.n_normal]

    def anomalies(self, rows: Tensor) -> Tensor:
        """Those of `rows`, one per image, that belong to known and pseudo-anomalies."""
        return rows[self.target != NORMAL] if self.n_normal is None else rows[self.n_normal :]


class TrainingSet(Protocol):
    """What a method may see of the training part of a split.

    `n_normal` and `n_seen` are the numbers of training normals and of known anomalies.
    """

    shapes: list[tuple[int, int, int]]
    """(C, H, W) of each scale."""
    n_normal: int
    n_seen: int

    def batch(self, size: int, mix: Mix, pseudo: Sequence[str], references: int = 0) -> Batch:
        """Draw a random training batch, augmented as the preset says, with gradients to `parameters`.

        Normals, seen anomalies, pseudo-anomalies and references are each drawn from a random stream of their own, so that
        two methods (or two variants of one) that ask for the same batches see the same images.

        Parameters
        ----------
        size, mix
            Number of images in the batch, and the share of each sort.
        pseudo
            Names of the pseudo-anomaly generators to draw from, each equally likely.
        references
            Number of further normals for `Batch.reference`. They go through the network in the same forward pass as the batch.
        """

    def normals(self, index: Sequence[int] | None = None) -> Pyramid:
        """Clean features (no augmentation, no gradient) of the training normals, or of those at `index`."""

    def seen(self) -> Pyramid:
        """Clean features (no augmentation, no gradient) of the known anomalies."""

    def parameters(self) -> list[nn.Parameter]:
        """What is trained of the feature extractor: the backbone when it is fine-tuned, the adapter when there is one."""

    def train(self, mode: bool = True) -> None:
        """Put the feature extractor (backbone, adapter) into training or evaluation mode."""


def seed_of(seed: int, purpose: str) -> int:
    """Seed for one purpose, derived from `seed`: an integer from 0 to 2**63 - 1."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:8], "big") >> 1


def on(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a CPU tensor to a device; a GPU continues its work during the copy."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


Random = Callable[[str], torch.Generator]
"""Gives a new generator for each purpose, as `Context.random` does."""

Keep = Callable[[str, Mapping[str, object], Callable[[], State]], State]
"""Called with a name, settings and a computation; returns its result, computed now or kept from before."""


def _computed(name: str, settings: Mapping[str, object], compute: Callable[[], State]) -> State:  # noqa: ARG001
    """Keep nothing."""
    return compute()


def _silent(epoch: int, epochs: int, values: dict[str, float]) -> None:
    """Report nothing."""


@dataclass
class Context:
    """Everything else a method may use while it is fitted.

    Attributes
    ----------
    seed
        Seed of all draws of the method; it depends on data set, split and method name, never on settings.
    device
        Device of all tensors.
    schedule
        The schedule to train by: the preset's, laid over the method's published one.
    progress
        Call ``progress(epoch, epochs, {"loss": value, ...})`` after each epoch: it feeds the progress bar and the
        training curve of the record.
    after_epoch
        Called by the shared loop after each epoch with the epoch's index, from 0 (used by the diagnostic ``--oracle``).
    seed_of_normals
        Seed of draws that concern the training normals alone: the same for all seeds and shots with the same normals.
    keep
        Where `shared` values are kept; by default nowhere.
    generator
        `random("")`, made once: for a method that draws for a single purpose.
    """

    seed: int
    device: torch.device
    schedule: Schedule
    progress: Callable[[int, int, dict[str, float]], None] = _silent
    after_epoch: Callable[[int], None] | None = None
    seed_of_normals: int = 0
    keep: Keep = _computed
    generator: torch.Generator = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.generator = self.random("")

    def random(self, purpose: str) -> torch.Generator:
        """Return a new CPU generator for one purpose, always starting at the same point.

        Each purpose has a stream of its own, so that draws for one never shift those for another. These generators are the
        only source of randomness a method may use for its own draws.
        """
        return torch.Generator().manual_seed(seed_of(self.seed, purpose))

    def shared(self, name: str, kind: type[T], compute: Callable[[Random], T], **settings: object) -> T:
        """Return what depends on the training normals alone, computed once for all seeds and shots that ask for it.

        Parameters
        ----------
        name
            Name of the value, unique within the method.
        kind
            What `compute` returns: ``Tensor``, a dataclass of tensors and numbers, or a list of such (``list[Tensor]``).
        compute
            A function of ``train.normals()`` and the settings alone, never of the known anomalies. It draws from the
            generators that it is given, which are the same for all seeds.
        settings
            The settings that `compute` uses, of types that JSON has. Each combination of settings has its own value.

        Raises
        ------
        UnsavableError
            `compute` returns something else than `kind` allows; the message names it.

        Examples
        --------
        >>> import torch
        >>> context = Context(0, torch.device("cpu"), Schedule())
        >>> normals = torch.arange(10.0)
        >>> context.shared("some", torch.Tensor, lambda random: normals[torch.randperm(10, generator=random("which"))[:3]])
        tensor([7., 6., 3.])
        """

        def random(purpose: str) -> torch.Generator:
            return torch.Generator().manual_seed(seed_of(self.seed_of_normals, f"{name}/{purpose}"))

        state = self.keep(name, settings, lambda: pack(compute(random), "value"))
        value: T = unpack(kind, state, "value")
        return value

    @contextmanager
    def initialised(self, name: str) -> Iterator[None]:
        """Context manager: layers made inside start from weights that depend on `seed` and `name` alone.

        With one name per head, taking a head away leaves the other heads' initial weights as they were. Torch's global
        random state is as before when the block ends.
        """
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed_of(self.seed, f"layers/{name}"))
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
    pseudo_anomalies: ClassVar[tuple[str, ...]] = ()
    """Names of the pseudo-anomaly generators the method draws from."""
    stages: ClassVar[tuple[int, ...] | None] = None
    """Backbone stages that the method reads (-1 is the last), in place of the preset's; None for the preset's.

    The pyramid then holds one map per scale and stage, scale by scale, the stages in the order given here."""
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

    def measure(self, pyramid: Pyramid) -> list[Tensor]:  # noqa: ARG002
        """Return what `score` computes from images, `Context.shared` values and settings alone; by default nothing.

        For a method that scores slowly. The benchmark measures each image once for all seeds and shots, and scores by
        `score_measured`; the method's `score` is then ``score_measured(measure(pyramid), lambda: pyramid)``.

        Returns
        -------
        list of tensors (B, ...), of the same number, types and shapes for all images
        """
        return []

    def score_measured(self, measures: list[Tensor], pyramid: Callable[[], Pyramid]) -> Tensor:  # noqa: ARG002
        """Anomaly scores (B,), equal to those of `score`, from what `measure` returned for the same B images.

        Parameters
        ----------
        measures
            What `measure` returned.
        pyramid
            Reads the images' features; a method that has all it needs in its measures does not call it.
        """
        return self.score(pyramid())

    def score_map(self, pyramid: Pyramid) -> Tensor | None:  # noqa: ARG002
        """Where the anomaly is, for heat maps and pixel metrics.

        Returns
        -------
        tensor of shape (B, H, W) like the pyramid's first map, finite, higher = more anomalous; None (the default): the
        method has no map
        """
        return None

    def state(self) -> State:
        """Everything that `fit` learned and `score` reads, as tensors by name.

        By default all attributes besides `config`, which have to be tensors or lists of tensors; a list's tensors are
        named ``attribute.0``, ``attribute.1`` and so on. A method that keeps anything else writes `state` and `restore`.

        Raises
        ------
        UnsavableError
            An attribute is neither; the message names it.
        """
        learned = {name: value for name, value in vars(self).items() if name != "config"}
        return {key: tensor for name, value in learned.items() for key, tensor in pack(value, name).items()}

    def restore(self, state: Mapping[str, Tensor], shapes: Sequence[tuple[int, int, int]]) -> None:  # noqa: ARG002
        """Become the fitted method that gave `state`: `score` then gives the same scores to the last bit.

        Parameters
        ----------
        state
            What `state` returned, perhaps read from a file.
        shapes
            (C, H, W) of each map of the pyramid, as `TrainingSet.shapes` had them.
        """
        for name in {key.partition(".")[0] for key in state}:
            setattr(self, name, unpack(Tensor if name in state else list[Tensor], state, name))
