"""Tables of means as `Table` objects, which `osad_bench.results.render` turns into text.

`tables` and `paper.paper_table` make them from a frame of records, one per board (see `aggregate.comparable`). Missing cells
are shown as a dash; incomplete ones show their number of seeds and are never marked as best.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pandas as pd

from osad_bench.results.aggregate import ROW, Metric, summary
from osad_bench.results.names import DATASETS, METHODS, by_number, in_order
from osad_bench.results.titles import Titles, titles_of

METRIC_TITLES: dict[str, str] = {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "fpr95": "FPR at 95 % TPR (lower is better)",
    "pixel_auroc": "pixel AUROC",
    "aupro": "AUPRO",
}
"""Metric to its title."""

PIXELS: tuple[Metric, ...] = ("pixel_auroc", "aupro")
"""Metrics of heat maps (`osad-bench run --pixels`), for which there are tables of their own."""


@dataclass(frozen=True)
class Entry:
    """One cell of a table: mean and standard deviation over `n` of `expected` seeds."""

    mean: float | None
    std: float | None = None
    n: int = 0
    expected: int = 0
    rank: int | None = None
    """1 for the best of the row, 2 for the second best; None where not comparable."""

    def text(self, *, percent: bool = False) -> str:
        """As text: ``0.889±0.002``, ``0.889 (n=1)``, ``0.889±0.002 (n=3/5)`` or a dash; `percent`: 88.9 instead of 0.889."""
        if self.mean is None:
            return "–"
        scale, digits = (100.0, 1) if percent else (1.0, 3)
        shown = f"{self.mean * scale:.{digits}f}"
        if self.std is not None:
            shown += f"±{self.std * scale:.{digits}f}"
        if self.n < self.expected:
            return f"{shown} (n={self.n}/{self.expected})"
        return shown if self.std is not None else f"{shown} (n={self.n})"


@dataclass(frozen=True)
class Block:
    """Rows of a table that share setting and shots: title, and for each row its name and cells."""

    title: str
    rows: tuple[tuple[str, tuple[Entry, ...]], ...]


@dataclass(frozen=True)
class Table:
    """A table with data sets as rows and methods as columns, or variants and data sets; `corner` is the heading of the rows."""

    title: str
    columns: tuple[str, ...]
    blocks: tuple[Block, ...]
    notes: tuple[str, ...] = field(default=())
    corner: str = "data set"

    def frame(self, *, percent: bool = False) -> pd.DataFrame:
        """The cells as text: index (block, row), one column per column of the table."""
        names = [(block.title, name) for block in self.blocks for name, _ in block.rows]
        texts = [
            [entry.text(percent=percent) for entry in entries] for block in self.blocks for _, entries in block.rows
        ]
        index = pd.MultiIndex.from_tuples(names, names=["block", self.corner]) if names else None
        frame: pd.DataFrame = pd.DataFrame(texts, index=index, columns=list(self.columns))
        return frame


def _block_title(setting: str, shots: int) -> str:
    words = {1: "one known anomaly", 10: "ten known anomalies"}.get(shots, f"{shots} known anomalies")
    return f"{setting} setting, {words} (M = {shots})"


def entry_of(line: Mapping[Any, Any]) -> Entry:
    """A line of `aggregate.summary` as a cell of a table."""
    if not line["n"]:
        return Entry(None, expected=line["expected"])
    return Entry(
        mean=float(line["mean"]),
        std=None if pd.isna(line["std"]) else float(line["std"]),
        n=int(line["n"]),
        expected=int(line["expected"]),
        rank=None if pd.isna(line["rank"]) else int(line["rank"]),
    )


def row_name(dataset: str, setting: str, kinds: int, classes: int, titles: Titles) -> str:
    """Name of a row: the data set, and over how many kinds or classes it is a mean."""
    name = titles.dataset(dataset)
    if classes:
        return f"{name} (mean of {classes} classes)"
    return f"{name} (mean of {kinds} kinds)" if setting == "hard" else name


def table_blocks(lines: pd.DataFrame, methods: list[str], titles: Titles) -> tuple[Block, ...]:
    """Lines of `aggregate.summary` as blocks by setting (general first) and shots (most first), with columns `methods`."""
    order = lines[["setting", "shots"]].drop_duplicates().sort_values(["setting", "shots"], ascending=[True, False])
    blocks = []
    for setting, shots in order.itertuples(index=False):
        group = lines[(lines["setting"] == setting) & (lines["shots"] == shots)]
        rows = []
        for dataset in in_order(group["dataset"], DATASETS):
            cells = group[group["dataset"] == dataset]
            name = row_name(dataset, setting, int(cells["kinds"].max()), int(cells["classes"].max()), titles)
            entries = {str(line["method"]): entry_of(line) for line in cells.to_dict("records")}
            missing = Entry(None, expected=int(cells["expected"].max()))
            rows.append((name, tuple(entries.get(method, missing) for method in methods)))
        blocks.append(Block(_block_title(setting, shots), tuple(rows)))
    return tuple(blocks)


def tables(frame: pd.DataFrame, metric: Metric = "auroc") -> list[Table]:
    """One table per board with everything there is, blocks by setting (general first) and shots (most first).

    Variants of a method whose default settings have records are in tables of their own: beside the methods, the best of many
    variants would in effect be chosen by its test AUC. The metrics of heat maps also have tables of their own, where records
    have them.

    Parameters
    ----------
    frame
        As `osad_bench.results.load` returns it.
    metric
        Which metric to show.
    """
    result = []
    plain, titles = without_variants(frame), titles_of(frame)
    for board, lines in summary(plain, metric).groupby("board"):
        methods = in_order(lines["method"], METHODS)
        title = f"{METRIC_TITLES[metric]} (mean±std over seeds), preset {board}"
        notes = (seeds_note(lines), *left_out(plain))
        columns = tuple(map(titles.method, methods))
        result.append(Table(title, columns, table_blocks(lines, methods, titles), notes))
    if metric not in PIXELS:
        for more in PIXELS:
            if plain[more].notna().any():
                mapped = plain[["method", "variant"]].agg(tuple, axis=1)
                result += tables(plain[mapped.isin(set(mapped[plain[more].notna()]))], more)
    if len(plain) == len(frame):
        return result
    varied = frame.loc[~frame["key"].isin(plain["key"]), "method"]
    for method in in_order(varied, METHODS):
        result += variant_table(frame[frame["method"] == method], method, "Variants", metric)
    return result


def without_variants(frame: pd.DataFrame) -> pd.DataFrame:
    """The records without variants of methods that have records with default settings and the same preset."""
    plain = frame["variant"] == ""
    there = pd.MultiIndex.from_frame(frame[["preset", "method"]])
    result: pd.DataFrame = frame[plain | ~there.isin(there[plain])]
    return result


def ablation_records(frame: pd.DataFrame, method: str) -> pd.DataFrame:
    """A method's records: the ablations that `osad-bench ablate` named and the complete method; all where it named none."""
    mine: pd.DataFrame = frame[frame["method"] == method]
    named = mine["ablation"] != ""
    return mine[named | (mine["variant"] == "")] if named.any() else mine


