"""A contact sheet of a data set: normals, anomalies of each kind, and images changed by each pseudo-anomaly generator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from osad_bench.core.registry import pseudo_anomalies
from osad_bench.datasets.reading.tiles import squared
from osad_bench.datasets.reading.unusual import is_long

if TYPE_CHECKING:
    from osad_bench.datasets.base import Dataset, Sample

RGB = npt.NDArray[np.uint8]

WORKING_SIDE = 256
"""Height and width to which a normal is resized before a generator draws into it, as in training."""
GAP = 6
"""Pixels between images."""
LABEL_WIDTH = 170
OUTLINE = (255, 40, 40)


def _some(samples: list[Sample], count: int, generator: np.random.Generator) -> list[Sample]:
    """At most `count` of the samples, drawn without repeats, in their order."""
    chosen = generator.choice(len(samples), size=min(count, len(samples)), replace=False)
    return [samples[index] for index in sorted(chosen)]


def _outlined(image: RGB, mask: npt.NDArray[np.bool_]) -> RGB:
    """Draw a line around the mask, just outside it."""
    grown = mask.copy()
    for axis in (0, 1):
        for step in (-2, -1, 1, 2):
            shifted = np.roll(mask, step, axis=axis)
            edge: list[slice] = [slice(None), slice(None)]
            edge[axis] = slice(0, step) if step > 0 else slice(step, None)
            shifted[tuple(edge)] = False  # what np.roll brings round from the other side
            grown |= shifted
    result: RGB = image.copy()
    result[grown & ~mask] = OUTLINE
    return result


def _rows(dataset: Dataset, columns: int, seed: int, tiles: int) -> Iterator[tuple[str, list[RGB]]]:
    """Title and images of each row."""
    generator = np.random.Generator(np.random.PCG64(seed))
    normals = [sample for sample in dataset.samples if sample.label == 0]
    shown = [dataset.read(sample) for sample in _some(normals, columns, generator)]
    yield f"normal\n({len(normals)})", shown
    for kind in dataset.kinds:
        of_kind = [sample for sample in dataset.samples if sample.kind == kind]
        yield (
            f"anomaly\n{kind}\n({len(of_kind)})",
            [dataset.read(sample) for sample in _some(of_kind, columns, generator)],
        )
    squares = [squared(image, WORKING_SIDE, tiles) for image in shown]
    if tiles > 1 or any(is_long(*image.shape[:2]) for image in shown):
        made = f"{tiles} squares,\none below the other" if tiles > 1 else "made square"
        yield f"normal\nas methods see it\n({made})", squares
    for name in pseudo_anomalies.names():
        draw = pseudo_anomalies.get(name)
        yield f"pseudo-anomaly\n{name}", [_outlined(*draw(square.copy(), generator)) for square in squares]


def contact_sheet(dataset: Dataset, columns: int = 8, size: int = 128, seed: int = 0, tiles: int = 1) -> Image.Image:
    """Draw the sheet: one row of normals, one per kind of anomaly and one per pseudo-anomaly generator.

    Where normals are long (`osad_bench.datasets.reading.unusual.is_long`) or tiles are asked for, one more row shows them as
    methods see them.

    Parameters
    ----------
    dataset
        Any data set that can be read.
    columns
        Images per row.
    size
        Height and width in pixels of the square that each image is fitted into; its proportions are kept.
    seed
        Decides which images are shown and what the generators draw.
    tiles
        Number of squares that a long photograph is cut into, as ``--set tiles`` of a run.

    Returns
    -------
    Pillow image, mode RGB

    Raises
    ------
    DatasetError
        An image cannot be read.
    """
    rows = list(_rows(dataset, columns, seed, tiles))
    font = ImageFont.load_default(size=14)
    sheet = Image.new(
        "RGB", (LABEL_WIDTH + columns * (size + GAP) + GAP, 28 + len(rows) * (size + GAP) + GAP), (255, 255, 255)
    )
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, GAP), f"{dataset.title}  ({dataset.full_name})", fill=(0, 0, 0), font=font)
    for row, (title, images) in enumerate(rows):
        top = 28 + GAP + row * (size + GAP)
        draw.multiline_text((GAP, top), title, fill=(0, 0, 0), font=font)
        for column, image in enumerate(images):
            picture = Image.fromarray(image)
            scale = size / max(picture.size)
            picture = picture.resize(
                (max(1, round(picture.width * scale)), max(1, round(picture.height * scale))), Image.Resampling.LANCZOS
            )
            left = LABEL_WIDTH + column * (size + GAP) + (size - picture.width) // 2
            sheet.paste(picture, (left, top + (size - picture.height) // 2))
    return sheet
