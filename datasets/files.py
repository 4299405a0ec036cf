"""Data sets whose samples are image files, or boxes cut from image files, below one root."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from osad_bench.datasets.base import Dataset, DatasetError, Sample
from osad_bench.datasets.images import Box, is_image, read_rgb

FOLLOW_LINKS = "OSAD_BENCH_FOLLOW_LINKS"
"""Environment variable: 1 lets links and CSV paths lead out of the data set's folder."""

_BOX = re.compile(r"#(\d+),(\d+),(\d+),(\d+)$")


def split_id(sample_id: str) -> tuple[str, Box | None]:
    """Relative path and box of a sample id such as ``kos01/Part5.jpg#0,0,500,423``."""
    match = _BOX.search(sample_id)
    if match is None:
        return sample_id, None
    left, top, right, bottom = (int(number) for number in match.groups())
    return sample_id[: match.start()], (left, top, right, bottom)


class FileDataset(Dataset):
    """Samples that are files below `base`; a subclass says which (`scan`) and where the download lies (`find_base`)."""

    def find_base(self) -> Path:
        """Folder to which sample ids are relative.

        Raises
        ------
        DatasetError
            It is missing or is not laid out as the publisher ships it.
        """
        if self.root is None:
            raise DatasetError(f"data set {self.full_name!r} needs the folder of its download")
        return self.root

    @cached_property
    def base(self) -> Path:
        """Folder to which sample ids are relative, symbolic links resolved."""
        return self.find_base().resolve()

    def path(self, sample: Sample) -> Path:
        """File that holds the sample.

        Raises
        ------
        DatasetError
            The path leads out of the data set's folder (unless ``OSAD_BENCH_FOLLOW_LINKS=1``).
        """
        return self.contained(split_id(sample.id)[0])

    def contained(self, relative: str) -> Path:
        """Path below `base`, checked not to lead out of it by ``..``, an absolute path or a link."""
        path = self.base / relative
        if os.environ.get(FOLLOW_LINKS) != "1" and not path.resolve().is_relative_to(self.base):
            raise DatasetError(
                f"data set {self.full_name!r}: {relative!r} leads to {path.resolve()}, out of {self.base}. "
                f"Copy the file there, or set {FOLLOW_LINKS}=1 if you trust where it leads."
            )
        return path

    def images(self, folder: str) -> Iterator[str]:
        """Ids of the image files directly in `folder` (relative to `base`); anything else there is passed over."""
        for path in (self.base / folder).iterdir():
            if is_image(path) and not path.is_dir():
                yield path.relative_to(self.base).as_posix()

    def load(self, sample: Sample) -> npt.NDArray[np.uint8]:
        """Decode the file, or the sample's box of it."""
        return read_rgb(self.path(sample), split_id(sample.id)[1])

    def digest(self, sample: Sample) -> str:
        """Sha256 of the file."""
        path = self.path(sample)
        try:
            with path.open("rb") as file:
                sha = hashlib.sha256()
                while block := file.read(1 << 20):
                    sha.update(block)
                return sha.hexdigest()
        except OSError as error:
            raise DatasetError(f"data set {self.full_name!r}: cannot read {path}: {error.strerror}") from error
