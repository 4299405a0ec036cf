"""Where printed numbers contradict each other, and which of several to compare with; computed from `published.numbers`."""

from __future__ import annotations

from typing import Any

import pandas as pd

from osad_bench.results.published import PAPERS, PLACE

APART = 0.02
"""A rerun is reported where its mean AUROC differs from the original's by at least this much."""

SLIP, OTHER, RERUN, TWICE, MEAN = (
    "a copy differs from what it copies", "a copy prints another method's number", "a rerun differs by 0.02 or more",
    "a paper prints two numbers for one thing", "a mean is not that of its parts",
)  # fmt: skip
"""Kinds of contradiction."""


def _plain(numbers: pd.DataFrame) -> pd.DataFrame:
    """Numbers of complete methods (no variants), with ``text`` (0.810±0.024) and ``where`` (source and table)."""
    result = numbers[numbers["variant"] == ""].copy()
    result["text"] = [f"{m:.3f}" if pd.isna(s) else f"{m:.3f}±{s:.3f}" for m, s in zip(result["mean"], result["std"])]
    result["where"] = [f"{source}, Table {table}" for source, table in zip(result["source"], result["table"])]
    return result


def contradictions(numbers: pd.DataFrame) -> pd.DataFrame:
    """Pairs of printed numbers that contradict each other.

    Parameters
    ----------
    numbers
        As `osad_bench.results.published.numbers` returns it.

    Returns
    -------
    DataFrame
        ``setting, shots, dataset, known_kind, method, what`` (kind of contradiction), ``first, first_source, second,
        second_source`` (numbers as printed, with paper and table), ``difference`` (first - second) and ``equals`` (method
        and table for which another number equal to the first is printed; else empty).
    """
    plain = _plain(numbers)
    rows = _rows(plain)
    own = _by_place([one for one in rows if one.origin == "own run"], PLACE[:-1])
    lines: list[dict[str, Any]] = []
    for place, part in _by_place(rows, PLACE).items():
        named = dict(zip(PLACE, place))
        found = [*_copies(part, own.get(place[:-1], [])), *_reruns(part), *_twice(part)]
        lines += [named | line for line in found]
    lines += _means(plain)
    columns = [*PLACE, "what", "first", "first_source", "second", "second_source", "difference", "equals"]
    result = pd.DataFrame(lines, columns=columns).drop_duplicates()
    order = {name: number for number, name in enumerate((SLIP, OTHER, RERUN, TWICE, MEAN))}
    ordered: pd.DataFrame = result.sort_values(
        ["what", "setting", "shots", "dataset", "method"],
        key=lambda column: column.map(order) if column.name == "what" else column,
        ignore_index=True,
    )
    return ordered


def _line(what: str, first: Any, second: Any, equals: str = "") -> dict[str, Any]:
    return {
        "what": what, "first": first.text, "first_source": first.where, "second": second.text, "second_source": second.where,
        "difference": round(first.mean - second.mean, 3), "equals": equals,
    }  # fmt: skip


def _rows(frame: pd.DataFrame) -> list[Any]:
    """Lines as named tuples, whose ``mean`` is the column; a Series' would be a method."""
    return list(frame.itertuples(index=False))


def _by_place(rows: list[Any], names: list[str]) -> dict[tuple[Any, ...], list[Any]]:
    """Lines grouped by some of `PLACE`, in the order of the places."""
    places: dict[tuple[Any, ...], list[Any]] = {}
    for one in rows:
        places.setdefault(tuple(getattr(one, name) for name in names), []).append(one)
    return dict(sorted(places.items()))


def _copies(part: list[Any], own: list[Any]) -> list[dict[str, Any]]:
    """Copies that differ from all numbers printed by those who ran the method.

    Parameters
    ----------
    part
        The numbers of one place.
    own
        Numbers of own runs of all methods, for the same setting, shots, data set and known kind.
    """
    lines = []
    for copy in part:
        sources = [one for one in part if one.origin == "own run" and one.source != copy.source]
        if copy.origin != "copied" or not sources or copy.text in {one.text for one in sources}:
            continue
        runners = {one.source for one in sources}
        others = [one for one in own if one.source in runners and one.text == copy.text and one.method != copy.method]
        equals = "; ".join(f"{one.method} in {one.where}" for one in others)
        lines.append(_line(OTHER if equals else SLIP, copy, sources[0], equals))
    return lines


def _reruns(part: list[Any]) -> list[dict[str, Any]]:
    """Reruns of public code whose mean differs by at least `APART` from that of an own run."""
    return [
        _line(RERUN, rerun, run)
        for rerun in part
        for run in part
        if (rerun.origin, run.origin) == ("rerun", "own run") and run.source != rerun.source
        and round(abs(rerun.mean - run.mean), 3) >= APART
    ]  # fmt: skip


def _twice(part: list[Any]) -> list[dict[str, Any]]:
    """Different means that one paper prints for one thing, in two of its tables or twice in one."""
    lines = []
    for source in sorted({one.source for one in part}):
        first, *rest = sorted((one for one in part if one.source == source), key=lambda one: one.table)
        lines += [_line(TWICE, first, other) for other in rest if other.mean != first.mean]
    return lines


