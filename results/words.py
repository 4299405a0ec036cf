"""The statistics in words: which methods differ, which differences are noise, and what cannot be tested."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pandas as pd

from osad_bench.results.aggregate import ROW
from osad_bench.results.letters import lettered
from osad_bench.results.ranking import ROPE, average_ranks, compare_methods, critical_difference, friedman
from osad_bench.results.titles import Titles, titles_of

FEW = 3
"""Differences that are noise are listed up to so many; with more, only their number is given."""

MANY = 6
"""Differences beyond noise are listed one by one up to so many; with more, in groups."""

FEW_DATASETS = 5
"""With fewer data sets, no probability over data sets is given, as it would mostly repeat its prior."""


def in_words(
    pairs: pd.DataFrame,
    matrices: dict[tuple[str, str, int], pd.DataFrame],
    frame: pd.DataFrame | None = None,
) -> list[str]:
    """Paragraphs on `paired.differences` and `ranking.dataset_means`.

    Parameters
    ----------
    pairs
        As `paired.differences` returns it.
    matrices
        As `ranking.dataset_means` returns it.
    frame
        The records, for the titles of methods and data sets, and for letters where a row has many pairs.
    """
    titles = Titles() if frame is None else titles_of(frame)
    letters = {} if frame is None or pairs.empty else dict(lettered(pairs, frame))
    paragraphs = []
    for row, part in pairs.groupby(ROW):
        paragraphs.append(_row_in_words(row, part, titles, letters.get(row)))
    if not paragraphs and all(matrix.shape[1] < 2 for matrix in matrices.values()):
        return [_nothing_to_compare(frame)]
    if len(paragraphs):
        counts = set(pairs["seeds"])
        mixed = " (of one seed: over images alone)" if 1 in counts else ""
        paragraphs.append(HOW.format(and_seeds="alone (one seed)" if counts == {1} else f"plus that over seeds{mixed}"))
    enough = {key: matrix for key, matrix in matrices.items() if min(matrix.shape) > 1}
    for (board, setting, shots), matrix in enough.items():
        named = matrix.rename(columns=titles.method, index=lambda name: titles.dataset(str(name)))
        named.attrs = {
            "methods left out": list(map(titles.method, matrix.attrs.get("methods left out", []))),
            "data sets left out": list(map(titles.dataset, matrix.attrs.get("data sets left out", []))),
        }
        paragraphs.append(_matrix_in_words(f"{setting} setting, M = {shots}, preset {board}", named))
    if matrices and not enough:
        paragraphs.append(
            "Over data sets nothing can be tested: ranks and tests need two methods with complete results on two data sets."
        )
    return paragraphs


HOW = (
    "How this was tested: intervals and p-values are those of Cochran and Cox's test (two-sided) of the mean difference, whose"
    " variance is that over images {and_seeds}. They are corrected for all pairs of methods of a table row (Bonferroni), so"
    " that an interval excludes 0 exactly where a difference exceeds noise (p < 0.05)."
)

VERDICTS = {
    (True, False): "differs", (False, False): "noise",
    (True, True): "more than the images' noise, on one seed", (False, True): "noise, on one seed",
}  # fmt: skip
"""(test rejects, only one seed) to the verdict that a table shows."""


def _nothing_to_compare(frame: pd.DataFrame | None) -> str:
    if frame is not None:
        done = frame[(frame["status"] == "ok") & (frame["part"] == "test")]
        if done.empty:
            return "No cell has a result: there is nothing to compare."
        if len(set(done["method"])) > 1:
            return (
                "No two methods can be compared: that needs a common seed on the same data set, setting and M, or two"
                " seeds each."
            )
    return "There is one method only, so there is nothing to compare."


def _row_in_words(row: Any, part: pd.DataFrame, titles: Titles, letters: pd.DataFrame | None) -> str:
    board, dataset, setting, shots = row
    part = part.assign(first=part["first"].map(titles.method), second=part["second"].map(titles.method))
    once, several = part[part["seeds"] == 1], part[part["seeds"] > 1]
    sure, noise = several[several["differs"]], several[~several["differs"]]
    text = f"{titles.dataset(dataset)}, {setting} setting, M = {shots}, preset {board}:"
    if len(several) == 1:
        text += " the two methods differ by more than noise." if len(sure) else " the difference is noise."
    elif len(several) and sure.empty:
        text += f" all {len(several)} differences are noise: no method is shown to be better than another."
    elif len(several) and noise.empty:
        text += f" all {len(several)} differences exceed noise."
    elif len(several):
        text += (
            f" {len(sure)} of {len(several)} differences exceed{'s' * (len(sure) == 1)} noise, {len(noise)}"
            f" {'does' if len(noise) == 1 else 'do'} not."
        )
    if letters is not None and len(several) > FEW:
        lines = zip(letters["method"], letters["letters"])
        shown = ", ".join(f"{titles.method(name)} {mark}" for name, mark in lines)
        text += f" Letters, best mean first (methods that share one are not told apart): {shown}."
    elif len(sure) > MANY:
        numbers = [(*_order(line), f"{abs(line['difference']):.3f}") for line in sure.to_dict("records")]
        text += " " + _by_winner(numbers)
    else:
        for line in sure.to_dict("records"):
            text += f" {_ahead(line, 'is better than')}."
    for line in noise.to_dict("records") if len(noise) <= FEW else ():
        text += (
            f" {line['first']} and {line['second']} are not shown to differ"
            f" ({line['difference']:+.3f}, {_interval(line) or 'equal for every image, which gives no interval'})."
        )
    if len(several):
        text += _smallest(several)
    unpaired = int((~part["paired"].astype(bool)).sum())
    if unpaired:
        text += (
            f" {unpaired} of the {len(part)} pairs share no seed, so only their means can be compared, which shows fewer"
            " differences: run them with the same seeds."
        )
    if len(once):
        apart = once[once["differs"]].to_dict("records")
        text += (
            " One seed is not enough to call a method better, as the spread between trainings is unknown (run five seeds)."
            + (" On one seed, beyond the noise of the images: " if apart else " On one seed, all differences are noise of the images")
            + "; ".join(_ahead(line, "scores above") for line in apart[:MANY])
            + f"; and {len(apart) - MANY} more" * (len(apart) > MANY) + "."
        )  # fmt: skip
    return text


def _smallest(several: pd.DataFrame) -> str:
    """A sentence on the smallest difference that can be shown: half the width of the median pair's interval."""
    half = float(((several["high"] - several["low"]) / 2).median())
    fewest, most = int(several["seeds"].min()), int(several["seeds"].max())
    text = f" With {fewest if fewest == most else f'{fewest} to {most} common'} seeds, "
    text += (
        "no difference can be shown here, however large." if half > 0.5 else
        f"a difference below about {half:.3f} cannot be shown here{' (median of the pairs)' * (len(several) > 1)}."
    )  # fmt: skip
    if fewest == 2:
        text += f" Two seeds say almost nothing about the spread between trainings: run {'five' if most == 2 else 'all'} seeds."
    return text


