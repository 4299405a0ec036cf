"""Methods, data sets, backbones and pseudo-anomalies by name, found through entry points.

Methods of the user's own need no package: `Registry.add` takes a class, and `load_file` imports a Python file with classes.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import importlib.util
import sys
from collections.abc import Callable, Collection
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, NamedTuple, TypeVar

from osad_bench.core.border import foreign, said
from osad_bench.core.errors import InputError

T = TypeVar("T")


class UnknownNameError(LookupError):
    """A method, data set, backbone or pseudo-anomaly is unknown, claimed by two packages, or cannot be imported."""

    def __str__(self) -> str:
        return str(self.args[0])


def nearest(name: str, known: Collection[str], written: Callable[[str], str] = str) -> str:
    """Hint for a mistyped `name`: the most similar known names, `written` as the user types them, or else all of them."""
    if near := difflib.get_close_matches(name, known):
        return f"did you mean {' or '.join(map(written, near))}?"
    return f"known: {', '.join(map(written, known)) or 'none'}"


class _Point(NamedTuple):
    """An entry point, with the name and version of its distribution: reading them takes a millisecond each time."""

    distribution: str
    version: str
    entry: EntryPoint


class Registry(Generic[T]):
    """What is registered under one entry point group, imported only when asked for.

    Parameters
    ----------
    group
        Entry point group, such as ``osad_bench.methods``.
    noun
        What messages call one registered thing, such as ``method``.
    """

    def __init__(self, group: str, noun: str) -> None:
        self.group = group
        self.noun = noun
        self._added: dict[str, T] = {}

    @cached_property
    def _points(self) -> dict[str, list[_Point]]:
        """Entry points by name; a list of several where more than one package registers the name."""
        points: dict[str, dict[tuple[str, str], _Point]] = {}
        for entry in entry_points(group=self.group):
            point = _Point(*_distribution(entry), entry)
            # One distribution can be on sys.path twice (a checkout and its installation).
            points.setdefault(entry.name, {}).setdefault((point.distribution, entry.value), point)
        return {name: list(found.values()) for name, found in sorted(points.items())}

    def names(self) -> list[str]:
        """All registered names, sorted; imports nothing."""
        return sorted({*self._points, *self._added})

    def origin(self, name: str) -> str:
        """Distribution that registered `name`, or the file that it is from; imports nothing. Unknown names: KeyError."""
        if name in self._added:
            module = sys.modules.get(getattr(self._added[name], "__module__", ""))
            return Path(getattr(module, "__file__", None) or "python").name
        return " and ".join(point.distribution for point in self._points[name])

    def distribution(self, name: str) -> tuple[str, str]:
        """Name and version of the distribution that registered `name`; else empty texts."""
        return ("", "") if name in self._added or name not in self._points else self._points[name][0][:2]

    def summary(self, name: str) -> str:
        """First line of the docstring of the module behind the registered `name`, read without importing it; empty if none."""
        if name in self._added:
            return (self._added[name].__doc__ or "").strip().partition("\n")[0]
        try:
            spec = importlib.util.find_spec(self._points[name][0].entry.module)
            doc = ast.get_docstring(ast.parse(Path(spec.origin or "").read_text("utf-8"))) if spec else None
        except (ImportError, OSError, SyntaxError, ValueError):
            return ""
        return doc.splitlines()[0] if doc else ""

    def get(self, name: str) -> T:
        """Import and return the thing called `name`.

        Raises
        ------
        UnknownNameError
            Nothing has that name, two packages claim it, or the plug-in that should provide it fails to import.
        """
        if name in self._added:
            return self._added[name]
        if name not in self._points:
            raise UnknownNameError(f"unknown {self.noun} {name!r}; {nearest(name, self.names())}")
        first, *others = sorted(self._points[name], key=lambda point: point[:2])
        if others:
            claims = " and ".join(f"{point.distribution} ({point.entry.value})" for point in (first, *others))
            raise UnknownNameError(f"{self.noun} {name!r} is registered by {claims}: uninstall one of them")
        with foreign() as outcome:
            thing: T = first.entry.load()
        if outcome.error is not None:
            raise UnknownNameError(
                f"{self.noun} {name!r} of {self.origin(name)} ({first.entry.value}) cannot be imported: {said(outcome.error)}"
            ) from outcome.error
        return thing

    def add(self, name: str, thing: T) -> None:
        """Register `thing` under `name`, for this process alone.

        Raises
        ------
        InputError
            An installed package has registered the name already.
        """
        if name in self._points:
            raise InputError(
                f"the {self.noun} name {name!r} is taken by {self.origin(name)}: give yours another `name`"
            )
        self._added[name] = thing


def _distribution(point: EntryPoint) -> tuple[str, str]:
    return (point.dist.name, point.dist.version) if point.dist is not None else ("?", "")


def load_file(path: Path) -> ModuleType:
    """Import a Python file that belongs to no package, once per process; it can import the files beside it.

    Raises
    ------
    InputError
        There is no such file, or it cannot be imported.
    """
    try:
        place = path.expanduser().resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    name = (
        f"osad_bench_file_{place.stem}_{hashlib.sha256(str(place).encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
    )
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, place)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is not a Python file: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(place.parent))
    with foreign() as outcome:
        spec.loader.exec_module(module)
    sys.path.remove(str(place.parent))
    if outcome.error is not None:
        del sys.modules[name]
        raise InputError(f"{path} cannot be imported: {said(outcome.error)}") from outcome.error
    return module


methods: Registry[Any] = Registry("osad_bench.methods", "method")
datasets: Registry[Any] = Registry("osad_bench.datasets", "data set")
backbones: Registry[Any] = Registry("osad_bench.backbones", "backbone")
pseudo_anomalies: Registry[Any] = Registry("osad_bench.pseudo_anomalies", "pseudo-anomaly")
