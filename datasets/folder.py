"""Any folder in MVTec AD's layout: ``train/good``, ``test/good`` and ``test/<kind>``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from osad_bench.datasets.base import DatasetError, Partition, Sample
from osad_bench.datasets.files import FileDataset

LAYOUT = "train/good, test/good and test/<kind> for each kind of anomaly, each holding images"


def scan_mvtec_layout(dataset: FileDataset) -> Iterator[Sample]:
    """List the samples of a folder in MVTec AD's layout; the partition is the folder's.

    Raises
    ------
    DatasetError
        A folder of normals is missing or holds no image, or there is no anomaly.
    """
    base = dataset.base
    parts: tuple[Partition, ...] = ("train", "test")
    for part in parts:
        if not (base / part / "good").is_dir():
            raise DatasetError(f"data set {dataset.full_name!r}: {base} has no folder {part}/good; expected {LAYOUT}")
        count = 0
        for path in dataset.images(base / part / "good"):
            yield Sample(path.relative_to(base).as_posix(), 0, partition=part)
            count += 1
        if count == 0:
            raise DatasetError(
                f"data set {dataset.full_name!r}: {base / part / 'good'} holds no image; expected {LAYOUT}"
            )
    anomalies = 0
    for folder in sorted(path for path in (base / "test").iterdir() if path.is_dir() and path.name != "good"):
        for path in dataset.images(folder):
            yield Sample(path.relative_to(base).as_posix(), 1, folder.name, "test")
            anomalies += 1
    if anomalies == 0:
        raise DatasetError(f"data set {dataset.full_name!r}: no anomaly below {base / 'test'}; expected {LAYOUT}")


class Folder(FileDataset):
    """Your own images: ``folder:PATH``, with ``train/good``, ``test/good`` and ``test/<kind>``."""

    name = "folder"
    title = "Folder"
    domain = "your own images"

    @property
    def full_name(self) -> str:
        """``folder/NAME`` with the folder's own name, not its path, so that records are the same on every machine."""
        return self.name if self.variant is None else f"{self.name}/{Path(self.variant).expanduser().absolute().name}"

    @property
    def spec(self) -> str:
        """``folder:`` and the absolute path."""
        return self.name if self.variant is None else f"{self.name}:{Path(self.variant).expanduser().absolute()}"

    def find_base(self) -> Path:
        """Folder given as ``folder:PATH``."""
        if not self.variant:
            raise DatasetError("data set 'folder' needs a path: --datasets folder:PATH, where PATH holds " + LAYOUT)
        base = Path(self.variant).expanduser()
        if not base.is_dir():
            raise DatasetError(
                f"data set 'folder:{self.variant}': there is no such folder; expected one that holds {LAYOUT}"
            )
        return base

    def scan(self) -> Iterator[Sample]:
        """List the samples."""
        return scan_mvtec_layout(self)
