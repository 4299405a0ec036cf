"""Whether a download is complete and sound: counts against the published ones, masks, broken files, repeated images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from osad_bench.datasets.base import Dataset, DatasetError, Problem
from osad_bench.datasets.duplicates import groups_of_equal
from osad_bench.datasets.reading.files import FileDataset, split_id


@dataclass(frozen=True)
class Count:
    """Number of samples of one part, found and published (None where nothing is published)."""

    part: str
    found: int
    published: int | None


@dataclass(frozen=True)
class Duplicates:
    """Samples that show the same pixels.

    Attributes
    ----------
    ids
        Two or more, sorted.
    identical_files
        Whether their files are the same byte for byte; else only the decoded pixels are.
    parts
        The parts they lie in, sorted, such as ``("normal",)`` or ``("train normal", "test normal")``.
    """

    ids: tuple[str, ...]
    identical_files: bool
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """What `verify` found.

    Attributes
    ----------
    dataset, root
        Full name; folder of the download, or ``None`` for a data set without files.
    fingerprint
        The data set's, or None where its samples cannot be listed or hashed.
    source
        Where the published counts are from; empty where there are none.
    counts
        By part.
    problems
        What is wrong, worst first.
    duplicates
        Groups of equal images.
    """

    dataset: str
    root: str | None
    fingerprint: str | None = None
    source: str = ""
    counts: tuple[Count, ...] = ()
    problems: tuple[Problem, ...] = ()
    duplicates: tuple[Duplicates, ...] = field(default=())

    @property
    def sound(self) -> bool:
        """Whether nothing is missing, broken or miscounted; notes and duplicates do not count."""
        return all(problem.severity == "note" for problem in self.problems)

    @property
    def surplus(self) -> int:
        """Number of images that ``--dedup`` leaves out."""
        return sum(len(group.ids) - 1 for group in self.duplicates)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        from dataclasses import asdict

        return {**asdict(self), "sound": self.sound, "surplus_copies": self.surplus}


_ORDER = {"fatal": 0, "error": 1, "note": 2}


def verify(dataset: Dataset) -> Report:
    """Check everything that can be checked: reads every file the first time, remembers it for the next.

    Raises
    ------
    DatasetError
        The download is not there at all.
    """
    root = dataset.base.as_posix() if isinstance(dataset, FileDataset) else None
    problems = list(dataset.problems()) if _listable(dataset) else _without_samples(dataset)
    if any(problem.severity == "fatal" for problem in problems):
        return Report(dataset.full_name, root, problems=_sorted(problems))
    digests, broken = dataset.decoded
    problems += [Problem("error", name, message) for name, message in broken.items()]
    published = dataset.published
    counts = _counts(dataset.counts, published.counts if published else {})
    if published is not None:
        problems += [
            Problem(
                "note" if count.part in published.approximate else "error",
                count.part,
                f"{count.found} samples, but {count.published} are published ({published.source})",
            )
            for count in counts
            if count.published not in (None, count.found)
        ]
    try:
        files, fingerprint = dataset.digests, dataset.fingerprint
    except DatasetError:  # a file that cannot be read, reported above
        files, fingerprint = {}, None
    groups = tuple(_duplicates(dataset, ids, files) for ids in groups_of_equal(digests))
    source = published.source if published else ""
    return Report(dataset.full_name, root, fingerprint, source, counts, _sorted(problems), groups)


def _sorted(problems: list[Problem]) -> tuple[Problem, ...]:
    return tuple(sorted(problems, key=lambda problem: (_ORDER[problem.severity], problem.file)))


def _listable(dataset: Dataset) -> bool:
    try:
        return bool(dataset.samples)
    except DatasetError:
        return False


def _without_samples(dataset: Dataset) -> list[Problem]:
    """Why the samples cannot be listed: the survey's reasons, or the error itself."""
    if isinstance(dataset, FileDataset):
        found = [problem for problem in dataset.survey_problems if problem.severity == "fatal"]
        if found:
            return list(dataset.survey_problems)
    try:
        dataset.samples  # noqa: B018  # raises
    except DatasetError as error:
        return [Problem("fatal", "", str(error))]
    return []


def _counts(found: Mapping[str, int], published: Mapping[str, int]) -> tuple[Count, ...]:
    parts = dict.fromkeys([*(part for part in found if part != "kinds"), *published])
    return tuple(Count(part, found.get(part, 0), published.get(part)) for part in parts)


def _duplicates(dataset: Dataset, ids: tuple[str, ...], files: Mapping[str, str]) -> Duplicates:
    parts = set()
    for name in ids:
        sample = dataset.by_id[name]
        kind = f"anomaly {sample.kind}" if sample.label else "normal"
        parts.add(f"{sample.partition} {kind}" if sample.partition else kind)
    same_bytes = len({files.get(name, name) for name in ids}) == 1 and len({split_id(name)[0] for name in ids}) > 1
    return Duplicates(ids, same_bytes, tuple(sorted(parts)))
