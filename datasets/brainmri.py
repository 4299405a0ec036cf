"""BrainMRI: slices of magnetic resonance images of the head, with and without a tumour (Chakrabarty, Kaggle, 2019).

N. Chakrabarty: Brain MRI Images for Brain Tumor Detection. Kaggle, 2019. 253 files, of which 25 are byte-identical copies
of another: a random split puts the same picture in training and test unless ``--dedup`` is given. Some files called
``.jpg`` are PNG inside; the contents decide.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from osad_bench.datasets.base import DatasetError, Problem, Published, Sample
from osad_bench.datasets.reading.files import FileDataset
from osad_bench.datasets.reading.layout import child, find, holds


class BrainMRI(FileDataset):
    """``no`` is normal, ``yes`` an anomaly; one kind, ``tumor``."""

    name = "brainmri"
    title = "BrainMRI"
    domain = "MRI, head"
    licence = "not stated"
    homepage = "https://www.kaggle.com/datasets/navoneel/brain-mri-images-for-brain-tumor-detection"
    folders = (
        "brainmri",
        "brain_mri",
        "brain-mri",
        "brain_tumor_dataset",
        "brain-mri-images-for-brain-tumor-detection",
    )
    companions = ("brain_tumor_dataset",)  # where the archive holds both folders once more
    layout = "the folders no and yes, each holding images"
    published = Published({"normal": 98, "anomaly": 155, "kinds": 1}, "the Kaggle page: no 98, yes 155")

    def find_base(self) -> Path:
        """Folder of ``no`` and ``yes``: the nearest, as the archive holds both once more in ``brain_tumor_dataset``."""
        root = super().find_base()
        base = find(root, holds("no", "yes"), 2)
        if base is None:
            raise DatasetError(f"data set 'brainmri': no folder with no and yes in {root}; expected {self.layout}")
        return base

    def survey(self) -> Iterator[Sample | Problem]:
        """List the samples of both folders."""
        for name, label in (("no", 0), ("yes", 1)):
            folder = child(self.base, name)
            paths = list(self.images(folder)) if folder is not None and folder.is_dir() else []
            if not paths:
                yield Problem("fatal", name, f"holds no image in {self.base}: restore it from the original download")
            for path in paths:
                yield Sample(self.place(f"{name}/{path.name}", path), label, "tumor" if label else None)
