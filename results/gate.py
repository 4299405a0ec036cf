"""Whether a method got worse: a store against a baseline, row by row of the table.

What is compared, and how noise is estimated:

- Cells of the same seed on the same images are compared image by image. The variance of the mean difference has two
  parts, added: the images (DeLong's, with images that several seeds share counted once) and the seeds. The two overlap,
  so the test is conservative.
- The variance over seeds is estimated in three ways, each of which has its strength: from the spread of the differences
  (small falls that all seeds share), from the spread of the baseline's seeds (a method that now breaks on some seeds only,
  and so has a large spread itself), and from the spreads of both sides pooled (few seeds: most degrees of freedom). The
  smallest of the three p-values counts, multiplied by three.
- The critical value is Cochran and Cox's: a mean of Student's values for the images and for the seeds, weighted by their
  variances. Three seeds often agree by luck, and Welch's degrees of freedom would trust their small spread too much.
- Where no seed is in both, the means over seeds are compared, by Welch's test and again by the baseline's spread.

A fall counts when it exceeds the tolerance and the one-sided test rejects it after Holm's correction over all rows: of
checks of an unchanged method, at most the share `alpha` fails. A third of `alpha` goes to the rows, a third to the single
kinds of anomaly within them (the mean can hide that a method breaks on one kind), and a third to leaps: rises that remove
at least half of the error, as a leaked label does. Time never fails a check, and neither do operating points, which are
reported with their intervals: on a few hundred images they are too noisy.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from osad_bench.core.tolerance import ACROSS_MACHINES
from osad_bench.results.baseline import Baseline, BaselineCell, Entry, newest, to_cell
from osad_bench.results.operating import POINTS, points_of, share_interval
from osad_bench.results.paired import Part, cochran_cox, holm, placements, welch
from osad_bench.results.record import TestScores
from osad_bench.results.row import Row
from osad_bench.results.store import Store

ALPHA = 0.05
"""Share of checks of an unchanged method that may fail."""
SLOWER = 1.5
"""A note is made where a cell takes at least this many times as long as before, and at least 1 s longer."""
BAD = frozenset({"fell", "leapt", "failed", "missing", "other data", "other settings"})
"""Statuses of a finding that fail a check."""


Point = tuple[float, float, float, float]
"""An operating point before and now, and the lower and upper end of the 95 % interval of now."""


@dataclass(frozen=True)
class Finding:
    """One line of a check.

    Attributes
    ----------
    entry
        The row of the table and the method.
    status
        ``fell, leapt, failed, missing, other data, other settings`` (bad), or ``rose, same, new, absent, slower`` (notes).
    message
        One sentence.
    kind
        The kind of anomaly it is about; empty for all.
    before, now
        Mean AUROCs; NaN where there is none.
    points
        Operating points (`operating.POINTS`) over the common seeds; empty where there are none.
    """

    entry: Entry
    status: str
    message: str
    kind: str = ""
    before: float = float("nan")
    now: float = float("nan")
    points: dict[str, Point] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Method, data set and protocol."""
        return self.entry.title


@dataclass(frozen=True)
class Change:
    """A mean AUROC before and now, and the tests of the difference: for each, the variances that it adds up."""

    before: float
    now: float
    tests: tuple[tuple[Part, ...], ...]
    how: str
    points: dict[str, Point] = field(default_factory=dict)

    @property
    def difference(self) -> float:
        """Now - before."""
        return self.now - self.before

    @property
    def se(self) -> float:
        """The smallest standard error of the tests."""
        return math.sqrt(min(sum(variance for variance, _ in parts) for parts in self.tests))

    def p(self, direction: int) -> float:
        """One-sided p-value of a fall (-1) or a rise (+1): the smallest of the tests' p-values, times their number."""
        if abs(self.difference) < 1e-12:
            return 1.0
        return min(1.0, len(self.tests) * min(cochran_cox(direction * self.difference, parts) for parts in self.tests))


Pair = tuple[BaselineCell, BaselineCell, TestScores]
"""The same cell before and now, with the test images of now."""


