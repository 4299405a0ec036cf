"""One open-set anomaly detection method per file, on shared heads and losses; knows nothing of data sets.

`osad_bench.methods.base` holds the contract. The names below are imported when they are first used, so that listing the
methods does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from osad_bench.methods.base import (
        NORMAL,
        PSEUDO,
        SEEN,
        Batch,
        Context,
        Method,
        MethodConfig,
        Mix,
        MixedConfig,
        Pyramid,
        Schedule,
        TrainingSet,
    )
    from osad_bench.methods.checks import check_method
    from osad_bench.methods.gradient import GradientMethod
    from osad_bench.methods.in_memory import InMemory

_OUTSIDE_BASE = {"check_method": "checks", "GradientMethod": "gradient", "InMemory": "in_memory"}

__all__ = [
    "NORMAL",
    "PSEUDO",
    "SEEN",
    "Batch",
    "Context",
    "GradientMethod",
    "InMemory",
    "Method",
    "MethodConfig",
    "Mix",
    "MixedConfig",
    "Pyramid",
    "Schedule",
    "TrainingSet",
    "check_method",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(f"{__name__}.{_OUTSIDE_BASE.get(name, 'base')}"), name)
