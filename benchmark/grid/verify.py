"""Check a submission against the data of this machine: images, splits, and cells that are run again."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache, lru_cache

import numpy as np
from pydantic import ValidationError

from osad_bench.benchmark.cell.execute import PlannedCell, dataset_of, execute
from osad_bench.benchmark.cell.machine import Machine
from osad_bench.benchmark.cell.source import source_digest
from osad_bench.benchmark.cell.split import split
from osad_bench.benchmark.features.backbones import load_backbone
from osad_bench.benchmark.grid.plan import parse_change
from osad_bench.benchmark.grid.usable import method_named
from osad_bench.benchmark.preset import BUILT_IN, Preset, load_preset
from osad_bench.core.errors import InputError
from osad_bench.core.registry import UnknownNameError, datasets, methods
from osad_bench.core.text import printable
from osad_bench.core.tolerance import ACROSS_MACHINES, TRAINED_CELL
from osad_bench.datasets.base import Dataset, DatasetError
from osad_bench.methods.base import Method
from osad_bench.results.record import Record, TestScores
from osad_bench.results.store import Store
from osad_bench.results.submission import Check, State, label_of


def check_names(store: Store) -> list[Check]:
    """Is each method and preset what it is called, as far as it is installed here?

    A record's titles, the settings told of a method and a preset's name are words beside its configuration, which is part
    of its key. Results of changed settings must not stand under the name of the default ones.
    """
    found: dict[tuple[str, str, str], Check] = {}
    for record in store:
        label = label_of(record)
        for problem in _misnamed(record):
            check = Check("names", "bad", f"{record.key[:12]} ({label}): {problem}", label, record.cell.fingerprint)
            found.setdefault((label, record.preset, problem), check)
    return list(found.values())


def _misnamed(record: Record) -> Iterator[str]:
    cls, _ = _installed(record)
    owner = _titles().get(record.method_title, record.cell.method)
    if owner != record.cell.method:
        yield f"it is called {printable(record.method_title)} as {owner} is, and is {printable(record.cell.method)}"
    dataset = record.cell.dataset.partition("/")[0]
    if dataset in datasets.names() and record.dataset_title not in ("", datasets.get(dataset).title):
        yield f"its data set is called {printable(record.dataset_title)}, and is {printable(record.cell.dataset)}"
    if cls is not None:
        if record.method_title not in ("", cls.title) and owner == record.cell.method:
            yield f"it is called {printable(record.method_title)}, and {record.cell.method} is {cls.title}"
        usual = cls.Config().model_dump(mode="json")
        changed = {
            name: value for name, value in record.cell.config.items() if name not in usual or usual[name] != value
        }
        settings = ", ".join(f"{name}={value}" for name, value in changed.items())
        if record.variant != settings:
            told, true = (printable(text or "the defaults") for text in (record.variant, settings))
            yield f"its settings are told as {told}, and are {true}"
    other = _other_preset(record)
    if other:
        yield f"its preset is told as {printable(record.preset)}, and has another {', '.join(map(printable, other))}"


@cache
def _titles() -> dict[str, str]:
    """Title to name of each installed method that works."""
    found = {}
    for name in methods.names():
        with suppress(InputError, UnknownNameError):
            found[method_named(name).title] = name
    return found


def _other_preset(record: Record) -> list[str]:
    """Settings that a record's preset has otherwise than the preset that it is called after."""
    name, *changes = record.preset.split("+")
    if name not in BUILT_IN:
        return []
    try:
        parsed = dict(parse_change(change) for change in changes)
        _, preset = load_preset(name, {key: values[0] for key, values in parsed.items()})
    except InputError:
        return ["setting than can be read from that"]
    called = preset.model_dump(mode="json")
    own = {key: value for key, value in record.cell.preset.items() if key != "weights"}
    return sorted(key for key in called.keys() | own.keys() if called.get(key) != own.get(key))


def check_splits(store: Store, own: Sequence[str], machine: Machine) -> list[Check]:
    """Check that images, splits and labels of a submission are those of the data here.

    Parameters
    ----------
    own
        Data sets of the user's own (``folder:PATH``, ``csv:FILE``) to look among. They need not be called as the submitter's
        are: the same images have the same fingerprint.
    """
    found: list[Check] = []
    counted: dict[tuple[str, str, str], int] = defaultdict(int)
    absent: dict[tuple[str, str], tuple[str, set[str]]] = {}
    open_one = lru_cache(maxsize=None)(lambda name, print_: _open(name, print_, own, machine))
    for record in store:
        if record.status == "failed" or record.split is None:
            continue
        label, name, data = label_of(record), printable(record.cell.dataset), record.cell.fingerprint
        dataset, problem = open_one(record.cell.dataset, data)
        if dataset is None:
            absent.setdefault((name, data), (problem, set()))[1].add(label)
            continue
        problem = _other_split(record, store.scores(record.key), dataset)
        if problem:
            found.append(Check("splits", "bad", f"{record.key[:12]} ({label} on {name}): {problem}", label, data))
        else:
            counted[label, name, data] += 1
    for (label, name, data), count in counted.items():
        message = f"{count} cells of {label} on {name}: images, splits and labels are those here"
        found.append(Check("splits", "ok", message, label, data))
    for (name, data), (problem, labels) in absent.items():
        found += [
            Check("splits", "unchecked", f"{label} on {name}: {problem}", label, data) for label in sorted(labels)
        ]
    return found


