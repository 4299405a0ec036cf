"""The contract every data set meets: samples in a fixed order, a fingerprint, and one way to read an image.

To add a data set of image files, subclass `osad_bench.datasets.FileDataset`, fill in the class attributes and write
``survey`` (list the samples). For a data set that does not consist of image files, subclass `Dataset` and write `scan`
(list the samples), `load` (read one) and `digest`. Register the class under the entry point group ``osad_bench.datasets``
and test it with `osad_bench.datasets.checks.check_dataset`.
"""

from __future__ import annotations

import abc
import hashlib
import itertools
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from osad_bench.core.border import message_of, plugged

Partition = Literal["train", "test"]

Progress = Callable[[str, int, int], None]
"""Called as ``progress(what, done, total)`` while many files are read, such as ``("hashing files", 120, 2223)``."""


_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029"  # control characters, tabs and line breaks
    "\u202a-\u202e\u2066-\u2069"  # marks that turn the direction of writing
    "\ud800-\udfff]"  # bytes of a file name that are not UTF-8, as Python holds them
)
_CODES = re.compile("(?:%[0-9A-F]{2})+")


def _code(text: str) -> str:
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a character, which no file name gives, but a CSV file or a plug-in may
        data = text.encode("utf-8", "surrogatepass")
    return "".join(f"%{byte:02X}" for byte in data)


def one_line(text: str) -> str:
    """`text` with every control character, line break and byte that is not UTF-8 written as ``%XX``, as in a URL."""
    return _UNSAFE.sub(lambda match: _code(match.group()), text)


def as_named(text: str) -> str:
    """The file name of which `one_line` made `text`; codes of other characters (``%20``) stay as they are."""

    def decoded(match: re.Match[str]) -> str:
        name = bytes.fromhex(match.group().replace("%", "")).decode("utf-8", "surrogateescape")
        return "".join(character if _UNSAFE.match(character) else _code(character) for character in name)

    return _CODES.sub(decoded, text)


class DatasetError(ValueError):
    """A data set is missing, incomplete or unreadable; the message is one line, naming the file and the remedy."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


@dataclass(frozen=True, slots=True, order=True)
class Sample:
    """One image as the benchmark sees it.

    Attributes
    ----------
    id
        Stable name: the image's POSIX path relative to the data set's root, with ``#left,top,right,bottom`` appended
        where one file holds several samples. `one_line` is applied, so that an id can be written into any text file.
    label
        0 normal, 1 anomaly.
    kind
        Anomaly class; None for a normal sample. `one_line` is applied.
    partition
        ``"train"`` or ``"test"`` where the data set itself fixes it, else None.
    group
        What the image shows, normal or not, where a data set has several sorts of it (ELPV's types of cell, AITEX's
        fabrics), else None. A method can be trained on one group and tested on another. No part of the fingerprint.

    Raises
    ------
    DatasetError
        The label is neither 0 nor 1, an anomaly has no kind, or a normal sample has one.
    """

    id: str
    label: int
    kind: str | None = None
    partition: Partition | None = None
    group: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", one_line(self.id))
        if self.kind is not None:
            object.__setattr__(self, "kind", one_line(self.kind))
        if self.label not in (0, 1):
            raise DatasetError(f"sample {self.id!r} has label {self.label!r}; expected 0 (normal) or 1 (anomaly)")
        if (self.label == 0) != (self.kind is None):
            raise DatasetError(f"sample {self.id!r}: an anomaly needs a kind, and a normal sample has none")


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a download.

    Attributes
    ----------
    severity
        ``"fatal"``: the samples cannot be listed; ``"error"``: something is missing or broken; ``"note"``: worth knowing.
    file
        Path relative to the data set's folder; empty where the problem is not of one file.
    message
        What is wrong and what to do, in one line.
    """

    severity: Literal["fatal", "error", "note"]
    file: str
    message: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "file", one_line(self.file))
        object.__setattr__(self, "message", one_line(self.message))

    def __str__(self) -> str:
        return f"{self.file}: {self.message}" if self.file else self.message


@dataclass(frozen=True, slots=True)
class Published:
    """Counts stated by the publisher, or by the paper that fixed the protocol.

    Attributes
    ----------
    counts
        By part: ``samples``, ``normal``, ``anomaly``, ``train normal``, ``test normal``, ``kinds``, ``kind NAME``, or
        another part that the data set's `Dataset.counts` holds.
    source
        Where they are stated.
    approximate
        Parts whose count depends on how the paper's converter read the masks: a different count is a note, not an error.
    """

    counts: dict[str, int]
    source: str
    approximate: tuple[str, ...] = ()


def digest_of_pixels(image: npt.NDArray[np.uint8]) -> str:
    """Hexadecimal sha256 of an image's shape and pixels."""
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()


