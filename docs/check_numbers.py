"""Is every number in README and docs what the reference records give? Prints those that are not; exit code 1 if there are any.

    python docs/check_numbers.py [FILE...]

Which records a number comes from stands beside it, in a comment that no reader of the page sees:

- ``<!-- records STORE: WHERE -->`` on the line before a table (Markdown's, or one printed by `report` in a code block).
  Each cell is looked up by WHERE, the first cell of its row and the head of its column; the head of the first
  column may name what the rows or columns are values of (M, a column of the records, or a setting). ``mean``: of the row.
- ``0.886±0.016<!-- STORE: WHERE -->`` after a single number.

STORE is a file of results/reference. WHERE names, separated by commas, a method, a data set, ``general`` or ``hard``, ``M = 10``,
or any column of `osad_bench.results.load` as ``NAME=VALUE``. ``A - B`` is a difference, paired by seed; what stands outside
brackets in ``[dpdl] - [mahalanobis], elpv`` counts for both. ``metric=fpr95`` or ``metric=diagnostics.oracle.best_auroc`` stands in
  place of AUROC; the settings of a variant are separated by spaces. A head ``published`` asks for the papers' number instead.

A number is ``MEAN±STD`` over seeds (kinds of the hard setting averaged before), ``MEAN`` alone, with ``(N)`` for the number of
seeds where that is not five. In README.md and findings.md each MEAN±STD must have its records named.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pandas as pd

from osad_bench.results import load
from osad_bench.results.published import numbers
from osad_bench.results.submission import opened

ROOT = Path(__file__).resolve().parents[1]
COMPLETE = ("README.md", "findings.md")
"""Files in which no MEAN±STD may stand without its records."""
USUAL = 5
"""Seeds of a number that does not say how many it has."""
NUMBER = re.compile(r"([−+-]?)(\d*\.\d+|\d+)(?:±(\d+\.\d+))?(?: \((\d+)\))?")
TABLE = re.compile(r"^\s*<!-- records (\w+): (.*?) -->\s*$")
INLINE = re.compile(r"([−+-]?\d+\.\d+(?:±\d+\.\d+)?(?: \(\d+\))?)<!-- (\w+): (.*?) -->")
SPREAD = re.compile(r"\d\.\d+±\d\.\d+")


@dataclass(frozen=True)
class Problem:
    """A number that the records do not give."""

    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


class Unknown(Exception):
    """A label that names nothing, or no record."""


@lru_cache
def records(store: str) -> pd.DataFrame:
    """The finished cells of one file of results/reference."""
    source = ROOT / "results" / "reference" / f"{store}.osad.zip"
    if not source.exists():
        raise Unknown(f"there is no {source.relative_to(ROOT)}")
    with opened(source) as submission:
        frame = load(submission.store.root)
    return frame[frame.status == "ok"]


def constraints(label: str, frame: pd.DataFrame, axis: str = "") -> dict[str, str]:
    """Column of the frame to the text its value must have, for a label such as ``DPDL, ELPV, M = 10``."""
    titles = {title.lower(): ("dataset", name) for name, title in zip(frame.dataset, frame.dataset_title)}
    titles |= {name.rpartition("/")[2]: ("dataset", name) for name in frame.dataset}
    titles |= {title.lower(): ("method", name) for name, title in zip(frame.method, frame.method_title)}
    titles |= {name: ("method", name) for name in frame.method}
    found = {}
    if axis and "(default)" in label:
        label, found["variant"] = re.sub(r"`[\w.=]+` \(default\)", "", label), ""
    for part in filter(
        None,
        (re.sub(r" \((floor|ours|sees none|closed form)\)$|`|\*", "", part.strip()) for part in label.split(",")),
    ):
        known = titles.get(part.lower()) or titles.get(f"{part.lower()} (ours)")
        if known:
            found[known[0]] = known[1]
        elif part in ("general", "hard"):
            found["setting"] = part
        elif match := re.fullmatch(r"M = (\d+)", part):
            found["shots"] = match[1]
        elif match := re.fullmatch(r"(\w+)=(.*)", part):
            found[match[1]] = match[2]
        elif axis and re.fullmatch(r"[\w.=]+", part):
            found.update({axis: part} if axis in frame.columns else {"variant": f"{axis}={part}"})
        else:
            raise Unknown(f"{part!r} is no method, data set or column of the records")
    return found


def selected(frame: pd.DataFrame, wanted: dict[str, str]) -> pd.DataFrame:
    """The cells that `wanted` names; settings that it does not name are the usual ones."""
    usual = {"variant": "", "part": "test", "setting": "general", "dedup": "False"}
    for column, value in {**usual, **wanted}.items():
        if column == "metric":
            continue
        if column not in frame.columns:
            raise Unknown(f"the records have no column {column!r}")
        number = pd.to_numeric(frame[column], errors="coerce") if re.fullmatch(r"[\d.]+", value) else None
        kept = (
            (number - float(value)).abs() < 1e-9
            if number is not None
            else frame[column].fillna("").astype(str).str.replace(", ", " ") == value
        )
        frame = frame[kept]
    return frame


def by_seed(frame: pd.DataFrame, wanted: dict[str, str]) -> pd.Series[float]:
    """One number per seed, the kinds of the hard setting averaged; a seed that lacks one of them has none, as in a report."""
    cells = selected(frame, wanted)
    if cells.empty:
        raise Unknown(f"no record has {', '.join(f'{name} = {value}' for name, value in wanted.items())}")
    several = [
        name
        for name in (
            "method",
            "dataset",
            "shots",
            "reserve",
            "contamination",
            "mislabelled",
            "preset",
            "settings",
            "train_group",
            "test_group",
        )
        if len(cells[name].drop_duplicates()) > 1
    ]
    if several:
        raise Unknown(f"records of several {' and '.join(several)} fit: say which")
    column, *inside = wanted.get("metric", "auroc").split(".")
    values = cells[column]
    for name in inside:
        values = values.map(lambda record, name=name: record[name])
    by: pd.Series[float] = values.astype(float).groupby(cells.seed).mean()
    kinds = cells.groupby("seed")["known_kind"].nunique()
    return by[kinds == kinds.max()]


def series_of(where: str, frame: pd.DataFrame, axis: str = "") -> pd.Series[float]:
    """One number per seed for ``A``, or for the paired difference ``[A] - [B], C``."""
    if not (match := re.search(r"\[(.*?)\] - \[(.*?)\]", where)):
        return by_seed(frame, constraints(where, frame, axis))
    common = constraints(where.replace(match[0], ""), frame, axis)
    first, second = (by_seed(frame, {**common, **constraints(side, frame)}) for side in match.groups())
    return (first - second).dropna()


def compared(text: str, values: pd.Series[float]) -> str:
    """Empty where `text` is what the values give, else what they give."""
    match = NUMBER.fullmatch(text)
    if not match:
        return f"{text!r} cannot be read"
    sign, mean, std, n = match.groups()
    digits = len(mean.partition(".")[2])
    plain = f"{values.mean():.{digits}f}"
    given = plain.lstrip("-") if sign else plain
    right = given == mean and (not sign or float(plain) == 0 or (plain[0] == "-") == (sign in "−-"))
    if std is not None:
        right &= f"{values.std():.{digits}f}" == std
    right &= len(values) == int(n or USUAL)
    spread = f"±{values.std():.{digits}f}" if len(values) > 1 else ""
    return "" if right else f"{text} is printed, and the records give {plain}{spread} (n = {len(values)})"


def published_number(text: str, wanted: dict[str, str]) -> str:
    """Empty where a paper prints `text` for this: the table named in brackets, else the DPDL paper's own of the setting."""
    value, _, source = text.partition(" (")
    setting = wanted.get("setting", "general")
    paper, table = source.rstrip(")").split(", Table ") if source else ("DPDL", "1" if setting == "general" else "2")
    found = numbers()
    found = found[found.source.str.startswith(paper) & (found.table.astype(str) == table)]
    found = found[
        (found.method == wanted["method"]) & (found.dataset == wanted["dataset"]) & (found.setting == setting)
    ]
    found = found[found.shots.isin((0, int(wanted.get("shots", 10)))) & found.known_kind.fillna("").isin(("", "mean"))]
    printed = {f"{one.mean:.3f}±{one.std:.3f}" for one in found[["mean", "std"]].itertuples(index=False)}
    if value in printed | {one.partition("±")[0] for one in printed}:
        return ""
    return f"{text} is printed, and the papers have {', '.join(sorted(printed)) or 'nothing'}"


