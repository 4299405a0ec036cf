"""Small pictures of test images for the report's page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from PIL import Image

from osad_bench.core.registry import UnknownNameError
from osad_bench.datasets.base import DatasetError
from osad_bench.datasets.catalogue import open_dataset

SIDE = 160
"""Longest side in pixels."""


def thumbnail(pixels: Image.Image) -> str:
    """A picture as a ``data:`` address of a JPEG of at most `SIDE` pixels."""
    pixels.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    pixels.save(stream, "JPEG", quality=70, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def thumbnails(
    names: Mapping[str, str],
    wanted: Iterable[tuple[str, str]],
    data_root: Path | None,
    sources: Sequence[str] = (),
    most: int = 800,
) -> tuple[dict[tuple[str, str], str], list[str]]:
    """Pictures of test images, where the data sets are here.

    Parameters
    ----------
    names
        Full name of the data set that a fingerprint belongs to, for every fingerprint in `wanted`.
    wanted
        (fingerprint, image id), the most important first.
    data_root
        Folder that holds the downloads; None for the default one.
    sources
        Names of further data sets to look in, such as ``folder:PATH``, which a record does not name in full.
    most
        Largest number of pictures.

    Returns
    -------
    pictures, absent
        (fingerprint, image id) to a ``data:`` address, and a sentence for each data set that is not here or differs.

    Raises
    ------
    UnknownNameError, DatasetError
        One of `sources` cannot be opened.
    """
    names = dict(names) | {open_dataset(source, data_root).fingerprint: source for source in sources}
    ids: dict[str, list[str]] = {}
    for fingerprint, image in list(dict.fromkeys(wanted))[:most]:
        ids.setdefault(fingerprint, []).append(image)
    pictures, absent = {}, []
    for fingerprint, images in ids.items():
        try:
            dataset = open_dataset(names[fingerprint], data_root)
            if dataset.fingerprint != fingerprint:
                absent.append(f"{names[fingerprint]}: the images here are not those of the records")
                continue
            known = [image for image in images if image in dataset.by_id]
            if len(known) < len(images):
                absent.append(f"{names[fingerprint]}: {len(images) - len(known)} images of the records are not in it")
            for image in known:
                pictures[fingerprint, image] = thumbnail(Image.fromarray(dataset.read(dataset.by_id[image])))
        except (DatasetError, UnknownNameError) as error:
            absent.append(f"{names[fingerprint]}: {error}")
    return pictures, absent
