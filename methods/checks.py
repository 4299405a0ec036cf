"""One call that tests a method of your own against the contract: ``check_method(MyMethod)``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from osad_bench.methods.base import Context, Method, MethodConfig, Pyramid, Schedule
from osad_bench.methods.in_memory import InMemory
from osad_bench.methods.saving import State, UnsavableError

SHAPES = ((6, 4, 4), (6, 2, 2))


def check_method(kind: type[Method], config: MethodConfig | None = None) -> None:
    """Fit a method to small random features and check its attributes, scores, map, measures and saved state.

    Parameters
    ----------
    kind
        The method's class.
    config
        Settings to check it with, such as a short schedule of its own; None for the defaults.

    Raises
    ------
    AssertionError
        It breaks the contract; the message says where and what is expected.

    Examples
    --------
    >>> from osad_bench.methods.devnet import DevNet
    >>> check_method(DevNet)
    """
    _check_attributes(kind)
    kept: Kept = {}
    measured: list[list[Tensor]] = []
    for seen in (5, 1):
        method, same = (_fitted(kind, config, seen, kept) for _ in range(2))
        maps = _draw(7, 9)
        copies = [scale.clone() for scale in maps]
        scores = method.score(maps).detach()
        assert scores.shape == (7,), f"score gives shape {tuple(scores.shape)} for 7 images: expected (7,)"
        assert torch.isfinite(scores).all(), f"scores are not finite with {seen} known anomalies: {scores.tolist()}"
        assert all(map(torch.equal, maps, copies)), "score changed the pyramid that it was given"
        again = same.score(maps).detach()
        assert torch.equal(scores, again), "two fits from one seed score differently: draw from context.random only"
        alone = torch.cat([method.score([scale[i : i + 1] for scale in maps]).detach() for i in range(7)])
        close = torch.allclose(scores, alone, rtol=1e-4, atol=1e-5 * float(scores.abs().max()))
        assert close, "an image's score depends on the images scored with it: use no statistics of the batch"
        _check_map(method, maps)
        _check_saving(method, maps, scores)
        measured.append(method.measure(maps))
        by_measures = method.score_measured(measured[-1], lambda maps=maps: maps).detach()  # type: ignore[misc]
        assert torch.equal(scores, by_measures), "score and score_measured(measure(...)) differ"
    assert all(map(torch.equal, *measured)), "measure depends on the known anomalies: it may use shared values only"


def _check_attributes(kind: type[Method]) -> None:
    for attribute in ("name", "title"):
        assert isinstance(getattr(kind, attribute, None), str), f"give {kind.__name__} a {attribute}"
    assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*", kind.name), f"name {kind.name!r}: use a-z, 0-9, . _ and - only"
    assert kind.citation, f"give {kind.__name__} a citation: what a user of it should cite"
    kind.Config()  # every setting has a default
    for key, field in kind.Config.model_fields.items():
        assert field.description, f"setting {key}: give it a description with the source of its default"


def _check_map(method: Method, maps: Pyramid) -> None:
    """Check the shape of `score_map` where there is one."""
    found = method.score_map(maps)
    if found is None:
        return
    size = (len(maps[0]), *maps[0].shape[2:])
    assert found.shape == size, f"score_map gives shape {tuple(found.shape)}: expected {size}, as the first map"
    assert torch.isfinite(found).all(), "score_map is not finite"
    assert not found.requires_grad, "score_map carries a gradient: compute it under torch.no_grad, or detach it"


def _check_saving(method: Method, maps: Pyramid, scores: Tensor) -> None:
    """Check that a method restored from its state scores the same; one that cannot be saved passes."""
    try:
        state = method.state()
    except UnsavableError:
        return
    for name, value in state.items():
        assert isinstance(value, Tensor), f"state: {name} is a {type(value).__name__}, expected a tensor"
    copies = {name: state[name].detach().clone() for name in sorted(state)}
    other = type(method)(method.config)
    try:
        other.restore(copies, SHAPES)
        again = other.score(maps).detach()
    except Exception as error:
        raise AssertionError(
            f"a method restored from state() cannot score ({type(error).__name__}: {error}): write state and restore so that"
            " they hold everything that score reads"
        ) from error
    assert torch.equal(scores, again), "a method restored from state() scores differently: state lacks what score reads"


def _draw(size: int, seed: int, shift: float = 0.0) -> Pyramid:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(size, *shape, generator=generator) + shift for shape in SHAPES]


Kept = dict[tuple[str, str], State]
"""Shared values by name and settings."""


def _fitted(kind: type[Method], config: MethodConfig | None, seen: int, kept: Kept) -> Method:
    """The method, fitted to 40 normals, `seen` anomalies and, where it draws any, pseudo-anomalies."""

    def keep(name: str, settings: Mapping[str, object], compute: Callable[[], State]) -> State:
        value = compute()
        before = kept.setdefault((name, json.dumps(settings, sort_keys=True)), value)
        same = before.keys() == value.keys() and all(torch.equal(before[key], value[key]) for key in value)
        assert same, (
            f"the shared value {name!r} differs between fits: compute it from train.normals() and `random` alone"
        )
        return value

    torch.manual_seed(0)
    method = kind(config)
    schedule = (kind.schedule or Schedule()).model_copy(update={"epochs": 1, "steps": 2, "batch": 12})
    train = InMemory(_draw(40, 1), _draw(seen, 2, 1.0), _draw(40, 3, 0.5) if kind.pseudo_anomalies else [])
    method.fit(train, Context(0, torch.device("cpu"), schedule, keep=keep))
    return method
