"""Leaves: photographs of plant leaves, healthy or with one of several diseases."""

from collections.abc import Iterator

from osad_bench.datasets import FileDataset, Problem, Sample
from osad_bench.datasets.reading.layout import folders


class Leaves(FileDataset):
    """``healthy`` is normal; every other folder is a kind of anomaly."""

    name = "leaves"
    title = "Leaves"
    domain = "plant leaves"
    licence = "CC0"
    homepage = "https://example.org/leaves"
    folders = ("leaves", "plant-leaves")
    layout = "healthy and a folder for each disease, each holding images"

    def survey(self) -> Iterator[Sample | Problem]:
        """List the samples, folder by folder."""
        for folder in folders(self.base):
            kind = None if folder.name == "healthy" else folder.name
            for path in self.images(folder):
                yield Sample(self.relative(path), int(kind is not None), kind)
