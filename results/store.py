"""A directory of records, one file per cell: safe with many writers, readable after a kill at any moment.

Layout below the store's root::

    records/ab/abcdef….json    the record: cell, metrics, provenance (the commit point: written last)
    scores/ab/abcdef….npz      the test scores with ids, labels and kinds
    ablations/METHOD.json      what a method's ablations are called, for tables and plots only

Every file is written to a temporary name in the same folder, flushed to disk, and renamed. What is written is read back
from its bytes first, and what is read is checked: a store may come from a stranger, by mail or from a network drive.
"""

from __future__ import annotations

import io
import json
import os
import re
import tempfile
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from osad_bench.core.progress import Tell, nobody
from osad_bench.core.text import file_name, printable
from osad_bench.results.record import SCHEMA_VERSION, Record, TestScores
from osad_bench.results.row import Row

MOST_BYTES = 2**30
"""A file of scores that unpacks to more is refused before it is unpacked: 100,000 images take 60 MB."""

_RECORD = re.compile(r"[0-9a-f]{64}\.json")
_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{32}\.tmp")
REMEDY = "Delete the file and run the same command again: only this cell is computed anew."


class StoreError(ValueError):
    """A store or one of its records is missing, damaged or cannot be written; the message names the file."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class NewerError(StoreError):
    """A record was made by a newer osad-bench: it is neither read nor overwritten."""


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
        StoreError
            It could not be read again (nothing is written then), or a newer osad-bench made the record that is there.
        OSError
            The disk is full or the folder is not writable; earlier records stay whole.
        """
        path = self._record_path(record.key)
        text = record.model_dump_json(indent=1).encode()
        parse_record(text, path)
        packed = None if scores is None else _packed(scores, self._scores_path(record.key))
        if path.exists() and (version := _schema_version(path.read_bytes())) > SCHEMA_VERSION:
            raise _newer(path, version)
        if packed is not None:
            _write_atomically(self._scores_path(record.key), lambda stream: stream.write(packed))
        _write_atomically(path, lambda stream: stream.write(text))

    def get(self, key: str) -> Record:
        """Read one record.

        Raises
        ------
        NewerError
            A newer osad-bench made it.
        StoreError
            There is none, or it is damaged.
        """
        path = self._record_path(key)
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            raise StoreError(f"no record {path}") from None
        record = parse_record(text, path)
        if record.key != key:
            raise StoreError(f"damaged record {path}: it holds another cell ({record.key[:12]}). {REMEDY}")
        return record

    def scores(self, key: str) -> TestScores:
        """Test scores of one record.

        Raises
        ------
        StoreError
            There are none (a failed cell), or the file is damaged.
        """
        path = self._scores_path(key)
        try:
            with path.open("rb") as stream:
                return unpack_scores(stream, path)
        except FileNotFoundError:
            raise StoreError(f"no scores {path}: run the same command again, only this cell is computed anew") from None

    def _files(self) -> Iterator[Path]:
        for folder in sorted((self.root / "records").glob("*")):
            yield from sorted(folder.iterdir()) if folder.is_dir() else [folder]

    def keys(self) -> list[str]:
        """Keys of all records, sorted."""
        return [path.stem for path in self._files() if _is_record(path)]

    def foreign(self) -> list[Path]:
        """Files among the records that are none of this store, such as ``._KEY.json`` or ``KEY (1).json``."""
        return [path for path in self._files() if not _is_record(path) and not _TEMPORARY.fullmatch(path.name)]

    def __iter__(self) -> Iterator[Record]:
        for key in self.keys():
            yield self.get(key)

    def frame(self, tell: Tell = nobody) -> pd.DataFrame:
        """One row per cell; see `row` for the columns."""
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
        path = self.root / "ablations" / f"{file_name(method)}.json"
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
            if path.name.startswith("._"):
                continue
            try:
                result |= {
                    (path.stem, printable(variant)): printable(name)
                    for name, variant in json.loads(path.read_bytes()).items()
                }
            except (ValueError, AttributeError):
                raise StoreError(f"damaged file {path}: delete it, and osad-bench ablate writes it anew") from None
        return result