def cells_of(line: str) -> list[str]:
    """The cells of one line of a table."""
    return [
        cell.strip()
        for cell in (line.strip().strip("|").split("|") if "|" in line else re.split(r"\s{2,}", line.strip()))
    ]


def check_table(place: str, store: str, where: str, lines: list[str]) -> tuple[int, list[Problem]]:
    """Look up each number of a table; returns how many there were, and what is wrong."""
    rows = [cells_of(line) for line in lines if not re.fullmatch(r"[\s|:─-]*", line)]
    head, body = rows[0], rows[1:]
    try:
        frame = records(store)
    except Unknown as problem:
        return 0, [Problem(place, str(problem))]
    axis, count, problems = {"M": "shots"}.get(head[0], head[0].strip("`")), 0, list[Problem]()
    for row in body:
        for number, text in enumerate(row[1:], 1):
            text = text.replace("*", "").strip()
            if not NUMBER.match(text):
                continue
            column = head[number]
            try:
                if column.startswith("published"):
                    label = f"{where},{row[0]},{head[number - 1]}"
                    trouble = published_number(text, constraints(label, frame, axis))
                elif column == "mean":
                    sets = [name for name in head[1:] if name != "mean"]
                    each = [series_of(f"{where},{row[0]},{name}", frame, axis).mean() for name in sets]
                    trouble = compared(text, pd.Series([sum(each) / len(each)] * USUAL))
                else:
                    trouble = compared(text, series_of(f"{where},{row[0]},{column}", frame, axis))
            except Unknown as problem:
                trouble = str(problem)
            count += 1
            if trouble:
                problems.append(Problem(f"{place}, {row[0]}, {column}", trouble))
    return count, problems


