"""Which images exist, which are normal, which kind of anomaly each shows, and how to read them.

The names below are imported when they are first used, so that importing this package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from osad_bench.datasets.base import Dataset, DatasetError, Problem, Sample
    from osad_bench.datasets.catalogue import open_dataset
    from osad_bench.datasets.reading.files import FileDataset

__all__ = ["Dataset", "DatasetError", "FileDataset", "Problem", "Sample", "open_dataset"]

_MODULES = {"open_dataset": "catalogue", "FileDataset": "reading.files"}
"""Where a name lies, if not in ``base``."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES.get(name, 'base')}"), name)
