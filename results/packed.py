"""The file of a cell's test scores: a NumPy archive, checked when it is written and when it is read."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from osad_bench.results.damage import REMEDY, StoreError
from osad_bench.results.record import TestScores

MOST_BYTES = 2**30
"""A file of scores that unpacks to more bytes is refused before it is unpacked; 100,000 images take 60 MB."""


def pack_scores(scores: TestScores, path: Path) -> bytes:
    """The bytes of the file of these scores, checked by reading them again; raises as `unpack_scores` does."""
    stream = io.BytesIO()
    np.savez_compressed(stream, ids=scores.ids, labels=scores.labels, kinds=scores.kinds, scores=scores.scores)
    unpack_scores(stream, path)
    return stream.getvalue()


def unpack_scores(stream: IO[bytes], path: Path) -> TestScores:
    """Test scores from their file, checked; `path` is for messages.

    Raises
    ------
    StoreError
        The file is no archive of the four arrays, unpacks to more than `MOST_BYTES`, holds arrays of wrong types or
        different lengths, a label other than 0 and 1, a score that is not finite, or an image twice.
    """
    try:
        with zipfile.ZipFile(stream) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MOST_BYTES:
            raise StoreError(f"damaged scores {path}: they unpack to {size / 2**30:.1f} GB. {REMEDY}")
        stream.seek(0)
        with np.load(stream, allow_pickle=False) as data:
            stored = {name: data[name] for name in _KINDS}
            problem = _wrong_kind(stored)
            test = None if problem else TestScores(**stored)
    except StoreError:
        raise
    except Exception:  # NumPy and zipfile raise ValueError, OSError, KeyError, BadZipFile, MemoryError and others
        raise StoreError(f"damaged scores {path}. {REMEDY}") from None
    problem = problem if test is None else _problem(test)
    if test is None or problem:
        raise StoreError(f"damaged scores {path}: {problem}. {REMEDY}")
    return test


_KINDS = {"ids": "U", "labels": "iub", "kinds": "U", "scores": "fiu"}
"""Array to the kinds (`numpy.dtype.kind`) that its type may be of."""


def _wrong_kind(stored: dict[str, Any]) -> str:
    for name, kinds in _KINDS.items():
        if stored[name].dtype.kind not in kinds:
            return f"{name} are of type {stored[name].dtype}"
    return "" if np.isin(stored["labels"], (0, 1)).all() else "a label is neither 0 nor 1"


def _problem(test: TestScores) -> str:
    if not np.isfinite(test.scores).all():
        return "a score is not finite"
    if len(set(test.ids.tolist())) < len(test.ids):
        return "it holds an image twice"
    return ""