def _means(plain: pd.DataFrame) -> list[dict[str, Any]]:
    """Means over kinds or classes that differ from the mean of the printed parts by more than rounding."""
    lines = []
    hard = plain[plain["setting"] == "hard"]
    classes = plain[(plain["setting"] == "general") & plain["dataset"].str.startswith("mvtec")].copy()
    classes["known_kind"] = classes["dataset"].where(classes["dataset"] != "mvtec", "mean")
    classes["dataset"] = "mvtec"
    for _, part in pd.concat([hard, classes]).groupby(["source", "setting", "shots", "dataset", "method"]):
        means, parts = part[part["known_kind"] == "mean"], part[part["known_kind"] != "mean"]
        parts = parts.drop_duplicates("known_kind")
        if means.empty or len(parts) < 2 or (part["setting"].iloc[0] == "general" and len(parts) != 15):
            continue
        printed, found = _rows(means)[0], float(parts["mean"].mean())
        if abs(printed.mean - found) > 0.0025:
            kind = "mean" if part["setting"].iloc[0] == "hard" else ""
            lines.append(
                {
                    "setting": printed.setting, "shots": printed.shots, "dataset": printed.dataset, "known_kind": kind,
                    "method": printed.method, "what": MEAN, "first": printed.text, "first_source": printed.where,
                    "second": f"{found:.3f}", "second_source": f"mean of its {len(parts)} printed parts",
                    "difference": round(printed.mean - found, 3), "equals": "",
                }
            )  # fmt: skip
    return lines


def larger_of_two(numbers: pd.DataFrame, copied: str = "ahl", other: str = "ahl-devnet") -> tuple[int, int, int]:
    """Where the numbers in the DPDL paper's column AHL come from: counts of places.

    Returns
    -------
    places, larger, from_other
        Places where the DPDL paper prints `copied` and the AHL paper prints both methods; of these, how many print the
        larger of both methods' numbers, and how many equal only the number of `other`.
    """
    plain = _plain(numbers).set_index([*PLACE[:-1]])
    copies = plain[(plain["origin"] == "copied") & (plain["method"] == copied)]
    places = larger = from_other = 0
    for place, copy in copies.iterrows():
        own = plain.loc[[place]]
        own = own[own["origin"] == "own run"]
        both = {name: own.loc[own["method"] == name, "mean"].tolist() for name in (copied, other)}
        if not all(both.values()):
            continue
        places += 1
        larger += max(both[copied] + both[other]) == copy["mean"]
        from_other += copy["mean"] in both[other] and copy["mean"] not in both[copied]
    return places, larger, from_other


RANKS = (
    "own paper",
    "rerun by others",
    "run by others",
    "copied",
)
"""Kinds of source, in the order in which they are preferred."""


def rank_of(source: str, method: str, origin: str) -> int:
    """Index in `RANKS` of a number of `method` that `source` prints; a number that may be copied counts as copied."""
    if origin == "own run":
        return 0 if PAPERS.get(method) == source else 2
    return 1 if origin == "rerun" else 3


def to_compare_with(numbers: pd.DataFrame) -> pd.DataFrame:
    """One number per place: from the method's own paper, else a rerun, else another paper's run, else a copy.

    Parameters
    ----------
    numbers
        As `osad_bench.results.published.numbers` returns it.

    Returns
    -------
    DataFrame
        `PLACE`, ``mean, std, runs, source`` (paper and table), ``origin`` (of `RANKS`) and ``disputed``: the other
        numbers printed for the same place that are `APART` or more away, else empty.
    """
    plain = _plain(numbers)
    plain["rank"] = [rank_of(*line) for line in plain[["source", "method", "origin"]].itertuples(index=False)]
    lines = []
    for place, part in _by_place(_rows(plain), PLACE).items():
        best, *rest = sorted(part, key=lambda one: (one.rank, one.table))
        others = [one for one in rest if round(abs(one.mean - best.mean), 3) >= APART]
        disputed = "; ".join(dict.fromkeys(f"{one.source} {one.text} ({RANKS[one.rank]})" for one in others))
        lines.append(
            dict(zip(PLACE, place)) | {
                "mean": best.mean, "std": best.std, "runs": best.runs, "source": best.where, "origin": RANKS[best.rank],
                "disputed": disputed,
            }
        )  # fmt: skip
    result: pd.DataFrame = pd.DataFrame(lines)
    return result


def for_print(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame of `contradictions` or of `numbers`, as short texts in few columns."""
    protocol = [
        f"{setting}, M = {shots}" + (f", {kind}" if kind not in ("", "mean") else "")
        for setting, shots, kind in zip(frame["setting"], frame["shots"], frame["known_kind"])
    ]
    if "what" in frame:
        columns = {
            "what": frame["what"], "data set": frame["dataset"], "protocol": protocol, "method": frame["method"],
            "printed": frame["first"], "by": frame["first_source"], "against": frame["second"],
            "of": frame["second_source"], "difference": [f"{value:+.3f}" for value in frame["difference"]],
            "is the number of": frame["equals"],
        }  # fmt: skip
    else:
        names = [f"{method} {variant}".strip() for method, variant in zip(frame["method"], frame["variant"])]
        printed = [f"{m:.3f}" if pd.isna(s) else f"{m:.3f}±{s:.3f}" for m, s in zip(frame["mean"], frame["std"])]
        columns = {
            "data set": frame["dataset"], "protocol": protocol, "method": names, "printed": printed, "runs": frame["runs"],
            "source": [f"{source}, Table {table}" for source, table in zip(frame["source"], frame["table"])],
            "origin": frame["origin"], "note": frame["note"],
        }  # fmt: skip
    result: pd.DataFrame = pd.DataFrame({name: list(map(str, values)) for name, values in columns.items()})
    return result