def check(path: Path) -> tuple[int, list[Problem]]:
    """Look up each number of a file whose records are named."""
    lines = path.read_text("utf-8").splitlines()
    count, problems, sourced = 0, list[Problem](), set[int]()
    for index, line in enumerate(lines):
        if match := TABLE.match(line):
            start = next(
                (at for at in range(index + 1, len(lines)) if "|" in lines[at] or "──" in lines[at + 1]), len(lines)
            )
            end = next((at for at in range(start, len(lines)) if not lines[at].strip()), len(lines))
            found, wrong = check_table(f"{path.name}:{start + 1}", match[1], match[2], lines[start:end])
            count, problems = count + found, problems + wrong
            sourced.update(range(start, end))
        for number, store, where in INLINE.findall(line):
            try:
                trouble = compared(number, series_of(where, records(store)))
            except Unknown as problem:
                trouble = f"{number}: {problem}"
            count += 1
            if trouble:
                problems.append(Problem(f"{path.name}:{index + 1}", trouble))
    if path.name in COMPLETE:
        for index, line in enumerate(lines):
            if index not in sourced and (loose := SPREAD.search(INLINE.sub("", line))):
                problems.append(Problem(f"{path.name}:{index + 1}", f"the records of {loose[0]} are not named"))
    return count, problems


def main() -> int:
    """Check the files named, or README.md and all of docs/."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", metavar="FILE", nargs="*", type=Path, help="default: README.md and docs/*.md")
    files = parser.parse_args().files or [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    results = [check(path) for path in files]
    for _, problems in results:
        print(*problems, sep="\n", end="\n" if problems else "")
    wrong = sum(len(problems) for _, problems in results)
    print(f"{sum(count for count, _ in results)} numbers looked up, {wrong} problems")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
