"""What is unusual about readable images of a user's own: wrong endings, several pages, EXIF orientation, long shapes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from statistics import median_high

from osad_bench.datasets.base import DatasetError, Problem
from osad_bench.datasets.reading.condensed import examples
from osad_bench.datasets.reading.files import FileDataset, split_id
from osad_bench.datasets.reading.images import HEIC, is_turned, open_image
from osad_bench.datasets.reading.tiles import fitting

_JPEG = ("JPEG", "MPO")  # MPO: a JPEG with a further picture behind it, as many telephones write
_FORMATS = {
    ".bmp": ("BMP", "DIB"),
    ".pgm": ("PPM",),
    ".png": ("PNG",),
    ".ppm": ("PPM",),
    ".tif": ("TIFF",),
    ".tiff": ("TIFF",),
    ".webp": ("WEBP",),
    **dict.fromkeys((".jfif", ".jpe", ".jpeg", ".jpg"), _JPEG),
    **dict.fromkeys(HEIC, ("HEIF",)),
}
"""Pillow's names of the formats that an ending announces."""


LONG = 2.0
"""Ratio of the longer to the shorter side from which making an image square loses much."""


def is_long(height: int, width: int) -> bool:
    """Whether the longer side of an image is at least `LONG` times the shorter one."""
    return max(height, width) >= LONG * min(height, width)


def unusual(dataset: FileDataset) -> Iterator[Problem]:
    """Notes on images that are read, but perhaps not as their owner thinks; one note per kind, which counts and names them.

    Only headers are read. Images that cannot be opened are left to the caller.
    """
    found: defaultdict[str, list[str]] = defaultdict(list)
    long: dict[str, int] = {}
    for sample in dataset.samples:
        try:
            path = dataset.path(sample)
            with open_image(path) as image:
                name, ending = split_id(sample.id)[0], path.suffix.lower()
                if ending in _FORMATS and image.format not in _FORMATS[ending]:
                    found[f"named {ending} but {image.format} inside, and read as that"].append(name)
                if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
                    found["of several pages or frames, of which the first is read"].append(name)
                if is_long(image.height, image.width):
                    long[name] = fitting(image.height, image.width)
                if dataset.upright and is_turned(image):
                    found["turned upright, as the EXIF orientation says"].append(name)
        except (DatasetError, OSError, ValueError, SyntaxError, EOFError):
            continue
    if long:
        tiles = f"--set tiles={median_high(long.values())} keeps their proportions"
        found[f"long, and methods see them squeezed to a square, as datasets preview shows; {tiles}"] = list(long)
    for what, names in sorted(found.items()):
        images = f"{len(names)} images are" if len(names) > 1 else "1 image is"
        yield Problem("note", "", f"{images} {what} ({examples(names)})")


def tiles_for(dataset: FileDataset) -> int:
    """Number of tiles that keeps the proportions of most images, read from their headers; 1 where most are not long."""
    found = []
    for sample in dataset.samples:
        try:
            with open_image(dataset.path(sample)) as image:
                found.append(fitting(image.height, image.width) if is_long(image.height, image.width) else 1)
        except (DatasetError, OSError, ValueError, SyntaxError, EOFError):
            continue
    return median_high(found) if found else 1
