"""A leaderboard as one static page: verified and other results in lists of their own, differences that are noise marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache
from importlib.resources import files
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from osad_bench.results.aggregate import ROW, comparable, summary
from osad_bench.results.paired import differences
from osad_bench.results.registered import registration
from osad_bench.results.row import tell_apart
from osad_bench.results.scores import load_scores
from osad_bench.results.submission import Submission, read_verification
from osad_bench.results.titles import titles_of

NOT_VERIFIED = "not verified here (osad-bench verify FILE)"


@dataclass(frozen=True)
class Entered:
    """A submission for the board: its records, with what verification found of their methods.

    Attributes
    ----------
    frame
        As `osad_bench.results.load` returns it, with ``submission``, ``label`` (the method as submitted), ``title`` (what
        its records call it), ``verified``, ``why`` (not) and ``registered``; keys carry the submission's number.
    scores
        As `osad_bench.results.scores.load_scores` returns it, with the same keys.
    about
        What the page says of the submission.
    records
        Key of each of its records and the moment it was made, which no two runs share.
    """

    frame: pd.DataFrame
    scores: pd.DataFrame
    about: dict[str, Any]
    records: frozenset[Any]


def enter(submission: Submission, number: int) -> Entered:
    """Read a submission for the board; `number` tells its records from those of other submissions.

    Raises
    ------
    StoreError
        A record or its scores are damaged.
    """
    frame = submission.store.frame()
    frame = frame[frame["part"] == "test"]
    scores = load_scores(submission.store.root, frame)
    found = read_verification(submission)
    frame = frame.assign(
        label=[f"{m} {v}".strip() for m, v in zip(frame["method"], frame["variant"])], submission=submission.title
    )
    titles = titles_of(frame)
    frame["title"] = [_named(titles.method(label), label) for label in frame["label"]]
    verdict = cache(lambda label, data: (False, NOT_VERIFIED) if found is None else found.of_method(label, data))
    verdicts = [verdict(*pair) for pair in zip(frame["label"], frame["fingerprint"])]
    frame["verified"], frame["why"] = ([one[place] for one in verdicts] for place in (0, 1))
    frame["registered"] = "" if submission.plan is None else registration(frame, submission.plan)
    records = frozenset(zip(frame["key"], frame["created"]))
    frame["key"] = [f"{number}/{key}" for key in frame["key"]]
    about = {
        "title": submission.title,
        "file": submission.path.name,
        "sha256": submission.digest,
        "made": f"{submission.manifest.made:%Y-%m-%d %H:%M} UTC",
        "cells": len(frame),
        "plan": submission.plan.digest[:12] if submission.plan else "",
        "verified": "" if found is None else f"{found.made:%Y-%m-%d %H:%M} UTC",
        "checks": [] if found is None else [f"{state}: {what}: {message}" for what, state, message, *_ in found.checks],
    }
    return Entered(frame, scores.assign(key=[f"{number}/{key}" for key in scores["key"]]), about, records)


def _named(title: str, label: str) -> str:
    """A method's title, with its name where the title says another: anybody can call a method anything."""
    plain, name = ("".join(filter(str.isalnum, text.casefold())) for text in (title, label.partition(" ")[0]))
    return title if name in plain else f"{title} ({label})"


def copies(entered: Sequence[Entered]) -> list[str]:
    """For each submission which others hold the very same records: who ran them is not shown by a submission."""
    found = []
    for one in entered:
        shared = [(len(one.records & other.records), other) for other in entered if other is not one]
        said = [f"{count} of {other.about['title']} ({other.about['file']})" for count, other in shared if count]
        found.append(", ".join(said))
    return found


