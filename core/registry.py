"""Names to things: methods, data sets, backbones and pseudo-anomalies, all found through entry points."""

from __future__ import annotations

import ast
import difflib
import importlib.util
import warnings
from collections.abc import Callable, Collection
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class UnknownNameError(LookupError):
    """No such method, data set, backbone or pseudo-anomaly; the message suggests the nearest names."""

    def __str__(self) -> str:
        return str(self.args[0])


def nearest(name: str, known: Collection[str], told: Callable[[str], str] = str) -> str:
    """What to tell of a mistyped `name`: the names most like it, as `told`, or else all that are known."""
    if near := difflib.get_close_matches(name, known):
        return f"did you mean {' or '.join(map(told, near))}?"
    return f"known: {', '.join(map(told, known)) or 'none'}"


class Registry(Generic[T]):
    """The things registered under one entry point group, imported only when asked for.

    Parameters
    ----------
    group
        Entry point group, such as ``osad_bench.methods``.
    noun
        What one of its things is called in messages, such as ``method``.
    """

    def __init__(self, group: str, noun: str) -> None:
        self.group = group
        self.noun = noun

    @cached_property
    def _points(self) -> dict[str, EntryPoint]:
        points: dict[str, EntryPoint] = {}
        for point in entry_points(group=self.group):
            known = points.get(point.name)
            if known is not None and known.value != point.value:
                # The built-in wins, so that installing a plug-in never changes what an existing name means.
                keep, drop = (known, point) if known.value.startswith("osad_bench.") else (point, known)
                warnings.warn(
                    f"{self.noun} {point.name!r} is registered twice: {keep.value} is used, {drop.value} is not",
                    stacklevel=2,
                )
                point = keep
            points[point.name] = point
        return dict(sorted(points.items()))

    def names(self) -> list[str]:
        """All registered names, sorted; imports nothing."""
        return list(self._points)

    def origin(self, name: str) -> str:
        """Distribution that registered `name`; imports nothing."""
        dist = self._points[name].dist
        return dist.name if dist is not None else "?"

    def summary(self, name: str) -> str:
        """First line of the docstring of the module behind `name`, read without importing that module."""
        try:
            spec = importlib.util.find_spec(self._points[name].module)
            doc = ast.get_docstring(ast.parse(Path(spec.origin or "").read_text("utf-8"))) if spec else None
        except (ImportError, OSError, SyntaxError, ValueError):
            return ""
        return doc.splitlines()[0] if doc else ""

    def get(self, name: str) -> T:
        """Import and return the thing called `name`.

        Raises
        ------
        UnknownNameError
            Nothing has that name, or the plug-in that should provide it fails to import.
        """
        if name not in self._points:
            raise UnknownNameError(f"unknown {self.noun} {name!r}; {nearest(name, self._points)}")
        point = self._points[name]
        try:
            thing: T = point.load()
        except Exception as error:
            raise UnknownNameError(
                f"{self.noun} {name!r} of {self.origin(name)} ({point.value}) cannot be imported: {type(error).__name__}: {error}"
            ) from error
        return thing


methods: Registry[Any] = Registry("osad_bench.methods", "method")
datasets: Registry[Any] = Registry("osad_bench.datasets", "data set")
backbones: Registry[Any] = Registry("osad_bench.backbones", "backbone")
pseudo_anomalies: Registry[Any] = Registry("osad_bench.pseudo_anomalies", "pseudo-anomaly")
