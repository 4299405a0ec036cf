"""One file that holds the results of a store, for others to recompute: records, scores and digests, no images.

A submission is a zip archive::

    submission.json            what it holds: title, sha256 of every other file
    records/ab/abcdef….json    as in a store
    scores/ab/abcdef….npz
    plan.json                  the frozen plan, where there is one

It can be a stranger's file: nothing in it is executed, and nothing is unpacked before names and sizes are checked. Each file's
digest is checked before the file is written.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path
from typing import IO, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from osad_bench.core.files import open_regular, prepared
from osad_bench.core.text import printable
from osad_bench.results.damage import REMEDY
from osad_bench.results.metrics import compute
from osad_bench.results.record import Moment, Record, TestScores, Text
from osad_bench.results.registered import FrozenPlan, parse_plan
from osad_bench.results.row import Row
from osad_bench.results.store import Store, StoreError, foreign_files

MOST_FILES = 400_000
"""Most files in a submission."""
MOST_BYTES = 4 * 2**30
"""Most bytes of all files together, unpacked; 6,000 cells of ELPV take 120 MB."""
MOST_OF_ONE = {"records": 2**24, "scores": 2**28, "submission.json": 2**27, "plan.json": 2**28}
"""Folder or file to the most bytes of one file, unpacked."""
SAME = 1e-9
"""Metrics that differ by no more are equal, as the order of a sum may differ."""

_NAME = re.compile(
    r"(submission|plan)\.json|records/([0-9a-f]{2})/\2[0-9a-f]{62}\.json|scores/([0-9a-f]{2})/\3[0-9a-f]{62}\.npz"
)


class SubmissionError(StoreError):
    """A submission cannot be made or read; the message names the file."""


class Manifest(BaseModel):
    """The content of ``submission.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["osad-bench submission 1"] = "osad-bench submission 1"
    title: Text = Field("", max_length=200)
    made: Moment = Field(default_factory=lambda: datetime.now(timezone.utc))
    project_version: str = Field("", max_length=100)
    files: dict[str, str] = Field(description="name of each file to its sha256")


@dataclass(frozen=True)
class Submission:
    """An unpacked submission, checked to be whole.

    Attributes
    ----------
    path, digest
        The archive and its sha256.
    manifest
        The content of its ``submission.json``.
    store
        Its records and scores, in a temporary folder.
    plan
        The frozen plan in it; None where there is none.
    """

    path: Path
    digest: str
    manifest: Manifest
    store: Store
    plan: FrozenPlan | None

    @property
    def title(self) -> str:
        """The submission's title, or the file's name where it has none."""
        return printable(self.manifest.title or self.path.name.removesuffix(".osad.zip"))


def submit(
    root: Path,
    target: Path,
    title: str = "",
    plan: FrozenPlan | None = None,
    version: str = "",
    say: Callable[[str], None] = lambda _: None,
) -> int:
    """Write the records of the store `root` into the file `target`; return their number.

    Each record is checked first, and so are the scores of the finished ones. `say` is called with a sentence on files that were
    passed over.

    Raises
    ------
    SubmissionError
        The store is empty, or there is a file `target` already.
    StoreError
        A record or its scores are missing or damaged.
    OSError
        The file cannot be written.
    """
    store = Store(root)
    keys = store.keys()
    for sentence in foreign_files(root):
        say(sentence)
    if not keys:
        raise SubmissionError(f"no records in {root}: expected the folder that `osad-bench run --out` wrote")
    if target.exists():
        raise SubmissionError(f"{target} is there already: name another file with --out, or delete it")
    digests: dict[str, str] = {}

    def write(stream: IO[bytes]) -> None:
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:

            def add(name: str, content: bytes) -> None:
                digests[name] = hashlib.sha256(content).hexdigest()
                archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)

            for key in keys:
                record = store.get(key)
                add(f"records/{key[:2]}/{key}.json", (root / "records" / key[:2] / f"{key}.json").read_bytes())
                if record.status == "ok":
                    store.scores(key)
                    add(f"scores/{key[:2]}/{key}.npz", (root / "scores" / key[:2] / f"{key}.npz").read_bytes())
            if plan is not None:
                add("plan.json", plan.dump().encode())
            manifest = Manifest(title=title, project_version=version, files=digests)
            archive.writestr("submission.json", manifest.model_dump_json(indent=1))

    with prepared(target, write) as temporary:
        temporary.replace(target)
    return len(keys)


