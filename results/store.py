"""A folder of records, one file per cell: safe with many writers, and readable after a writer was killed at any moment.

Layout below the store's root::

    records/ab/abcdef….json    the record: cell, metrics, provenance; written last
    scores/ab/abcdef….npz      the test scores with ids, labels and kinds
    ablations/METHOD.json      names of a method's ablations, for tables and plots only
    index.parquet              one row per record, for speed alone (see `osad_bench.results.index`)

Every file is written under a temporary name in the same folder, flushed to disk, and renamed. The bytes are parsed before they
are written, and checked whenever they are read, as a store may come from a stranger.
"""

from __future__ import annotations

import errno
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from osad_bench.core.errors import InputError
from osad_bench.core.files import MOST_TEXT, clear_forgotten, is_temporary, open_regular, prepared, write_whole
from osad_bench.core.garbage import uncollected
from osad_bench.core.progress import Tell, nobody
from osad_bench.core.text import file_name, printable
from osad_bench.results.columns import FLAT, row, to_frame
from osad_bench.results.damage import REMEDY
from osad_bench.results.damage import NewerError as NewerError
from osad_bench.results.damage import StoreError as StoreError
from osad_bench.results.index import GLANCED, WORTH, Glance, Index, Stamp, available, write_index
from osad_bench.results.packed import pack_scores, unpack_scores
from osad_bench.results.record import SCHEMA_VERSION, Record, TestScores

_RECORD = re.compile(r"[0-9a-f]{64}\.json")
_OLD_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{32}\.tmp")
"""Names of the temporary files of earlier versions."""


