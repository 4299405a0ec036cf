"""The records in the form of the DPDL paper's Tables 1 to 3."""

from __future__ import annotations

import pandas as pd

from osad_bench.results.aggregate import group_of, summary
from osad_bench.results.names import DATASETS, METHODS, in_order
from osad_bench.results.tables import (
    Table,
    ablation_records,
    ablation_table,
    left_out,
    seeds_note,
    table_blocks,
    without_variants,
)
from osad_bench.results.titles import titles_of


def paper_table(frame: pd.DataFrame, number: int) -> list[Table]:
    """The records in the form of the DPDL paper's Table 1, 2 or 3, one table per board.

    Table 1 is the general setting (data sets made of classes as their mean), Table 2 the hard setting (Carpet and
    Metal nut alone of MVTec AD), Table 3 the variants of `dpdl` with M = 10. Methods and data sets that the paper lacks
    come after the paper's own.

    Raises
    ------
    ValueError
        There is no such table.
    """
    records = paper_records(frame, number)
    if number == 3:
        return ablation_table(records, "dpdl", "Table 3 of the DPDL paper, rerun")
    lines = summary(records)
    group = group_of(lines["dataset"])
    if number == 1:
        lines = lines[~group.isin(set(lines.loc[lines["classes"] > 0, "dataset"]))]
    else:
        lines = lines[(lines["classes"] == 0) & ((group != "mvtec") | lines["dataset"].isin(DATASETS))]
    tests = frame[(frame["part"] == "test") & (frame["setting"] == _SETTINGS[number])]
    variants = tests.loc[~tests["key"].isin(records["key"]), ["method", "variant"]].drop_duplicates()
    aside = [f"{len(variants)} variants of methods are left out (a report without --table shows them)."] * (
        len(variants) > 0
    )
    result, titles = [], titles_of(frame)
    for board, part in lines.groupby("board"):
        methods = in_order(part["method"], METHODS)
        shown = tuple(map(titles.method, methods))
        title = (
            f"Table {number} of the DPDL paper, rerun: AUROC (mean±std), {_SETTINGS[number]} setting, preset {board}"
        )
        blocks = table_blocks(part, methods, titles)
        notes = (seeds_note(part), *aside, *left_out(records))
        result.append(Table(title, shown, blocks, notes, "Dataset"))
    return result


_SETTINGS = {1: "general", 2: "hard"}


def paper_records(frame: pd.DataFrame, number: int) -> pd.DataFrame:
    """The records that `paper_table` shows; for Tables 1 and 2 without variants of methods that have records of their default.

    Raises
    ------
    ValueError
        There is no such table.
    """
    if number not in {1, 2, 3}:
        raise ValueError(f"the paper has tables 1, 2 and 3, not {number}")
    if number == 3:
        return ablation_records(frame[frame["shots"] == 10], "dpdl")
    return without_variants(frame[frame["setting"] == _SETTINGS[number]])
