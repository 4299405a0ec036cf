"""Grids for ablations and sweeps of one method, as in the DPDL paper's Figs. 2 and 3 and Table 3.

Each part is removed alone, and each setting is varied alone, with everything else as published; the complete method is in
every study. Random numbers do not depend on settings, so every difference from the complete method is paired. Cells are
those of `osad-bench run`, so only those that a store lacks are computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from osad_bench.benchmark.grid.plan import Grid, read_grid
from osad_bench.core.errors import InputError
from osad_bench.core.registry import methods


def ablations(method: str, only: Sequence[str] = ()) -> dict[str, dict[str, list[Any]]]:
    """The ablations that a method declares, as changes of a grid: ``{name: {"dpdl.dpl": [False]}}``.

    Raises
    ------
    InputError
        The method declares no ablations, or none with a name in `only`.
    UnknownNameError
        No such method.
    """
    declared = methods.get(method).ablations
    if not declared:
        raise InputError(
            f"{method} declares no ablations; vary its settings with osad-bench sweep {method} --over NAME=V,V"
        )
    for name in only:
        if name not in declared:
            raise InputError(f"--only {name!r}: the ablations of {method} are {', '.join(map(repr, declared))}")
    return {
        name: {f"{method}.{setting}": [value] for setting, value in changes.items()}
        for name, changes in declared.items()
        if not only or name in only
    }


def study_grids(method: str, changes: Sequence[dict[str, list[Any]]], flags: dict[str, Any]) -> list[Grid]:
    """Grid of the complete method, then one per change.

    Parameters
    ----------
    changes
        ``METHOD.SETTING`` to values; each is applied to `flags` on its own.
    flags
        As `osad_bench.benchmark.grid.plan.read_grid` takes them, without methods.

    Raises
    ------
    InputError
        See `osad_bench.benchmark.grid.plan.read_grid`.
    """
    return [
        read_grid(None, flags | {"methods": [method], "floor": None, "set": flags.get("set", {}) | change})
        for change in ({}, *changes)
    ]
