"""A Parquet file beside the records, one row per record, so that a store of many records is read in seconds.

The records decide. A row of the index is used only while its record's file has the size and the two times (`Stamp`) that it
had when the row was made; otherwise the record is read. So a file that was copied, edited or replaced is read again, and so
are all records after a store was copied to another machine. DuckDB, pandas and others can read the index everywhere.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any, NamedTuple

from osad_bench.core.errors import InputError
from osad_bench.core.files import prepared
from osad_bench.results.columns import EPOCH, FLAT
from osad_bench.results.record import Record

FILE = "index.parquet"
FORMAT = "2"
"""Version of the rows; raise it whenever `osad_bench.results.columns.row` returns something else for a record."""
SETTLED = 2.0
"""Seconds without a change after which a file's times identify its content, as two changes within a clock tick look alike."""
WORTH = 2000
"""The index is written again once at least this many records had to be read one by one (in half a second)."""

_MARK = b"osad-bench index"
_INTEGERS = frozenset(
    {"shots", "seed", "reserve", "train_normal", "train_anomaly", "test_normal", "test_anomaly", "crossing_duplicates",
     "version"}
)  # fmt: skip
_NUMBERS = frozenset(
    {"contamination", "mislabelled", "auroc", "average_precision", "fpr95", "pixel_auroc", "aupro", "fit_seconds", "score_seconds",
     "total_seconds", "peak_memory_mb"}
)  # fmt: skip


