"""Data sets whose samples are image files, or boxes cut from image files, below one root."""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
import PIL

from osad_bench.datasets.base import Dataset, DatasetError, Problem, Sample, digest_of_pixels
from osad_bench.datasets.reading.images import SUFFIXES, Box, read_rgb
from osad_bench.datasets.reading.links import FOLLOW_LINKS, links_allowed
from osad_bench.datasets.reading.remembered import remembered

_BOX = re.compile(r"#(\d+),(\d+),(\d+),(\d+)$")


def split_id(sample_id: str) -> tuple[str, Box | None]:
    """Relative path and box of a sample id such as ``kos01/Part5.jpg#0,0,500,423``."""
    match = _BOX.search(sample_id)
    if match is None:
        return sample_id, None
    left, top, right, bottom = (int(number) for number in match.groups())
    return sample_id[: match.start()], (left, top, right, bottom)


def sha256_of_file(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()


class FileDataset(Dataset):
    """Samples that are files below `base`; a subclass says which (`survey`) and where the download lies (`find_base`).

    Ids follow the publisher's layout, whatever a copy's folders are nested in and however its endings are spelled, so
    that a split is the same on every machine; `place` records where the file really lies.
    """

    def __init__(self, root: Path | None = None, variant: str | None = None) -> None:
        super().__init__(root, variant)
        self._places: dict[str, str] = {}
        self._inside: dict[str, bool] = {}

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
        """Folder to which sample ids are relative, symbolic links resolved.

        Raises
        ------
        DatasetError
            It is missing, or a link within the root leads out of it (unless ``OSAD_BENCH_FOLLOW_LINKS=1``).
        """
        try:
            base = self.find_base().resolve()
        except OSError as error:
            raise self.unreadable(error) from error
        if self.root is not None and not links_allowed() and not base.is_relative_to(self.root.resolve()):
            raise DatasetError(
                f"data set {self.full_name!r}: a link in {self.root} leads to {base}, out of it. "
                f"Copy the images there, or set {FOLLOW_LINKS}=1 if you trust where it leads."
            )
        return base

    def survey(self) -> Iterator[Sample | Problem]:
        """Go through the folder once: yield the samples, and whatever is wrong on the way."""
        raise NotImplementedError(f"{type(self).__name__} needs survey() or its own scan()")

    @cached_property
    def _surveyed(self) -> tuple[tuple[Sample, ...], tuple[Problem, ...]]:
        try:
            found = tuple(self.survey())
        except OSError as error:
            raise self.unreadable(error) from error
        samples = tuple(item for item in found if isinstance(item, Sample))
        return samples, tuple(item for item in found if isinstance(item, Problem))

    def scan(self) -> Iterable[Sample]:
        """List every sample.

        Raises
        ------
        DatasetError
            Some of them cannot be told; the message names the first and how to see all.
        """
        samples, problems = self._surveyed
        fatal = [problem for problem in problems if problem.severity == "fatal"]
        if fatal:
            more = f" ({len(fatal) - 1} more: osad-bench datasets verify {self.spec})" if len(fatal) > 1 else ""
            raise DatasetError(f"data set {self.full_name!r}, {fatal[0].file}: {fatal[0].message}{more}")
        return samples

    @property
    def survey_problems(self) -> tuple[Problem, ...]:
        """What the survey found wrong, fatal or not."""
        return self._surveyed[1]

    def problems(self) -> Iterable[Problem]:
        """What the survey found, then what `check` finds."""
        yield from self.survey_problems
        yield from self.check()

    def check(self) -> Iterable[Problem]:
        """Checks of more than the survey needs, such as whether masks match their images; for ``datasets verify``."""
        return ()

    def relative(self, path: Path) -> str:
        """POSIX path relative to `base`."""
        return path.relative_to(self.base).as_posix()

    def place(self, published: str, path: Path) -> str:
        """Id of the file at `path`, which the publisher calls `published`: that name with its ending in lower case."""
        name = PurePosixPath(published)
        name = name.with_suffix(name.suffix.lower())
        lies = path.relative_to(self.base).as_posix()
        if name.as_posix() != lies:
            self._places[name.as_posix()] = lies
        return name.as_posix()

    def path(self, sample: Sample) -> Path:
        """File that holds the sample.

        Raises
        ------
        DatasetError
            The path leads out of the data set's folder (unless ``OSAD_BENCH_FOLLOW_LINKS=1``).
        """
        self.samples  # noqa: B018  # the scan finds the places
        name = split_id(sample.id)[0]
        return self.contained(self._places.get(name, name))

    def contained(self, relative: str) -> Path:
        """Path below `base`, checked not to lead out of it by ``..``, an absolute path or a link."""
        path = self.base / relative
        if links_allowed():
            return path
        folder, _, name = relative.rpartition("/")
        if folder not in self._inside:  # resolving is slow, and many files share a folder
            self._inside[folder] = (self.base / folder).resolve().is_relative_to(self.base)
        plain = self._inside[folder] and name != ".." and not path.is_symlink()
        if not plain and not path.resolve().is_relative_to(self.base):
            raise DatasetError(
                f"data set {self.full_name!r}: {relative!r} leads to {path.resolve()}, out of {self.base}. "
                f"Copy the file there, or set {FOLLOW_LINKS}=1 if you trust where it leads."
            )
        return path

    def images(self, folder: Path, suffixes: Iterable[str] = SUFFIXES) -> Iterator[Path]:
        """Image files directly in a folder, sorted by name; hidden files, other files and subfolders are passed over."""
        with os.scandir(folder) as entries:
            names = sorted(
                entry.name
                for entry in entries
                if not entry.name.startswith(".")
                and os.path.splitext(entry.name)[1].lower() in suffixes  # noqa: PTH122  # called for each of 50,000
                and not entry.is_dir()
            )
        for name in names:
            yield folder / name

    def load(self, sample: Sample) -> npt.NDArray[np.uint8]:
        """Decode the file, or the sample's box of it."""
        return self.decode(self.path(sample), split_id(sample.id)[1])

    def decode(self, path: Path, box: Box | None) -> npt.NDArray[np.uint8]:
        """Read a file, or a box of it, as RGB."""
        return read_rgb(path, box)

    def digest(self, sample: Sample) -> str:
        """Sha256 of the file."""
        path = self.path(sample)
        try:
            return sha256_of_file(path)
        except OSError as error:
            raise self.unreadable(error) from error

    def unreadable(self, error: OSError) -> DatasetError:
        """Error for a file that the system does not give us."""
        return DatasetError(
            f"data set {self.full_name!r}: cannot read {error.filename or self.base}: {error.strerror}. "
            "Restore the file from the original download."
        )

    def remember(
        self, what: str, purpose: str, paths: Iterable[Path], compute: Callable[[Path], str]
    ) -> dict[Path, str]:
        """Value of `compute` for each file, remembered between visits; `what` is shown as progress."""
        progress = self.progress
        try:
            return remembered(
                purpose, paths, compute, None if progress is None else lambda done, total: progress(what, done, total)
            )
        except OSError as error:
            raise self.unreadable(error) from error

    @cached_property
    def digests(self) -> dict[str, str]:
        """Sha256 of every sample's file, by id; remembered between visits."""
        paths = {sample.id: self.path(sample) for sample in self.samples}
        found = self.remember("hashing files", "sha256", dict.fromkeys(paths.values()), sha256_of_file)
        return {name: found[path] for name, path in paths.items()}

    @cached_property
    def decoded(self) -> tuple[dict[str, str], dict[str, str]]:
        """Sha256 of each sample's decoded pixels, remembered between visits, and what is wrong with unreadable ones."""
        boxes: defaultdict[Path, list[tuple[str, Box | None]]] = defaultdict(list)
        digests: dict[str, str] = {}
        broken: dict[str, str] = {}
        for sample in self.samples:
            try:
                path = self.path(sample)
                path.stat()
            except DatasetError as error:
                broken[sample.id] = str(error)
            except OSError as error:
                broken[sample.id] = str(self.unreadable(error))
            else:
                boxes[path].append((sample.id, split_id(sample.id)[1]))
        # One file is decoded once for all of its boxes; the boxes are part of the purpose.
        by_boxes: defaultdict[str, list[Path]] = defaultdict(list)
        for path, parts in boxes.items():
            by_boxes[";".join(str(box) for _, box in parts)].append(path)

        def compute(path: Path) -> str:
            try:
                return self._pixels_of(path, boxes[path])
            except DatasetError as error:
                broken.update(dict.fromkeys((name for name, _ in boxes[path]), str(error)))
                return ""

        for shape, paths in by_boxes.items():
            purpose = (
                f"pixels {PIL.__version__} {type(self).__module__}.{type(self).__qualname__} {self.reader} {shape}"
            )
            found = self.remember("comparing images", purpose, paths, compute)
            for path, text in found.items():
                digests.update(zip((name for name, _ in boxes[path]), text.split()))
        return dict(sorted(digests.items())), dict(sorted(broken.items()))

    def _pixels_of(self, path: Path, parts: list[tuple[str, Box | None]]) -> str:
        """Pixel digests of the boxes of one file, separated by blanks."""
        if len(parts) == 1:
            return digest_of_pixels(self.decode(path, parts[0][1]))
        whole = self.decode(path, None)
        cuts = [whole if box is None else whole[box[1] : box[3], box[0] : box[2]] for _, box in parts]
        return " ".join(digest_of_pixels(cut) for cut in cuts)
