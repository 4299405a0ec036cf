"""HeadCT: slices of computed tomography of the head, with and without a haemorrhage (Kitamura, Kaggle, 2018).

F. Kitamura: Head CT - hemorrhage. Kaggle, 2018. The labels are in ``labels.csv``, whose header is ``id, hemorrhage``; the
file of id 7 is ``head_ct/head_ct/007.png``.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from osad_bench.datasets.base import DatasetError, Problem, Published, Sample
from osad_bench.datasets.reading.files import FileDataset
from osad_bench.datasets.reading.layout import child, find, folders, holds

LABELS = "labels.csv"


class HeadCT(FileDataset):
    """200 slices, half of them with a haemorrhage; one kind, ``hemorrhage``."""

    name = "headct"
    title = "HeadCT"
    domain = "CT, head"
    licence = "not stated"
    homepage = "https://www.kaggle.com/datasets/felipekitamura/head-ct-hemorrhage"
    folders = ("headct", "head-ct", "head_ct", "head-ct-hemorrhage")
    companions = (LABELS,)
    layout = "labels.csv and head_ct/head_ct with 000.png to 199.png"
    published = Published({"normal": 100, "anomaly": 100, "kinds": 1}, "the Kaggle page: 100 and 100 slices")

    def find_base(self) -> Path:
        """Folder of ``labels.csv``."""
        root = super().find_base()
        base = find(root, holds(LABELS), 2)
        if base is None:
            raise DatasetError(f"data set 'headct': no {LABELS} in {root}; expected {self.layout}")
        return base

    def _slices(self) -> dict[str, Path]:
        """Images by their name without ending: in ``head_ct/head_ct``, ``head_ct`` or beside the labels."""
        level = [self.base]
        for _ in range(3):
            found = {path.stem.lower(): path for folder in level for path in self.images(folder, {".png"})}
            if found:
                return found
            level = [below for folder in level for below in folders(folder)]
        return {}

    def survey(self) -> Iterator[Sample | Problem]:
        """List the slices that ``labels.csv`` names."""
        table = child(self.base, LABELS) or self.base / LABELS
        slices = self._slices()
        if not slices:
            yield Problem("fatal", "head_ct/head_ct", "holds no image: restore it from the original download")
            return
        used = set()
        with self.contained(self.relative(table)).open(encoding="utf-8-sig", errors="replace", newline="") as file:
            rows = list(csv.reader(file))
        for number, row in enumerate(rows, start=1):
            fields = [field.strip() for field in row]
            if number == 1 or not any(fields):
                continue
            if len(fields) < 2 or not fields[0].isdecimal() or fields[1] not in ("0", "1"):
                yield Problem("fatal", LABELS, f"line {number}: expected 'id,0' or 'id,1', got {','.join(row)!r}")
                continue
            name = f"{int(fields[0]):03}"
            path = slices.get(name)
            if path is None:
                where = f"head_ct/head_ct/{name}.png"
                yield Problem(
                    "fatal", where, f"is missing, and {LABELS} names it: restore it from the original download"
                )
                continue
            used.add(path)
            anomalous = fields[1] == "1"
            sample_id = self.place(f"head_ct/head_ct/{path.name}", path)
            yield Sample(sample_id, int(anomalous), "hemorrhage" if anomalous else None)
        for path in sorted(set(slices.values()) - used):
            yield Problem("note", self.relative(path), f"is not in {LABELS}, and so not used")
