"""Advice in sentences: what to use, what the data cannot tell, what would help, and which files to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from osad_bench.benchmark.decide.comparison import LISTED, PROMISES, Candidate, Floats, Recall, Results, interval
from osad_bench.benchmark.decide.conformal import needed, smallest
from osad_bench.benchmark.decide.fit import to_hold_out
from osad_bench.benchmark.decide.words import counted, percent
from osad_bench.datasets.base import Dataset
from osad_bench.datasets.reading.files import FileDataset
from osad_bench.datasets.reading.unusual import tiles_for


def sentences_of(
    results: Results,
    candidates: Sequence[Candidate],
    chosen: int,
    recall: Sequence[Recall],
    ties: Sequence[str],
    known: int,
) -> list[str]:
    """The recommendation, its recall, and what the data cannot tell.

    Parameters
    ----------
    candidates
        The methods, the best mean AUROC first.
    chosen
        Index of the recommended method among the candidates.
    ties
        Names of the methods that the data cannot tell from it.
    known
        Number of different anomalies; the random splits may not have tested all of them.
    """
    tested = len(results.anomalies)
    of_all = counted(known, "anomaly") if tested == known else f"{tested} of your {counted(known, 'anomaly')}"
    best, first = candidates[chosen], candidates[0]
    use = f"Use {best.method} ({best.title}): "
    if best is first:
        sentences = [
            f"{use}of {counted(len(candidates), 'method')} none tells your anomalies from your normals better, AUROC "
            f"{best.auroc:.3f}"
        ]
    else:
        sentences = [
            f"{use}AUROC {best.auroc:.3f} between your anomalies and your normals. {first.method} has {first.auroc:.3f}, a "
            f"difference within chance, but never sees an anomaly; {best.method} learns from yours, and saw only half of them here"
        ]
    low, _ = interval(best.auroc, len(results.anomalies))
    if low < 0.5:
        sentences.append(
            "Do not rely on it yet: with so few anomalies this AUROC may be due to chance, and the method no better than a "
            "coin toss"
        )
    for one in recall:
        if one.share is None or one.low is None or one.high is None:
            sentences.append(
                f"At {percent(one.false_alarms)} false alarms its recall cannot be told: that takes {needed(one.false_alarms)} normals "
                f"kept from the fit, and there are {one.normals}"
            )
        else:
            sentences.append(
                f"At {percent(one.false_alarms)} false alarms it finds about {percent(round(one.share, 2))} of further anomalies like these; "
                f"with {of_all} tested, the 95 % interval is {percent(round(one.low, 2))} to "
                f"{percent(round(one.high, 2))}"
            )
    if ties:
        sentences.append(f"The data cannot tell it from {', '.join(ties)}: the difference is within chance")
    blind = [name for name in (best.method, *ties) if name in BLIND]
    if blind and best is first:
        sentences.append(f"{blind[0]} never sees an anomaly, so nothing shows that your labelled anomalies help")
    sentences.append(
        "Nothing here says how well it does on kinds of anomaly that you have no picture of, or with another camera or light"
    )
    return sentences


BLIND = ("mahalanobis", "patchcore")
"""Candidates that never see an anomaly."""

WIDE = 0.2
"""Width of an interval of recall above which more anomalies are asked for."""

FEW_OF_KIND = 5
"""Number of anomalies of a kind below which more are asked for."""


def remedies_of(
    dataset: Dataset,
    results: Results,
    recall: Sequence[Recall],
    missed: Floats,
    copies: set[str],
    contradictory: set[str],
    tiles: int,
) -> list[str]:
    """What would help, the most important first.

    Parameters
    ----------
    missed
        Per tested anomaly, the share of splits in which it was missed at the largest promised share of false alarms; if there are
        too few normals for that, the mean share of normals that score higher.
    copies, contradictory
        Ids of the images that were left out.
    tiles
        Tiles per photograph in this comparison.
    """
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
            f"Ask again with --set tiles={wanted_tiles}: your photographs are long, and squeezed to a square they lose small "
            "details along their length; use the setting with the higher AUROC"
        )
    normals = sum(one.label == 0 and one.id not in copies | contradictory for one in dataset.samples)
    held = to_hold_out(normals)
    enough = needed(PROMISES[0])
    target = 2 * enough
    if held < enough:
        itself = (
            f"; these are too, with fit --calibrate {enough}, which leaves {normals - enough} to fit to"
            if normals >= 1.5 * enough
            else ""
        )
        remedies.append(
            f"Photograph {counted(target - normals, 'more normal')}: with {normals}, fit holds {held} out and can promise "
            f"{percent(smallest(held))} false alarms or more; {target} are enough for {percent(PROMISES[0])}{itself}"
        )
    elif (lacking := enough - results.normals) > 0:
        if any(one.partition == "train" for one in dataset.samples):
            help_ = f"Move {counted(lacking, 'normal')} from train/good to test/good and ask again"
        else:
            help_ = (
                f"Photograph {counted(4 * enough - normals, 'more normal')}, of which a quarter is kept from the fit"
            )
        remedies.append(f"{help_}: then the recall at {percent(PROMISES[0])} false alarms can be told")
    by_kind: dict[str, list[float]] = {}
    for name, share in zip(results.anomalies, missed):
        by_kind.setdefault(dataset.by_id[name].kind or "", []).append(float(share))
    counts = Counter(one.kind or "" for one in dataset.samples if one.label)
    if len(by_kind) > 1:
        worst = max(by_kind, key=lambda kind: float(np.mean(by_kind[kind])))
        if np.mean(by_kind[worst]) > 0.25:
            remedies.append(
                f"Label more of kind {worst}: {percent(round(float(np.mean(by_kind[worst])), 2))} of its {counts[worst]} are missed, more than "
                "of any other kind"
            )
        rare = sorted(kind for kind, count in counts.items() if count < FEW_OF_KIND)
        if rare:
            listed = ", ".join(f"{kind} ({counts[kind]})" for kind in rare)
            remedies.append(f"Label at least {FEW_OF_KIND} of each kind; there are fewer of {listed}")
    told = [one for one in recall if one.share is not None and one.low is not None and one.high is not None]
    if told and (told[-1].high or 0) - (told[-1].low or 0) > WIDE:
        share = min(max(told[-1].share or 0, 0.1), 0.9)
        wanted = int(np.ceil(share * (1 - share) * (2 * 1.96 / WIDE) ** 2))
        remedies.append(
            f"Label more anomalies: {len(results.anomalies)} leave an interval {percent(round((told[-1].high or 0) - (told[-1].low or 0), 2))} "
            f"wide; about {max(wanted, len(results.anomalies) + 1)} would bring it to {percent(WIDE)}"
        )
    if copies:
        remedies.append(f"{counted(len(copies), 'copy')} of other images add nothing: each image was used once")
    return remedies


def to_look_at(results: Results, best: int, missed: Floats) -> dict[str, list[str]]:
    """Files to look at, by the reason for it: their label may be wrong, or they show what the method does not see.

    Parameters
    ----------
    best
        Row of the recommended method in `results`.
    missed
        As for `remedies_of`.
    """
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
