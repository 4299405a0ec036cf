"""A record as one row of a table, and rows as the frame that all tables, tests and figures take.

A flat row (`row`) holds nested values as JSON texts; the index stores flat rows. `to_frame` turns the texts into values.
Equal texts become one object, so that 100,000 records share a handful of configurations and provenances.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd

from osad_bench.core.text import printable
from osad_bench.results.record import Provenance, Record
from osad_bench.results.row import Row

COLUMNS = (
    "key", "status", "dataset", "setting", "shots", "known_kind", "seed", "method", "variant", "preset", "part",
    "reserve", "dedup", "contamination", "mislabelled", "train_group", "test_group", "options", "settings", "auroc", "average_precision", "fpr95", "pixel_auroc", "aupro", "per_kind", "error", "split_digest",
    "train_normal", "train_anomaly", "test_normal", "test_anomaly", "crossing_duplicates", "fit_seconds", "score_seconds",
    "total_seconds", "peak_memory_mb", "device", "project_version", "commit", "fingerprint", "version", "config",
    "preset_config", "diagnostics", "curve", "created", "known", "ablation", "provenance",
    "method_title", "method_kind", "citation", "dataset_title",
)  # fmt: skip
"""Columns of the frame of a store."""

NESTED = ("per_kind", "config", "preset_config", "diagnostics", "curve", "known", "provenance")
"""Columns whose values are dictionaries, lists or objects."""

FLAT = tuple(name for name in COLUMNS if name != "ablation")
"""Columns of a flat row; the names of ablations lie in files of their own."""


EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


_text = json.JSONEncoder(separators=(",", ":")).encode


def row(record: Record) -> dict[str, Any]:
    """A record as one flat row: columns `FLAT`, those of `NESTED` as JSON texts.

    Times are in microseconds since 1970; names are made `printable`. Whoever changes what this returns raises
    `osad_bench.results.index.FORMAT`.
    """
    cell, protocol, metrics, split = record.cell, record.cell.protocol, record.metrics, record.split
    place = Row.of(cell, record.preset)
    return {
        "key": record.key,
        "status": record.status,
        "dataset": place.dataset,
        "setting": place.setting,
        "shots": place.shots,
        "known_kind": None if protocol.known_kind is None else printable(protocol.known_kind),
        "seed": protocol.seed,
        "method": printable(cell.method),
        "variant": printable(record.variant),
        "preset": place.preset,
        "part": protocol.part,
        "reserve": protocol.reserve,
        "dedup": protocol.dedup,
        "contamination": protocol.contamination,
        "mislabelled": protocol.mislabelled,
        "train_group": None if protocol.train_group is None else printable(protocol.train_group),
        "test_group": None if protocol.test_group is None else printable(protocol.test_group),
        "options": place.options,
        "settings": place.settings,
        "auroc": metrics.auroc if metrics else np.nan,
        "average_precision": metrics.average_precision if metrics else np.nan,
        "fpr95": metrics.fpr95 if metrics else np.nan,
        "pixel_auroc": np.nan if metrics is None or metrics.pixel_auroc is None else metrics.pixel_auroc,
        "aupro": np.nan if metrics is None or metrics.aupro is None else metrics.aupro,
        "per_kind": _text({printable(kind): value for kind, value in metrics.per_kind.items()} if metrics else {}),
        "error": printable(f"{record.error.type}: {record.error.message}") if record.error else None,
        "split_digest": split.digest if split else None,
        "train_normal": split.train_normal if split else 0,
        "train_anomaly": split.train_anomaly if split else 0,
        "test_normal": split.test_normal if split else 0,
        "test_anomaly": split.test_anomaly if split else 0,
        "crossing_duplicates": split.crossing_duplicates if split else 0,
        "fit_seconds": record.timings.fit,
        "score_seconds": record.timings.score,
        "total_seconds": record.timings.total,
        "peak_memory_mb": record.peak_memory_mb,
        "device": printable(record.provenance.device),
        "project_version": record.provenance.project_version,
        "commit": record.provenance.commit,
        "fingerprint": cell.fingerprint,
        "version": cell.version,
        "config": _text(cell.config),
        "preset_config": _text(cell.preset),
        "diagnostics": _text(record.diagnostics),
        "curve": _text({printable(name): values for name, values in record.curve.items()}),
        "created": (record.created - EPOCH) // timedelta(microseconds=1),
        "known": _text(split.known if split else ()),
        "provenance": record.provenance.model_dump_json(),
        "method_title": printable(record.method_title),
        "method_kind": printable(record.method_kind),
        "citation": printable(record.citation),
        "dataset_title": printable(record.dataset_title),
    }


def _value(name: str, text: str) -> Any:
    if name == "provenance":
        return Provenance.model_validate_json(text)
    value = json.loads(text)
    return tuple(value) if name == "known" else value


def to_frame(columns: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """The frame (`COLUMNS`) of flat rows, which are given column by column (`FLAT`); ``ablation`` is empty."""
    made: dict[str, Any] = {}
    for name in COLUMNS:
        values = columns.get(name, [""] * len(columns["key"]))
        if name in NESTED:
            known = {text: _value(name, text) for text in set(values)}
            cells = np.empty(len(values), dtype=object)
            cells[:] = [known[text] for text in values]
            made[name] = pd.Series(cells, dtype=object)
        elif name == "created":
            made[name] = pd.Series(np.array(values, dtype="datetime64[us]")).dt.tz_localize("UTC")
        else:
            made[name] = values
    return pd.DataFrame(made, columns=list(COLUMNS))
