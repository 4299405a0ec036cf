"""A submission held against the data of this machine: images, splits, and cells run again."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from pydantic import ValidationError

from osad_bench.benchmark.cell.execute import PlannedCell, dataset_of, execute
from osad_bench.benchmark.cell.machine import Machine
from osad_bench.benchmark.cell.source import source_digest
from osad_bench.benchmark.cell.split import split
from osad_bench.benchmark.features.backbones import load_backbone
from osad_bench.benchmark.grid.usable import method_named
from osad_bench.benchmark.preset import Preset
from osad_bench.core.errors import InputError
from osad_bench.core.registry import UnknownNameError, methods
from osad_bench.core.text import printable
from osad_bench.core.tolerance import ACROSS_MACHINES
from osad_bench.datasets.base import Dataset, DatasetError
from osad_bench.methods.base import Method
from osad_bench.results.record import Record, TestScores
from osad_bench.results.store import Store
from osad_bench.results.submission import Check, label_of


def check_splits(store: Store, own: Sequence[str], machine: Machine) -> list[Check]:
    """Are the images, the splits and the labels those of the data here?

    Parameters
    ----------
    own
        Data sets of the user's own (``folder:PATH``, ``csv:FILE``) to look among.
    """
    found: list[Check] = []
    counted: dict[tuple[str, str], int] = defaultdict(int)
    absent: dict[str, tuple[str, set[str]]] = {}
    open_one = lru_cache(maxsize=None)(lambda name: _open(name, own, machine))
    for record in store:
        if record.status == "failed" or record.split is None:
            continue
        label, name = label_of(record), printable(record.cell.dataset)
        dataset, problem = open_one(record.cell.dataset)
        if dataset is not None and dataset.fingerprint != record.cell.fingerprint:
            problem = "the images here are others (fingerprints differ)"
        if dataset is None or problem:
            absent.setdefault(name, (problem, set()))[1].add(label)
            continue
        problem = _other_split(record, store.scores(record.key), dataset)
        if problem:
            found.append(Check("splits", "bad", f"{record.key[:12]} ({label} on {name}): {problem}", label))
        else:
            counted[label, name] += 1
    for (label, name), count in counted.items():
        found.append(
            Check(
                "splits", "ok", f"{count} cells of {label} on {name}: images, splits and labels are those here", label
            )
        )
    for name, (problem, labels) in absent.items():
        found += [Check("splits", "unchecked", f"{label} on {name}: {problem}", label) for label in sorted(labels)]
    return found


def _open(name: str, own: Sequence[str], machine: Machine) -> tuple[Dataset | None, str]:
    try:
        for one in own:
            dataset = dataset_of(one, machine.data_root)
            if dataset.full_name == name:
                return dataset, ""
        if name.startswith(("folder/", "csv/")):
            return (
                None,
                f"images of the submitter's own; say where they lie with --datasets {name.replace('/', ':', 1)}",
            )
        return dataset_of(name, machine.data_root), ""
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
    """Run a random cell of each method again, and compare the scores.

    Parameters
    ----------
    wanted
        Names of methods, ``all``, or beginnings of keys; empty: the methods that are not trained by gradient descent,
        which take seconds. Nothing of the submission is executed: the methods are those installed here.
    """
    by_label: dict[str, list[Record]] = defaultdict(list)
    for record in store:
        if record.status == "ok":
            by_label[label_of(record)].append(record)
    found: list[Check] = []
    unknown = set(wanted) - {"all"}
    for label, records in by_label.items():
        cls, problem = _installed(records[0])
        asked = [one for one in wanted if one in ("all", label, records[0].cell.method)]
        keyed = [record for record in records if any(len(one) >= 6 and record.key.startswith(one) for one in wanted)]
        unknown -= {*asked, *(one for one in wanted if any(record.key.startswith(one) for record in keyed))}
        if problem:
            found.append(Check("rerun", "unchecked", f"{label}: {problem}", label))
        elif not (asked or keyed or (not wanted and cls is not None and cls.schedule is None)):
            found.append(Check("rerun", "unchecked", f"{label}: not run again; --rerun {label} does that", label))
        else:
            chosen = keyed or [random.SystemRandom().choice(records)]
            found += [_again(record, store.scores(record.key), own, machine) for record in chosen]
    if unknown:
        raise InputError(f"--rerun {sorted(unknown)[0]}: the submission has {', '.join(sorted(by_label))}")
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
        return None, f"version {record.cell.version} was run, and version {cls.version} is installed here"
    return cls, ""


def _again(record: Record, scores: TestScores, own: Sequence[str], machine: Machine) -> Check:
    label = label_of(record)
    name = f"{record.key[:12]} ({label} on {printable(record.cell.dataset)}, seed {record.cell.protocol.seed})"

    def unchecked(reason: object) -> Check:
        return Check("rerun", "unchecked", f"{name}: {printable(reason)}", label)

    dataset, problem = _open(record.cell.dataset, own, machine)
    if dataset is None:
        return unchecked(problem)
    if dataset.fingerprint != record.cell.fingerprint:
        return unchecked("the images here are others")
    try:
        preset = Preset.model_validate({key: value for key, value in record.cell.preset.items() if key != "weights"})
        weights = load_backbone(preset.backbone, machine.weights).weights
        division = split(dataset, record.cell.protocol)
    except (ValidationError, InputError, UnknownNameError, ValueError) as error:
        return unchecked(f"it cannot be run here ({error})")
    if weights != record.cell.preset.get("weights"):
        return unchecked("the backbone's weights here are others")
    planned = PlannedCell(record.cell, record.key, record.preset, record.variant, dataset.spec, preset, division)
    again, now = execute(planned, machine)
    if now is None or again.metrics is None or record.metrics is None:
        return unchecked(
            f"it failed here ({again.error.type if again.error else ''}: {again.error.message if again.error else ''})"
        )
    then, here = record.provenance.method_source, source_digest(method_named(record.cell.method))
    other = "; the method's source here is another" if then and here and then != here else ""
    off = abs(again.metrics.auroc - record.metrics.auroc)
    if now.ids.tolist() == scores.ids.tolist() and np.allclose(now.scores, scores.scores, rtol=1e-5, atol=1e-8):
        return Check("rerun", "ok", f"{name}: the same scores{other}", label)
    if off <= ACROSS_MACHINES:
        return Check(
            "rerun",
            "ok",
            f"{name}: AUROC {again.metrics.auroc:.6f}, off by {off:.6f}, as between devices{other}",
            label,
        )
    return Check(
        "rerun",
        "bad",
        f"{name}: AUROC {again.metrics.auroc:.4f} here, {record.metrics.auroc:.4f} submitted{other}",
        label,
    )
