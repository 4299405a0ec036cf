"""Which images are trained on and which are tested on: a function of the data set and the protocol alone.

The protocol is DRA's (Ding, Pang and Shen, CVPR 2022, Sec. 4.1), which AHL and DPDL follow:

- normals: the data set's own split where it has one, else 75 % / 25 % by scikit-learn's
  ``train_test_split(test_size=0.25, random_state=42)`` over the *sorted* ids (published code shuffles the file system's
  order, which differs between machines);
- general setting: all anomalies in an order fixed by the seed; the first M are known (training), the others are tested on;
- hard setting: the first M of one kind are known; anomalies of all *other* kinds are tested on; the remainder of the known
  kind is left out.

Optional difficulties (`osad_bench.results.record.STRESS`), each off by default:

- contamination c: anomalies are put among the training normals, so that they make up the share c of them (rounded down, as
  in DRA's code, ``cont_rate``). They are the last of the anomalies that are left out of the test part, so that they are
  neither known nor tested, and are the same for every M with the same reserve;
- mislabelled s: the share s (rounded down) of the M known anomalies is wrong: training normals take the place of the last
  ones, which are left out. (The reverse, an anomaly labelled normal, is contamination.)
- train group, test group: the images to train on are of one group, those to test on of another.

The order is by sha256 of seed and id, so that it is the same for every version of every library and M = 1 is nested in
M = 10.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from osad_bench.core.errors import InputError
from osad_bench.core.files import read_bounded, write_named
from osad_bench.datasets.base import Dataset, Sample
from osad_bench.datasets.duplicates import surplus_copies
from osad_bench.results.record import Protocol

TEST_SHARE = 0.25
NORMAL_SEED = 42


@dataclass(frozen=True)
class Split:
    """Ids of the four parts, each in a fixed order.

    Raises
    ------
    AssertionError
        The parts are not disjoint.
    """

    train_normal: tuple[str, ...]
    train_anomaly: tuple[str, ...]
    test_normal: tuple[str, ...]
    test_anomaly: tuple[str, ...]

    def __post_init__(self) -> None:
        ids = sum(self.parts().values(), ())
        if len(set(ids)) < len(ids):
            repeated = [name for name, n in Counter(ids).items() if n > 1]
            raise AssertionError(f"split is not disjoint: {repeated[:3]}")

    def parts(self) -> dict[str, tuple[str, ...]]:
        """The four parts by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def digest(self) -> str:
        """Hexadecimal sha256 of the four lists."""
        return hashlib.sha256(json.dumps(self.parts(), sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _shuffled(ids: Sequence[str], salt: str) -> list[str]:
    """Ids in the pseudo-random order that `salt` fixes, whatever the machine or library version."""
    return list(_order(tuple(ids), salt))


@lru_cache(maxsize=1024)
def _order(ids: tuple[str, ...], salt: str) -> tuple[str, ...]:
    """`_shuffled`, cached: all shots of a seed and all kinds share an order."""
    before = f"{salt}/".encode()
    digests = [hashlib.sha256(before + name).digest() for name in _encoded(ids)]
    return tuple(name for _, name in sorted(zip(digests, ids)))


@lru_cache(maxsize=64)
def _encoded(ids: tuple[str, ...]) -> list[bytes]:
    return [name.encode("utf-8", "surrogateescape") for name in ids]


@lru_cache(maxsize=64)
def _random_parts(ids: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Training and test part of normals that the data set itself does not divide, each sorted."""
    from sklearn.model_selection import train_test_split

    train, test = train_test_split(ids, test_size=TEST_SHARE, random_state=NORMAL_SEED)
    return tuple(sorted(train)), tuple(sorted(test))


def _normals(samples: Sequence[Sample], name: str) -> tuple[list[str], list[str]]:
    """Ids of training and test normals."""
    normals = [sample for sample in samples if sample.label == 0]
    if len(normals) < 4:
        raise InputError(
            f"data set {name} has {len(normals)} normal images; at least 4 are needed to train and test on"
        )
    if not any(sample.partition for sample in normals):
        parts = _random_parts(tuple(sample.id for sample in normals))
        return list(parts[0]), list(parts[1])
    train = [sample.id for sample in normals if sample.partition == "train"]
    test = [sample.id for sample in normals if sample.partition == "test"]
    if not train or not test:
        missing = "training" if not train else "test"
        raise InputError(
            f"data set {name} has no {missing} normals; put normal images into its {missing} part (test/good in MVTec layout)"
        )
    return train, test


def known_kinds(dataset: Dataset, shots: int, group: str | None = None) -> tuple[str, ...]:
    """Kinds that can be the known one of the hard setting: those with at least `shots` anomalies, sorted.

    Kinds that the published tables of the hard setting leave out (AITEX, Mastcam) are left out here too.

    Parameters
    ----------
    group
        Count only the anomalies of this group of images.

    Raises
    ------
    InputError
        The data set has fewer than two kinds, or none has enough anomalies.
    """
    counts = Counter(sample.kind for sample in dataset.samples if sample.kind is not None)
    if len(counts) < 2:
        kinds = ", ".join(counts) or "none"
        raise InputError(
            f"the hard setting needs at least two kinds of anomaly, and {dataset.full_name} has {len(counts)} ({kinds}); "
            "use --setting general"
        )
    if group is not None:
        counts = Counter(sample.kind for sample in dataset.samples if sample.kind and sample.group == group)
    if dataset.hard_kinds:
        counts = Counter({kind: n for kind, n in counts.items() if kind in dataset.hard_kinds})
    enough = tuple(sorted(kind for kind, n in counts.items() if n >= shots))
    if not enough:
        raise InputError(
            f"no kind of {dataset.full_name} has {shots} anomalies ({', '.join(f'{k}: {n}' for k, n in sorted(counts.items()))}); "
            f"use --shots {max(counts.values(), default=0)} or fewer"
        )
    return enough


def split(dataset: Dataset, protocol: Protocol) -> Split:
    """Divide a data set.

    Parameters
    ----------
    dataset
        Only its samples are used; images are read only if ``protocol.dedup`` is set, once per data set.
    protocol
        The setting, shots, seed and options.

    Raises
    ------
    InputError
        Too few normals or anomalies for the protocol, or no such group or kind; the message says what to do.
    DatasetError
        With ``protocol.dedup``: an image cannot be read.
    """
    train_normal, test_normal, train, test = _apart(dataset, _Who.of(protocol))
    polluting = contaminants(dataset, protocol)
    reserved = max(protocol.shots + polluting, protocol.reserve)
    order = _shuffled(train, str(protocol.seed))
    test_anomaly = _shuffled(test, str(protocol.seed))
    if protocol.setting == "general":
        # Anomalies that are trained on, here or at another M with this reserve, are not tested on.
        kept = {*order[:reserved], *test_anomaly[: protocol.reserve]}
        test_anomaly = [name for name in test_anomaly if name not in kept]
    known = order[: protocol.shots]
    if len(order) < protocol.shots + polluting or not test_anomaly:
        raise InputError(_too_few(dataset, protocol, len(order), polluting, reserved))
    if protocol.part == "validation":
        # Cut from the training part alone: a quarter of the normals, half of the known anomalies.
        mixed = _shuffled(train_normal, f"validation/{protocol.seed}")
        held = max(1, round(len(mixed) * TEST_SHARE))
        half = (protocol.shots + 1) // 2
        return Split(tuple(sorted(mixed[held:])), tuple(known[:half]), tuple(sorted(mixed[:held])), tuple(known[half:]))
    reserved = min(reserved, len(order))
    wrong = _mislabelled(train_normal, protocol)
    if polluting or wrong:
        train_normal = tuple(sorted({*train_normal, *order[reserved - polluting : reserved]}.difference(wrong)))
    known = [*known[: protocol.shots - len(wrong)], *wrong]
    return Split(train_normal, tuple(known), test_normal, tuple(sorted(test_anomaly)))


class _Who(NamedTuple):
    """The part of a protocol that says which images may be trained and tested on; the same for all seeds and shots."""

    setting: str
    known_kind: str | None
    dedup: bool
    train_group: str | None
    test_group: str | None

    @classmethod
    def of(cls, protocol: Protocol) -> _Who:
        return cls(
            protocol.setting, protocol.known_kind, protocol.dedup, protocol.train_group, protocol.test_group
        )  # fmt: skip


@lru_cache(maxsize=256)
def _apart(dataset: Dataset, who: _Who) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Ids of the training normals (sorted), the test normals, the anomalies to train on and those to test on."""
    train, test = _normals_of(dataset, who)
    training, tested = _anomalies_of(dataset, who)
    return (
        tuple(sorted(train)), tuple(test), tuple(sample.id for sample in training), tuple(sample.id for sample in tested)
    )  # fmt: skip


def _samples_of(dataset: Dataset, who: _Who) -> Sequence[Sample]:
    """The samples to divide, after a check that the groups named exist."""
    for option in ("train_group", "test_group"):
        group = getattr(who, option)
        if group is not None and group not in dataset.groups:
            known = f"groups: {', '.join(dataset.groups)}" if dataset.groups else "it has no groups of images"
            raise InputError(f"{dataset.full_name} has no group {group!r} (--{option.replace('_', '-')}); {known}")
    if not who.dedup:
        return dataset.samples
    surplus = surplus_copies(dataset)
    return [sample for sample in dataset.samples if sample.id not in surplus]


def _trains(sample: Sample, who: _Who) -> bool:
    return who.train_group in (None, sample.group)


def _tests(sample: Sample, who: _Who) -> bool:
    if who.test_group is not None:
        return sample.group == who.test_group
    return who.train_group is None or sample.group != who.train_group


def _normals_of(dataset: Dataset, who: _Who) -> tuple[list[str], list[str]]:
    """Ids of the training normals of the training group, and of the test normals of the test group."""
    train, test = _normals(_samples_of(dataset, who), dataset.full_name)
    train = [name for name in train if _trains(dataset.by_id[name], who)]
    test = [name for name in test if _tests(dataset.by_id[name], who)]
    if not train or not test:
        part, group = ("training", who.train_group) if not train else ("test", who.test_group)
        raise InputError(f"{dataset.full_name} has no {part} normals of group {group!r}; use another group")
    return train, test


def _anomalies_of(dataset: Dataset, who: _Who) -> tuple[list[Sample], list[Sample]]:
    """The anomalies that the known ones are taken from, and those that the tested ones are taken from."""
    anomalies = [sample for sample in _samples_of(dataset, who) if sample.label == 1]
    training = [sample for sample in anomalies if _trains(sample, who)]
    tested = [sample for sample in anomalies if _tests(sample, who)]
    if who.setting == "hard":
        known_kinds(dataset, 1)
        kinds = {str(sample.kind) for sample in anomalies}
        if who.known_kind not in kinds:
            raise InputError(
                f"{dataset.full_name} has no anomalies of kind {who.known_kind!r}; kinds: {', '.join(sorted(kinds))}"
            )
        training = [sample for sample in training if sample.kind == who.known_kind]
        tested = [sample for sample in tested if sample.kind != who.known_kind]
    return training, tested


def _down(count: float) -> int:
    """Round a number of images down, allowing for rounding errors: 0.29 * 100 gives 29."""
    return math.floor(count + 1e-9)


def contaminants(dataset: Dataset, protocol: Protocol) -> int:
    """Number of anomalies to put among the training normals, so that they make up the share ``protocol.contamination``.

    Raises
    ------
    InputError
        The share is above 0 but less than one image.
    """
    share = protocol.contamination
    if not share:
        return 0
    normals, *_ = _apart(dataset, _Who.of(protocol))
    count = _down(len(normals) * share / (1 - share))
    if not count:
        raise InputError(
            f"--contamination {share:g} of {len(normals)} training normals is less than one image; "
            f"use {math.ceil(1000 / (len(normals) + 1)) / 1000} or more"
        )
    return count


def _mislabelled(train_normal: Sequence[str], protocol: Protocol) -> list[str]:
    """Ids of the normals that take the place of known anomalies."""
    count = _down(protocol.shots * protocol.mislabelled)
    if protocol.mislabelled and not count:
        raise InputError(
            f"--mislabelled {protocol.mislabelled:g} of {protocol.shots} shots is less than one label; "
            f"use --shots {math.ceil(1 / protocol.mislabelled)} or more"
        )
    if not count:
        return []
    if count >= len(train_normal):
        raise InputError(
            f"--mislabelled {protocol.mislabelled:g} of {protocol.shots} shots takes {count} training normals, and there are only "
            f"{len(train_normal)}"
        )
    return _shuffled(train_normal, f"mislabelled/{protocol.seed}")[:count]


def _too_few(dataset: Dataset, protocol: Protocol, found: int, polluting: int, reserved: int) -> str:
    """Message for too few anomalies: the problem and the remedy."""
    of = f" of kind {protocol.known_kind!r}" if protocol.known_kind else ""
    of += f" of group {protocol.train_group!r}" if protocol.train_group else ""
    # In the general setting at least one anomaly has to be left to test.
    most = found - polluting - (protocol.setting == "general")
    remedy = f"use --shots {most} or fewer" if most > 0 else "the data set needs more anomalies"
    half = (found - polluting) // 2
    if protocol.setting == "general" and 0 < half < most:
        remedy += f" (--shots {half} leaves {found - polluting - half} to test on)"
    if polluting:
        remedy += ", or a smaller --contamination"
    asked = f"{protocol.shots} shots" + (f" and {polluting} contaminants" if polluting else "")
    if found < protocol.shots + polluting:
        problem = f"{found} anomalies{of}, fewer than the {asked} asked for"
    elif protocol.setting == "hard":
        problem, remedy = "no anomalies of another kind to test on in that group", "use another group"
    else:
        problem = f"{found} anomalies{of}, of which {reserved} are kept for training: none is left to test on"
    return f"{dataset.full_name} has {problem}; {remedy}"


def crossing(split: Split, duplicates: Sequence[Sequence[str]]) -> int:
    """Number of test images that have an identical copy in training."""
    train = {*split.train_normal, *split.train_anomaly}
    test = {*split.test_normal, *split.test_anomaly}
    return sum(len(test.intersection(group)) for group in duplicates if train.intersection(group))


HEADER = "# osad-bench split 1"
MOST_BYTES = 2**28
"""Largest size of a split's file that is read: a million images take 60 MB."""
_ESCAPES = {"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"}


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in text)


def _unescaped(text: str) -> str:
    plain = {written: character for character, written in _ESCAPES.items()}
    return re.sub(r"\\[\\tnr]", lambda match: plain[match.group()], text)


def write_split(path: Path, dataset: Dataset, protocol: Protocol, split: Split) -> None:
    r"""Export a split as text: comment lines that identify it, then ``part <TAB> kind <TAB> id`` per line.

    Tabs, line breaks and backslashes within names are written as in Python: ``\t``, ``\n``, ``\\``. Bytes of a file name
    that are no UTF-8 are written as they are.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    lines = [
        HEADER,
        f"# dataset: {_escaped(dataset.full_name)}",
        f"# fingerprint: {dataset.fingerprint}",
        f"# protocol: {protocol.model_dump_json()}",
        f"# digest: {split.digest}",
        "part\tkind\tid",
    ]
    for part, ids in split.parts().items():
        lines += [f"{part}\t{_escaped(dataset.by_id[name].kind or '')}\t{_escaped(name)}" for name in ids]
    write_named(path, ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape"))


def read_split(path: Path) -> tuple[dict[str, str], Protocol, Split]:
    """Import a split written by `write_split`.

    Returns
    -------
    header, protocol, split
        The header holds ``dataset``, ``fingerprint``, ``protocol`` (JSON) and ``digest``.

    Raises
    ------
    InputError
        The file cannot be read, is no split, or was changed after it was written.
    """
    try:
        text = read_bounded(path, MOST_BYTES).decode("utf-8", "surrogateescape")
    except OSError as error:
        raise InputError(f"cannot read the split {path}: {error.strerror}") from None
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    if lines[0] != HEADER:
        raise InputError(f"{path} is not a split: its first line should be {HEADER!r}")
    header = dict(line[2:].split(": ", 1) for line in lines[1:] if line.startswith("# ") and ": " in line)
    header["dataset"] = _unescaped(header.get("dataset", ""))
    for name in ("dataset", "fingerprint", "digest"):
        if not header.get(name):
            raise InputError(f"{path}: the line '# {name}: ...' is missing; export the split again")
    parts: dict[str, list[str]] = {field.name: [] for field in fields(Split)}
    for number, line in enumerate(lines, 1):
        if line.startswith("#") or line == "part\tkind\tid" or not line:
            continue
        columns = line.split("\t")
        if len(columns) != 3 or columns[0] not in parts:
            raise InputError(
                f"{path}, line {number}: expected 'part<TAB>kind<TAB>id' with part one of {', '.join(parts)}"
            )
        parts[columns[0]].append(_unescaped(columns[2]))
    try:
        result = Split(**{part: tuple(ids) for part, ids in parts.items()})
    except AssertionError as error:
        raise InputError(f"{path}: {error}") from None
    if result.digest != header["digest"]:
        raise InputError(
            f"{path} was changed: its lists have digest {result.digest[:12]}, but its header says {header['digest'][:12]}"
        )
    try:
        return header, Protocol.model_validate_json(header["protocol"]), result
    except (KeyError, ValidationError):
        raise InputError(
            f"{path}: the line '# protocol: ...' is missing or was changed; export the split again"
        ) from None