def digest_of(path: Path) -> str:
    """Sha256 of a file.

    Raises
    ------
    SubmissionError
        It cannot be read.
    """
    sha = hashlib.sha256()
    try:
        with open_regular(path) as stream:
            while block := stream.read(2**20):
                sha.update(block)
    except OSError as error:
        raise SubmissionError(f"cannot read the submission {path}: {error.strerror}") from None
    return sha.hexdigest()


@contextmanager
def opened(path: Path) -> Iterator[Submission]:
    """Context manager: unpack a submission into a temporary folder, which is deleted at the end.

    Raises
    ------
    SubmissionError
        The file is missing, no submission, too large, or was changed after it was made.
    InputError
        Its ``plan.json`` is no plan.
    OSError
        The disk is full.
    """
    digest = digest_of(path)
    with tempfile.TemporaryDirectory(prefix="osad-bench-") as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                members = _checked_members(path, archive)
                manifest = _manifest(path, archive, members)
                for name, wanted in manifest.files.items():
                    content = _read(path, archive, members[name])
                    if hashlib.sha256(content).hexdigest() != wanted:
                        raise SubmissionError(f"{path}: {name} was changed after the submission was made")
                    place = Path(folder, name)
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_bytes(content)
        except SubmissionError:
            raise
        except (
            Exception
        ) as error:  # zipfile raises BadZipFile, zlib.error, RuntimeError (encrypted), OSError and others
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise SubmissionError(f"{path} is no submission, or is damaged ({type(error).__name__})") from None
        plan = Path(folder, "plan.json")
        frozen = parse_plan(plan.read_bytes(), f"plan.json in {path}") if plan.exists() else None
        try:
            yield Submission(path, digest, manifest, Store(folder), frozen)
        except SubmissionError:
            raise
        except StoreError as error:
            reason = str(error).replace(f"{folder}{os.sep}", "").replace(f". {REMEDY}", "")
            raise SubmissionError(f"{path}: {reason}") from None


def _checked_members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    members = archive.infolist()
    if len(members) > MOST_FILES:
        raise SubmissionError(f"{path} holds {len(members)} files, expected at most {MOST_FILES}")
    size = sum(member.file_size for member in members)
    if size > MOST_BYTES:
        raise SubmissionError(f"{path} unpacks to {size / 2**30:.1f} GB, expected at most {MOST_BYTES / 2**30:.0f} GB")
    found: dict[str, zipfile.ZipInfo] = {}
    for member in members:
        name = member.filename
        if not _NAME.fullmatch(name) or name in found:
            raise SubmissionError(f"{path} holds {name[:80]!r}, which is no part of a submission; nothing was unpacked")
        most = MOST_OF_ONE[name.partition("/")[0]]
        if member.file_size > most:
            raise SubmissionError(
                f"{path}: {name} unpacks to {member.file_size / 2**20:.0f} MB, expected at most {most / 2**20:.0f} MB"
            )
        found[name] = member
    return found


