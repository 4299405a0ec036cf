"""A directory of records, one file a cell: safe with many writers, readable after a kill at any moment.

Layout below the store's root::

    records/ab/abcdef….json    the record: cell, metrics, provenance (the commit point: written last)
    scores/ab/abcdef….npz      the test scores with ids, labels and kinds
    ablations/METHOD.json      what a method's ablations are called, for tables and plots only

Every file is written to a temporary name in the same folder, flushed to disk, and renamed.
"""

from __future__ import annotations

import json
import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from osad_bench.core.progress import Tell, nobody
from osad_bench.results.record import Record, TestScores


class StoreError(ValueError):
    """A store or one of its records is missing, damaged or cannot be written; the message names the file."""


def _write_atomically(path: Path, write: Any) -> None:
    """Call ``write(stream)`` on a temporary file beside `path`, flush it to disk, then rename it to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class Store:
    """Records below one folder.

    Parameters
    ----------
    root
        The folder; created by the first `put`.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def __contains__(self, key: str) -> bool:
        return self._record_path(key).exists()

    def _record_path(self, key: str) -> Path:
        return self.root / "records" / key[:2] / f"{key}.json"

    def _scores_path(self, key: str) -> Path:
        return self.root / "scores" / key[:2] / f"{key}.npz"

    def prepare(self) -> None:
        """Make the folder, so that one that cannot be written to is known before anything is computed.

        Raises
        ------
        StoreError
            No file can be made in it.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise StoreError(
                f"no records can be written to {self.root}: {error.strerror}; name another folder with --out"
            ) from None

    def has_scores(self, key: str) -> bool:
        """Whether the file of a record's test scores is there."""
        return self._scores_path(key).exists()

    def put(self, record: Record, scores: TestScores | None = None) -> None:
        """Store a record, replacing one of the same key.

        Raises
        ------
        OSError
            The disk is full or the folder is not writable; earlier records stay whole.
        """
        if scores is not None:

            def write_scores(stream: IO[bytes]) -> None:
                np.savez_compressed(
                    stream, ids=scores.ids, labels=scores.labels, kinds=scores.kinds, scores=scores.scores
                )

            _write_atomically(self._scores_path(record.key), write_scores)
        text = record.model_dump_json(indent=1).encode()
        _write_atomically(self._record_path(record.key), lambda stream: stream.write(text))

    def get(self, key: str) -> Record:
        """Read one record.

        Raises
        ------
        StoreError
            There is none, or it is damaged.
        """
        return self._read(self._record_path(key))

    @staticmethod
    def _read(path: Path) -> Record:
        try:
            return Record.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise StoreError(f"no record {path}") from None
        except ValidationError as error:
            first = error.errors()[0]
            raise StoreError(
                f"damaged record {path}: {first['msg']} at {'.'.join(map(str, first['loc'])) or 'the top'}. "
                "Delete the file and run the same command again: only this cell is computed anew."
            ) from None

    def scores(self, key: str) -> TestScores:
        """Test scores of one record.

        Raises
        ------
        StoreError
            There are none (a failed cell), or the file is damaged.
        """
        path = self._scores_path(key)
        try:
            with np.load(path, allow_pickle=False) as data:
                return TestScores(data["ids"], data["labels"], data["kinds"], data["scores"])
        except FileNotFoundError:
            raise StoreError(f"no scores {path}: run the same command again, only this cell is computed anew") from None
        except Exception:  # NumPy raises ValueError, OSError, KeyError, BadZipFile and others
            raise StoreError(
                f"damaged scores {path}. Delete the file and run the same command again: only this cell is computed anew."
            ) from None

    def keys(self) -> list[str]:
        """Keys of all records, sorted."""
        return sorted(path.stem for path in self.root.glob("records/??/*.json"))

    def __iter__(self) -> Iterator[Record]:
        for key in self.keys():
            yield self.get(key)

    def frame(self, tell: Tell = nobody) -> pd.DataFrame:
        """One row a cell; see `row` for the columns."""
        keys, rows = self.keys(), []
        for done, key in enumerate(keys, 1):
            rows.append(row(self.get(key)))
            tell(done, len(keys))
        frame: pd.DataFrame = pd.DataFrame(rows, columns=list(COLUMNS))
        if len(frame):
            frame = frame.astype({"shots": "int64", "seed": "int64"})
            names = self.ablations()
            frame["ablation"] = [names.get(pair, "") for pair in zip(frame["method"], frame["variant"])]
        return frame

    def name_ablations(self, method: str, names: dict[str, str]) -> None:
        """Remember what the variants of a method are called: name to variant (``prototypes=16``), added to those known."""
        path = self.root / "ablations" / f"{method}.json"
        known = {name: variant for (of, variant), name in self.ablations().items() if of == method}
        text = json.dumps(known | names, indent=1).encode()
        _write_atomically(path, lambda stream: stream.write(text))

    def ablations(self) -> dict[tuple[str, str], str]:
        """(method, variant) to the ablation's name.

        Raises
        ------
        StoreError
            A file of names is damaged.
        """
        result: dict[tuple[str, str], str] = {}
        for path in sorted(self.root.glob("ablations/*.json")):
            try:
                result |= {
                    (path.stem, str(variant)): str(name) for name, variant in json.loads(path.read_bytes()).items()
                }
            except (ValueError, AttributeError):
                raise StoreError(f"damaged file {path}: delete it, and osad-bench ablate writes it anew") from None
        return result


