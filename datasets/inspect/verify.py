"""Whether a download is complete and sound: published counts, masks, broken files, repeated images, wrong labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from osad_bench.datasets.base import Dataset, DatasetError, Problem, Published, groups_of_equal, one_line
from osad_bench.datasets.reading.condensed import examples
from osad_bench.datasets.reading.files import FileDataset, split_id


@dataclass(frozen=True)
class Count:
    """Number of samples of one part, found and published; ``published`` is None where no number is."""

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
    """Result of `verify`.

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
        Fatal ones first, then errors, then notes.
    duplicates
        Groups of equal images, blank ones (of a single colour) excepted.
    blank
        Number of samples in groups of equal blank images, such as AITEX's patches without fabric.
    """

    dataset: str
    root: str | None
    fingerprint: str | None = None
    source: str = ""
    counts: tuple[Count, ...] = ()
    problems: tuple[Problem, ...] = ()
    duplicates: tuple[Duplicates, ...] = field(default=())
    blank: int = 0

    @property
    def sound(self) -> bool:
        """Whether nothing is missing, broken or miscounted; notes and duplicates do not count."""
        return all(problem.severity == "note" for problem in self.problems)

    @property
    def surplus(self) -> int:
        """Number of images beyond the first of each group of duplicates."""
        return sum(len(group.ids) - 1 for group in self.duplicates)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "sound": self.sound, "surplus_copies": self.surplus}


_ORDER = {"fatal": 0, "error": 1, "note": 2}


def verify(dataset: Dataset) -> Report:
    """Check all that can be checked without another copy; the first visit reads every file, later ones take seconds.

    Raises
    ------
    DatasetError
        The download is not there at all.
    """
    root = one_line(dataset.base.as_posix()) if isinstance(dataset, FileDataset) else None
    problems = list(dataset.problems()) if _listable(dataset) else _without_samples(dataset)
    if any(problem.severity == "fatal" for problem in problems):
        return Report(dataset.full_name, root, problems=_sorted(problems))
    digests, broken = dataset.decoded
    problems += [Problem("error", name, message) for name, message in broken.items()]
    published = dataset.published
    counts = _counts(dataset.counts, published.counts if published else {})
    if published is not None:
        problems += _miscounted(counts, published)
    try:
        files, fingerprint = dataset.digests, dataset.fingerprint
    except DatasetError:  # a file that cannot be read, reported above
        files, fingerprint = {}, None
    equal = groups_of_equal(digests)
    blank = [ids for ids in equal if _is_blank(dataset, ids)]
    problems += [_blank_note(ids) for ids in blank]
    problems += [_contradiction(dataset, ids) for ids in equal if len({dataset.by_id[name].label for name in ids}) > 1]
    groups = tuple(_duplicates(dataset, ids, files) for ids in equal if ids not in blank)
    source = published.source if published else ""
    return Report(dataset.full_name, root, fingerprint, source, counts, _sorted(problems), groups, sum(map(len, blank)))


def _miscounted(counts: tuple[Count, ...], published: Published) -> list[Problem]:
    """One error, and one note for the approximate counts, that name every part whose number is not the published one."""
    problems = []
    for severity, approximate in (("error", False), ("note", True)):
        wrong = [
            f"{count.part} {count.found} instead of {count.published}"
            for count in counts
            if count.published not in (None, count.found) and (count.part in published.approximate) == approximate
        ]
        if wrong:
            text = f"counts are not those published: {', '.join(wrong)} ({published.source})"
            problems.append(Problem(severity, "", text))  # type: ignore[arg-type]
    return problems


def _is_blank(dataset: Dataset, ids: tuple[str, ...]) -> bool:
    """Whether equal images are of a single colour; one of them is read."""
    image = dataset.read(dataset.by_id[ids[0]])
    return bool((image == image[0, 0]).all())


def _blank_note(ids: tuple[str, ...]) -> Problem:
    return Problem("note", "", f"{len(ids)} samples are blank, of one and the same colour ({examples(ids)})")


def _contradiction(dataset: Dataset, ids: tuple[str, ...]) -> Problem:
    """One picture, labelled both normal and anomalous."""
    normal = [name for name in ids if dataset.by_id[name].label == 0]
    anomalous = [name for name in ids if dataset.by_id[name].label == 1]
    kinds = ", ".join(sorted({str(dataset.by_id[name].kind) for name in anomalous}))
    return Problem(
        "error",
        anomalous[0],
        f"shows the same picture as {examples(normal)}: labelled both an anomaly ({kinds}) and normal. Remove the wrong one; "
        "--dedup leaves out both",
    )


def _sorted(problems: list[Problem]) -> tuple[Problem, ...]:
    return tuple(sorted(problems, key=lambda problem: (_ORDER[problem.severity], problem.file)))


def _listable(dataset: Dataset) -> bool:
    try:
        return bool(dataset.samples)
    except DatasetError:
        return False


def _without_samples(dataset: Dataset) -> list[Problem]:
    """Why the samples cannot be listed: the problems that the survey found, or the error itself."""
    if isinstance(dataset, FileDataset) and any(problem.severity == "fatal" for problem in dataset.survey_problems):
        return [*dataset.survey_problems, *dataset.passed_over]
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