def _read(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """The bytes of one file in the archive; no more than its stated size is unpacked."""
    with archive.open(member) as stream:
        content = stream.read(member.file_size + 1)
    if len(content) != member.file_size:
        raise SubmissionError(f"{path}: {member.filename} is damaged")
    return content


def _manifest(path: Path, archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo]) -> Manifest:
    if "submission.json" not in members:
        raise SubmissionError(f"{path} is no submission: it holds no submission.json (osad-bench submit DIR makes one)")
    try:
        manifest = Manifest.model_validate_json(_read(path, archive, members["submission.json"]))
    except ValidationError as error:
        raise SubmissionError(
            f"{path}: submission.json is damaged, or of a newer osad-bench ({error.errors()[0]['msg']})"
        ) from None
    if set(manifest.files) != members.keys() - {"submission.json"}:
        raise SubmissionError(f"{path}: files were added or taken away after the submission was made")
    if not any(name.startswith("records/") for name in manifest.files):
        raise SubmissionError(f"{path} holds no record")
    return manifest


State = Literal["ok", "bad", "unchecked"]
"""Result of a check."""


@dataclass(frozen=True)
class Check:
    """The result of one check of a submission.

    Attributes
    ----------
    what
        ``metrics``, ``pixels``, ``seeds``, ``names``, ``splits`` or ``rerun``.
    method
        The method it says something about, as tables name it; empty for all.
    data
        Fingerprint of the data set it says something about; empty for all.
    """

    what: str
    state: State
    message: str
    method: str = ""
    data: str = ""


def label_of(record: Record) -> str:
    """A record's method and variant, as tables name them."""
    return printable(f"{record.cell.method} {record.variant}".strip())


def check_seeds(store: Store) -> list[Check]:
    """Seeds that a method lacks, up to the largest one of its row: why they are not there is not known."""
    rows: dict[Row, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for record in store:
        if record.cell.protocol.part == "test":
            row = Row.of(record.cell, record.preset)
            rows[row][label_of(record)].add(record.cell.protocol.seed)
    found = []
    for row, seeds in rows.items():
        most = max(seed for mine in seeds.values() for seed in mine)
        for label, mine in seeds.items():
            if absent := in_ranges(mine, most):
                message = f"{label} on {row.title}: not there: seeds {absent}; whether they were left out is not known"
                found.append(Check("seeds", "unchecked", message, label, row.fingerprint))
    return found


def in_ranges(seeds: set[int], most: int) -> str:
    """The numbers from 0 to `most` that are not among `seeds`, such as ``2, 5 to 9``."""
    edges = [-1, *sorted(seeds), most + 1]
    gaps = [(low + 1, high - 1) for low, high in pairwise(edges) if high - low > 1]
    return ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in gaps)


def check_numbers(store: Store) -> list[Check]:
    """Checks that need no images: recompute all metrics from the scores, and compare records with each other.

    Raises
    ------
    StoreError
        A record or its scores are damaged.
    """
    found: list[Check] = []
    divisions: dict[tuple[str, str], tuple[str, tuple[str, ...], str]] = {}
    counted: dict[str, int] = defaultdict(int)
    mapped: dict[str, int] = defaultdict(int)
    for record in store:
        label = label_of(record)
        name = f"{record.key[:12]} ({label} on {printable(record.cell.dataset)}, seed {record.cell.protocol.seed})"
        if record.metrics is None:
            found.append(Check("metrics", "unchecked", f"{name} failed when it was run, so it has no results", label))
            continue
        if not store.has_scores(record.key):
            found.append(Check("metrics", "bad", f"{name} has no scores", label))
            continue
        scores = store.scores(record.key)
        problems = [*_other_metrics(record, scores), *_inconsistent(record, scores)]
        place = (record.cell.fingerprint, record.cell.protocol.model_dump_json())
        division = (record.split.digest if record.split else "", tuple(sorted(scores.ids.tolist())), name)
        if divisions.setdefault(place, division)[:2] != division[:2]:
            problems.append(f"another split than {divisions[place][2]}, for the same protocol and images")
        found += [Check("metrics", "bad", f"{name}: {problem}", label) for problem in problems]
        counted[label] += not problems
        mapped[label] += record.metrics.pixel_auroc is not None
    for label, count in ((label, count) for label, count in mapped.items() if count):
        message = f"pixel metrics of {count} cells of {label} cannot be recomputed, as heat maps are not stored"
        found.append(Check("pixels", "unchecked", message, label))
    for label, count in counted.items():
        if count:
            found.append(Check("metrics", "ok", f"{count} cells of {label}: all metrics agree with the scores", label))
    return found