def _paired(pairs: list[Pair], kind: str) -> Change | None:
    """The change over cells of the same seeds on the same images; with a `kind`, only its anomalies and all normals."""
    influence: dict[tuple[int, str], float] = defaultdict(float)
    by_seed: dict[int, list[tuple[float, float]]] = defaultdict(list)
    before, now = [], []
    points: dict[int, list[tuple[dict[str, float], dict[str, float]]]] = defaultdict(list)
    images: set[tuple[int, str]] = set()
    for old, new, test in pairs:
        chosen = (test.labels == 0) | (test.kinds == kind) if kind else np.ones(len(test.labels), dtype=bool)
        labels, ids = test.labels[chosen], test.ids[chosen]
        if len(np.unique(labels)) < 2:
            continue
        old_above, old_below = placements(labels, old.scores()[chosen])
        new_above, new_below = placements(labels, new.scores()[chosen])
        before.append(float(old_above.mean()))
        now.append(float(new_above.mean()))
        points[old.seed].append((points_of(labels, old.scores()[chosen]), points_of(labels, new.scores()[chosen])))
        images |= set(zip(labels.tolist(), ids.tolist()))
        difference = now[-1] - before[-1]
        by_seed[old.seed].append((before[-1], now[-1]))
        for label, change in ((1, new_above - old_above), (0, new_below - old_below)):
            for name, value in zip(ids[labels == label], (change - difference) / len(change)):
                influence[label, name] += value
    if not before:
        return None
    parts = []
    for label in (0, 1):
        values = np.array([value for (one, _), value in influence.items() if one == label]) / len(before)
        parts.append((float((values**2).sum()) * len(values) / max(1, len(values) - 1), max(1, len(values) - 1)))
    seeds = np.array([np.mean(values, axis=0) for values in by_seed.values()])
    how = f"{len(seeds)} seeds in both, image by image" if len(seeds) > 1 else "one seed, image by image"
    of_images = welch(parts)
    tests: tuple[tuple[Part, ...], ...] = ((of_images,),)
    if len(seeds) > 1:
        own = float(np.var(seeds[:, 1] - seeds[:, 0], ddof=1)) / len(seeds), len(seeds) - 1
        usual = float(np.var(seeds[:, 0], ddof=1)) * 2 / len(seeds), len(seeds) - 1
        pooled = float(np.var(seeds, axis=0, ddof=1).sum()) / len(seeds), 2 * (len(seeds) - 1)
        tests = (of_images, own), (of_images, usual), (of_images, pooled)
    return Change(float(np.mean(before)), float(np.mean(now)), tests, how, _points(points, images))


def _points(
    found: dict[int, list[tuple[dict[str, float], dict[str, float]]]], images: set[tuple[int, str]]
) -> dict[str, Point]:
    """Operating points before and now as means over seeds, with the interval of now; `found` has the cells by seed."""
    counts = Counter(label for label, _ in images)
    result = {}
    for name in POINTS:
        old, new = (
            [float(np.mean([pair[side][name] for pair in cells])) for cells in found.values()] for side in (0, 1)
        )
        interval = share_interval(new, counts[0 if name.startswith("alarms") else 1])
        result[name] = (float(np.mean(old)), float(np.mean(new)), *interval)
    return result


def _in_words(points: dict[str, Point]) -> str:
    """Operating points as the end of a sentence, marked as moved where the interval of now excludes the value before."""
    said = [
        f"{POINTS[name]} {before:.2f} to {now:.2f} [{low:.2f}, {high:.2f}]" + " (moved)" * (not low <= before <= high)
        for name, (before, now, low, high) in points.items()
    ]
    return "; " + ", ".join(said) if said else ""


def _unpaired(old: list[BaselineCell], new: list[BaselineCell], kind: str) -> Change | None:
    """The change of the means over seeds where no seed is in both; None with fewer than two seeds on one side."""

    def by_seed(cells: Iterable[BaselineCell]) -> list[float]:
        values: dict[int, list[float]] = defaultdict(list)
        for cell in cells:
            if not kind or kind in cell.per_kind:
                values[cell.seed].append(cell.per_kind[kind] if kind else cell.auroc)
        return [float(np.mean(one)) for one in values.values()]

    before, now = by_seed(old), by_seed(new)
    if len(before) < 2 or len(now) < 2:
        return None
    (old_variance, freedom), new_part = ((float(np.var(values, ddof=1)), len(values) - 1) for values in (before, now))
    parts = [(old_variance / len(before), freedom), (new_part[0] / len(now), new_part[1])]
    usual = old_variance * (1 / len(before) + 1 / len(now)), freedom
    how = f"other seeds: {len(before)} before, {len(now)} now"
    return Change(float(np.mean(before)), float(np.mean(now)), ((welch(parts),), (usual,)), how)


