"""Whether what is registered as a method can be run: checked before any work is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from osad_bench.benchmark.preset import first_problem
from osad_bench.core.border import foreign, said
from osad_bench.core.errors import InputError
from osad_bench.core.registry import methods, nearest, pseudo_anomalies
from osad_bench.core.text import printable

if TYPE_CHECKING:
    from osad_bench.methods.base import Method

MOST_LETTERS = 2_000
"""Of what a method says of itself."""


def method_named(name: str) -> type[Method]:
    """The class registered as `name`, checked to be a method.

    Raises
    ------
    UnknownNameError, InputError
        There is none, or what is registered is no method that can be run.
    """
    kind, problem = methods.get(name), ""
    with foreign() as outcome:
        problem = _problem_with(kind)
    if outcome.error is not None:
        problem = f"cannot be looked at ({said(outcome.error)})"
    if problem:
        raise InputError(f"the method {name!r} of {methods.origin(name)} {problem}")
    method: type[Method] = kind
    return method


def _problem_with(kind: Any) -> str:
    """Why a method cannot be run, as the rest of a sentence; empty where it can."""
    from osad_bench.methods.base import Method, MethodConfig, Schedule

    if not _derives(kind, Method):
        return "is no class that derives from osad_bench.methods.base.Method"
    if lacking := getattr(kind, "__abstractmethods__", None):
        return f"lacks {', '.join(sorted(lacking))}"
    if not _derives(kind.Config, MethodConfig):
        return "has a Config that does not derive from MethodConfig"
    if not isinstance(kind.version, int) or isinstance(kind.version, bool) or abs(kind.version) >= 2**53:
        return f"has the version {printable(repr(kind.version)[:50])}; a whole number is expected"
    if not all(isinstance(one, str) for one in (kind.title, kind.kind, kind.citation)):
        return "needs a title, a kind and a citation, each a text"
    if long := next((one for one in ("title", "kind", "citation") if len(getattr(kind, one)) > MOST_LETTERS), ""):
        return (
            f"has a {long} of {len(getattr(kind, long))} letters, and tables have room for {MOST_LETTERS} at the most"
        )
    if not (kind.schedule is None or isinstance(kind.schedule, Schedule)):
        return "has a schedule that is no Schedule (osad_bench.methods.base)"
    if not (kind.stages is None or all(isinstance(one, int) for one in _several(kind.stages))):
        return "has stages that are no tuple of whole numbers"
    if unknown := [one for one in _several(kind.pseudo_anomalies) if one not in pseudo_anomalies.names()]:
        return f"draws from the pseudo-anomaly {unknown[0]!r}; {nearest(str(unknown[0]), pseudo_anomalies.names())}"
    try:
        kind.Config().model_dump(mode="json")
    except Exception as error:
        detail = first_problem(error) if isinstance(error, ValidationError) else said(error)
        return f"has settings without a usable default ({detail})"
    return ""


def _derives(kind: Any, base: type) -> bool:
    return isinstance(kind, type) and issubclass(kind, base)


def _several(values: Any) -> tuple[Any, ...]:
    """The values of a tuple or list; anything else is one wrong value, itself."""
    return tuple(values) if isinstance(values, (tuple, list)) else (values,)
