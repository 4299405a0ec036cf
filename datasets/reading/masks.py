"""Masks of the publishers: which parts of an image are defective, and whether each mask fits its image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from osad_bench.datasets.base import DatasetError, Problem
from osad_bench.datasets.reading.files import FileDataset
from osad_bench.datasets.reading.images import Box, open_image, read_mask

MASK_MISSING = "this mask is missing: restore it from the original download"

Cut = Callable[[int, int], list[Box]]
"""From width and height to the boxes an image is cut into."""


def boxes_of(dataset: FileDataset, images: Iterable[Path], purpose: str, cut: Cut) -> dict[Path, list[Box]]:
    """Boxes of each readable image, from the size in its header; remembered between visits."""

    def compute(path: Path) -> str:
        try:
            with open_image(dataset.contained(dataset.relative(path))) as image:
                return f"{image.width} {image.height}"
        except DatasetError:
            return ""

    sizes = dataset.remember("reading sizes", f"size {purpose}", images, compute)
    return {path: cut(*map(int, text.split())) for path, text in sizes.items() if text}


def marked_boxes(dataset: FileDataset, masks: Iterable[Path], purpose: str, cut: Cut) -> dict[Path, dict[Box, bool]]:
    """For each readable mask, its boxes and whether the mask marks anything in them; remembered between visits."""

    def compute(path: Path) -> str:
        try:
            mask = read_mask(dataset.contained(dataset.relative(path)))
        except DatasetError:
            return ""
        boxes = cut(mask.shape[1], mask.shape[0])
        marks = "".join(str(int(mask[top:bottom, left:right].any())) for left, top, right, bottom in boxes)
        return f"{mask.shape[1]} {mask.shape[0]} {marks}"

    found: dict[Path, dict[Box, bool]] = {}
    for path, text in dataset.remember("reading masks", f"mask {purpose}", masks, compute).items():
        if text:
            width, height, marks = text.split()
            found[path] = {box: mark == "1" for box, mark in zip(cut(int(width), int(height)), marks)}
    return found


def unreadable_mask(dataset: FileDataset, mask: Path) -> Problem:
    """The problem of a mask that `marked_boxes` could not read."""
    name = dataset.relative(mask)
    try:
        read_mask(dataset.contained(name))
    except DatasetError as error:
        return Problem("fatal", name, str(error))
    return Problem("fatal", name, "could not be read a moment ago, but can be now: run this again")


def check_masks(dataset: FileDataset, pairs: Iterable[tuple[Path, Path | None, str]]) -> Iterator[Problem]:
    """Compare masks with their images.

    Parameters
    ----------
    dataset
        Whose files they are.
    pairs
        Image, its mask (None where it is missing) and where the mask should lie, relative to the data set's folder.
    """
    for image, mask, expected in pairs:
        name = dataset.relative(image)
        if mask is None:
            yield Problem("error", expected, MASK_MISSING)
            continue
        try:
            with open_image(dataset.contained(name)) as opened:
                size = opened.size
        except DatasetError:
            continue  # reported where the images are decoded
        try:
            marks = read_mask(dataset.contained(dataset.relative(mask)))
        except DatasetError as error:
            yield Problem("error", dataset.relative(mask), str(error))
            continue
        if (marks.shape[1], marks.shape[0]) != size:
            message = f"is {marks.shape[1]} x {marks.shape[0]}, but its image {name} is {size[0]} x {size[1]}"
            yield Problem("error", dataset.relative(mask), message)
        elif not marks.any():
            yield Problem("note", dataset.relative(mask), f"is empty, though {name} is labelled an anomaly")