def _match(old: list[BaselineCell], new: dict[tuple[str | None, int], tuple[BaselineCell, TestScores]]) -> list[Pair]:
    pairs = []
    for cell in old:
        other = new.get((cell.known_kind, cell.seed))
        if other is not None and other[0].images == cell.images:
            pairs.append((cell, *other))
    return pairs


def check(
    root: Path | str,
    frame: pd.DataFrame,
    baseline: Baseline,
    *,
    tolerance: float = ACROSS_MACHINES,
    alpha: float = ALPHA,
    allow_missing: bool = False,
    accept_rise: bool = False,
) -> list[Finding]:
    """Compare the store at `root`, read as `frame`, with a baseline.

    Parameters
    ----------
    root, frame
        Folder of a store, and what `osad_bench.results.load` returns for it.
    tolerance
        Falls and rises of AUROC up to this much never count; the default is by how much other machines may differ.
    alpha
        Share of checks of an unchanged method that may fail, between 0 and 1.
    allow_missing
        Rows of the baseline that the store lacks are notes instead of failures.
    accept_rise
        Leaps are notes instead of failures.

    Returns
    -------
    list of Finding
        Those that fail the check (`BAD`) first.

    Raises
    ------
    StoreError
        Scores are missing or damaged.
    """
    store = Store(root)
    tests = newest(frame[frame["part"] == "test"])
    now: dict[Entry, dict[tuple[str | None, int], tuple[BaselineCell, TestScores]]] = defaultdict(dict)
    before: dict[Entry, list[BaselineCell]] = defaultdict(list)
    for cell in baseline.cells:
        before[cell.entry].append(cell)
    added: Counter[Entry] = Counter()
    for line in tests[tests["status"] == "ok"].to_dict("records"):
        entry = _entry(line)
        if entry not in before:  # its scores are never looked at, so a large store is checked as fast as a small one
            added[entry] += 1
            continue
        scores = store.scores(line["key"])
        cell = to_cell(line, scores)
        now[entry][cell.known_kind, cell.seed] = cell, scores
    failed: dict[Entry, list[str]] = defaultdict(list)
    for line in tests[tests["status"] == "failed"].to_dict("records"):
        failed[_entry(line)].append(f"seed {line['seed']}: {line['error']}")

    findings: list[Finding] = []
    changes: dict[tuple[Entry, str], Change] = {}
    for entry, old in before.items():
        if entry in failed:
            findings.append(Finding(entry, "failed", f"{len(failed[entry])} cells failed ({failed[entry][0]})"))
        new = now.get(entry, {})
        if not new:
            if entry not in failed:
                findings.append(Finding(entry, *_absent(entry, len(old), added)))
            continue
        changed, problem = _changes(old, new)
        if problem:
            findings.append(Finding(entry, *problem))
        changes |= {(entry, kind): change for kind, change in changed.items()}
        findings += _slower(entry, old, [cell for cell, _ in new.values()])
    for entry, count in added.items():
        findings.append(Finding(entry, "new", f"{count} cells that the baseline lacks"))
    findings += _verdicts(changes, tolerance, alpha)
    excused = {"missing": "absent"} if allow_missing else {}
    if accept_rise:
        excused["leapt"] = "rose"
    findings = [replace(finding, status=excused.get(finding.status, finding.status)) for finding in findings]
    return sorted(
        findings, key=lambda finding: (finding.status not in BAD, finding.status, finding.entry, finding.kind)
    )


def _entry(line: dict[Any, Any]) -> Entry:
    """The row and method that a line of `Store.frame` is averaged into."""
    return Entry(Row(*(line[name] for name in Row._fields)), line["method"], line["variant"])


def _absent(entry: Entry, cells: int, added: Iterable[Entry]) -> tuple[str, str]:
    """Status and message for an entry of the baseline without a cell in the store; `added`: entries only in the store."""
    like = [one.row for one in added if one[1:] == entry[1:]]
    if entry.row._replace(fingerprint="") in {row._replace(fingerprint="") for row in like}:
        return "other data", "the images are not those of the baseline (fingerprints differ): make a new baseline"
    if entry.row._replace(settings="") in {row._replace(settings="") for row in like}:
        return (
            "other settings",
            f"the preset {entry.row.preset} has other settings than in the baseline (digests differ): run with the"
            " baseline's, or make a new baseline",
        )
    return "missing", f"not in the store ({cells} cells in the baseline)"