def _other_metrics(record: Record, scores: TestScores) -> Iterator[str]:
    try:
        now = compute(scores)
    except ValueError as error:
        yield f"no metrics can be computed from the scores ({error})"
        return
    assert record.metrics is not None
    for name in ("auroc", "average_precision", "fpr95"):
        stored, computed = getattr(record.metrics, name), getattr(now, name)
        if abs(stored - computed) > SAME:
            yield f"{name} is stored as {stored:.6f}, but the scores give {computed:.6f}"
    kinds = record.metrics.per_kind
    if kinds.keys() != now.per_kind.keys() or any(abs(kinds[kind] - now.per_kind[kind]) > SAME for kind in kinds):
        yield "the AUROCs by kind do not agree with the scores"


def _inconsistent(record: Record, scores: TestScores) -> Iterator[str]:
    split, protocol = record.split, record.cell.protocol
    if split is None:
        yield "it holds no summary of its split"
        return
    if (split.test_normal, split.test_anomaly) != (int((scores.labels == 0).sum()), int((scores.labels == 1).sum())):
        yield "the numbers of normals and anomalies with scores differ from those of the split"
    if set(split.known) & set(scores.ids.tolist()):
        yield "known anomalies are among the tested images"
    if len(split.known) != split.train_anomaly or (protocol.part == "test" and split.train_anomaly != protocol.shots):
        yield f"{len(split.known)} anomalies are known, and the protocol says {protocol.shots}"
    if (scores.kinds[scores.labels == 0] != "").any() or (scores.kinds[scores.labels == 1] == "").any():
        yield "a normal image has a kind, or an anomaly has none"
    if protocol.known_kind is not None and np.isin(scores.kinds, [protocol.known_kind]).any():
        yield "the known kind is among the tested images"


class Verification(BaseModel):
    """What `osad-bench verify FILE` found, stored as ``FILE.verified.json`` beside FILE."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["osad-bench verification 2"] = "osad-bench verification 2"
    sha256: str
    made: Moment = Field(default_factory=lambda: datetime.now(timezone.utc))
    project_version: str = ""
    checks: list[tuple[str, State, Text, Text, Text]] = Field(description="what, state, message, method, data")

    def of_method(self, label: str, data: str) -> tuple[bool, str]:
        """Whether a method's results on a data set are verified, and why not.

        They are where all of the method's numbers, splits and names are right, and a cell on these data was run again alike.

        Parameters
        ----------
        data
            The data set's fingerprint.
        """
        mine = [check for check in self.checks if check[3] in ("", label)]
        for what, state, message, *_ in mine:
            if state == "bad":
                return False, f"{what}: {message}"
        mine = [check for check in mine if check[4] in ("", data)]
        for wanted, lacking in (
            ("metrics", "no metric was recomputed"),
            ("splits", "its splits were not checked against the images"),
            ("rerun", "no cell of it was run again"),
        ):
            if not any(what == wanted and state == "ok" for what, state, *_ in mine):
                return False, lacking
        return True, ""


def verification_path(path: Path) -> Path:
    """The file in which `osad-bench verify` stores what it found of the submission `path`."""
    return path.with_name(f"{path.name}.verified.json")


def read_verification(submission: Submission) -> Verification | None:
    """What `osad-bench verify` found of a submission; None where it was not run here, or the submission was changed since."""
    try:
        found = Verification.model_validate_json(verification_path(submission.path).read_bytes())
    except (OSError, ValidationError):
        return None
    return found if found.sha256 == submission.digest else None