def ablation_lines(frame: pd.DataFrame, method: str) -> pd.DataFrame:
    """Lines of `summary` for a method's variants, ``variant`` as a table prints it.

    Where `osad-bench ablate` wrote the records, these are the named ablations (``without M_r``) and ``complete``;
    else all variants, named by their changed settings. Rows with one variant only are left out.
    """
    return _variant_lines(ablation_records(frame, method), method, "auroc", "complete")


def _variant_lines(mine: pd.DataFrame, method: str, metric: Metric, whole: str) -> pd.DataFrame:
    """Lines of `summary`, ``variant`` as a table prints it: `whole` for the method with default settings."""
    lines = summary(mine, metric)
    names = {f"{method} {row.variant}": row.ablation for row in mine[mine["ablation"] != ""].itertuples()}
    lines["variant"] = [
        whole if label == method else names.get(label, label.removeprefix(f"{method} ")) for label in lines["method"]
    ]
    compared: pd.DataFrame = lines[lines.groupby(ROW)["variant"].transform("size") > 1]
    return compared


def ablation_table(frame: pd.DataFrame, method: str, heading: str = "Ablations") -> list[Table]:
    """Variants of a method as rows, the complete method last, and data sets as columns; ranked within each column."""
    return variant_table(ablation_records(frame, method), method, heading, whole="complete")


def variant_table(
    mine: pd.DataFrame, method: str, heading: str, metric: Metric = "auroc", whole: str = "default"
) -> list[Table]:
    """All records `mine` of one method: variants as rows, that with default settings (`whole`) last, data sets as columns."""
    result, titles = [], titles_of(mine)
    for board, part in _variant_lines(mine, method, metric, whole).groupby("board"):
        datasets = in_order(part["dataset"], DATASETS)
        variants = sorted(part["variant"].unique(), key=lambda name: (name == whole, by_number(name)))
        blocks = []
        order = part[["setting", "shots"]].drop_duplicates().sort_values(["setting", "shots"], ascending=[True, False])
        for setting, shots in order.itertuples(index=False):
            group = part[(part["setting"] == setting) & (part["shots"] == shots)]
            cells = {(line["variant"], line["dataset"]): entry_of(line) for line in group.to_dict("records")}
            rows = tuple(
                (variant, tuple(cells.get((variant, dataset), Entry(None)) for dataset in datasets))
                for variant in variants
                if any((variant, dataset) in cells for dataset in datasets)
            )
            blocks.append(Block(_block_title(setting, shots), rows))
        title = f"{heading}: {titles.method(method)}, {METRIC_TITLES[metric]} (mean±std), preset {board}"
        columns = tuple(map(titles.dataset, datasets))
        notes = (seeds_note(part), *left_out(mine))
        result.append(Table(title, columns, tuple(blocks), notes, "variant"))
    return result


def seeds_note(lines: pd.DataFrame) -> str:
    """A sentence on the number of seeds of these lines of `summary`."""
    counts = sorted(lines["expected"].unique())
    seeds = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    text = (
        "One seed: no standard deviation."
        if seeds == "1"
        else f"Standard deviation over n = {seeds} seeds with ddof = 1."
    )
    incomplete = lines[~lines["complete"]]
    if len(incomplete):
        text += f" {len(incomplete)} incomplete cells show their own n and are never marked as best."
    return text


def left_out(frame: pd.DataFrame) -> list[str]:
    """Notes on a table made from `frame`: records left out, failed cells, and test images with a copy in training."""
    titles, sentences = titles_of(frame), []
    validation = int((frame["part"] != "test").sum())
    if validation:
        sentences.append(f"{validation} records of validation parts are left out.")
    failed = frame[(frame["status"] == "failed") & (frame["part"] == "test")]
    if len(failed):
        first = cast("dict[str, Any]", failed.iloc[0].to_dict())
        sentences.append(
            f"{len(failed)} cells failed (first: {titles.method(first['method'])} on {titles.dataset(first['dataset'])}, seed {first['seed']}: "
            f"{first['error']})."
        )
    crossing = frame[(frame["crossing_duplicates"] > 0) & (frame["part"] == "test")]
    for name, part in crossing.groupby("dataset"):
        sentences.append(
            f"{titles.dataset(str(name))}: up to {int(part['crossing_duplicates'].max())} test images have an identical copy in training "
            "(rerun with --dedup to measure the effect)."
        )
    return sentences
