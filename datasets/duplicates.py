"""Images that occur more than once, which a random split can put into both training and test."""

from __future__ import annotations

from osad_bench.datasets.base import Dataset


def duplicate_groups(dataset: Dataset) -> tuple[tuple[str, ...], ...]:
    """Groups of samples that show exactly the same pixels; computed once per `Dataset` object.

    The decoded RGB images are compared, so that copies in another file format, or in another strip of another file, are
    found too.

    Returns
    -------
    tuples of sample ids
        Each of two ids or more, sorted; empty where every image is unique.

    Raises
    ------
    DatasetError
        An image cannot be read; the message names it.
    """
    return dataset.equal_images


def contradictions(dataset: Dataset) -> tuple[tuple[str, ...], ...]:
    """Those `duplicate_groups` that hold a normal sample and an anomaly: one picture with two contradicting labels.

    Raises
    ------
    DatasetError
        An image cannot be read; the message names it.
    """
    return tuple(group for group in duplicate_groups(dataset) if len({dataset.by_id[name].label for name in group}) > 1)


def surplus_copies(dataset: Dataset) -> frozenset[str]:
    """Ids of the samples that ``--dedup`` leaves out.

    Of each group of equal images the first id stays. Of a group with contradicting labels none stays, because the order
    of the names must not decide which label is right.

    Raises
    ------
    DatasetError
        An image cannot be read; the message names it.
    """
    contradicting = set(contradictions(dataset))
    return frozenset(
        name for group in duplicate_groups(dataset) for name in (group if group in contradicting else group[1:])
    )
