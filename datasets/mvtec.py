"""MVTec AD: fifteen objects and textures, each with its own training and test folder (Bergmann et al., CVPR 2019).

P. Bergmann, M. Fauser, D. Sattlegger, C. Steger: MVTec AD - a comprehensive real-world dataset for unsupervised anomaly
detection. CVPR 2019. Each class is a task of its own, such as ``mvtec/carpet``; the row "MVTec AD" of the papers is the
mean over the fifteen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from osad_bench.datasets.base import DatasetError, Problem, Published, Sample
from osad_bench.datasets.folder import survey_mvtec_layout
from osad_bench.datasets.reading.files import FileDataset
from osad_bench.datasets.reading.layout import child, find, holds, subfolder
from osad_bench.datasets.reading.masks import check_masks

_SOURCE = "Ding et al., CVPR 2022, Table 5"

# class: training normals, test normals, anomalies, kinds
_COUNTS = {
    "bottle": (209, 20, 63, 3),
    "cable": (224, 58, 92, 8),
    "capsule": (219, 23, 109, 5),
    "carpet": (280, 28, 89, 5),
    "grid": (264, 21, 57, 5),
    "hazelnut": (391, 40, 70, 4),
    "leather": (245, 32, 92, 5),
    "metal_nut": (220, 22, 93, 4),
    "pill": (267, 26, 141, 7),
    "screw": (320, 41, 119, 5),
    "tile": (230, 33, 84, 5),
    "toothbrush": (60, 12, 30, 1),
    "transistor": (213, 60, 40, 4),
    "wood": (247, 19, 60, 5),
    "zipper": (240, 32, 119, 7),
}


class MVTec(FileDataset):
    """Fifteen classes with the publisher's own split; kinds by folder."""

    name = "mvtec"
    title = "MVTec AD"
    domain = "industrial"
    licence = "CC BY-NC-SA 4.0"
    homepage = "https://www.mvtec.com/company/research/datasets/mvtec-ad"
    folders = ("mvtec", "mvtec_anomaly_detection", "mvtec_ad", "mvtec-ad", "mvtecad")
    companions = ("ground_truth",)
    layout = "a folder for each class, with train/good, test/good, test/<kind> and ground_truth/<kind>"
    variants = tuple(_COUNTS)
    needs_variant = True

    def __init__(self, root: Path | None = None, variant: str | None = None) -> None:
        super().__init__(root, variant)
        if variant is not None and variant in _COUNTS:
            parts = dict(zip(("train normal", "test normal", "anomaly", "kinds"), _COUNTS[variant]))
            self.published = Published(parts, _SOURCE)

    def find_base(self) -> Path:
        """Folder of the class."""
        if self.variant not in self.variants:
            given = f"unknown data set 'mvtec/{self.variant}'" if self.variant else "'mvtec' needs a class"
            raise DatasetError(f"{given}; known: {', '.join(f'mvtec/{name}' for name in self.variants)}")
        root, name = super().find_base(), str(self.variant)
        parent = find(root, lambda folder: subfolder(folder, name) is not None, 2)
        found = subfolder(parent, name) if parent is not None else None
        if found is None:
            raise DatasetError(
                f"data set {self.full_name!r}: no folder {self.variant} in {root}; expected {self.layout}"
            )
        return find(found, holds("train", "test"), 1) or found

    def survey(self) -> Iterator[Sample | Problem]:
        """List the samples; the partition is the publisher's."""
        return survey_mvtec_layout(self)

    def _mask(self, sample: Sample) -> tuple[str, Path | None]:
        """Where the mask of an anomaly should lie, relative to `base`, and where it does; None if it is missing."""
        stem = sample.id.rpartition("/")[2].rpartition(".")[0]
        expected = f"ground_truth/{sample.kind}/{stem}_mask.png"
        mask: Path | None = self.base
        for part in expected.split("/"):
            mask = child(mask, part) if mask is not None else None
        return expected, mask

    def mask_files(self, sample: Sample) -> Sequence[Path]:
        """The mask in ``ground_truth``."""
        mask = self._mask(sample)[1] if sample.label else None
        return [] if mask is None else [mask]

    def check(self) -> Iterator[Problem]:
        """Every anomaly has a mask of its size in ``ground_truth``."""
        anomalies = [(sample, *self._mask(sample)) for sample in self.samples if sample.label]
        return check_masks(self, [(self.path(sample), mask, expected) for sample, expected, mask in anomalies])
