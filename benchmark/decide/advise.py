"""Which method for these images: floors, closed forms and trained methods on repeated splits, and what that can tell.

Every method is fitted to half of the anomalies and scored on the other half, several times (general setting, M = half), by
the benchmark's own runs. An image is called an anomaly as `osad-bench score` would call it: by its conformal p-value among
the normals that were kept from the fit. So a recall "at 5 % false alarms" is that of the promise, not of a threshold that
was chosen on the test images, and where there are too few normals for a promise the answer is that it cannot be told.

The method with the best mean AUROC is recommended. Its recall, taken at face value, would be too good: it was chosen on the
same images. It is corrected by the bootstrap of Tsamardinos, Greasidou and Borboudakis ("Bootstrapping the out-of-sample
predictions for efficient and accurate cross-validation", Machine Learning 107, 2018): anomalies are drawn with
replacement, the method is chosen on those drawn, and its recall is taken on those that were not. The interval around it is
Clopper and Pearson's for as many different anomalies as were tested: repeated splits are no further anomalies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import beta

from osad_bench.benchmark.cell.execute import dataset_of
from osad_bench.benchmark.decide.conformal import needed, p_values, smallest
from osad_bench.benchmark.decide.fit import FEWEST, left_out, to_hold_out
from osad_bench.benchmark.decide.words import counted, percent
from osad_bench.benchmark.grid.plan import read_grid
from osad_bench.benchmark.grid.run import Options, Outcome, run_grid, summarise_failures
from osad_bench.benchmark.grid.workers import Reporter
from osad_bench.core.errors import InputError
from osad_bench.core.registry import methods
from osad_bench.datasets.base import Dataset
from osad_bench.datasets.reading.files import FileDataset
from osad_bench.datasets.reading.unusual import tiles_for
from osad_bench.results.record import TestScores

CANDIDATES = ("mahalanobis", "patchcore", "whitened", "evidence", "devnet", "dra")
"""Two floors that see no anomaly, two closed forms, two trained methods."""

PROMISES = (0.01, 0.05)
"""Shares of false alarms that recall is given at."""

DRAWS = 2000
"""Bootstrap draws."""

LISTED = 5
"""Files named, at most, to look at."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Recall:
    """Share of further anomalies of these kinds that would be found, with a 95 % interval; None where it cannot be told.

    Attributes
    ----------
    false_alarms
        The promise.
    normals
        Held-out normals that there are for it.
    """

    false_alarms: float
    normals: int
    share: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Candidate:
    """One method on the repeated splits: means over splits, not corrected for having been chosen."""

    method: str
    title: str
    auroc: float
    spread: float
    recall: dict[float, float | None]
    seconds: float