def _interval(line: dict[Any, Any]) -> str:
    """Such as ``[-0.010, +0.020]``; empty where the variance is 0, as of methods that rank all images alike."""
    return "" if line["low"] == line["high"] else f"[{line['low']:+.3f}, {line['high']:+.3f}]"


def _order(line: dict[Any, Any]) -> tuple[str, str]:
    """The better and the worse of a pair."""
    first, second = line["first"], line["second"]
    return (first, second) if line["difference"] > 0 else (second, first)


def _by_winner(found: list[tuple[str, str, str]]) -> str:
    """(better, worse, number) as one sentence per better method, first the method that is better than most others."""
    below: dict[str, list[tuple[str, str]]] = {}
    for better, worse, number in found:
        below.setdefault(better, []).append((number, worse))
    sentences = []
    for better, ones in sorted(below.items(), key=lambda item: (-len(item[1]), item[0])):
        numbers = sorted(number for number, _ in ones)
        spread = numbers[0] if numbers[0] == numbers[-1] else f"{numbers[0]} to {numbers[-1]}"
        sentences.append(f"{better} is better than {_listed(sorted(worse for _, worse in ones))} (by {spread}).")
    return " ".join(sentences)


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _ahead(line: dict[Any, Any], verb: str) -> str:
    sign = 1 if line["difference"] > 0 else -1
    better, worse = _order(line)
    low, high = sorted((sign * line["low"], sign * line["high"]))
    return f"{better} {verb} {worse} by {sign * line['difference']:.3f} [{low:.3f}, {high:.3f}]"