def _changes(
    old: list[BaselineCell], new: dict[tuple[str | None, int], tuple[BaselineCell, TestScores]]
) -> tuple[dict[str, Change], tuple[str, str] | None]:
    """Change of a row by kind ("" for all kinds), and (status, message) where cells are missing."""
    cells = [cell for cell, _ in new.values()]
    problem = None
    pairs = _match(old, new)
    if pairs:
        if len(pairs) < len(old):
            problem = ("missing", f"{len(old) - len(pairs)} of the baseline's {len(old)} cells are not in the store")
        kinds = sorted({str(kind) for *_, test in pairs for kind in np.unique(test.kinds[test.labels == 1])})
        found = {kind: _paired(pairs, kind) for kind in ["", *(kinds if len(kinds) > 1 else [])]}
    else:
        common = {cell.known_kind for cell in old} & {cell.known_kind for cell in cells}
        mine, theirs = ([cell for cell in group if cell.known_kind in common] for group in (old, cells))
        kinds = sorted({kind for cell in mine for kind in cell.per_kind})
        found = {kind: _unpaired(mine, theirs, kind) for kind in ["", *(kinds if len(kinds) > 1 else [])]}
        if found[""] is None:
            problem = ("missing", "no seed is in both, and comparing different seeds needs at least two on each side")
    return {kind: change for kind, change in found.items() if change is not None}, problem


def _slower(entry: Entry, old: list[BaselineCell], new: list[BaselineCell]) -> list[Finding]:
    before, now = (float(np.median([cell.seconds for cell in cells])) for cells in (old, new))
    if now < SLOWER * before or now - before < 1:
        return []
    return [Finding(entry, "slower", f"{now:.1f} s per cell, {before:.1f} s before (never a failure)")]


def _verdicts(changes: dict[tuple[Entry, str], Change], tolerance: float, alpha: float) -> list[Finding]:
    """Findings on what fell, leapt, rose or stayed; p-values are corrected within rows and within kinds."""
    level = alpha / 3
    rows = [name for name in changes if not name[1]]
    kinds = [name for name in changes if name[1]]
    falls = _corrected(changes, rows, -1) | _corrected(changes, kinds, -1)
    rises = _corrected(changes, rows, +1)
    findings = []
    for name, change in changes.items():
        entry, kind = name
        moved = f"{change.before:.3f} to {change.now:.3f} ({change.difference:+.3f}"
        noise = f"standard error {change.se:.4f}, {change.how})"
        noise += _in_words(change.points)
        if falls[name] < level and change.difference < -tolerance:
            what = f"AUROC on kind {kind}" if kind else "AUROC"
            message = f"{what} fell from {moved}, {noise}"
            findings.append(Finding(entry, "fell", message, kind, change.before, change.now, change.points))
        elif not kind:
            rose = rises[name] < level and change.difference > tolerance
            if rose and (1 - change.now) <= (1 - change.before) / 2:
                message = (
                    f"AUROC rose from {moved}, {noise}: half of the error or more is gone, as when a label leaks;"
                    " if the method really improved, accept it (--accept-rise) and make a new baseline"
                )
                findings.append(Finding(entry, "leapt", message, kind, change.before, change.now, change.points))
            else:
                message = f"AUROC {'rose' if rose else 'stays'}: {moved}, {noise}"
                findings.append(
                    Finding(entry, "rose" if rose else "same", message, kind, change.before, change.now, change.points)
                )
    return findings


def _corrected(
    changes: dict[tuple[Entry, str], Change], names: list[tuple[Entry, str]], direction: int
) -> dict[tuple[Entry, str], float]:
    return dict(zip(names, holm([changes[name].p(direction) for name in names])))


def summarise(findings: list[Finding]) -> str:
    """One sentence on all findings."""
    bad = [finding for finding in findings if finding.status in BAD]
    rows = len({finding.entry for finding in findings if finding.status != "new"})
    if not bad:
        risen = sum(finding.status == "rose" for finding in findings)
        return f"passed: {rows} rows, none worse" + (
            f", {risen} better (make a new baseline to keep it)" if risen else ""
        )
    return f"failed: {len({finding.entry for finding in bad})} of {rows} rows"