class Store:
    """Records below one folder.

    Parameters
    ----------
    root
        The folder; created by the first `put`.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self._glances: dict[str, tuple[Stamp, Glance]] | None = None

    def __contains__(self, key: str) -> bool:
        return self._record_path(key).exists()

    def _record_path(self, key: str) -> Path:
        return self.root / "records" / key[:2] / f"{key}.json"

    def _scores_path(self, key: str) -> Path:
        return self.root / "scores" / key[:2] / f"{key}.npz"

    def prepare(self) -> None:
        """Create the folder, so that a folder that cannot be written to is found before anything is computed.

        Temporary files that killed processes left in it are deleted.

        Raises
        ------
        StoreError
            No file can be created in it.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise StoreError(
                f"no records can be written to {self.root}: {error.strerror}; name another folder with --out"
            ) from None
        clear_forgotten(self.root, self.root / "ablations", *self.root.glob("records/*"), *self.root.glob("scores/*"))

    def has_scores(self, key: str) -> bool:
        """Whether there is a file with a record's test scores; it is not read."""
        return self._scores_path(key).exists()

    def put(self, record: Record, scores: TestScores | None = None) -> None:
        """Store a record and its scores, replacing those of the same key.

        Raises
        ------
        StoreError
            The record or the scores could not be read again, or a newer osad-bench made the record that is there. Nothing is
            written then.
        OSError
            The disk is full or the folder is not writable; earlier records stay whole.
        """
        path = self._record_path(record.key)
        text = record.model_dump_json(indent=1).encode()
        parse_record(text, path)
        if len(text) > MOST_TEXT:
            raise StoreError(
                f"the record of {record.cell.method} on {record.cell.dataset} is larger than {MOST_TEXT / 2**20:.0f} MB: shorten its training curves or diagnostics"
            )
        packed = None if scores is None else pack_scores(scores, self._scores_path(record.key))
        if path.exists() and (version := _schema_version(_text_of(path))) > SCHEMA_VERSION:
            raise _newer(path, version)
        with prepared(path, lambda stream: stream.write(text)) as new_record:
            beside = self._scores_path(record.key)
            if packed is not None and not _holds(beside, packed):
                with prepared(beside, lambda stream: stream.write(packed)) as new_scores:
                    # A record must never lie beside the scores of another run of its cell.
                    path.unlink(missing_ok=True)
                    new_scores.replace(beside)
            new_record.replace(path)

    def get(self, key: str) -> Record:
        """Read and check one record.

        Raises
        ------
        NewerError
            A newer osad-bench made it.
        StoreError
            There is none, it cannot be read, or it is damaged.
        """
        path = self._record_path(key)
        try:
            text = _text_of(path)
        except FileNotFoundError:
            raise StoreError(f"no record {path}: the cell has not been run, or the file was deleted") from None
        record = parse_record(text, path)
        if record.key != key:
            raise StoreError(f"damaged record {path}: it holds another cell ({record.key[:12]}). {REMEDY}")
        return record

    def scores(self, key: str) -> TestScores:
        """Read and check the test scores of one record.

        Raises
        ------
        StoreError
            There are none (such as of a failed cell), or the file cannot be read or is damaged.
        """
        path = self._scores_path(key)
        try:
            with open_regular(path) as stream:
                return unpack_scores(stream, path)
        except FileNotFoundError:
            raise StoreError(f"no scores {path}: run the same command again; only this cell is computed anew") from None
        except OSError as error:
            raise StoreError(f"scores {path} cannot be read: {error.strerror}{_remedy(error)}") from None

    def _files(self) -> Iterator[Path]:
        for folder in sorted((self.root / "records").glob("*")):
            yield from sorted(folder.iterdir()) if folder.is_dir() else [folder]

    def keys(self) -> list[str]:
        """Keys of all records, sorted."""
        return [path.stem for path in self._files() if _is_record(path)]

    def foreign(self) -> list[Path]:
        """Files in the folder of records that are not this store's, such as ``._KEY.json`` or ``KEY (1).json``."""
        return [path for path in self._files() if not _is_record(path) and not _is_temporary(path)]

    def __iter__(self) -> Iterator[Record]:
        for key in self.keys():
            yield self.get(key)

    def frame(self, tell: Tell = nobody) -> pd.DataFrame:
        """One row per cell; see `osad_bench.results.columns.COLUMNS`.

        Where many records had to be read one by one, an index is written for the next time (`osad_bench.results.index`).
        `tell` is called with the numbers of records read and of all records.

        Raises
        ------
        StoreError
            A record or a file of ablations is damaged.
        """
        columns, count, write = self._rows(tell)
        if count >= WORTH and available():
            with suppress(OSError, InputError):  # a read-only store is read without an index
                write()
        frame = to_frame(columns)
        if len(frame):
            names = self.ablations()
            frame["ablation"] = [names.get(pair, "") for pair in zip(frame["method"], frame["variant"])]
        return frame

    @uncollected()
    def _rows(self, tell: Tell = nobody, *, trust: bool = True) -> tuple[dict[str, list[Any]], int, Callable[[], Path]]:
        """Flat rows by column in the order of their keys; how many were read from records; and a function that writes an index.

        A row comes from the index if its record has not changed since; without `trust`, all rows come from the records.
        """
        started = time.time()
        stamps = {path.stem: Stamp.of(path.stat()) for path in self._files() if _is_record(path)}
        index = Index.read(self.root) if trust else None
        fresh = set() if index is None else {key for key, stamp in stamps.items() if index.fresh(key, stamp)}
        columns: dict[str, list[Any]] = {name: [] for name in FLAT}
        shared: dict[str, str] = {}  # every text once in memory, not once per record
        stale = [key for key in stamps if key not in fresh]
        for done, key in enumerate(stale, len(fresh) + 1):
            for name, value in row(self.get(key)).items():
                columns[name].append(shared.setdefault(value, value) if type(value) is str else value)
            tell(done, len(stamps))
        if index is not None and fresh:
            columns = index.joined(list(stamps), fresh, columns)
            tell(len(stamps), len(stamps))
        return columns, len(stale), partial(write_index, self.root, columns, stamps, started)

    def compact(self, tell: Tell = nobody) -> tuple[Path, int]:
        """Write the index anew, from the records alone; return its path and the number of its rows.

        Raises
        ------
        InputError
            The package that writes Parquet files is not installed.
        StoreError
            The folder holds no records, or one of them is damaged.
        OSError
            The file cannot be written.
        """
        _, count, write = self._rows(tell, trust=False)
        if not count:
            raise StoreError(f"no records in {self.root}: expected the folder that `osad-bench run --out` wrote")
        return write(), count

    def glance(self, key: str) -> Glance | None:
        """What a run needs to know of a record, from the index if the record has not changed since; None if there is no record.

        Raises
        ------
        NewerError, StoreError
            As `get`.
        """
        try:
            stamp = Stamp.of(self._record_path(key).stat())
        except FileNotFoundError:
            return None
        if self._glances is None:
            index = Index.read(self.root, GLANCED)
            try:
                self._glances = {} if index is None else index.glances()
            except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):  # a stranger's index
                self._glances = {}
        known = self._glances.get(key)
        if known is not None and known[0] == stamp:
            return known[1]
        record = self.get(key)
        return Glance.of(record)

    def name_ablations(self, method: str, names: dict[str, str]) -> None:
        """Store names for variants of a method: name to variant (``prototypes=16``), added to the names there are."""
        path = self.root / "ablations" / f"{file_name(method)}.json"
        known = {name: variant for (of, variant), name in self.ablations().items() if of == method}
        text = json.dumps(known | names, indent=1).encode()
        write_whole(path, text)

    def ablations(self) -> dict[tuple[str, str], str]:
        """(method, variant) to the ablation's name.

        Raises
        ------
        StoreError
            A file of names is damaged or cannot be read.
        """
        result: dict[tuple[str, str], str] = {}
        for path in sorted(self.root.glob("ablations/*.json")):
            if path.name.startswith("._"):
                continue
            try:
                result |= {
                    (path.stem, printable(variant)): printable(name)
                    for name, variant in json.loads(_text_of(path)).items()
                }
            except (ValueError, AttributeError, RecursionError):
                raise StoreError(f"damaged file {path}: delete it, and osad-bench ablate writes it anew") from None
        return result


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.stat().st_size == len(content) and path.read_bytes() == content
    except OSError:
        return False