def _matrix_in_words(name: str, matrix: pd.DataFrame) -> str:
    n, k = matrix.shape
    ranks = average_ranks(matrix)
    text = f"{name}, over {n} data sets: average ranks " + ", ".join(f"{m} {r:.2f}" for m, r in ranks.items()) + "."
    for what, why in (
        ("methods", "results on half of the data sets or fewer"),
        ("data sets", "a method lacks results"),
    ):
        names = matrix.attrs.get(f"{what} left out", [])
        if names:
            text += f" Not ranked ({why}): {_listed(names)}."
    if k > 2:
        test = friedman(matrix)
        verdict = "the methods differ" if test.f_p < 0.05 else "no difference between the methods is shown"
        needed = critical_difference(k, n)
        apart = sum(abs(one - other) > needed for one, other in combinations(ranks, 2))
        p = "< 0.0001" if test.f_p < 1e-4 else f"= {test.f_p:.3g}"
        text += (
            f" Friedman (Iman-Davenport): F = {test.f:.2f}, p {p}: {verdict}. Nemenyi's critical difference at 0.05 is"
            f" {needed:.2f} ranks: {apart} of {k * (k - 1) // 2} pairs differ by more."
        )
    pairs = compare_methods(matrix)
    least = len(pairs) * 2 / 2**n
    if least > 0.05:
        text += (
            f" Wilcoxon's test with Holm's correction for {len(pairs)} {'pair' if len(pairs) == 1 else 'pairs'} cannot show any difference on {n} data sets:"
            f" the smallest p possible is {min(1, least):.3g}."
        )
    else:
        sure = int((pairs["wilcoxon_p"] < 0.05).sum())
        text += f" Wilcoxon with Holm's correction: {sure} of {len(pairs)} pairs differ."
    if n < FEW_DATASETS:
        return text + f" On fewer than {FEW_DATASETS} data sets no probability is given that one method is better."
    likely: list[tuple[str, str, str]] = []
    equal = []
    for line in pairs.to_dict("records"):
        first, second = line["first"], line["second"]
        for better, worse, probability in (
            (first, second, line["p_first_better"]), (second, first, line["p_second_better"])
        ):  # fmt: skip
            if probability > 0.95:
                likely.append((better, worse, f"{probability:.3f}"))
        if line["p_equal"] > 0.95:
            equal.append(f"{first} and {second} ({line['p_equal']:.3f})")
    if len(likely) > MANY:
        text += " Bayesian signed-rank, probability above 0.95: " + _by_winner(likely).replace("(by ", "(")
    elif likely:
        said = [f"{better} better than {worse} ({number})" for better, worse, number in likely]
        text += " Bayesian signed-rank, probability above 0.95: " + "; ".join(said) + "."
    if equal:
        text += f" Equal within {ROPE}, probability above 0.95: " + "; ".join(equal) + "."
    return text


def differences_for_print(pairs: pd.DataFrame, titles: Titles) -> pd.DataFrame:
    """`paired.differences` as texts, with numbers as a paper prints them."""
    lines = [
        {
            **titles.row(line),
            "first": titles.method(line["first"]),
            "second": titles.method(line["second"]),
            "difference": f"{line['difference']:+.3f}",
            "95 % interval": _interval(line) or "none",
            "seeds": f"{line['seeds']}{'' if line['paired'] else ' (unpaired)'}",
            "p (Cochran-Cox, Bonferroni)": f"{line['p']:.2g}",
            "p (DeLong, one split)": "" if pd.isna(line["delong_p"]) else f"{line['delong_p']:.2g}",
            "verdict": VERDICTS[bool(line["differs"]), line["seeds"] == 1],
        }
        for line in pairs.to_dict("records")
    ]
    result: pd.DataFrame = pd.DataFrame(lines)
    return result
