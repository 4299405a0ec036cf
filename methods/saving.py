"""What a fitted method learned as named tensors, and back: no pickle, no code in the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

State = dict[str, Tensor]
"""Tensors by name."""


class UnsavableError(TypeError):
    """A fitted method holds something that is not made of tensors."""


def pack(value: object, name: str) -> State:
    """Return the tensors that `value` is made of.

    Parameters
    ----------
    value
        A tensor, a number, or a list or dataclass of such values, nested to any depth.
    name
        Its own name; parts are called ``name.0`` (lists) and ``name.field`` (dataclasses).

    Raises
    ------
    UnsavableError
        It holds anything else; the message names it.
    """
    if isinstance(value, Tensor):
        return {name: value.detach()}
    if isinstance(value, int | float):
        return {name: torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else torch.int64)}
    parts: list[tuple[str, object]]
    if isinstance(value, list):
        parts = [(str(i), item) for i, item in enumerate(value)]
    elif is_dataclass(value):
        parts = [(one.name, getattr(value, one.name)) for one in fields(value)]
    else:
        raise UnsavableError(
            f"{name} is a {type(value).__name__}: keep what fit learns in tensors, or in lists or dataclasses of tensors, or"
            " write state and restore"
        )
    return {key: tensor for part, item in parts for key, tensor in pack(item, f"{name}.{part}").items()}


def unpack(kind: Any, state: Mapping[str, Tensor], name: str) -> Any:
    """Return the value of type `kind` that `pack` took apart under this name.

    Parameters
    ----------
    kind
        ``Tensor``, ``int``, ``float``, ``list[...]`` of a kind, or a dataclass with annotated fields.

    Raises
    ------
    KeyError
        `state` lacks a tensor of the value.
    """
    if kind is Tensor:
        # A copy: where a file's tensors lie in memory, a matrix product may add up in another order.
        return state[name].clone(memory_format=torch.contiguous_format)
    if kind in (int, float):
        return kind(state[name].item())
    if get_origin(kind) is list:
        (item,) = get_args(kind)
        return [unpack(item, state, f"{name}.{i}") for i in range(_count(state, name))]
    hints = get_type_hints(kind)
    return kind(**{one.name: unpack(hints[one.name], state, f"{name}.{one.name}") for one in fields(kind)})


def _count(state: Mapping[str, Tensor], name: str) -> int:
    """Length of the list `name`."""
    return len({key[len(name) + 1 :].partition(".")[0] for key in state if key.startswith(f"{name}.")})


def part_of(state: Mapping[str, Tensor], name: str) -> State:
    """Tensors below `name`, without that prefix."""
    return {key[len(name) + 1 :]: tensor for key, tensor in state.items() if key.startswith(f"{name}.")}
