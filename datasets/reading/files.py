"""Data sets whose samples are image files, or boxes cut from image files, below one root."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import PIL

from osad_bench.datasets.base import Dataset, DatasetError, Problem, Sample, as_named, digest_of_pixels, one_line
from osad_bench.datasets.reading.condensed import condensed
from osad_bench.datasets.reading.images import Box, open_image, read_mask, read_rgb, suffixes_read
from osad_bench.datasets.reading.layout import HIDDEN
from osad_bench.datasets.reading.links import FOLLOW_LINKS, links_allowed
from osad_bench.datasets.reading.passed_over import passed_over
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


def _may_be_image(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a file, or a broken link, which is reported where it is read."""
    try:
        return entry.is_file() or (entry.is_symlink() and not entry.is_dir())
    except OSError:  # links in a circle
        return True


class FileDataset(Dataset):
    """Samples that are files below `base`; a subclass lists them (`survey`) and finds their folder (`find_base`).

    Ids follow the publisher's layout, whatever a copy's folders are nested in and however its endings are spelled, so
    that a split is the same on every machine; `place` records where the file really lies.
    """

    companions: ClassVar[tuple[str, ...]] = ()
    """Names of files and folders that belong to the download and hold no sample, such as ``ground_truth``; ``*`` matches
    anything, and case does not count."""
    must_read: ClassVar[tuple[str, ...]] = ()
    """Folders in which an image that is not read is an error of ``datasets verify``; elsewhere it is a note."""
    upright: ClassVar[bool] = False
    """Whether images are turned as their EXIF orientation says. Published sets stay as their publishers' loaders read them."""

    def __init__(self, root: Path | None = None, variant: str | None = None) -> None:
        super().__init__(root, variant)
        self._places: dict[str, str] = {}
        self._inside: dict[str, bool] = {}
        self._listed: set[str] = set()

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
        """Go through the folder once; yield the samples and the problems met on the way."""
        raise NotImplementedError(f"{type(self).__name__} needs survey() or its own scan()")

    @cached_property
    def _surveyed(self) -> tuple[tuple[Sample, ...], tuple[Problem, ...]]:
        try:
            found = tuple(self.survey())
        except OSError as error:
            raise self.unreadable(error) from error
        samples = tuple(item for item in found if isinstance(item, Sample))
        return samples, condensed((item for item in found if isinstance(item, Problem)), self.base)

    def scan(self) -> Iterable[Sample]:
        """List every sample.

        Raises
        ------
        DatasetError
            Files are missing or contradict each other; the message names the first and how to see all.
        """
        samples, problems = self._surveyed
        fatal = [problem for problem in problems if problem.severity == "fatal"]
        if fatal:
            more = f" ({len(fatal) - 1} more: osad-bench datasets verify {self.spec})" if len(fatal) > 1 else ""
            raise DatasetError(f"data set {self.full_name!r}, {fatal[0]}{more}")
        return samples

    @property
    def survey_problems(self) -> tuple[Problem, ...]:
        """Problems that the survey found, fatal or not."""
        return self._surveyed[1]

    def problems(self) -> Iterable[Problem]:
        """Problems that the survey found, what is `passed_over`, and problems that `check` finds."""
        yield from self.survey_problems
        yield from self.passed_over
        yield from condensed(self.check(), self.base)

    @cached_property
    def passed_over(self) -> tuple[Problem, ...]:
        """Files and folders below `base` that are not read, counted and named: one problem per folder.

        Hidden files, litter of file managers (``Thumbs.db``) and `companions` are left out.
        """
        self._surveyed  # noqa: B018  # fills _listed
        companions = (*self.companions, "readme", "readme.*", "licen[cs]e", "licen[cs]e.*")
        return tuple(passed_over(self.base, self._listed, companions, self.must_read, self.layout))

    def check(self) -> Iterable[Problem]:
        """Problems beyond those of the survey, such as masks that do not match their images; for ``datasets verify``."""
        return ()

    def relative(self, path: Path) -> str:
        """POSIX path relative to `base`."""
        return path.relative_to(self.base).as_posix()

    def place(self, published: str, path: Path) -> str:
        """Id of the file at `path`, which the publisher calls `published`: that name with its ending in lower case."""
        name = PurePosixPath(published)
        name = PurePosixPath(one_line(name.with_suffix(name.suffix.lower()).as_posix()))
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
        lies = self._places.get(name, name)
        if "%" in lies and not (self.base / lies).exists():
            lies = as_named(lies)
        return self.contained(lies)

    def contained(self, relative: str) -> Path:
        """Path below `base`, checked to be a file or folder that does not lie outside `base`.

        Raises
        ------
        DatasetError
            It leads out by ``..``, an absolute path or a link (unless ``OSAD_BENCH_FOLLOW_LINKS=1``); or it is a pipe,
            device or socket, reading from which might never end; or the system refuses it.
        """
        path = self.base / relative
        try:
            mode = path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError, ValueError):  # a missing file is reported where it is read
            mode = stat.S_IFREG
        except OSError as error:  # links in a circle, a name that is too long
            raise self.unreadable(error) from error
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise DatasetError(
                f"data set {self.full_name!r}: {path} is a pipe, device or socket, not a file: remove it"
            )
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

    def images(self, folder: Path, suffixes: Iterable[str] | None = None) -> Iterator[Path]:
        """Image files directly in a folder, sorted by name.

        Left out are hidden files, files with other endings than `suffixes` (None: `images.suffixes_read`), subfolders,
        and pipes, devices and sockets; `passed_over` counts and names what was left out.
        """
        wanted = suffixes_read() if suffixes is None else frozenset(suffixes)
        with os.scandir(folder) as entries:
            names = sorted(
                entry.name
                for entry in entries
                if not entry.name.startswith(HIDDEN)
                and os.path.splitext(entry.name)[1].lower() in wanted  # noqa: PTH122  # called for each of 50,000
                and _may_be_image(entry)
            )
        above = self.relative(folder)
        for name in names:
            self._listed.add(f"{above}/{name}" if above != "." else name)
            yield folder / name

    def load(self, sample: Sample) -> npt.NDArray[np.uint8]:
        """Decode the file, or the sample's box of it."""
        return self.decode(self.path(sample), split_id(sample.id)[1])

    def decode(self, path: Path, box: Box | None) -> npt.NDArray[np.uint8]:
        """Read a file, or a box of it, as RGB."""
        return read_rgb(path, box, upright=self.upright)

    def mask_files(self, sample: Sample) -> Sequence[Path] | None:  # noqa: ARG002  # for those that have masks
        """Masks of an anomaly's image, empty where the publisher offers none; None where the data set has no masks."""
        return None

    def mask(self, sample: Sample) -> npt.NDArray[np.bool_] | None:
        """Which pixels of a sample are defective, from `mask_files`; see `Dataset.mask`."""
        files = self.mask_files(sample)
        if files is None or (sample.label and not files):
            return None
        path, box = self.path(sample), split_id(sample.id)[1]
        with open_image(path) as image:
            marked = np.zeros((image.height, image.width), dtype=np.bool_)
        for file in files if sample.label else ():
            part = read_mask(self.contained(self.relative(file)))
            if part.shape != marked.shape:
                raise DatasetError(
                    f"mask {file} is {part.shape[1]} x {part.shape[0]}, but its image {path} is {marked.shape[1]} x "
                    f"{marked.shape[0]}: restore both from the original download"
                )
            marked |= part
        return marked if box is None else marked[box[1] : box[3], box[0] : box[2]]

    def digest(self, sample: Sample) -> str:
        """Hexadecimal sha256 of the file that holds the sample.

        Raises
        ------
        DatasetError
            The file is missing or cannot be read; the message names it.
        """
        path = self.path(sample)
        try:
            return sha256_of_file(path)
        except OSError as error:
            raise self.unreadable(error) from error

    def unreadable(self, error: OSError) -> DatasetError:
        """Error for a file that the operating system refuses to open or list."""
        where = error.filename or self.root or self.variant
        remedy = "give a shorter path" if error.errno == errno.ENAMETOOLONG else "restore it, or make it readable"
        return DatasetError(f"data set {self.full_name!r}: cannot read {where}: {error.strerror or error}; {remedy}.")

    def remember(
        self, what: str, purpose: str, paths: Iterable[Path], compute: Callable[[Path], str]
    ) -> dict[Path, str]:
        """Value of `compute` for each file, remembered between visits; see `reading.remembered.remembered`.

        Parameters
        ----------
        what
            What is being done, shown as progress.

        Raises
        ------
        DatasetError
            A file is missing or cannot be read.
        """
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
        """Two mappings by id: sha256 of the decoded pixels, remembered between visits, and errors of unreadable samples."""
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