def _is_record(path: Path) -> bool:
    return _RECORD.fullmatch(path.name) is not None and path.parent.name == path.name[:2]


def foreign_files(root: Path | str) -> list[str]:
    """A sentence on the files in a store that are none of its records; empty where there are none."""
    foreign = Store(root).foreign()
    if not foreign:
        return []
    names = ", ".join(printable(path.relative_to(root)) for path in foreign[:3])
    more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
    return [
        f"passed over in {root}: {names}{more} ({'copies or files' if len(foreign) > 1 else 'a copy or a file'} of another"
        " program; they are no records of this store)"
    ]


def _schema_version(text: bytes) -> int:
    try:
        found = json.loads(text)["schema_version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return 0
    return found if isinstance(found, int) else 0


def _newer(path: Path, version: int) -> NewerError:
    return NewerError(
        f"{path} was made by a newer osad-bench (schema {version}, this one reads up to {SCHEMA_VERSION}): "
        "pip install --upgrade osad-bench, or name another folder"
    )


def parse_record(text: bytes, path: Path) -> Record:
    """A record from the bytes of its file.

    Raises
    ------
    NewerError
        A newer osad-bench made it.
    StoreError
        It is damaged.
    """
    try:
        return Record.model_validate_json(text)
    except ValidationError as error:
        if (version := _schema_version(text)) > SCHEMA_VERSION:
            raise _newer(path, version) from None
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the top"
        raise StoreError(f"damaged record {path}: {first['msg']} at {where}. {REMEDY}") from None


def _packed(scores: TestScores, path: Path) -> bytes:
    """The bytes of the file of these scores, checked by reading them again."""
    stream = io.BytesIO()
    np.savez_compressed(stream, ids=scores.ids, labels=scores.labels, kinds=scores.kinds, scores=scores.scores)
    unpack_scores(stream, path)
    return stream.getvalue()


def unpack_scores(stream: IO[bytes], path: Path) -> TestScores:
    """Test scores from their file, checked.

    Raises
    ------
    StoreError
        The file is no archive of the four arrays, unpacks to more than `MOST_BYTES`, or what it holds makes no sense.
    """
    try:
        with zipfile.ZipFile(stream) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MOST_BYTES:
            raise StoreError(f"damaged scores {path}: they unpack to {size / 2**30:.1f} GB. {REMEDY}")
        stream.seek(0)
        with np.load(stream, allow_pickle=False) as data:
            test = TestScores(data["ids"], data["labels"], data["kinds"], data["scores"])
    except StoreError:
        raise
    except Exception:  # NumPy and zipfile raise ValueError, OSError, KeyError, BadZipFile, MemoryError and others
        raise StoreError(f"damaged scores {path}. {REMEDY}") from None
    problem = _problem(test)
    if problem:
        raise StoreError(f"damaged scores {path}: {problem}. {REMEDY}")
    return test


def _problem(test: TestScores) -> str:
    if not np.isfinite(test.scores).all():
        return "a score is not finite"
    if not np.isin(test.labels, (0, 1)).all():
        return "a label is neither 0 nor 1"
    if len(set(test.ids.tolist())) < len(test.ids):
        return "an image stands in it twice"
    return ""


COLUMNS = (
    "key", "status", "dataset", "setting", "shots", "known_kind", "seed", "method", "variant", "preset", "part",
    "reserve", "dedup", "contamination", "mislabelled", "train_group", "test_group", "options", "settings", "auroc", "average_precision", "fpr95", "pixel_auroc", "aupro", "per_kind", "error", "split_digest",
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
        "pixel_auroc": np.nan if metrics is None or metrics.pixel_auroc is None else metrics.pixel_auroc,
        "aupro": np.nan if metrics is None or metrics.aupro is None else metrics.aupro,
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


def load(root: Path | str, tell: Tell = nobody) -> pd.DataFrame:
    """Tidy frame of all records below `root`, one row per cell (see `COLUMNS`).

    Raises
    ------
    StoreError
        The folder holds no records, or one of them is damaged.
    """
    frame = Store(root).frame(tell)
    if frame.empty:
        raise StoreError(f"no records in {root}: expected the folder that `osad-bench run --out` wrote")
    return frame
