"""Which images exist, which are normal, which kind of anomaly each shows, and how to read them."""

from osad_bench.datasets.base import Dataset, DatasetError, Sample

__all__ = ["Dataset", "DatasetError", "Sample"]