@dataclass(frozen=True)
class Advice:
    """A recommendation, in numbers and in words.

    Attributes
    ----------
    method
        The recommended method's name.
    candidates
        All that ran, best first.
    recall
        Of the recommended method, corrected.
    ties
        Methods whose difference from it is within chance.
    sentences
        The recommendation and what the data cannot tell.
    remedies
        What would help, the most important first.
    look
        Files to look at, by why.
    failures
        Sentences about methods that failed.
    """

    dataset: str
    method: str
    candidates: list[Candidate]
    recall: list[Recall]
    ties: list[str]
    sentences: list[str]
    remedies: list[str]
    look: dict[str, list[str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Results:
    """All methods' results on all splits.

    Attributes
    ----------
    methods, anomalies
        Names along the axes.
    above
        (methods, splits, anomalies): share of held-out normals that score lower; NaN where the anomaly was not tested.
    p_value
        The same shape: conformal p-values among the held-out normals.
    normals
        Held-out normals of a split.
    high
        Per method, of each held-out normal the mean share of test anomalies that score lower.
    """

    methods: list[str]
    anomalies: list[str]
    above: Floats
    p_value: Floats
    normals: int
    high: dict[str, dict[str, float]]


def advise(
    data: str,
    *,
    candidates: Sequence[str] = CANDIDATES,
    splits: int = 5,
    options: Options | None = None,
    reporter: Reporter | None = None,
    **request: Any,
) -> Advice:
    """Compare methods on a user's images and recommend one.

    Parameters
    ----------
    data
        ``folder:PATH``, ``csv:FILE`` or a data set's name.
    candidates
        Methods to compare.
    splits
        How often the anomalies are divided anew.
    options
        Where and how to run; records are kept in its ``out``, so that the same call goes on from there.
    request
        ``preset`` and ``set``, as for a run.

    Raises
    ------
    InputError, UnknownNameError, DatasetError
        The images do not allow it, or cannot be read; the message says what would.
    """
    options = options or Options(out="osad-advice")
    dataset = dataset_of(data, options.machine().data_root)
    copies, contradictory = left_out(dataset)
    known = [one for one in dataset.samples if one.label and one.id not in copies | contradictory]
    if len(known) < 2:
        instead = ", or fit without a comparison (osad-bench fit evidence …)" if known else ""
        raise InputError(
            f"{dataset.full_name} has {counted(len(known), 'different anomaly') if known else 'no anomaly'}: one to learn from and "
            f"one to test on are the least. Label more{instead}"
        )
    normals = sum(not one.label and one.id not in copies | contradictory for one in dataset.samples)
    if normals < 2 * FEWEST:
        raise InputError(
            f"{dataset.full_name} has {counted(normals, 'different normal')}, and {2 * FEWEST} are the least to compare methods on: "
            f"{FEWEST} to fit to, and others to test on. Photograph more"
        )
    asked = {
        "methods": list(candidates), "datasets": [data], "shots": [len(known) // 2], "seeds": splits, "floor": None,
        "dedup": bool(copies | contradictory),
    }  # fmt: skip
    grid = read_grid(None, asked | request)
    outcome = run_grid([grid], options, reporter)
    failures = summarise_failures(outcome.all_records())
    results = _gather(outcome)
    if not results.methods:
        raise InputError(f"no method could be compared: {failures[0] if failures else 'none ran'}")
    return _advice(dataset, results, outcome, failures, copies, contradictory)


def _gather(outcome: Outcome) -> _Results:
    """Results of the methods that finished on every split."""
    found: dict[str, list[TestScores]] = {}
    for cell in outcome.cells:
        if outcome.store.get(cell.key).status == "ok":
            found.setdefault(cell.cell.method, []).append(outcome.store.scores(cell.key))
    rounds = len({cell.cell.protocol.seed for cell in outcome.cells})
    complete = {name: scores for name, scores in found.items() if len(scores) == rounds}
    tests = [test for scores in complete.values() for test in scores]
    anomalies = sorted({name for test in tests for name in test.ids[test.labels == 1].tolist()})
    place = {name: index for index, name in enumerate(anomalies)}
    above = np.full((len(complete), rounds, len(anomalies)), np.nan)
    p_value, high = above.copy(), dict[str, dict[str, float]]()
    for row, (method, scores) in enumerate(complete.items()):
        shares: dict[str, list[float]] = {}
        for column, test in enumerate(scores):
            normal, anomaly = np.sort(test.scores[test.labels == 0]), test.scores[test.labels == 1]
            where = [place[name] for name in test.ids[test.labels == 1].tolist()]
            lower = np.searchsorted(normal, anomaly, "left") + np.searchsorted(normal, anomaly, "right")
            above[row, column, where] = lower / (2 * len(normal))
            p_value[row, column, where] = p_values(normal, anomaly)
            for name, score in zip(test.ids[test.labels == 0].tolist(), test.scores[test.labels == 0]):
                shares.setdefault(name, []).append(float((anomaly < score).mean()))
        high[method] = {name: float(np.mean(values)) for name, values in shares.items()}
    normals = min((int((test.labels == 0).sum()) for test in tests), default=0)
    return _Results(list(complete), anomalies, above, p_value, normals, high)


def interval(share: float, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's interval of a share of `count` images; the share need not be a multiple of 1 / count."""
    tail, hits = (1 - confidence) / 2, share * count
    low = float(beta.ppf(tail, hits, count - hits + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, count - hits)) if hits < count else 1.0
    return low, high


def corrected(above: Floats, found: Floats, draws: int = DRAWS, seed: int = 0) -> float:
    """Recall of the method with the best AUROC, corrected for having been chosen on the same anomalies.

    Parameters
    ----------
    above
        (methods, splits, anomalies): share of normals below each tested anomaly, NaN where it was not tested.
    found
        The same shape: 1 where the anomaly was found, 0 where not, NaN where it was not tested.
    """
    total, hits = np.nansum(above, axis=1), np.nansum(found, axis=1)  # (methods, anomalies)
    tested = np.isfinite(above).sum(axis=1)
    count = above.shape[2]
    generator = np.random.default_rng(seed)
    shares = []
    for _ in range(draws):
        weights = np.bincount(generator.integers(count, size=count), minlength=count)
        out = weights == 0
        if not out.any():
            continue
        best = int(np.argmax((total * weights).sum(1) / np.maximum((tested * weights).sum(1), 1)))
        if tested[best, out].sum():
            shares.append(hits[best, out].sum() / tested[best, out].sum())
    return float(np.mean(shares)) if shares else float(np.nanmean(found[int(np.argmax(total.sum(1)))]))


def within_chance(above: Floats, best: int, other: int, draws: int = DRAWS, seed: int = 0) -> bool:
    """Whether the 95 % bootstrap interval of the difference of two methods' AUROC, over anomalies, holds 0."""
    tested = np.isfinite(above[best]).any(axis=0)
    difference = np.nanmean((above[best] - above[other])[:, tested], axis=0)
    generator = np.random.default_rng(seed)
    means = difference[generator.integers(len(difference), size=(draws, len(difference)))].mean(axis=1)
    return bool(np.quantile(means, 0.025) <= 0)


def _advice(
    dataset: Dataset,
    results: _Results,
    outcome: Outcome,
    failures: list[str],
    copies: set[str],
    contradictory: set[str],
) -> Advice:
    auroc = np.nanmean(results.above, axis=2)  # (methods, splits)
    order = [int(index) for index in np.argsort(-auroc.mean(axis=1), kind="stable")]
    best = order[0]
    found = {a: np.where(np.isnan(results.p_value), np.nan, results.p_value <= a) for a in PROMISES}
    can = {a: results.normals >= needed(a) for a in PROMISES}
    seconds: dict[str, list[float]] = {}
    for record in outcome.all_records():
        seconds.setdefault(record.cell.method, []).append(record.timings.total)
    candidates = [
        Candidate(
            results.methods[row], methods.get(results.methods[row]).title, float(auroc[row].mean()),
            float(auroc[row].std(ddof=1)) if auroc.shape[1] > 1 else 0.0,
            {a: float(np.nanmean(found[a][row])) if can[a] else None for a in PROMISES},
            float(np.mean(seconds[results.methods[row]])),
        )
        for row in order
    ]  # fmt: skip
    recall = []
    for a in PROMISES:
        if not can[a]:
            recall.append(Recall(a, results.normals))
            continue
        share = corrected(results.above, found[a])
        recall.append(Recall(a, results.normals, share, *interval(share, len(results.anomalies))))
    ties = [results.methods[row] for row in order[1:] if within_chance(results.above, best, row)]
    largest = PROMISES[-1]
    missed = (
        np.nan_to_num(1 - np.nanmean(found[largest][best], axis=0))
        if can[largest]
        else 1 - np.nanmean(results.above[best], axis=0)
    )
    return Advice(
        dataset.full_name, results.methods[best], candidates, recall, ties,
        _sentences(results, candidates, recall, ties),
        _remedies(dataset, results, recall, missed, copies, contradictory, outcome.cells[0].preset.tiles),
        _to_look_at(results, best, missed),
        failures,
    )  # fmt: skip


def _sentences(
    results: _Results, candidates: Sequence[Candidate], recall: Sequence[Recall], ties: Sequence[str]
) -> list[str]:
    best = candidates[0]
    sentences = [
        f"Use {best.method} ({best.title}): of {counted(len(candidates), 'method')} none tells your anomalies from your normals "
        f"better, AUROC {best.auroc:.3f}"
    ]
    low, _ = interval(best.auroc, len(results.anomalies))
    if low < 0.5:
        sentences.append(
            "Do not rely on it yet: with so few anomalies this could be chance, no method is better than a coin for certain"
        )
    for one in recall:
        if one.share is None or one.low is None or one.high is None:
            sentences.append(
                f"At {percent(one.false_alarms)} false alarms: cannot be told. That takes {needed(one.false_alarms)} normals "
                f"kept from the fit, and there are {one.normals}"
            )
        else:
            sentences.append(
                f"At {percent(one.false_alarms)} false alarms it finds about {one.share:.0%} of further anomalies like these; "
                f"with {counted(len(results.anomalies), 'anomaly')} tested, all that is certain is between {one.low:.0%} and "
                f"{one.high:.0%}"
            )
    if ties:
        sentences.append(f"The data cannot tell it from {', '.join(ties)}: the difference is within chance")
    blind = [name for name in (best.method, *ties) if name in BLIND]
    if blind:
        sentences.append(f"{blind[0]} never sees an anomaly, so it is not shown that your labelled ones help")
    sentences.append(
        "Nothing here says how it does on kinds of anomaly that you have no picture of, or under another camera or light"
    )
    return sentences


BLIND = ("mahalanobis", "patchcore")
"""Floors that never see an anomaly."""

WIDE = 0.2
"""Width of an interval of recall above which more anomalies are asked for."""

FEW_OF_KIND = 5
"""Anomalies of a kind below which little can be said of it."""


def _remedies(
    dataset: Dataset,
    results: _Results,
    recall: Sequence[Recall],
    missed: Floats,
    copies: set[str],
    contradictory: set[str],
    tiles: int,
) -> list[str]:
    """What would help, the most important first."""
    remedies = []
    if contradictory:
        names = ", ".join(sorted(contradictory)[:LISTED])
        remedies.append(
            f"Correct contradicting labels: {counted(len(contradictory), 'image')} labelled both normal and anomaly are left out "
            f"({names}{', …' if len(contradictory) > LISTED else ''})"
        )
    wanted_tiles = tiles_for(dataset) if isinstance(dataset, FileDataset) else 1
    if tiles == 1 and wanted_tiles > 1:
        remedies.append(
            f"Ask again with --set tiles={wanted_tiles}: your photographs are long, and squeezed to a square they lose what is "
            "small along their length; take what does better"
        )
    normals = sum(one.label == 0 and one.id not in copies | contradictory for one in dataset.samples)
    held = to_hold_out(normals)
    target = 2 * needed(PROMISES[0])
    if held < needed(PROMISES[0]):
        remedies.append(
            f"Photograph {counted(target - normals, 'more normal')}: with {normals}, fit holds {held} out and can promise "
            f"{percent(smallest(held))} false alarms or more; {target} are enough for {percent(PROMISES[0])}"
        )
    elif (lacking := needed(PROMISES[0]) - results.normals) > 0:
        if any(one.partition == "train" for one in dataset.samples):
            help_ = f"Move {counted(lacking, 'normal')} from train/good to test/good and ask again"
        else:
            help_ = f"Photograph {counted(4 * needed(PROMISES[0]) - normals, 'more normal')}, of which a quarter is kept from the fit"
        remedies.append(f"{help_}: then the recall at {percent(PROMISES[0])} false alarms can be told")
    by_kind: dict[str, list[float]] = {}
    for name, share in zip(results.anomalies, missed):
        by_kind.setdefault(dataset.by_id[name].kind or "", []).append(float(share))
    counts = Counter(one.kind or "" for one in dataset.samples if one.label)
    if len(by_kind) > 1:
        worst = max(by_kind, key=lambda kind: float(np.mean(by_kind[kind])))
        if np.mean(by_kind[worst]) > 0.25:
            remedies.append(
                f"Label more of kind {worst}: {float(np.mean(by_kind[worst])):.0%} of its {counts[worst]} are missed, more than "
                "of any other kind"
            )
        rare = sorted(kind for kind, count in counts.items() if count < FEW_OF_KIND)
        if rare:
            listed = ", ".join(f"{kind} ({counts[kind]})" for kind in rare)
            remedies.append(f"Label at least {FEW_OF_KIND} of each kind; fewer are there of {listed}")
    told = [one for one in recall if one.share is not None and one.low is not None and one.high is not None]
    if told and (told[-1].high or 0) - (told[-1].low or 0) > WIDE:
        share = min(max(told[-1].share or 0, 0.1), 0.9)
        wanted = int(np.ceil(share * (1 - share) * (2 * 1.96 / WIDE) ** 2))
        remedies.append(
            f"Label more anomalies: {len(results.anomalies)} leave an interval {(told[-1].high or 0) - (told[-1].low or 0):.0%} "
            f"wide; about {max(wanted, len(results.anomalies) + 1)} would bring it to {WIDE:.0%}"
        )
    if copies:
        remedies.append(f"{counted(len(copies), 'copy')} of other images add nothing: each image was used once")
    return remedies


def _to_look_at(results: _Results, best: int, missed: Floats) -> dict[str, list[str]]:
    """Images whose label may be wrong, or that show what the method does not see."""
    high = results.high[results.methods[best]]
    normals = sorted((name for name, share in high.items() if share >= 0.5), key=lambda name: -high[name])
    order = [int(index) for index in np.argsort(-missed, kind="stable") if missed[index] >= 0.5]
    found = {
        "normals that score higher than half of the anomalies: is the label right?": normals[:LISTED],
        "anomalies that are missed: is the label right, is the defect large enough to see?": [
            results.anomalies[index] for index in order[:LISTED]
        ],
    }
    return {why: names for why, names in found.items() if names}
