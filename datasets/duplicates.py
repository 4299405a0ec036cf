"""Images that occur more than once, which a random split can put into both training and test."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from osad_bench.datasets.base import Dataset


def groups_of_equal(digests: Mapping[str, str]) -> list[tuple[str, ...]]:
    """Keys that share a value, as sorted tuples of two or more, sorted."""
    by_digest: defaultdict[str, list[str]] = defaultdict(list)
    for key, digest in digests.items():
        by_digest[digest].append(key)
    return sorted(tuple(sorted(keys)) for keys in by_digest.values() if len(keys) > 1)


def duplicate_groups(dataset: Dataset) -> list[tuple[str, ...]]:
    """Groups of samples that show exactly the same pixels.

    Compared are the decoded RGB images, so that copies in another file format, or in another strip of another file, are
    found too.

    Returns
    -------
    list of tuples of sample ids
        Each of two ids or more, sorted; empty where every image is unique.

    Raises
    ------
    DatasetError
        An image cannot be read; the message names it.
    """
    return groups_of_equal(dataset.pixel_digests)
