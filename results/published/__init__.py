"""Numbers printed in papers, as data; see README.md beside this file."""

from __future__ import annotations

from importlib.resources import files

import pandas as pd

PAPERS = {
    "devnet": "DevNet papers (2019, 2021)", "flos": "Lin et al. (2017)", "saoe": "Li et al. (2021)", "mlep": "MLEP paper (2019)",
    "dra": "DRA paper (CVPR 2022)", "ahl": "AHL paper (CVPR 2024)", "ahl-devnet": "AHL paper (CVPR 2024)",
    "dpdl": "DPDL paper",
}  # fmt: skip
"""Method to the paper that brought it up: of its numbers, that paper's own count most."""

COLUMNS = (
    "source", "arxiv", "table", "protocol", "setting", "shots", "dataset", "known_kind", "method", "variant", "mean", "std",
    "runs", "origin", "note",
)  # fmt: skip
PLACE = ["setting", "shots", "dataset", "known_kind", "method"]
"""What two numbers must share to be about the same thing."""


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
        ``variant``. ``origin`` is ``own run`` or ``copied``.
    """
    return _read(f"table{table}.csv")


def numbers() -> pd.DataFrame:
    """Every printed number of the DRA, AHL and DPDL papers, one per row.

    Returns
    -------
    DataFrame
        `COLUMNS`. ``shots`` is 0 where a method takes no anomaly, or all. ``known_kind`` is empty in the general setting,
        a kind or ``mean`` (over the kinds) in the hard one. ``variant`` is empty for a method as it is. ``runs`` says over
        how many trainings mean and std are, and ``origin`` who ran them: ``own run``, ``rerun`` (of public code, by
        others), ``copied``, or ``copied or rerun`` where the paper does not tell.
    """
    others = _read("dra_ahl.csv")
    dpdl = pd.concat([published(1), published(2), published(3).query("variant != 'complete'")], ignore_index=True)
    dpdl["source"] = PAPERS["dpdl"]
    dpdl["known_kind"] = dpdl["setting"].map({"general": "", "hard": "mean"})
    dpdl["runs"] = dpdl["method"].map(
        lambda method: 5 if method == "dpdl" else 3
    )  # a copy has the runs of what it copies
    dpdl = dpdl.assign(arxiv="", protocol="DPDL", note="")
    both = pd.concat([others, dpdl], ignore_index=True)
    texts = ["known_kind", "variant", "note", "arxiv"]
    both[texts] = both[texts].fillna("").astype(str)
    result: pd.DataFrame = both[list(COLUMNS)]
    return result
