"""Grids, cells, features, fitted models and the command line.

`run`, `fit` and `Fitted` do in Python what ``osad-bench run``, ``fit`` and ``score`` do on the command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from osad_bench.benchmark.decide.model import Fitted
    from osad_bench.methods.base import Method

__all__ = ["Fitted", "fit", "run"]


def __getattr__(name: str) -> Any:
    if name != "Fitted":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from osad_bench.benchmark.decide.model import Fitted

    return Fitted


def fit(method: str | type[Method], data: str, *, calibrate: int | None = None, **request: Any) -> Fitted:
    """Fit a method to all anomalies and most normals of a data set, and hold out the other normals for p-values.

    Parameters
    ----------
    method
        A registered name, a Python file that defines a method, or a class.
    data
        A data set's name, ``folder:PATH`` or ``csv:FILE``.
    calibrate
        Number of normals to hold out, 0 for none. None holds out a quarter, or as many as a bound of 1 % on false alarms
        needs (99) if that is more, but at most half.
    **request
        ``preset``, ``set`` and ``seed``; ``device``, ``weights``, ``data_root`` and ``cache``, with the command line's
        defaults.

    Returns
    -------
    Fitted
        ``model.score(photos, 0.01)`` returns a frame with one decision per photograph, ``model.save(folder)`` writes the
        model, and ``Fitted.load(folder)`` reads it.

    Raises
    ------
    InputError, UnknownNameError, DatasetError
        The request cannot be carried out.
    osad_bench.benchmark.decide.fit.FitError
        The method failed on these images.

    Examples
    --------
    >>> from osad_bench.benchmark import fit
    >>> model = fit("whitened", "textures", set={"image_size": [64]})  # doctest: +SKIP
    >>> model.score("photos", false_alarms=0.05)  # doctest: +SKIP
    """
    from osad_bench.benchmark.decide.fit import fit as fit_model

    return fit_model(method, data, calibrate=calibrate, **request)


def run(
    methods: str | type[Method] | list[str | type[Method]], datasets: str | list[str] | None = None, **request: Any
) -> pd.DataFrame:
    """Run a grid and return all records of its store as a frame.

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
        One row per cell in the store (see `osad_bench.results.columns.COLUMNS`).

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
