"""Recommend a method for these images, after a comparison on repeated splits, and say how far that can be trusted.

Every method is fitted to half of the anomalies and scored on the other half, several times (general setting, M = half), by
the benchmark's own runs. An image is called an anomaly as `osad-bench score` would call it: by its conformal p-value among
the normals that were kept from the fit. So a recall "at 5 % false alarms" holds for that promise, and not for a threshold
that was chosen on the test images. Where there are too few normals for a promise, no recall is given.

The method with the best mean AUROC is recommended. If that one never sees an anomaly and its lead is within chance, the best
method that learns from anomalies is recommended instead: the model will be fitted to all anomalies, twice as many as here.

The recall of the recommended method, taken at face value, would be too good: it was chosen on the same images. It is corrected by
the bootstrap of Tsamardinos, Greasidou and Borboudakis ("Bootstrapping the out-of-sample predictions for efficient and accurate
cross-validation", Machine Learning 107, 2018): anomalies are drawn with replacement, the method is chosen on those drawn, and its
recall is taken on those that were not. The interval around it is Clopper and Pearson's for the number of different anomalies that
were tested: repeated splits do not add to that number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from osad_bench.benchmark.cell.execute import dataset_of
from osad_bench.benchmark.decide.comparison import PROMISES, Advice, Candidate, Floats, Recall, Results, interval
from osad_bench.benchmark.decide.conformal import needed, p_values
from osad_bench.benchmark.decide.fit import FEWEST, left_out
from osad_bench.benchmark.decide.remedies import BLIND, remedies_of, sentences_of, to_look_at
from osad_bench.benchmark.decide.words import counted
from osad_bench.benchmark.grid.plan import read_grid
from osad_bench.benchmark.grid.run import Options, Outcome, run_grid, summarise_failures
from osad_bench.benchmark.grid.workers import Reporter
from osad_bench.core.errors import InputError
from osad_bench.core.registry import methods
from osad_bench.datasets.base import Dataset
from osad_bench.results.record import TestScores

CANDIDATES = ("mahalanobis", "patchcore", "whitened", "evidence", "devnet", "dra")
"""Two reference methods that see no anomaly, two methods in closed form, two trained methods."""

DRAWS = 2000
"""Bootstrap draws."""


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
        Number of random splits of the anomalies.
    options
        Where and how to run. Records are kept in its ``out``: after an interruption, the same call goes on from there.
    **request
        ``preset`` and ``set``, as for a run.

    Raises
    ------
    InputError, UnknownNameError, DatasetError
        The images do not allow a comparison, or cannot be read; the message says what to do.
    """
    options = options or Options(out="osad-advice")
    dataset = dataset_of(data, options.machine().data_root)
    copies, contradictory = left_out(dataset)
    known = [one for one in dataset.samples if one.label and one.id not in copies | contradictory]
    if len(known) < 2:
        instead = ", or fit without a comparison (osad-bench fit evidence …)" if known else ""
        raise InputError(
            f"{dataset.full_name} has {counted(len(known), 'different anomaly') if known else 'no anomaly'}; at least 2 are needed, one to "
            f"learn from and one to test on. Label more{instead}"
        )
    normals = sum(not one.label and one.id not in copies | contradictory for one in dataset.samples)
    if normals < 2 * FEWEST:
        raise InputError(
            f"{dataset.full_name} has {counted(normals, 'different normal')}, and comparing methods takes at least {2 * FEWEST}: "
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


def _gather(outcome: Outcome) -> Results:
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
    return Results(list(complete), anomalies, above, p_value, normals, high)


def corrected(above: Floats, found: Floats, draws: int = DRAWS, seed: int = 0) -> float:
    """Recall of the method with the best AUROC, corrected for having been chosen on the same anomalies.

    Parameters
    ----------
    above
        (methods, splits, anomalies): share of normals below each tested anomaly, NaN where it was not tested.
    found
        The same shape: 1 where the anomaly was found, 0 where not, NaN where it was not tested.

    Returns
    -------
    float
        In [0, 1].
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
    """Whether the 95 % bootstrap interval (over anomalies) of `best`'s AUROC minus `other`'s contains 0."""
    tested = np.isfinite(above[best]).any(axis=0)
    difference = np.nanmean((above[best] - above[other])[:, tested], axis=0)
    generator = np.random.default_rng(seed)
    means = difference[generator.integers(len(difference), size=(draws, len(difference)))].mean(axis=1)
    return bool(np.quantile(means, 0.025) <= 0)


def choose(results: Results, order: Sequence[int]) -> tuple[int, list[int]]:
    """The row of the method to recommend, and the rows that it was chosen among.

    Parameters
    ----------
    order
        Rows, the best mean AUROC first.
    """
    learners = [row for row in order if results.methods[row] not in BLIND]
    if learners and within_chance(results.above, order[0], learners[0]):
        return learners[0], learners
    return order[0], list(order)


def _advice(
    dataset: Dataset,
    results: Results,
    outcome: Outcome,
    failures: list[str],
    copies: set[str],
    contradictory: set[str],
) -> Advice:
    auroc = np.nanmean(results.above, axis=2)  # (methods, splits)
    order = [int(index) for index in np.argsort(-auroc.mean(axis=1), kind="stable")]
    best, eligible = choose(results, order)
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
        share = corrected(results.above[eligible], found[a][eligible])
        recall.append(Recall(a, results.normals, share, *interval(share, len(results.anomalies))))
    ties = [results.methods[row] for row in order if row != best and within_chance(results.above, best, row)]
    known = sum(one.label == 1 and one.id not in copies | contradictory for one in dataset.samples)
    largest = PROMISES[-1]
    missed = (
        np.nan_to_num(1 - np.nanmean(found[largest][best], axis=0))
        if can[largest]
        else 1 - np.nanmean(results.above[best], axis=0)
    )
    return Advice(
        dataset.full_name, results.methods[best], candidates, recall, ties,
        sentences_of(results, candidates, order.index(best), recall, ties, known),
        remedies_of(dataset, results, recall, missed, copies, contradictory, outcome.cells[0].preset.tiles),
        to_look_at(results, best, missed),
        failures,
    )  # fmt: skip