def _open(name: str, fingerprint: str, own: Sequence[str], machine: Machine) -> tuple[Dataset | None, str]:
    """The data set with this fingerprint: one of `own`, or the one of this name; or else why there is none here."""
    try:
        for one in own:
            dataset = dataset_of(one, machine.data_root)
            if dataset.fingerprint == fingerprint:
                return dataset, ""
        if name.startswith(("folder/", "csv/")):
            plain = name.replace("/", ":", 1)
            return None, (
                f"these are the submitter's own images, and {', '.join(own)} holds other ones" if own
                else f"these are the submitter's own images; say where they are with --datasets {plain}"
            )  # fmt: skip
        dataset = dataset_of(name, machine.data_root)
        if dataset.fingerprint == fingerprint:
            return dataset, ""
        return None, "the images here are others (fingerprints differ)"
    except (InputError, UnknownNameError, DatasetError) as error:
        return None, f"the data set is not here ({printable(error)})"


def _other_split(record: Record, scores: TestScores, dataset: Dataset) -> str:
    try:
        here = split(dataset, record.cell.protocol)
    except InputError as error:
        return f"its split cannot be made here ({error})"
    assert record.split is not None
    if here.digest != record.split.digest:
        return f"its split has the digest {record.split.digest[:12]}, and here it is {here.digest[:12]}"
    ids = [*here.test_normal, *here.test_anomaly]
    if scores.ids.tolist() != ids:
        return "its scores are of other images than its split tests"
    samples = [dataset.by_id[name] for name in ids]
    if scores.labels.tolist() != [one.label for one in samples] or scores.kinds.tolist() != [
        one.kind or "" for one in samples
    ]:
        return "its labels or kinds are not those of the images"
    return ""


def run_again(store: Store, wanted: Sequence[str], own: Sequence[str], machine: Machine) -> list[Check]:
    """Run a random cell of each method on each data set again, and compare the scores.

    Parameters
    ----------
    wanted
        Names of methods, ``all``, or beginnings of keys; empty: the methods that are not trained by gradient descent,
        which take seconds. No code of the submission is executed: the methods are those installed here.

    Raises
    ------
    InputError
        `wanted` names no method or key of the submission.
    """
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in store:
        if record.status == "ok":
            groups[label_of(record), record.cell.fingerprint].append(record)
    found: list[Check] = []
    unknown = set(wanted) - {"all"}
    for (label, data), records in groups.items():
        asked = [one for one in wanted if one in ("all", label, records[0].cell.method)]
        keyed = [record for record in records if any(len(one) >= 6 and record.key.startswith(one) for one in wanted)]
        unknown -= {*asked, *(one for one in wanted if any(record.key.startswith(one) for record in keyed))}
        chosen = random.SystemRandom().choice(records)
        cls, problem = _installed(chosen)
        if keyed:
            found += [_again(record, store.scores(record.key), own, machine) for record in keyed]
        elif problem:
            found.append(Check("rerun", "unchecked", f"{label}: {problem}", label, data))
        elif asked or (not wanted and cls is not None and cls.schedule is None):
            found.append(_again(chosen, store.scores(chosen.key), own, machine))
        else:
            found.append(Check("rerun", "unchecked", f"{label}: not run again; --rerun {label} does that", label, data))
    if unknown:
        raise InputError(
            f"--rerun {sorted(unknown)[0]}: expected all, or a method or key of the submission; its methods are "
            f"{', '.join(sorted({one for one, _ in groups}))}"
        )
    return found


def _installed(record: Record) -> tuple[type[Method] | None, str]:
    """The class of a record's method, or why it cannot be run here."""
    name = record.cell.method
    if name not in methods.names():
        return None, "no such method is installed here"
    try:
        cls = method_named(name)
    except (InputError, UnknownNameError) as error:
        return None, str(error)
    if cls.version != record.cell.version:
        return None, f"version {record.cell.version} was run, but version {cls.version} is installed here"
    return cls, ""


def _again(record: Record, scores: TestScores, own: Sequence[str], machine: Machine) -> Check:
    label = label_of(record)
    name = f"{record.key[:12]} ({label} on {printable(record.cell.dataset)}, seed {record.cell.protocol.seed})"

    def check(state: State, said: object) -> Check:
        return Check("rerun", state, f"{name}: {printable(said)}", label, record.cell.fingerprint)

    cls, problem = _installed(record)
    if cls is None:
        return check("unchecked", problem)
    dataset, problem = _open(record.cell.dataset, record.cell.fingerprint, own, machine)
    if dataset is None:
        return check("unchecked", problem)
    try:
        preset = Preset.model_validate({key: value for key, value in record.cell.preset.items() if key != "weights"})
        weights = load_backbone(preset.backbone, machine.weights).weights
        division = split(dataset, record.cell.protocol)
    except (ValidationError, InputError, UnknownNameError, ValueError) as error:
        return check("unchecked", f"it cannot be run here ({error})")
    if weights != record.cell.preset.get("weights"):
        return check("unchecked", "the backbone's weights here are others")
    planned = PlannedCell(record.cell, record.key, record.preset, record.variant, dataset.spec, preset, division)
    again, now = execute(planned, replace(machine, precision=record.provenance.precision))
    if now is None or again.metrics is None or record.metrics is None:
        why = f"{again.error.type}: {again.error.message}" if again.error else ""
        return check("unchecked", f"it failed here ({why})")
    then, here = record.provenance.method_source, source_digest(cls)
    other = "; the method's source here is another" if then and here and then != here else ""
    off = abs(again.metrics.auroc - record.metrics.auroc)
    if now.ids.tolist() == scores.ids.tolist() and np.allclose(now.scores, scores.scores, rtol=1e-5, atol=1e-8):
        return check("ok", f"the same scores{other}")
    if off <= (ACROSS_MACHINES if cls.schedule is None else TRAINED_CELL):
        return check("ok", f"AUROC {again.metrics.auroc:.6f}, off by {off:.6f}, as between devices{other}")
    return check("bad", f"AUROC {again.metrics.auroc:.4f} here, {record.metrics.auroc:.4f} submitted{other}")