def groups_of_equal(digests: Mapping[str, str]) -> tuple[tuple[str, ...], ...]:
    """Keys that share a value, as sorted tuples of two or more, sorted."""
    by_digest: defaultdict[str, list[str]] = defaultdict(list)
    for key, digest in digests.items():
        by_digest[digest].append(key)
    return tuple(sorted(tuple(sorted(keys)) for keys in by_digest.values() if len(keys) > 1))


class Dataset(abc.ABC):
    """Images of one task, read in place from their original download.

    Parameters
    ----------
    root
        Folder of the original download; None for a data set that needs none (a registry package, generated images).
    variant
        What follows the name in ``name/variant`` or ``name:variant`` (an MVTec AD class, a folder's path), else None.

    Raises
    ------
    DatasetError
        The folder is missing or does not have the expected layout.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    domain: ClassVar[str] = ""
    licence: ClassVar[str] = ""
    homepage: ClassVar[str] = ""
    """Where the publisher offers it."""
    folders: ClassVar[tuple[str, ...]] = ()
    """Names of the download's folder below the data root, in any case; empty if the data set needs no download."""
    layout: ClassVar[str] = ""
    """What the folder of the download must hold, as shown to a user."""
    variants: ClassVar[tuple[str, ...]] = ()
    """What may follow the name in ``name/variant``, where that is a fixed list."""
    usage: ClassVar[str] = ""
    """How the name is written where it needs a path, such as ``folder:PATH``."""
    needs_variant: ClassVar[bool] = False
    """Whether the name alone stands for all of its variants (``mvtec``), each of which is a task."""
    reader: ClassVar[int] = 1
    """Raise it when a change to `load` gives other pixels for the same file: the fingerprint changes with it."""

    published: Published | None = None
    """Published counts, for ``datasets list`` and ``datasets verify``."""
    hard_kinds: tuple[str, ...] = ()
    """Known kinds whose mean is the data set's row in the papers' hard tables; empty where all kinds count."""

    progress: Progress | None = None
    """Called during the first visit, which must read every file; later visits are quick."""

    def __init__(self, root: Path | None = None, variant: str | None = None) -> None:
        self.root = root
        self.variant = variant

    @classmethod
    def locate(cls, data_root: Path) -> Path | None:
        """Folder of the download below `data_root`: the first of `folders` that is there, in any case.

        None where the data set comes from elsewhere, such as an installed package.

        Raises
        ------
        DatasetError
            There is none; the message says where the publisher offers it and what the folder must hold.
        """
        try:
            present = {path.name.lower(): path for path in sorted(data_root.iterdir()) if path.is_dir()}
        except (OSError, ValueError):  # ValueError: a null byte in the path
            present = {}
        for folder in cls.folders:
            if folder.lower() in present:
                return present[folder.lower()]
        raise DatasetError(
            f"data set {cls.name!r} is missing: {data_root} has no folder {cls.folders[0]}"
            + (f" (nor {', '.join(cls.folders[1:])})" if len(cls.folders) > 1 else "")
            + f". {cls.how_to_get()}. Or name another place with --data-root or OSAD_BENCH_DATA."
        )

    @classmethod
    def how_to_get(cls) -> str:
        """Where the publisher offers the download, what to unpack it into and what that folder must then hold."""
        return f"Get it from {cls.homepage or 'its publisher'} and unpack it there as {cls.folders[0]}" + (
            f", holding {cls.layout}" if cls.layout else ""
        )

    @property
    def full_name(self) -> str:
        """Name as written on the command line and in tables, such as ``mvtec/carpet``."""
        return self.name if self.variant is None else f"{self.name}/{self.variant}"

    @property
    def spec(self) -> str:
        """Name that opens this data set again on this machine; for a user's folder or file it holds the real path.

        Two spellings of one place, such as ``folder:photos`` and ``folder:./photos/``, have one spec.
        """
        return self.full_name

    @abc.abstractmethod
    def scan(self) -> Iterable[Sample]:
        """List all samples, in any order."""

    @abc.abstractmethod
    def load(self, sample: Sample) -> npt.NDArray[np.uint8]:
        """Decode one sample to RGB, shape (H, W, 3), values 0 to 255."""

    @abc.abstractmethod
    def digest(self, sample: Sample) -> str:
        """Hexadecimal sha256 of the bytes the sample is read from."""

    @cached_property
    def samples(self) -> tuple[Sample, ...]:
        """All samples, sorted by id."""
        with plugged(f"data set {self.full_name!r}", self):
            samples = tuple(sorted(self.scan(), key=lambda sample: sample.id))
        if not samples:
            raise DatasetError(
                f"data set {self.full_name!r} is empty" + (f": no images in {self.root}" if self.root else "")
            )
        for first, second in itertools.pairwise(samples):
            if first.id == second.id:
                raise DatasetError(f"data set {self.full_name!r} lists {first.id!r} twice")
        return samples

    @cached_property
    def fingerprint(self) -> str:
        """Sha256 over ids, labels, kinds, partitions and file digests: what splits and caches depend on."""
        sha = hashlib.sha256()
        digests = self.digests
        for sample in self.samples:
            row = (sample.id, str(sample.label), sample.kind or "", sample.partition or "", digests[sample.id])
            sha.update("\0".join(row).encode() + b"\n")
        if self.reader != 1:
            sha.update(f"reader {self.reader}".encode())
        return sha.hexdigest()

    @cached_property
    def digests(self) -> dict[str, str]:
        """`digest` of every sample, by id."""
        with plugged(f"data set {self.full_name!r}", self):
            return {sample.id: self.digest(sample) for sample in self.samples}

    @cached_property
    def decoded(self) -> tuple[dict[str, str], dict[str, str]]:
        """Two mappings by id: sha256 of the decoded size and pixels, and the error message of each unreadable sample."""
        digests, broken = {}, {}
        for sample in self.samples:
            try:
                digests[sample.id] = digest_of_pixels(self.read(sample))
            except DatasetError as error:
                broken[sample.id] = str(error)
        return digests, broken

    @property
    def pixel_digests(self) -> dict[str, str]:
        """Sha256 of every sample's decoded size and pixels, by id.

        Raises
        ------
        DatasetError
            An image cannot be read; the message names it.
        """
        digests, broken = self.decoded
        if broken:
            more = f" ({len(broken) - 1} more: osad-bench datasets verify {self.spec})" if len(broken) > 1 else ""
            raise DatasetError(next(iter(broken.values())) + more)
        return digests

    @cached_property
    def equal_images(self) -> tuple[tuple[str, ...], ...]:
        """Groups of samples that decode to the same pixels: tuples of two or more ids, sorted.

        Raises
        ------
        DatasetError
            An image cannot be read; the message names it.
        """
        return groups_of_equal(self.pixel_digests)

    def problems(self) -> Iterable[Problem]:
        """What is wrong with the download, as far as it can be found without decoding the images."""
        return ()

    @property
    def passed_over(self) -> tuple[Problem, ...]:
        """What lies in the data set's folder and is not read: one problem per folder, which counts and names the files."""
        return ()

    def mask(self, sample: Sample) -> npt.NDArray[np.bool_] | None:  # noqa: ARG002  # for those that have masks
        """Which pixels of a sample are defective.

        Returns
        -------
        array of shape (H, W), bool, or None
            As high and wide as `read` gives the sample; all False for a normal sample. None where the data set has no
            masks, or none for this sample.

        Raises
        ------
        DatasetError
            A mask cannot be read or is not of its image's size; the message names it.
        """
        return None

    @property
    def counts(self) -> dict[str, int]:
        """Samples by part, with the keys of `Published`."""
        counts = {"samples": len(self.samples), "normal": 0, "anomaly": 0, "kinds": len(self.kinds)}
        for sample in self.samples:
            parts = ["anomaly", f"kind {sample.kind}"] if sample.label else ["normal"]
            if sample.label == 0 and sample.partition is not None:
                parts.append(f"{sample.partition} normal")
            for part in parts:
                counts[part] = counts.get(part, 0) + 1
        return counts

    @cached_property
    def by_id(self) -> dict[str, Sample]:
        """The samples by their id."""
        return {sample.id: sample for sample in self.samples}

    @property
    def kinds(self) -> tuple[str, ...]:
        """Anomaly classes, sorted."""
        return tuple(sorted({sample.kind for sample in self.samples if sample.kind is not None}))

    @property
    def groups(self) -> tuple[str, ...]:
        """Groups of images, sorted; empty where the data set has none."""
        return tuple(sorted({sample.group for sample in self.samples if sample.group is not None}))

    def read(self, sample: Sample) -> npt.NDArray[np.uint8]:
        """Read one sample as RGB.

        Returns
        -------
        array of shape (H, W, 3), uint8

        Raises
        ------
        DatasetError
            The file is missing or cannot be decoded; the message names it.
        """
        try:
            image = self.load(sample)
        except (DatasetError, KeyboardInterrupt):
            raise
        except BaseException as error:
            where = f" in {self.root}" if self.root else ""
            raise DatasetError(
                f"cannot read image {sample.id!r} of data set {self.full_name!r}{where}: {message_of(error)}. "
                f"Restore the file from the original download, or remove it (osad-bench datasets verify "
                f"{self.full_name} lists every such file)."
            ) from error
        if not _is_rgb(image):
            what = f"{image.dtype} {image.shape}" if hasattr(image, "shape") else type(image).__name__
            raise DatasetError(f"{self.full_name}: {sample.id!r} was read as {what}, not uint8 (H, W, 3)")
        return image


def _is_rgb(image: object) -> bool:
    return isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8
