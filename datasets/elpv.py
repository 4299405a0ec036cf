"""ELPV: 2,624 electroluminescence images of solar cells (Deitsch et al., 2019 and 2021), from the registry package.

S. Deitsch, V. Christlein, S. Berger, C. Buerhop-Lutz, A. Maier, F. Gallwitz, C. Riess: Automatic classification of
defective photovoltaic module cells in electroluminescence images. Solar Energy 185, 2019.

The labels give a probability of a defect. As in the OSAD papers, 0 is normal, 1 an anomaly, and the uncertain 1/3 and
2/3 are dropped. The kinds are the two types of cell, which are also the groups of all images.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

from osad_bench.datasets.base import DatasetError, Problem, Published, Sample
from osad_bench.datasets.reading.files import FileDataset


def _installed() -> Path | None:
    """Data folder of the registry package, which is found without being imported."""
    spec = importlib.util.find_spec("elpv_dataset")
    for location in (spec.submodule_search_locations or []) if spec else []:
        if (Path(location) / "data" / "labels.csv").is_file():
            return Path(location) / "data"
    return None


class ELPV(FileDataset):
    """Solar cells: probability 0 normal, 1 anomaly, others dropped; kinds mono and poly."""

    name = "elpv"
    title = "ELPV"
    domain = "solar cells"
    licence = "CC BY-NC-SA 4.0"
    homepage = "https://github.com/zae-bayern/elpv-dataset"
    folders = ("elpv", "elpv-dataset", "elpv-dataset-master")
    companions = ("labels.csv", "*.py", "*.pyc", "__pycache__")
    layout = "a clone of that repository, or labels.csv and images"
    published = Published(
        {"normal": 1508, "anomaly": 715, "kind mono": 313, "kind poly": 402},
        "labels.csv of the publisher (probability 0: 588 mono + 920 poly; probability 1: 313 + 402)",
    )
    hard_kinds = ("mono", "poly")

    @classmethod
    def locate(cls, data_root: Path) -> Path | None:
        """None where the registry package, which holds the images, is installed; else a clone in the data root."""
        if _installed() is not None:
            return None
        try:
            return super().locate(data_root)
        except DatasetError as error:
            raise DatasetError(f"{error} Simpler: pip install 'osad-bench[elpv]'.") from None

    def find_base(self) -> Path:
        """Folder of ``labels.csv`` and ``images/``: in the given download, else in the installed package."""
        if self.root is not None:
            for below in ("", "data", "src/elpv_dataset/data"):
                if (self.root / below / "labels.csv").is_file():
                    return self.root / below
            raise DatasetError(f"data set 'elpv': no labels.csv in {self.root}; expected a clone of {self.homepage}")
        installed = _installed()
        if installed is not None:
            return installed
        raise DatasetError("data set 'elpv' is not installed: pip install 'osad-bench[elpv]'")

    def survey(self) -> Iterator[Sample | Problem]:
        """Read ``labels.csv``: path, probability and type of cell, separated by white space."""
        table = self.contained("labels.csv")
        folder = self.base / "images"
        present = {f"images/{path.name}" for path in self.images(folder)} if folder.is_dir() else set()
        for number, line in enumerate(table.read_text("utf-8", errors="replace").splitlines(), start=1):
            if not line.strip():
                continue
            try:
                path, text, kind = line.split()
                probability = float(text)
            except ValueError:
                yield Problem("fatal", "labels.csv", f"line {number}: expected 'path probability type', got {line!r}")
                continue
            if path not in present:
                yield Problem(
                    "fatal", path, "is missing, and labels.csv names it: restore it from the original download"
                )
            elif probability == 0:
                yield Sample(path, 0, group=kind)
            elif probability == 1:
                yield Sample(path, 1, kind, group=kind)
