"""A leaderboard as one static page: verified and other results in lists of their own, differences that are noise marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.resources import files
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from osad_bench.results.aggregate import ROW, comparable, summary
from osad_bench.results.paired import differences
from osad_bench.results.registered import registration
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
        As `osad_bench.results.load` returns it, with ``submission`` (its title), ``label`` (method and variant),
        ``verified``, ``why`` (the reason where not verified) and ``registered``; keys begin with the submission's number.
    scores
        As `osad_bench.results.scores.load_scores` returns it, with the same keys.
    about
        What the page says of the submission.
    """

    frame: pd.DataFrame
    scores: pd.DataFrame
    about: dict[str, Any]


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
    verdicts = {
        label: (False, NOT_VERIFIED) if found is None else found.of_method(label)
        for label in sorted(set(frame["label"]))
    }
    frame["verified"] = [verdicts[label][0] for label in frame["label"]]
    frame["why"] = [verdicts[label][1] for label in frame["label"]]
    frame["registered"] = "" if submission.plan is None else registration(frame, submission.plan)
    frame["key"] = [f"{number}/{key}" for key in frame["key"]]
    about = {
        "title": submission.title,
        "file": submission.path.name,
        "sha256": submission.digest,
        "made": f"{submission.manifest.made:%Y-%m-%d %H:%M} UTC",
        "cells": len(frame),
        "plan": submission.plan.digest[:12] if submission.plan else "",
        "verified": "" if found is None else f"{found.made:%Y-%m-%d %H:%M} UTC",
        "checks": [] if found is None else [f"{state}: {what}: {message}" for what, state, message, _ in found.checks],
    }
    return Entered(frame, scores.assign(key=[f"{number}/{key}" for key in scores["key"]]), about)


def rows(entered: Sequence[Entered]) -> list[dict[str, Any]]:
    """Each row of the table: ``title``, ``preset``, and the entries ``verified`` and ``others``, best mean first.

    An entry is compared with the first of its list, on the seeds and images that both have: ``noise`` where no difference
    is shown (`paired.differences`, with Bonferroni's correction over the pairs of the list).
    """
    frame = pd.concat([one.frame for one in entered], ignore_index=True)
    scores = pd.concat([one.scores for one in entered], ignore_index=True)
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
        pairs = differences(part, scores)
        for row, lines in summary(part).groupby(ROW):
            lines = lines[lines["classes"] == 0].sort_values("mean", ascending=False)
            entries: list[dict[str, Any]] = []
            for line in lines.itertuples():
                place = (*row, line.method)
                first = entries[0]["name"] if entries else line.method
                entries.append(
                    {
                        "name": line.method,
                        "method": titles.method(facts.loc[place, "label"]),
                        "submission": facts.loc[place, "submission"],
                        "auroc": "–" if pd.isna(line.mean) else f"{line.mean:.3f}",
                        "spread": "" if pd.isna(line.std) else f"±{line.std:.3f}",
                        "seeds": int(line.n),
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
        submissions=[one.about for one in entered],
    )
