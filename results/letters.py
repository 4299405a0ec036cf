"""Which methods of a row differ, as a matrix with letters: methods that share a letter are not shown to differ.

H.-P. Piepho, "An algorithm for a letter-based representation of all-pairwise comparisons", Journal of Computational and
Graphical Statistics 13(2), 2004 (insert and absorb).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from string import ascii_letters
from typing import Any

import pandas as pd

from osad_bench.results.aggregate import ROW, summary
from osad_bench.results.titles import Titles

MOST_LETTERS = len(ascii_letters)
"""Groups that get a letter; further ones get a number in brackets."""


def compact_letters(methods: Sequence[str], differ: Collection[frozenset[str]]) -> dict[str, str]:
    """Letters for each method: two methods share one exactly where their pair is not in `differ`.

    Parameters
    ----------
    methods
        The best first, so that it gets the letter a.
    differ
        Pairs of methods that are shown to differ.
    """
    groups = [frozenset(methods)]
    for pair in sorted(map(sorted, differ)):
        one, other = pair
        split = []
        for group in groups:
            split += [group - {one}, group - {other}] if {one, other} <= group else [group]
        groups = [group for group in dict.fromkeys(split) if not any(group < larger for larger in split)]
    place = {method: number for number, method in enumerate(methods)}
    groups.sort(key=lambda group: sorted(place[method] for method in group))
    letters = dict.fromkeys(methods, "")
    for number, group in enumerate(groups):
        for method in group:
            letters[method] += ascii_letters[number] if number < MOST_LETTERS else f"[{number}]"
    return letters


def lettered(pairs: pd.DataFrame, frame: pd.DataFrame) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    """Rows of the table with at least three tested methods, each with the letters of its methods.

    Parameters
    ----------
    pairs
        As `paired.differences` returns it; pairs with variants of a method are ignored.
    frame
        The records, as `osad_bench.results.load` returns them.

    Returns
    -------
    iterator of (board, data set, setting, M), lines
        The lines of `aggregate.summary`, best mean first, with ``letters``.
    """
    lines = dict(iter(summary(frame[frame["variant"] == ""]).dropna(subset=["mean"]).groupby(ROW)))
    for row, tested in pairs.groupby(ROW):
        if row not in lines:
            continue
        mine = lines[row].sort_values("mean", ascending=False, kind="stable")
        methods = list(mine["method"])
        among = tested[tested["first"].isin(methods) & tested["second"].isin(methods)]
        methods = [name for name in methods if name in {*among["first"], *among["second"]}]
        if len(methods) < 3:
            continue
        sure = among[among["differs"] & (among["seeds"] > 1)]  # one seed is not enough to call a method better
        apart = {frozenset(pair) for pair in sure[["first", "second"]].itertuples(index=False)}
        letters = compact_letters(methods, apart)
        mine = mine[mine["method"].isin(methods)]
        yield row, mine.assign(letters=[letters[name] for name in mine["method"]])


def matrices(pairs: pd.DataFrame, frame: pd.DataFrame, titles: Titles) -> dict[str, pd.DataFrame]:
    """A matrix for each row of `lettered`: AUROC, letters, and the difference to each better method.

    Returns
    -------
    dict
        Heading to a frame of texts: ``#, method, AUROC, letters, 1, 2, ...``. Column 3 holds this method's AUROC minus that
        of the third, with ``*`` where the two differ, ``'`` where they differ beyond the noise of the images but share one
        seed only, and ``?`` where they share too little to be compared.
    """
    result = {}
    for (board, dataset, setting, shots), lines in lettered(pairs, frame):
        row = pairs[(pairs[ROW] == [board, dataset, setting, shots]).all(axis=1)]
        found: dict[tuple[str, str], str] = {}
        for line in row.to_dict("records"):
            mark = ("*" if line["seeds"] > 1 else "'") if line["differs"] else ""
            found[line["first"], line["second"]] = _signed(line["difference"]) + mark
            found[line["second"], line["first"]] = _signed(-line["difference"]) + mark
        methods = list(lines["method"])
        cells = [
            {
                "#": str(place + 1),
                "method": titles.method(name),
                "AUROC": f"{mean:.3f}",
                "letters": letters,
                **{
                    str(column + 1): found.get((name, other), "?") if column < place else ""
                    for column, other in enumerate(methods[:-1])
                },
            }
            for place, (name, mean, letters) in enumerate(zip(methods, lines["mean"], lines["letters"]))
        ]
        heading = f"{titles.dataset(dataset)}, {setting} setting, M = {shots}, preset {board}"
        result[heading] = pd.DataFrame(cells)
    return result


def _signed(value: float) -> str:
    """Such as ``-.062``: without the zero, so that fourteen fit on a line."""
    text = f"{value:+.3f}"
    if float(text) == 0:
        return ".000"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


NOTE = (
    "Methods that share a letter are not shown to differ. A number is the AUROC of the method of its line minus"
    " that of the method of its column (mean over common seeds). * marks differences beyond noise: p < 0.05 by Cochran and"
    " Cox's test over seeds and images, corrected for all pairs of methods (Bonferroni). ' marks differences on one seed"
    " alone that exceed the noise of the images, which does not show that the methods differ."
)
