"""Hyper-Kvasir: endoscopy of the upper gastrointestinal tract, landmarks normal, findings anomalous (Borgli et al., 2020).

H. Borgli, V. Thambawita, P. H. Smedsrud, et al.: HyperKvasir, a comprehensive multi-class image and video dataset for
gastrointestinal endoscopy. Scientific Data 7, 2020. As in the OSAD papers only the labelled images of the upper tract
are used: its anatomical landmarks are normal, its pathological findings anomalous, with the folders as kinds.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from osad_bench.datasets.base import DatasetError, Problem, Published, Sample
from osad_bench.datasets.reading.files import FileDataset
from osad_bench.datasets.reading.layout import child, find, folders, holds

UPPER = "upper-gi-tract"
NORMAL = "anatomical-landmarks"
ANOMALOUS = "pathological-findings"

_ANOMALIES = {"barretts": 41, "barretts-short-segment": 53, "esophagitis-a": 403, "esophagitis-b-d": 260}


class HyperKvasir(FileDataset):
    """Three anatomical landmarks against four findings, which are the kinds."""

    name = "hyper-kvasir"
    title = "Hyper-Kvasir"
    domain = "endoscopy"
    licence = "CC BY 4.0"
    homepage = "https://datasets.simula.no/hyper-kvasir/ (labelled images)"
    folders = ("hyper-kvasir", "hyperkvasir", "hyper_kvasir", "hyper-kvasir-labeled-images", "labeled-images")
    companions = ("lower-gi-tract", "image-labels.csv")
    layout = f"{UPPER}/{NORMAL}/<landmark> and {UPPER}/{ANOMALOUS}/<finding>"
    published = Published(
        {"normal": 2695, "anomaly": 757} | {f"kind {kind}": number for kind, number in _ANOMALIES.items()},
        "Borgli et al., Scientific Data 2020 (pylorus 999, retroflex-stomach 764, z-line 932 normal)",
    )
    hard_kinds = tuple(_ANOMALIES)

    def find_base(self) -> Path:
        """Folder of ``upper-gi-tract``."""
        root = super().find_base()
        base = find(root, holds(UPPER), 2)
        if base is None:
            raise DatasetError(f"data set 'hyper-kvasir': no folder {UPPER} in {root}; expected {self.layout}")
        return base

    def survey(self) -> Iterator[Sample | Problem]:
        """List the samples of both groups of folders."""
        upper = child(self.base, UPPER)
        for group in (NORMAL, ANOMALOUS):
            folder = child(upper, group) if upper is not None else None
            if folder is None or not folder.is_dir():
                yield Problem(
                    "fatal", f"{UPPER}/{group}", f"there is no such folder in {self.base}; expected {self.layout}"
                )
                continue
            found = 0
            for below in folders(folder):
                name = below.name.lower()
                for path in self.images(below):
                    sample_id = self.place(f"{UPPER}/{group}/{name}/{path.name}", path)
                    yield Sample(sample_id, 0) if group == NORMAL else Sample(sample_id, 1, name)
                    found += 1
            if found == 0:
                yield Problem("fatal", f"{UPPER}/{group}", "holds no image: restore it from the original download")