COLUMNS = (
    "key", "status", "dataset", "setting", "shots", "known_kind", "seed", "method", "variant", "preset", "part",
    "reserve", "dedup", "auroc", "average_precision", "fpr95", "per_kind", "error", "split_digest", "train_normal",
    "train_anomaly", "test_normal", "test_anomaly", "crossing_duplicates", "fit_seconds", "score_seconds",
    "total_seconds", "peak_memory_mb", "device", "project_version", "commit", "fingerprint", "version", "config",
    "preset_config", "diagnostics", "curve", "created", "known", "ablation", "provenance",
    "method_title", "method_kind", "citation", "dataset_title",
)  # fmt: skip


def row(record: Record) -> dict[str, Any]:
    """Flatten a record to the columns of `Store.frame`."""
    cell, protocol, metrics, split = record.cell, record.cell.protocol, record.metrics, record.split
    return {
        "key": record.key,
        "status": record.status,
        "dataset": cell.dataset,
        "setting": protocol.setting,
        "shots": protocol.shots,
        "known_kind": protocol.known_kind,
        "seed": protocol.seed,
        "method": cell.method,
        "variant": record.variant,
        "preset": record.preset,
        "part": protocol.part,
        "reserve": protocol.reserve,
        "dedup": protocol.dedup,
        "auroc": metrics.auroc if metrics else np.nan,
        "average_precision": metrics.average_precision if metrics else np.nan,
        "fpr95": metrics.fpr95 if metrics else np.nan,
        "per_kind": metrics.per_kind if metrics else {},
        "error": f"{record.error.type}: {record.error.message}" if record.error else None,
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
        "device": record.provenance.device,
        "project_version": record.provenance.project_version,
        "commit": record.provenance.commit,
        "fingerprint": cell.fingerprint,
        "version": cell.version,
        "config": cell.config,
        "preset_config": cell.preset,
        "diagnostics": record.diagnostics,
        "curve": record.curve,
        "created": record.created,
        "known": split.known if split else (),
        "ablation": "",
        "provenance": record.provenance,
        "method_title": record.method_title,
        "method_kind": record.method_kind,
        "citation": record.citation,
        "dataset_title": record.dataset_title,
    }


def load(root: Path | str, tell: Tell = nobody) -> pd.DataFrame:
    """Tidy frame of all records below `root`, one row a cell (see `COLUMNS`).

    Raises
    ------
    StoreError
        The folder holds no records.
    """
    frame = Store(root).frame(tell)
    if frame.empty:
        raise StoreError(f"no records in {root}: expected the folder that `osad-bench run --out` wrote")
    return frame
