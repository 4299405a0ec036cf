"""ELPV: 2,624 electroluminescence images of solar cells (Deitsch et al., 2019 and 2021), from the registry package.

S. Deitsch, V. Christlein, S. Berger, C. Buerhop-Lutz, A. Maier, F. Gallwitz, C. Riess: Automatic classification of
defective photovoltaic module cells in electroluminescence images. Solar Energy 185, 2019.

The labels give a probability of a defect. As in the OSAD papers, 0 is normal, 1 an anomaly, and the uncertain 1/3 and
2/3 are dropped; the kinds are the two types of cell.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

from osad_bench.datasets.base import DatasetError, Sample
from osad_bench.datasets.files import FileDataset


class ELPV(FileDataset):
    """Solar cells: probability 0 normal, 1 anomaly, others dropped; kinds mono and poly."""

    name = "elpv"
    title = "ELPV"
    domain = "solar cells, electroluminescence"
    licence = "CC BY-NC-SA 4.0"
    homepage = "https://github.com/zae-bayern/elpv-dataset"

    def find_base(self) -> Path:
        """Folder of ``labels.csv`` and ``images/``: in the given download, else in the installed package."""
        if self.root is not None:
            for below in ("", "data", "src/elpv_dataset/data"):
                if (self.root / below / "labels.csv").is_file():
                    return self.root / below
            raise DatasetError(f"data set 'elpv': no labels.csv in {self.root}; expected a clone of {self.homepage}")
        spec = importlib.util.find_spec("elpv_dataset")
        for location in (spec.submodule_search_locations or []) if spec else []:
            if (Path(location) / "data" / "labels.csv").is_file():
                return Path(location) / "data"
        raise DatasetError("data set 'elpv' is not installed: pip install 'osad-bench[elpv]'")

    def scan(self) -> Iterator[Sample]:
        """Read ``labels.csv``: path, probability and type of cell, separated by white space."""
        table = self.base / "labels.csv"
        for number, line in enumerate(table.read_text("utf-8").splitlines(), start=1):
            if not line.strip():
                continue
            try:
                path, text, kind = line.split()
                probability = float(text)
            except ValueError:
                raise DatasetError(f"{table}, line {number}: expected 'path probability type', got {line!r}") from None
            if probability == 0:
                yield Sample(path, 0)
            elif probability == 1:
                yield Sample(path, 1, kind)
