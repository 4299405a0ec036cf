"""AITEX: woven fabric, each photograph cut into patches along its width (Silvestre-Blanes et al., 2019).

J. Silvestre-Blanes, T. Albero-Albero, I. Miralles, R. Perez-Llorens, J. Moreno: A public fabric database for defect
detection methods and results. AUTEX Research Journal 19, 2019. As in the OSAD papers each photograph of 4096 x 256 pixels
is cut into 16 patches of 256 x 256. All patches of ``NODefect_images`` are normal; a patch of ``Defect_images`` is an anomaly
where its part of the mask is not empty, and is dropped otherwise. A name such as ``0044_019_04.png`` holds the number, the
code of the defect and the code of the fabric, which is the image's group.

Peculiarities of the original archives: two photographs have two masks (``_mask1``, ``_mask2``), which are joined; one has
no mask and one has an empty one, and neither gives samples; one is 3796 pixels wide, and its last patch is narrower; 175
patches of photographs without a defect are blank (every pixel 255: no fabric). The original gives 185 anomalous patches; the
papers' 183 are those of a copy without the two photographs that have two masks.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from osad_bench.datasets.base import DatasetError, Problem, Published, Sample
from osad_bench.datasets.reading.files import FileDataset
from osad_bench.datasets.reading.images import Box
from osad_bench.datasets.reading.layout import find, folders, holds, subfolder
from osad_bench.datasets.reading.masks import MASK_MISSING, boxes_of, check_masks, marked_boxes, unreadable_mask

SIDE = 256
"""Width of a patch in pixels; its height is the photograph's, also 256."""

KINDS = {
    "002": "Broken_end",
    "006": "Broken_yarn",
    "010": "Broken_pick",
    "016": "Weft_curling",
    "019": "Fuzzyball",
    "022": "Cut_selvage",
    "023": "Crease",
    "025": "Warp_ball",
    "027": "Knots",
    "029": "Contamination",
    "030": "Nep",
    "036": "Weft_crack",
}
"""Defect codes in the file names."""

WITHOUT_MASK = "0100_025_08"
"""The publisher offers no mask for this photograph."""

WITH_TWO_MASKS = frozenset({"0044_019_04", "0097_030_03"})
"""The publisher offers two masks for each of these photographs. Some copies lack them, and have 183 anomalous patches."""

_DEFECTS, _MASKS, _NORMALS = "photographs with a defect", "masks", "photographs without a defect"

_NAME = re.compile(r"(\d+)_(\d{3})_(\d+)")


def patches(width: int, height: int) -> list[Box]:
    """Boxes of 256 pixels along the width, left to right; the last is narrower where the width is no multiple of 256."""
    return [(left, 0, min(left + SIDE, width), height) for left in range(0, width, SIDE)]


def fabric_of(path: Path) -> str | None:
    """Group of a photograph: ``fabric-04`` of ``0044_019_04.png``; None where its name holds no code."""
    match = _NAME.fullmatch(path.stem)
    return f"fabric-{match.group(3)}" if match else None