def _is_record(path: Path) -> bool:
    return _RECORD.fullmatch(path.name) is not None and path.parent.name == path.name[:2]


def _is_temporary(path: Path) -> bool:
    return is_temporary(path.name) or _OLD_TEMPORARY.fullmatch(path.name) is not None


def foreign_files(root: Path | str) -> list[str]:
    """One sentence on the files in a store that are none of its records; no sentence where there are no such files."""
    foreign = Store(root).foreign()
    if not foreign:
        return []
    names = ", ".join(printable(path.relative_to(root)) for path in foreign[:3])
    more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
    return [
        f"passed over in {root}: {names}{more} ({'copies or files' if len(foreign) > 1 else 'a copy or a file'} of another"
        " program; they are no records of this store)"
    ]


def _remedy(error: OSError) -> str:
    return f". {REMEDY}" if error.errno == errno.EINVAL else ""


def _text_of(path: Path) -> bytes:
    """The bytes of a record's or another text file.

    Raises
    ------
    FileNotFoundError
        There is none.
    StoreError
        It cannot be read, or is larger than `MOST_TEXT`.
    """
    try:
        with open_regular(path) as stream:
            # Not `MOST_TEXT`: so much memory would be set aside for each of many small files.
            text = stream.read(min(os.fstat(stream.fileno()).st_size, MOST_TEXT) + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"record {path} cannot be read: {error.strerror}{_remedy(error)}") from None
    if len(text) > MOST_TEXT:
        raise StoreError(f"damaged record {path}: it is larger than {MOST_TEXT / 2**20:.0f} MB. {REMEDY}")
    return text


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
    """A record from the bytes of its file; `path` is for messages.

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


def load(root: Path | str, tell: Tell = nobody, say: Callable[[str], None] = lambda _: None) -> pd.DataFrame:
    """Tidy frame of all records below `root`, one row per cell (see `osad_bench.results.columns.COLUMNS`).

    `tell` is called with the numbers of records read and of all, and `say` with a sentence on files that were passed over.

    Raises
    ------
    StoreError
        The folder holds no records, or one of them is damaged.
    """
    frame = Store(root).frame(tell)
    for sentence in foreign_files(root):
        say(sentence)
    if frame.empty:
        raise StoreError(f"no records in {root}: expected the folder that `osad-bench run --out` wrote")
    return frame