class Stamp(NamedTuple):
    """Size of a record's file in bytes, and its mtime and ctime in nanoseconds since 1970."""

    file_size: int
    file_changed: int
    file_entered: int

    @classmethod
    def of(cls, found: os.stat_result) -> Stamp:
        """From the result of `os.stat`."""
        return cls(found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class Glance(NamedTuple):
    """What a run needs to know of a stored record; `oracle`, `pixels`: whether it has these further metrics."""

    status: str
    created: datetime
    method_source: str
    oracle: bool
    pixels: bool

    @classmethod
    def of(cls, record: Record) -> Glance:
        """From the record itself."""
        more = record.diagnostics
        return cls(record.status, record.created, record.provenance.method_source, "oracle" in more, "pixels" in more)


def available() -> bool:
    """Whether Parquet files can be read and written here."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        return False
    return True


class Index:
    """An index that was read.

    Parameters
    ----------
    table
        A pyarrow table with the columns of `Stamp` and some of `FLAT`, ``key`` among them.
    """

    def __init__(self, table: Any) -> None:
        self.table = table
        stamps = zip(*(table.column(name).to_pylist() for name in Stamp._fields))
        self._stamps = dict(zip(table.column("key").to_pylist(), stamps))
        self._place = {key: place for place, key in enumerate(self._stamps)}

    @classmethod
    def read(cls, root: Path, columns: Sequence[str] = FLAT) -> Index | None:
        """Some columns of a store's index; None if it is missing, damaged, of another version, or without pyarrow."""
        path = root / FILE
        if not path.exists() or not available():
            return None
        import pyarrow as pa
        from pyarrow import parquet

        texts = [name for name in columns if _kind(name) == "text" and name != "key"]
        try:
            with parquet.ParquetFile(path, read_dictionary=texts, page_checksum_verification=True) as file:
                if (file.schema_arrow.metadata or {}).get(_MARK) != FORMAT.encode():
                    return None
                return cls(file.read([*columns, *Stamp._fields]))
        except (OSError, ValueError, KeyError, pa.ArrowException):
            return None

    def fresh(self, key: str, stamp: Stamp) -> bool:
        """Whether the row of this record was made from the file as it is now."""
        return self._stamps.get(key) == stamp

    def column(self, name: str) -> list[Any]:
        """A column's values; equal texts are one object. Times are in microseconds since 1970."""
        import pyarrow as pa

        column = self.table.column(name)
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.int64())
        if not pa.types.is_dictionary(column.type):
            plain: list[Any] = column.to_pylist() if name in ("key", "dedup") else column.to_numpy().tolist()
            return plain
        values: list[Any] = []
        for chunk in column.chunks:
            known = [*chunk.dictionary.to_pylist(), None]
            values += [known[code] for code in chunk.indices.fill_null(len(known) - 1).to_numpy().tolist()]
        return values

    def joined(self, keys: Sequence[str], fresh: set[str], read: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """Columns of all records in the order of `keys`: from the index for the `fresh` ones, from `read` for the others."""
        places = {key: place for place, key in enumerate(read["key"])}
        order = [self._place[key] if key in fresh else -1 - places[key] for key in keys]
        result = {}
        for name in FLAT:
            here, there = self.column(name), read[name]
            result[name] = [here[place] if place >= 0 else there[-1 - place] for place in order]
        return result

    def glances(self) -> dict[str, tuple[Stamp, Glance]]:
        """Of each record, what it looked like and what a run asks of it; nothing of an index whose texts are damaged."""
        try:
            return self._glances()
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            return {}

    def _glances(self) -> dict[str, tuple[Stamp, Glance]]:
        sources: dict[str, str] = {}
        for text in set(self.column("provenance")):
            sources[text] = json.loads(text).get("method_source", "")
        found = {}
        for key, status, created, provenance, diagnostics in zip(
            self._stamps, *map(self.column, ("status", "created", "provenance", "diagnostics"))
        ):
            more = {} if diagnostics == "{}" else json.loads(diagnostics)
            moment = EPOCH + timedelta(microseconds=created)
            found[key] = (
                Stamp(*self._stamps[key]),
                Glance(status, moment, sources[provenance], "oracle" in more, "pixels" in more),
            )
        return found


GLANCED = ("key", "status", "created", "provenance", "diagnostics")
"""Columns that `Index.glances` reads."""


def _kind(name: str) -> str:
    if name in _INTEGERS or name in _NUMBERS:
        return "integer" if name in _INTEGERS else "number"
    return {"created": "time", "dedup": "bool"}.get(name, "text")


def write_index(root: Path, columns: Mapping[str, Sequence[Any]], stamps: Mapping[str, Stamp], now: float) -> Path:
    """Write the index of a store; return its path.

    Parameters
    ----------
    columns
        Flat rows by column (`osad_bench.results.columns.FLAT`).
    stamps
        Key of each record to the stamp of its file, taken before the file was read.
    now
        When they were taken, in seconds since 1970. Records changed less than `SETTLED` before will be read again.

    Raises
    ------
    InputError
        The package that writes Parquet files is not installed, or a record has a value that Parquet cannot hold.
    OSError
        The file cannot be written.
    """
    if not available():
        raise InputError("an index is a Parquet file, which needs a further package: pip install 'osad-bench[parquet]'")
    import pyarrow as pa
    from pyarrow import parquet

    types = {
        "integer": pa.int64(), "number": pa.float64(), "time": pa.timestamp("us", tz="UTC"), "bool": pa.bool_(),
        "text": pa.string(),
    }  # fmt: skip
    try:
        arrays = {name: pa.array(columns[name], types[_kind(name)]) for name in FLAT}
    except (pa.ArrowException, OverflowError) as error:
        raise InputError(f"no index can be made of {root}: {error}") from None
    before = int((now - SETTLED) * 1e9)
    sure = [
        stamp if max(stamp.file_changed, stamp.file_entered) < before else (None, None, None)
        for stamp in map(stamps.__getitem__, columns["key"])
    ]
    arrays |= {name: pa.array(values, pa.int64()) for name, values in zip(Stamp._fields, zip(*sure))}
    table = pa.table(arrays).replace_schema_metadata({_MARK: FORMAT.encode()})
    path = root / FILE

    def write(stream: IO[bytes]) -> None:
        parquet.write_table(table, stream, compression="zstd", write_page_checksum=True)

    with prepared(path, write) as temporary:
        temporary.replace(path)
    return path