def rows(entered: Sequence[Entered]) -> list[dict[str, Any]]:
    """Each row of the table with its verified and its other entries, best mean first, those of one seed last.

    An entry is compared with the first of its list, on the seeds and images that both have: ``noise`` where no difference
    is shown (`paired.differences`, corrected for the pairs of the list). Methods are called what their own submission calls
    them: no submission names those of another.
    """
    frame = pd.concat([one.frame for one in entered], ignore_index=True)
    scores = pd.concat([one.scores for one in entered], ignore_index=True)
    shown = frame[["dataset", "dataset_title"]].drop_duplicates().groupby("dataset")["dataset_title"].agg(list)
    frame["dataset_title"] = [shown[name][0] if len(shown[name]) == 1 else "" for name in frame["dataset"]]
    # Rows are told apart here, before the verified entries and the others are looked at by themselves.
    frame["preset"] = tell_apart(frame["preset"], frame["settings"])
    frame["dataset"] = tell_apart(frame["dataset"], frame["fingerprint"].str[:8])
    titles = titles_of(frame)
    shared = frame.groupby("label")["submission"].nunique()
    frame["method"] = [
        f"{label} ({submission})" if shared[label] > 1 else label
        for label, submission in zip(frame["label"], frame["submission"])
    ]
    frame["variant"] = ""
    lists: dict[tuple[Any, ...], dict[bool, list[dict[str, Any]]]] = {}
    for verified, part in frame.groupby("verified"):
        tests = comparable(part)
        facts = tests.drop_duplicates([*ROW, "method"]).set_index([*ROW, "method"])
        kept = tests.groupby([*ROW, "method"])["registered"].agg(lambda states: sorted(set(states)))
        done = tests[tests["status"] == "ok"]
        seeds = done.groupby([*ROW, "method"])["seed"].agg(set)
        pairs = differences(part, scores)
        for row, lines in summary(part).groupby(ROW):
            lines = lines[lines["classes"] == 0].assign(several=lines["n"] > 1)
            lines = lines.sort_values(["several", "mean"], ascending=False)
            entries: list[dict[str, Any]] = []
            for line in lines.itertuples():
                place = (*row, line.method)
                first = entries[0]["name"] if entries else line.method
                entries.append(
                    {
                        "name": line.method,
                        "method": facts.loc[place, "title"],
                        "submission": facts.loc[place, "submission"],
                        "auroc": "–" if pd.isna(line.mean) else f"{line.mean:.3f}",
                        "spread": "" if pd.isna(line.std) else f"±{line.std:.3f}",
                        "seeds": _seeds(int(line.n), seeds.get(place, set())),
                        "failed": int(line.failed),
                        "beside": _beside(pairs, row, first, line.method),
                        "registered": "; ".join(filter(None, kept.loc[place])),
                        "why": facts.loc[place, "why"],
                    }
                )
            lists.setdefault(tuple(row), {})[bool(verified)] = entries
    found = []
    for (board, dataset, setting, shots), lists_of_row in sorted(lists.items()):
        title = f"{titles.dataset(dataset)}, {setting} setting, M = {shots}"
        found.append(
            {
                "title": title,
                "preset": board,
                "verified": lists_of_row.get(True, []),
                "others": lists_of_row.get(False, []),
            }
        )
    return found


def _seeds(count: int, seeds: set[int]) -> str:
    """How many seeds, and which where they are not the first ones."""
    if seeds == set(range(len(seeds))):
        return str(count)
    listed = ", ".join(map(str, sorted(seeds)[:10])) + ", …" * (len(seeds) > 10)
    return f"{count} (seed{'s' * (len(seeds) > 1)} {listed})"


def _beside(pairs: pd.DataFrame, row: Any, first: str, other: str) -> str:
    """Difference of `other` to `first`, the best of its list, with interval and verdict."""
    if first == other:
        return "first"
    mine = pairs[(pairs[ROW] == list(row)).all(axis=1)]
    for one, two, sign in ((first, other, -1), (other, first, 1)):
        match = mine[(mine["first"] == one) & (mine["second"] == two)]
        if len(match):
            line = match.iloc[0]
            if line["low"] == line["high"] == 0:
                return "equal for every image"
            low, high = sorted((sign * line["low"], sign * line["high"]))
            verdict = "differs" if line["differs"] else "noise"
            if line["seeds"] < 2:
                verdict = "one seed: noise" if not line["differs"] else "one seed"
            return f"{sign * line['difference']:+.3f} [{low:+.3f}, {high:+.3f}], {verdict}"
    return "no common seeds: not compared"


def render_board(entered: Sequence[Entered], title: str, version: str) -> str:
    """The page's HTML, which needs no network and holds no script; `version` is that of osad-bench."""
    folder = files("osad_bench.results.page")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(folder.joinpath("board.html.jinja").read_text("utf-8")).render(
        title=title,
        style=Markup(folder.joinpath("page.css").read_text("utf-8")),  # noqa: S704 (a file of this package)
        made=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        version=version,
        rows=rows(entered),
        submissions=[one.about | {"copies": said} for one, said in zip(entered, copies(entered))],
    )
