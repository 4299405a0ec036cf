"""Plan, cells, features and the command line.

`run` does in Python what ``osad-bench run`` does on the command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from osad_bench.methods.base import Method

__all__ = ["run"]


def run(
    methods: str | type[Method] | list[str | type[Method]], datasets: str | list[str] | None = None, **request: Any
) -> pd.DataFrame:
    """Run a grid and return what is stored.

    Parameters
    ----------
    methods
        Registered names, Python files that define methods (``repel.py``), or classes that derive from
        `osad_bench.methods.base.Method`.
    datasets
        Registered names, ``folder:PATH`` or ``csv:FILE``; None for elpv.
    **request
        Fields of `osad_bench.benchmark.grid.plan.Grid` (``setting``, ``shots``, ``seeds``, ``preset``, ``set``, …) and of
        `osad_bench.benchmark.grid.run.Options` (``out``, ``jobs``, ``device``, ``cache``, …), with the command line's
        defaults.

    Returns
    -------
    pandas.DataFrame
        One row per cell in the store (see `osad_bench.results.store.COLUMNS`).

    Raises
    ------
    InputError, UnknownNameError, DatasetError
        The request cannot be carried out.
    """
    from dataclasses import fields

    from osad_bench.benchmark.grid.plan import read_grid
    from osad_bench.benchmark.grid.run import Options, run_grid

    options = {one.name: request.pop(one.name) for one in fields(Options) if one.name in request}
    grid = read_grid(None, {"methods": methods, **({"datasets": datasets} if datasets else {}), **request})
    return run_grid([grid], Options(**options)).store.frame()
