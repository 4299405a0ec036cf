"""SDD, the KolektorSDD: cracks on electrical commutators, each photograph cut into three strips (Tabernik et al., 2020).

D. Tabernik, S. Sela, J. Skvarc, D. Skocaj: Segmentation-based deep-learning approach for surface-defect detection.
Journal of Intelligent Manufacturing 31, 2020. As in the OSAD papers every photograph is cut into three strips of equal
height, and a strip is an anomaly where its part of the mask is not empty. The photographs of ``kos01`` and ``kos26``, and
of ``kos27`` and ``kos34``, repeat each other.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from osad_bench.datasets.base import DatasetError, Problem, Published, Sample
from osad_bench.datasets.reading.files import FileDataset
from osad_bench.datasets.reading.images import Box
from osad_bench.datasets.reading.layout import child, find, folders
from osad_bench.datasets.reading.masks import MASK_MISSING, check_masks, marked_boxes, unreadable_mask

_ITEM = re.compile(r"kos\d+", re.IGNORECASE)

ORIGINAL = frozenset(f"kos{item:02}/part{part}.jpg" for item in range(1, 51) for part in range(8)) - {"kos21/part7.jpg"}
"""The publisher's 399 photographs, in lower case: eight of each item, seven of ``kos21``."""


def strips(width: int, height: int) -> list[Box]:
    """Three boxes of equal height, top to bottom."""
    edges = [0, height // 3, height * 2 // 3, height]
    return [(0, top, width, bottom) for top, bottom in itertools.pairwise(edges)]


class SDD(FileDataset):
    """399 photographs of 50 items, three strips each; one kind, ``defect``."""

    name = "sdd"
    title = "SDD"
    domain = "commutators"
    licence = "CC BY-NC-SA 4.0"
    homepage = "https://www.vicos.si/resources/kolektorsdd/"
    folders = ("sdd", "kolektorsdd", "ksdd")
    layout = "kos01 to kos50, each with Part0.jpg, Part0_label.bmp and so on"
    # Table 5 has 594 training and 286 test normals, which are not 3 to 1. Three strips of each of 399 photographs, less 54
    # anomalies, are 1,143 normals, and a quarter of them is 286.
    published = Published(
        {"samples": 1197, "normal": 1143, "anomaly": 54},
        "3 strips of each of 399 photographs; Ding et al., CVPR 2022, Table 5 (54 anomalies)",
        approximate=("normal", "anomaly"),
    )

    def find_base(self) -> Path:
        """Folder of the items ``kos01``, ``kos02``, ..."""
        root = super().find_base()
        base = find(root, lambda folder: any(_ITEM.fullmatch(below.name) for below in folders(folder)), 2)
        if base is None:
            raise DatasetError(f"data set 'sdd': no folder kos01 in {root}; expected {self.layout}")
        return base

    def _photographs(self) -> Iterator[tuple[Path, Path | None]]:
        """Each photograph with its mask, None where that is missing."""
        for item in folders(self.base):
            if _ITEM.fullmatch(item.name):
                masks = {path.name.lower(): path for path in self.images(item, {".bmp"})}
                for path in self.images(item, {".jpg", ".jpeg"}):
                    yield path, masks.get(f"{path.stem.lower()}_label.bmp")

    def survey(self) -> Iterator[Sample | Problem]:
        """Cut every photograph into strips and look each up in its mask."""
        photographs = list(self._photographs())
        marked = marked_boxes(self, [mask for _, mask in photographs if mask is not None], "thirds", strips)
        for path, mask in photographs:
            name = self.place(f"{path.parent.name.lower()}/{path.name}", path)
            if mask is None:
                expected = self.relative(path.with_name(f"{path.stem}_label.bmp"))
                yield Problem("fatal", expected, MASK_MISSING)
            elif mask not in marked:
                yield unreadable_mask(self, mask)
            else:
                for box, defective in marked[mask].items():
                    sample_id = name + "#" + ",".join(map(str, box))
                    yield Sample(sample_id, int(defective), "defect" if defective else None)

    def mask_files(self, sample: Sample) -> Sequence[Path]:
        """The mask beside the photograph."""
        path = self.path(sample)
        mask = child(path.parent, f"{path.stem}_label.bmp")
        return [] if mask is None else [mask]

    def check(self) -> Iterator[Problem]:
        """Every mask is of its photograph's size (empty ones are right here), and the photographs are the publisher's."""
        photographs = list(self._photographs())
        pairs = [(path, mask, "") for path, mask in photographs if mask is not None]
        yield from (problem for problem in check_masks(self, pairs) if problem.severity != "note")
        present = {f"{path.parent.name}/{path.stem}.jpg".lower(): self.relative(path) for path, _ in photographs}
        for name in sorted(present.keys() - ORIGINAL):
            yield Problem("error", present[name], "is not in the original download: remove it and its mask")
        missing = sorted(ORIGINAL - present.keys())
        items = {name.partition("/")[0] for name in present}
        gone = sorted({name.partition("/")[0] for name in missing} - items)
        if gone:
            yield Problem("error", "", f"items are missing: {', '.join(gone)}; restore them from the original download")
        for name in missing:
            if name.partition("/")[0] in items:
                yield Problem(
                    "error", name.replace("part", "Part"), "is missing: restore it from the original download"
                )
