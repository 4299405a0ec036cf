"""Any folder in MVTec AD's layout: ``train/good``, ``test/good`` and ``test/<kind>``."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from osad_bench.datasets.base import DatasetError, Partition, Problem, Sample, one_line
from osad_bench.datasets.reading.files import FileDataset
from osad_bench.datasets.reading.layout import child, folders, is_folder, user_path
from osad_bench.datasets.reading.unusual import unusual

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
    for folder in folders(tests) if tests is not None and tests.is_dir() else ():
        if folder.name.lower() != "good":
            for path in dataset.images(folder):
                yield Sample(dataset.place(f"test/{folder.name}/{path.name}", path), 1, folder.name, "test")
                anomalies += 1
    if anomalies == 0:
        yield Problem("fatal", "test", f"there is no image of an anomaly in {base / 'test'}; expected {LAYOUT}")


class Folder(FileDataset):
    """Your own images: ``folder:PATH``, with ``train/good``, ``test/good`` and ``test/<kind>``."""

    name = "folder"
    title = "Folder"
    domain = "your own images"
    usage = "folder:PATH"
    layout = LAYOUT
    companions = ("ground_truth",)
    must_read = ("train", "test")
    upright = True
    reader = 2  # 1 ignored the EXIF orientation

    @cached_property
    def _folder(self) -> Path:
        """The folder as it was given, as an absolute path."""
        if not self.variant:
            raise DatasetError("data set 'folder' needs a path: --datasets folder:PATH, where PATH holds " + LAYOUT)
        return user_path(self.variant).absolute()

    @property
    def full_name(self) -> str:
        """``folder/NAME`` with the folder's own name, not its path, so that records are the same on every machine."""
        if self.variant is None:
            return self.name
        folder = self._folder.name
        return f"{self.name}/{one_line(folder if folder not in ('', '..') else self._folder.resolve().name)}"

    @property
    def spec(self) -> str:
        """``folder:`` and the absolute path, links resolved."""
        if self.variant is None:
            return self.name
        try:
            return f"{self.name}:{self._folder.resolve()}"
        except (OSError, RuntimeError, ValueError):  # too long, a loop of links, a null byte: said when it is opened
            return f"{self.name}:{self._folder}"

    def find_base(self) -> Path:
        """Folder given as ``folder:PATH``."""
        if not is_folder(self._folder):
            raise DatasetError(
                f"data set 'folder:{self.variant}': there is no such folder; expected one that holds {LAYOUT}"
            )
        return self._folder

    def place(self, published: str, path: Path) -> str:  # noqa: ARG002  # the user's own names, as they are
        """Id of the file at `path`: where it lies."""
        return self.relative(path)

    def survey(self) -> Iterator[Sample | Problem]:
        """List the samples."""
        return survey_mvtec_layout(self)

    def check(self) -> Iterator[Problem]:
        """Notes on images that are perhaps not what their owner thinks."""
        return unusual(self)
