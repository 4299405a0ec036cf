"""Optical, the papers' name for DAGM 2007: ten classes of synthetic textures with defects, pooled (Wieler and Hahn, 2007).

M. Wieler, T. Hahn: Weakly supervised learning for industrial optical inspection. DAGM symposium competition, 2007. As in
the OSAD papers the ten classes, and each one's Train and Test, are pooled; the kinds are the classes. The labels are
those of each part's ``Label/Labels.txt``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from osad_bench.datasets.base import DatasetError, Problem, Published, Sample
from osad_bench.datasets.reading.files import FileDataset
from osad_bench.datasets.reading.layout import child, find, subfolder
from osad_bench.datasets.reading.masks import check_masks

CLASSES = tuple(f"Class{number}" for number in range(1, 11))
PARTS = ("Train", "Test")


class Optical(FileDataset):
    """Ten classes pooled, Train and Test pooled; kinds are the classes."""

    name = "optical"
    title = "Optical"
    domain = "synthetic"
    licence = "CC BY 4.0"
    homepage = "https://zenodo.org/records/12750201"
    folders = ("optical", "dagm", "dagm2007", "dagm_2007", "dagm_kaggleupload")
    companions = ("label", "labels")
    layout = "Class1 to Class10, each with Train and Test, each with images and Label/Labels.txt"
    published = Published(
        {"normal": 14000, "anomaly": 2100}
        | {f"kind {name}": 150 if number < 6 else 300 for number, name in enumerate(CLASSES)},
        "Ding et al., CVPR 2022, Table 5 (10,500 + 3,500 normals, 2,100 anomalies)",
    )

    def find_base(self) -> Path:
        """Folder of the classes."""
        root = super().find_base()
        base = find(root, lambda folder: any(self._class(folder, name) is not None for name in CLASSES), 2)
        if base is None:
            raise DatasetError(
                f"data set 'optical': no folder Class1 with Train or Test in {root}; expected {self.layout}"
            )
        return base

    @staticmethod
    def _class(folder: Path, name: str) -> Path | None:
        """Folder of a class that has a Train or Test: some archives unpack to ``Class1/Class1/Train``."""
        found = subfolder(folder, name)
        return found if found is not None and (child(found, "Train") or child(found, "Test")) else None

    def _part(self, name: str, part: str) -> Path | None:
        """Folder of a class's part, None where it is missing."""
        folder = self._class(self.base, name)
        found = child(folder, part) if folder is not None else None
        return found if found is not None and found.is_dir() else None

    def _rows(self) -> Iterator[tuple[str, str, Path, list[str]]]:
        """Class, part, folder and fields of each row of the label files; a missing label file gives no fields."""
        for name, part in itertools.product(CLASSES, PARTS):
            inside = self._part(name, part)
            if inside is None:
                continue
            labels = child(inside, "Label")
            table = child(labels, "Labels.txt") if labels is not None else None
            if table is None:
                yield name, part, inside, []
                continue
            for line in table.read_text("utf-8", errors="replace").splitlines():
                fields = line.split()
                if len(fields) >= 3:  # the first line holds only a 1
                    yield name, part, inside, fields

    def survey(self) -> Iterator[Sample | Problem]:
        """List the images that the label files name."""
        missing = [f"{name}/{part}" for name in CLASSES for part in PARTS if self._part(name, part) is None]
        whole = [name for name in CLASSES if all(f"{name}/{part}" in missing for part in PARTS)]
        gone = [*whole, *(part for part in missing if part.partition("/")[0] not in whole)]
        if gone:
            yield Problem(
                "error", "", f"folders are missing: {', '.join(gone)}; restore them from the original download"
            )
        listed: dict[Path, set[Path]] = {}
        present: dict[Path, dict[str, Path]] = {}
        for name, part, folder, fields in self._rows():
            if not fields:
                where = self.relative(folder)
                yield Problem("fatal", where, "has no Label/Labels.txt: restore it from the original download")
                continue
            if folder not in present:
                present[folder] = {path.name.lower(): path for path in self.images(folder)}
                listed[folder] = set()
            path = present[folder].get(fields[2].lower())
            if path is None:
                where = f"{self.relative(folder)}/{fields[2]}"
                yield Problem(
                    "fatal", where, "is missing, and Labels.txt names it: restore it from the original download"
                )
            elif fields[1] not in ("0", "1"):
                yield Problem("fatal", self.relative(path), f"Labels.txt says {fields[1]!r}, expected 0 or 1")
            else:
                listed[folder].add(path)
                sample_id = self.place(f"{name}/{part}/{path.name}", path)
                yield Sample(sample_id, int(fields[1]), name if fields[1] == "1" else None)
        for folder, paths in present.items():
            for path in sorted(set(paths.values()) - listed[folder]):
                yield Problem("note", self.relative(path), "is not in Labels.txt, and so not used")

    @cached_property
    def _masks(self) -> dict[Path, Path]:
        """Where the mask of each defective image should lie."""
        masks = {}
        for _, _, folder, fields in self._rows():
            image = child(folder, fields[2]) if fields and fields[1] == "1" else None
            if image is not None:
                expected = fields[4] if len(fields) > 4 else f"{image.stem}_label.PNG"
                masks[image] = folder / "Label" / expected
        return masks

    def mask_files(self, sample: Sample) -> Sequence[Path]:
        """The mask in ``Label``."""
        expected = self._masks.get(self.path(sample))
        mask = child(expected.parent, expected.name) if expected is not None else None
        return [] if mask is None else [mask]

    def check(self) -> Iterator[Problem]:
        """Every defective image has a mask of its size."""
        pairs = self._masks.items()
        return check_masks(self, [(image, child(mask.parent, mask.name), self.relative(mask)) for image, mask in pairs])
