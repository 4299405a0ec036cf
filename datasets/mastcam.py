"""Mastcam: typical and novel geology on Mars, six bands from the Curiosity rover's camera (Kerner et al., 2020).

H. R. Kerner, K. L. Wagstaff, B. D. Bue, et al.: Comparison of novelty detection methods for multispectral images in
rover-based planetary exploration missions. Data Mining and Knowledge Discovery 34, 2020. The publisher's own split is
used: ``train_typical``, ``test_typical`` and the eleven folders of ``test_novel``; ``validation_typical`` is not. The files
are NumPy arrays of 64 x 64 pixels and six bands; as in the OSAD papers the first three bands are the image.

``test_novel/all`` repeats the images of the other folders and is passed over. Five images lie in two of the folders: each
is a sample of both kinds, as in the papers' count of 451; ``--dedup`` keeps one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from osad_bench.datasets.base import DatasetError, Partition, Problem, Published, Sample
from osad_bench.datasets.reading.files import FileDataset
from osad_bench.datasets.reading.images import SUFFIXES, Box, read_bands, read_rgb
from osad_bench.datasets.reading.layout import find, folders, holds, subfolder

BANDS = ".npy"
REPEATED = "all"
"""Folder of ``test_novel`` that holds the other folders' images once more."""


class Mastcam(FileDataset):
    """Own split; eleven kinds by folder."""

    name = "mastcam"
    title = "Mastcam"
    domain = "Mars, 6 bands"
    licence = "CC BY 4.0"
    homepage = "https://zenodo.org/records/3732485"
    folders = ("mastcam", "mars-novelty", "mars_novelty_detection_mastcam_labeled_dataset")
    companions = (REPEATED, "validation_typical", "*.md", "*.txt", "*.csv", "*.pdf")
    layout = "train_typical, test_typical and test_novel/<kind>, each holding .npy files"
    published = Published(
        {"train normal": 9302, "test normal": 426, "anomaly": 451, "kinds": 11}, "Ding et al., CVPR 2022, Table 5"
    )
    # |C| of DRA's tables is 11; its hard tables leave out edge_cases (3 images) and other (1).
    hard_kinds = ("bedrock", "broken-rock", "drill-hole", "drt", "dump-pile", "float", "meteorite", "scuff", "veins")

    def find_base(self) -> Path:
        """Folder of ``train_typical``, ``test_typical`` and ``test_novel``."""
        root = super().find_base()
        base = find(root, holds("train_typical", "test_typical", "test_novel"), 2)
        if base is None:
            raise DatasetError(f"data set 'mastcam': no folder with all three parts in {root}; expected {self.layout}")
        return base

    def _files(self, folder: Path) -> Iterator[Path]:
        """Arrays, or images where someone has converted them."""
        return self.images(folder, {BANDS, *SUFFIXES})

    def survey(self) -> Iterator[Sample | Problem]:
        """List the samples; the partition is the publisher's."""
        parts: tuple[Partition, ...] = ("train", "test")
        for part in parts:
            name = f"{part}_typical"
            folder = subfolder(self.base, name)
            paths = list(self._files(folder)) if folder is not None else []
            if not paths:
                yield Problem(
                    "fatal", name, f"holds no .npy file in {self.base}: restore it from the original download"
                )
            for path in paths:
                yield Sample(self.place(f"{name}/{path.name}", path), 0, partition=part)
        novel = subfolder(self.base, "test_novel")
        found = 0
        for below in folders(novel) if novel is not None else ():
            kind = below.name.lower()
            if kind == REPEATED:
                continue
            for path in self._files(below):
                yield Sample(self.place(f"test_novel/{kind}/{path.name}", path), 1, kind, "test")
                found += 1
        if found == 0:
            yield Problem("fatal", "test_novel", "holds no image of a kind: restore it from the original download")

    def decode(self, path: Path, box: Box | None) -> npt.NDArray[np.uint8]:
        """The first three bands of an array."""
        return read_bands(path) if path.suffix.lower() == BANDS else read_rgb(path, box)
