"""A record as one row of a frame: the columns of `Store.frame`."""

from __future__ import annotations

from typing import Any

import numpy as np

from osad_bench.core.text import printable
from osad_bench.results.record import Record
from osad_bench.results.row import Row

COLUMNS = (
    "key", "status", "dataset", "setting", "shots", "known_kind", "seed", "method", "variant", "preset", "part",
    "reserve", "dedup", "contamination", "mislabelled", "train_group", "test_group", "options", "settings", "auroc", "average_precision", "fpr95", "per_kind", "error", "split_digest",
    "train_normal", "train_anomaly", "test_normal", "test_anomaly", "crossing_duplicates", "fit_seconds", "score_seconds",
    "total_seconds", "peak_memory_mb", "device", "project_version", "commit", "fingerprint", "version", "config",
    "preset_config", "diagnostics", "curve", "created", "known", "ablation", "provenance",
    "method_title", "method_kind", "citation", "dataset_title",
)  # fmt: skip


def row(record: Record) -> dict[str, Any]:
    """Flatten a record to the columns of `Store.frame`; names and messages are made `printable`."""
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
        "per_kind": {printable(kind): value for kind, value in metrics.per_kind.items()} if metrics else {},
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
        "config": cell.config,
        "preset_config": cell.preset,
        "diagnostics": record.diagnostics,
        "curve": {printable(name): values for name, values in record.curve.items()},
        "created": record.created,
        "known": split.known if split else (),
        "ablation": "",
        "provenance": record.provenance,
        "method_title": printable(record.method_title),
        "method_kind": printable(record.method_kind),
        "citation": printable(record.citation),
        "dataset_title": printable(record.dataset_title),
    }
