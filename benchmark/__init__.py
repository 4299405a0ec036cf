"""Plan, protocol, features, training and execution of cells; the command line.

`run` does in Python what ``osad-bench run`` does on the command line.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["run"]


def run(
    methods: list[str],
    datasets: list[str] | None = None,
    *,
    out: Path | str = "osad-results",
    data_root: Path | str | None = None,
    cache: Path | str | None = None,
    weights: Path | str | None = None,
    device: str = "cpu",
    jobs: int = 1,
    **grid: Any,
) -> pd.DataFrame:
    """Run a grid and return what is stored.

    Parameters
    ----------
    methods, datasets
        Registered names; a data set may also be ``folder:PATH`` or ``csv:FILE``. Default data set: elpv.
    out
        Folder of the store; cells already in it are kept.
    data_root, cache, weights, device, jobs
        As ``osad-bench run --help`` says.
    **grid
        Further fields of `osad_bench.benchmark.grid.plan.Grid`: ``setting``, ``shots``, ``seeds``, ``preset``, ``set``, ….

    Returns
    -------
    pandas.DataFrame
        One row a cell in the store (see `osad_bench.results.store.COLUMNS`).

    Raises
    ------
    InputError, UnknownNameError, DatasetError
        The request cannot be carried out.
    """
    from osad_bench.benchmark.cell.execute import Machine
    from osad_bench.benchmark.grid.plan import plan, read_grid
    from osad_bench.benchmark.grid.run import carry_out
    from osad_bench.benchmark.grid.todo import compare
    from osad_bench.core.places import default_cache
    from osad_bench.results.store import Store

    def path(value: Path | str | None) -> Path | None:
        return None if value is None else Path(value)

    machine = Machine(path(cache) or default_cache(), path(data_root), path(weights), device)
    request = {"methods": methods, **({"datasets": datasets} if datasets else {}), **grid}
    store = Store(out)
    carry_out(compare(plan(read_grid(None, request), machine), store).open, store, machine, jobs=jobs)
    return store.frame()