class AITEX(FileDataset):
    """141 photographs without and 106 with a defect, in patches; 12 kinds by defect code."""

    name = "aitex"
    title = "AITEX"
    domain = "fabric"
    licence = "not stated"
    homepage = "https://www.aitex.es/afid/"
    folders = ("aitex", "afid", "aitex-fabric-image-database", "aitex_fabric_image_database")
    layout = "Defect_images, Mask_images and NODefect_images"
    hard_kinds = ("Broken_end", "Broken_pick", "Cut_selvage", "Fuzzyball", "Nep", "Weft_crack")

    def find_base(self) -> Path:
        """Folder that holds the three folders."""
        root = super().find_base()
        base = find(root, holds("Defect_images", "Mask_images", "NODefect_images"), 2)
        if base is None:
            raise DatasetError(f"data set 'aitex': no folder with all three parts in {root}; expected {self.layout}")
        return base

    @property
    def published(self) -> Published:  # type: ignore[override]
        """Counts of the original archives, or of the copy with the papers' 183 anomalous patches if this is one."""
        counts = {_DEFECTS: 106, _MASKS: 107, _NORMALS: 141, "normal": 2256, "anomaly": 185, "kinds": 12}
        source = "the publisher's archives, in 16 patches per photograph"
        if self.root is not None and not WITH_TWO_MASKS & {path.stem.lower() for path in self._defects}:
            counts |= {_DEFECTS: 104, _MASKS: 103, "anomaly": 183}
            source += (
                f" without {' and '.join(sorted(WITH_TWO_MASKS))}; Ding et al., CVPR 2022, Table 5 (183 anomalies)"
            )
        return Published(counts, source)

    @property
    def counts(self) -> dict[str, int]:
        """Samples by part, and the photographs and masks that they are cut from."""
        masks = sum(map(len, self._masks.values()))
        return {_DEFECTS: len(self._defects), _MASKS: masks, _NORMALS: len(self._normals)} | super().counts

    @cached_property
    def _defects(self) -> list[Path]:
        """Photographs with a defect."""
        return self._images_of("Defect_images")

    def _images_of(self, name: str) -> list[Path]:
        """Images of one of the three folders, which some archives nest in another of the same name."""
        folder = subfolder(self.base, name)
        return list(self.images(folder)) if folder is not None else []

    @cached_property
    def _normals(self) -> list[tuple[str, Path]]:
        """Photographs without a defect, in one folder per fabric, with the publisher's name."""
        folder = subfolder(self.base, "NODefect_images")
        if folder is None:
            return []
        found = [(f"NODefect_images/{path.name}", path) for path in self.images(folder)]
        for fabric in folders(folder):
            found += [(f"NODefect_images/{fabric.name}/{path.name}", path) for path in self.images(fabric)]
        return found

    @cached_property
    def _masks(self) -> dict[str, list[Path]]:
        """Masks of each photograph by its name without ending."""
        found: defaultdict[str, list[Path]] = defaultdict(list)
        for path in self._images_of("Mask_images"):
            stem, mark, _ = path.stem.lower().partition("_mask")
            if mark:
                found[stem].append(path)
        return found

    def survey(self) -> Iterator[Sample | Problem]:
        """Cut every photograph into patches; those of defective ones are looked up in the masks."""
        normals = self._normals
        if not normals:
            yield Problem("fatal", "NODefect_images", "holds no image: restore it from the original download")
        cuts = boxes_of(self, [path for _, path in normals], "patches", patches)
        for name, path in normals:
            if path not in cuts:
                yield Problem("fatal", self.relative(path), "is broken: restore it from the original download")
            for box in cuts.get(path, ()):
                yield Sample(self.place(name, path) + "#" + ",".join(map(str, box)), 0, group=fabric_of(path))
        yield from self._anomalies()

    def _anomalies(self) -> Iterator[Sample | Problem]:
        masks, defects = self._masks, self._defects
        if not defects:
            yield Problem("fatal", "Defect_images", "holds no image: restore it from the original download")
        marked = marked_boxes(self, [path for paths in masks.values() for path in paths], "patches", patches)
        for path in defects:
            name = self.place(f"Defect_images/{path.name}", path)
            match = _NAME.fullmatch(path.stem)
            kind = KINDS.get(match.group(2)) if match else None
            of_this = masks.get(path.stem.lower(), [])
            broken = [mask for mask in of_this if mask not in marked]
            if kind is None:
                yield Problem(
                    "note", name, "has no known defect code in its name, such as 019 in 0044_019_04.png: not used"
                )
            elif not of_this and path.stem == WITHOUT_MASK:
                yield Problem("note", name, "has no mask in the original download either: not used")
            elif not of_this:
                yield Problem("fatal", f"Mask_images/{path.stem}_mask.png", MASK_MISSING)
            elif broken:
                yield unreadable_mask(self, broken[0])
            else:
                boxes = sorted({box for mask in of_this for box, defective in marked[mask].items() if defective})
                for box in boxes:
                    yield Sample(name + "#" + ",".join(map(str, box)), 1, kind, group=fabric_of(path))

    def mask_files(self, sample: Sample) -> Sequence[Path]:
        """The photograph's masks, of which some have two."""
        return self._masks.get(self.path(sample).stem.lower(), [])

    def check(self) -> Iterator[Problem]:
        """Every mask has a photograph, is of its size and marks something."""
        pairs = [(path, mask, "") for path in self._defects for mask in self._masks.get(path.stem.lower(), [])]
        yield from check_masks(self, pairs)
        present = {path.stem.lower() for path in self._defects}
        for stem in sorted(self._masks.keys() - present):
            message = f"has a mask ({self._masks[stem][0].name}) and is missing: restore it from the original download"
            yield Problem("error", f"Defect_images/{stem}.png", message)
        for stem in sorted(WITH_TWO_MASKS & present):
            if len(self._masks.get(stem, [])) == 1:
                yield Problem(
                    "error", f"Mask_images/{self._masks[stem][0].name}", "is one of two masks: restore the other"
                )
