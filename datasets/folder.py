"""Any folder in MVTec AD's layout: ``train/good``, ``test/good`` and ``test/<kind>``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from osad_bench.datasets.base import DatasetError, Partition, Problem, Sample
from osad_bench.datasets.reading.files import FileDataset
from osad_bench.datasets.reading.layout import child, folders

LAYOUT = "train/good, test/good and test/<kind> for each kind of anomaly, each holding images"


def survey_mvtec_layout(dataset: FileDataset) -> Iterator[Sample | Problem]:
    """List the samples of a folder in MVTec AD's layout; the partition is the folder's."""
    parts: tuple[Partition, ...] = ("train", "test")
    base = dataset.base
    for part in parts:
        folder = child(base, part)
        good = child(folder, "good") if folder is not None else None
        if good is None or not good.is_dir():
            yield Problem("fatal", f"{part}/good", f"there is no such folder in {base}; expected {LAYOUT}")
            continue
        count = 0
        for path in dataset.images(good):
            yield Sample(dataset.place(f"{part}/good/{path.name}", path), 0, partition=part)
            count += 1
        if count == 0:
            yield Problem("fatal", f"{part}/good", f"there is no image in {good}; expected {LAYOUT}")
    tests = child(base, "test")
    anomalies = 0
    for folder in folders(tests) if tests is not None else ():
        if folder.name.lower() == "good":
            continue
        before = anomalies
        for path in dataset.images(folder):
            yield Sample(dataset.place(f"test/{folder.name}/{path.name}", path), 1, folder.name, "test")
            anomalies += 1
        if anomalies == before:
            yield Problem("note", f"test/{folder.name}", "is empty: it counts as no kind")
    if anomalies == 0:
        yield Problem("fatal", "test", f"there is no image of an anomaly in {base / 'test'}; expected {LAYOUT}")


class Folder(FileDataset):
    """Your own images: ``folder:PATH``, with ``train/good``, ``test/good`` and ``test/<kind>``."""

    name = "folder"
    title = "Folder"
    domain = "your own images"
    usage = "folder:PATH"
    layout = LAYOUT

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

    def place(self, published: str, path: Path) -> str:  # noqa: ARG002  # the user's own names, as they are
        """Id of the file at `path`: where it lies."""
        return self.relative(path)

    def survey(self) -> Iterator[Sample | Problem]:
        """List the samples."""
        return survey_mvtec_layout(self)
