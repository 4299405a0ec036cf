"""Numbers printed in papers, as data; see README.md beside this file."""

from __future__ import annotations

from importlib.resources import files

import pandas as pd


def published(table: int) -> pd.DataFrame:
    """Table 1, 2 or 3 of the DPDL paper, one row a printed number.

    Returns
    -------
    DataFrame
        Columns ``source, table, setting, shots, dataset, printed_as, method, mean, std, origin`` and, for Table 3,
        ``variant``. ``origin`` is ``own run`` or ``copied``.
    """
    with files(__package__).joinpath(f"table{table}.csv").open(encoding="utf-8") as stream:
        frame: pd.DataFrame = pd.read_csv(stream)
    return frame
