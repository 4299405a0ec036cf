"""Your own images listed in a CSV file: ``csv:FILE`` with the columns ``path,label,kind`` and, if you like, ``partition``.

``path`` is relative to the CSV file's folder; ``label`` is 0 or ``normal``, 1 or ``anomaly``; ``kind`` may be left empty or out
where all anomalies are of one kind; ``partition`` is ``train`` or ``test``, and is given for all normals or for none.
"""

from __future__ import annotations

import csv
import posixpath
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import cast, get_args

from osad_bench.datasets.base import DatasetError, Partition, Problem, Sample, one_line
from osad_bench.datasets.reading.files import FileDataset
from osad_bench.datasets.reading.layout import is_file, user_path
from osad_bench.datasets.reading.unusual import unusual

COLUMNS = "path,label,kind[,partition]"
LABELS = {"0": 0, "normal": 0, "1": 1, "anomaly": 1}
ONLY_KIND = "anomaly"
"""Kind of an anomaly for which none is given."""


class Listed(FileDataset):
    """Your own images: ``csv:FILE``."""

    name = "csv"
    title = "CSV"
    domain = "your own images"
    usage = "csv:FILE"
    layout = f"the columns {COLUMNS}"
    upright = True
    reader = 2  # 1 ignored the EXIF orientation

    @cached_property
    def _file(self) -> Path:
        """The CSV file, as an absolute path."""
        if not self.variant:
            raise DatasetError(f"data set 'csv' needs a file: --datasets csv:FILE, with the columns {COLUMNS}")
        return user_path(self.variant).absolute()

    @property
    def full_name(self) -> str:
        """``csv/NAME`` with the file's own name, not its path, so that records are the same on every machine."""
        return self.name if self.variant is None else f"{self.name}/{one_line(self._file.stem)}"

    @property
    def spec(self) -> str:
        """``csv:`` and the absolute path, links to its folder resolved."""
        if self.variant is None:
            return self.name
        try:
            return f"{self.name}:{self._file.parent.resolve() / self._file.name}"
        except (OSError, RuntimeError, ValueError):  # too long, a loop of links, a null byte: said when it is opened
            return f"{self.name}:{self._file}"

    def find_base(self) -> Path:
        """Folder of the CSV file."""
        if not is_file(self._file):
            raise DatasetError(
                f"data set 'csv:{self.variant}': there is no such file; expected a CSV file with {COLUMNS}"
            )
        return self._file.parent

    def _rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Line number and fields of each row, white space stripped, names in lower case."""
        base = self.base
        try:
            with (base / self._file.name).open(encoding="utf-8-sig", newline="") as file:
                reader = csv.DictReader(file)
                names = [(name or "").strip().lower() for name in reader.fieldnames or []]
                if not {"path", "label"} <= set(names):
                    raise DatasetError(f"{self._file}: its first line is {','.join(names)[:80]!r}; expected {COLUMNS}")
                reader.fieldnames = names
                for row in reader:
                    fields = {name: (row.get(name) or "").strip() for name in (*names, "kind", "partition")}
                    if any(fields.values()):
                        yield reader.line_num, fields
        except (UnicodeDecodeError, csv.Error) as error:
            raise DatasetError(f"{self._file} is no CSV file in UTF-8: {error}") from None

    @property
    def passed_over(self) -> tuple[Problem, ...]:
        """Nothing: the file says which images are meant, and its folder may hold anything."""
        return ()

    def survey(self) -> Iterator[Sample | Problem]:
        """Read the rows."""
        lines: dict[str, int] = {}
        present: dict[Path, set[str]] = {}
        for number, row in self._rows():
            where = f"{self._file.name}, line {number}"
            label = LABELS.get(row["label"].lower())
            partition = row["partition"].lower() or None
            if label is None:
                yield Problem("fatal", where, f"label {row['label']!r}; expected 0 or normal, 1 or anomaly")
                continue
            if partition is not None and partition not in get_args(Partition):
                yield Problem("fatal", where, f"partition {row['partition']!r}; expected train, test or nothing")
                continue
            if label == 0 and row["kind"]:
                yield Problem("fatal", where, f"a normal image with kind {row['kind']!r}; leave its kind empty")
                continue
            try:
                name = self._checked(row["path"])
            except DatasetError as error:
                yield Problem("fatal", where, str(error))
                continue
            if name in lines:
                yield Problem("fatal", where, f"{row['path']!r} is already in line {lines[name]}; keep one of the two")
                continue
            lines[name] = number
            if not self._exists(name, present):
                yield Problem("fatal", where, f"there is no file {row['path']!r} in {self.base}")
                continue
            if (self.base / name).is_dir():
                yield Problem("fatal", where, f"{row['path']!r} is a folder; expected an image file")
                continue
            kind = (row["kind"] or ONLY_KIND) if label else None
            yield Sample(name, label, kind, cast("Partition | None", partition))

    def check(self) -> Iterator[Problem]:
        """Notes on images that are perhaps not what their owner thinks."""
        return unusual(self)

    def _checked(self, given: str) -> str:
        """Path as given, made relative to the CSV file's folder and checked not to lead out of it."""
        path = PurePosixPath(posixpath.normpath(given.replace("\\", "/")))
        if path.is_absolute() and path.is_relative_to(self.base.as_posix()):
            path = path.relative_to(self.base.as_posix())
        self.contained(path.as_posix())
        return path.as_posix()

    def _exists(self, name: str, present: dict[Path, set[str]]) -> bool:
        """Whether the file is there; each folder is listed once, as there may be 50,000 files."""
        path = self.base / name
        if path.parent not in present:
            try:
                present[path.parent] = {entry.name for entry in path.parent.iterdir()}
            except (OSError, ValueError):  # no folder, or a name that the system refuses
                present[path.parent] = set()
        return path.name in present[path.parent]
