"""Numbers printed in papers, as data; see README.md beside this file."""

from __future__ import annotations

from importlib.resources import files

import pandas as pd

PAPERS = {
    "devnet": "DevNet papers (2019, 2021)", "flos": "Lin et al. (2017)", "saoe": "Li et al. (2021)", "mlep": "MLEP paper (2019)",
    "dra": "DRA paper (CVPR 2022)", "ahl": "AHL paper (CVPR 2024)", "ahl-devnet": "AHL paper (CVPR 2024)",
    "dpdl": "DPDL paper",
}  # fmt: skip
"""Method to the paper that introduced it, whose own numbers for it are preferred."""

COLUMNS = (
    "source", "arxiv", "table", "protocol", "setting", "shots", "dataset", "known_kind", "method", "variant", "mean", "std",
    "runs", "origin", "note",
)  # fmt: skip
PLACE = ["setting", "shots", "dataset", "known_kind", "method"]
"""Columns in which two numbers must agree to be about the same thing."""


def _read(name: str) -> pd.DataFrame:
    with files(__package__).joinpath(name).open(encoding="utf-8") as stream:
        frame: pd.DataFrame = pd.read_csv(stream)
    return frame


def published(table: int) -> pd.DataFrame:
    """Table 1, 2 or 3 of the DPDL paper, one row per printed number.

    Returns
    -------
    DataFrame
        Columns ``source, table, setting, shots, dataset, printed_as, method, mean, std, origin`` and, for Table 3,
        ``variant``. Means and stds are fractions; ``origin`` is ``own run`` or ``copied``.

    Raises
    ------
    FileNotFoundError
        There is no such table.
    """
    return _read(f"table{table}.csv")


def numbers() -> pd.DataFrame:
    """Every printed number of the DRA, AHL and DPDL papers, one per row.

    Returns
    -------
    DataFrame
        Columns `COLUMNS`. ``shots`` is 0 where a method uses no anomalies, or all. ``known_kind`` is empty in the general
        setting, and a kind or ``mean`` (over the kinds) in the hard setting. ``variant`` is empty for the complete method.
        ``mean`` and ``std`` are fractions over ``runs`` trainings. ``origin`` says who ran them: ``own run``, ``rerun`` (of
        public code, by others), ``copied``, or ``copied or rerun`` where the paper does not say.
    """
    others = _read("dra_ahl.csv")
    dpdl = pd.concat([published(1), published(2), published(3).query("variant != 'complete'")], ignore_index=True)
    dpdl["source"] = PAPERS["dpdl"]
    dpdl["known_kind"] = dpdl["setting"].map({"general": "", "hard": "mean"})
    dpdl["runs"] = dpdl["method"].map(
        lambda method: 5 if method == "dpdl" else 3
    )  # a copied number has the runs of its source
    dpdl = dpdl.assign(arxiv="", protocol="DPDL", note="")
    both = pd.concat([others, dpdl], ignore_index=True)
    texts = ["known_kind", "variant", "note", "arxiv"]
    both[texts] = both[texts].fillna("").astype(str)
    result: pd.DataFrame = both[list(COLUMNS)]
    return result
