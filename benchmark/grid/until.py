"""Seeds until the question is answered: run a grid, look, add seeds, and keep the error rate.

The question of each row of the table is which of its methods is the best, or which of two named ones is better. It is
answered where one method is shown to be better than each of the others. See `osad_bench.results.sequential` for the test. Of k
methods each pair is tested at 2 alpha / k: where a method that is not the best is called so, it must have crossed the
boundary against the best one, on one side, and at most k methods can.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from osad_bench.benchmark.grid.plan import Grid
from osad_bench.benchmark.grid.run import Options, Outcome, run_grid
from osad_bench.benchmark.grid.workers import Reporter
from osad_bench.core.errors import InputError
from osad_bench.core.files import write_named
from osad_bench.core.text import printable
from osad_bench.results.aggregate import ROW, comparable
from osad_bench.results.scores import load_scores
from osad_bench.results.sequential import Compared, Look, Verdict, follow, image_variance

if TYPE_CHECKING:
    from osad_bench.results.store import Store

MOST = 50
"""Seeds at the most, where nothing else is said."""


@dataclass(frozen=True)
class Question:
    """What is asked, and how sure the answer has to be.

    Attributes
    ----------
    between
        Two methods as tables name them; None: which of all is the best.
    most
        Seeds at the most.
    alpha
        Share of questions that may be answered wrongly.
    """

    between: tuple[str, str] | None = None
    most: int = MOST
    alpha: float = 0.05


@dataclass(frozen=True)
class Answer:
    """Where the question of one row of the table stands.

    Attributes
    ----------
    row
        The row in words.
    state
        ``decided``, ``open``, or ``hopeless``: the seeds left will hardly decide it.
    seeds
        Seeds that were looked at.
    best
        The method that is better than the others, or leads so far; empty where nothing can be compared.
    rivals
        Its comparison with each other method: the name to the verdict, `best` being the first of the two.
    """

    row: str
    state: Literal["decided", "open", "hopeless"]
    seeds: int
    best: str = ""
    rivals: dict[str, Verdict] = field(default_factory=dict)

    def in_words(self, question: Question) -> str:
        """One paragraph."""
        if not self.best:
            return f"{self.row}: there are no two methods with common results to compare."
        sure = {name: verdict for name, verdict in self.rivals.items() if verdict.state == "first"}
        unsure = {name: verdict for name, verdict in self.rivals.items() if name not in sure}
        text = f"{self.row}: "
        if self.state == "decided":
            text += f"decided with {self.seeds} seeds: {self.best} is better than {_listed(sure)}."
        else:
            end = f"not decided with {self.seeds} seeds" + (
                "" if self.seeds >= question.most else f", and hardly to be with {question.most}"
            )
            text += f"{end}: {self.best} leads, and cannot be told from {_listed(unsure)}."
            if sure:
                text += f" It is better than {_listed(sure)}."
            needed = [verdict.needed for verdict in unsure.values() if not verdict.looks[-1].identical]
            if None in needed:
                text += " No number of seeds settles a difference of this size: the test images are too few."
            elif needed:
                text += f" A difference of this size needs about {max(map(int, filter(None, needed)))} seeds."
        looks = sorted({look.seeds for verdict in self.rivals.values() for look in verdict.looks})
        return text + (
            f" Looked at after {', '.join(map(str, looks))} of at most {question.most} seeds; over all looks, a wrong answer "
            f"in at most {question.alpha:.0%} of such questions."
        )


def _listed(rivals: dict[str, Verdict]) -> str:
    found = []
    for name, verdict in sorted(rivals.items()):
        look = verdict.looks[-1]
        low, high = look.interval
        if look.identical:
            found.append(f"{name} (the same AUROC in every seed)")
            continue
        found.append(f"{name} (by {look.difference:+.3f} [{low:+.3f}, {high:+.3f}])")
    return ", ".join(found)


def run_until(
    grid: Grid,
    options: Options,
    question: Question,
    reporter: Reporter | None = None,
    tell: Callable[[list[Answer]], None] | None = None,
) -> tuple[Outcome, list[Answer]]:
    """Run a grid with more and more seeds until the question of every row is answered, or will hardly be.

    Parameters
    ----------
    grid
        Its seeds are 0 to n-1; n more are added at each look.
    options
        With a dry run, the first n seeds are planned and nothing is answered.
    tell
        Called after each look.

    Returns
    -------
    outcome, answers
        Of the last run, and one per row. The answers are also written to ``until.json`` in the store.

    Raises
    ------
    InputError
        The seeds are no number or the question names no two methods of the run, besides whatever `run_grid` raises.
    """
    step = len(grid.seeds)
    if grid.seeds != list(range(step)) or step < 2:
        raise InputError(
            "--until decided adds seeds by itself: give --seeds as a number of 2 or more, such as --seeds 5"
        )
    if question.most < step:
        raise InputError(f"--max-seeds {question.most}: expected at least the {step} of --seeds")
    _check(question, run_grid([grid], Options(**(vars(options) | {"dry_run": True}))))
    answers: list[Answer] = []
    for seeds in sorted({*range(step, question.most, step), question.most}):
        outcome = run_grid([grid.model_copy(update={"seeds": list(range(seeds))})], options, reporter)
        if options.dry_run:
            break
        answers = answer(outcome.store, {cell.key for cell in outcome.cells}, question, step)
        _write(outcome.store.root / "until.json", question, answers)
        if tell is not None:
            tell(answers)
        if all(one.state != "open" for one in answers):
            break
    return outcome, answers


def _check(question: Question, planned: Outcome) -> None:
    names = sorted({printable(f"{cell.cell.method} {cell.variant}".strip()) for cell in planned.cells})
    if len(names) < 2:
        raise InputError(f"--until decided compares methods, and {names[0]} is alone; name another with --methods")
    if planned.cells[0].cell.protocol.part != "test":
        raise InputError("--until decided looks at test parts; leave --validate out")
    for name in question.between or ():
        if name not in names:
            raise InputError(f"--between {name}: the methods of this run are {', '.join(names)}")


def answer(store: Store, keys: set[str], question: Question, step: int) -> list[Answer]:
    """Where the question of each row stands, from the stored records alone.

    Parameters
    ----------
    keys
        The cells to look at.
    step
        A look is taken after each `step` seeds, as the run took them.
    """
    frame = store.frame()
    tests = comparable(frame[frame["key"].isin(keys) & (frame["status"] == "ok")])
    return [
        _answer_row(f"{dataset}, {setting} setting, M = {shots}, preset {board}", part, store, question, step)
        for (board, dataset, setting, shots), part in tests.groupby(ROW)
    ]


def _answer_row(title: str, part: pd.DataFrame, store: Store, question: Question, step: int) -> Answer:
    """The answer for the records of one row."""
    cells = {(line.method, line.seed, line.known_kind): line.key for line in part.sort_values("created").itertuples()}
    aucs = dict(zip(part["key"], part["auroc"]))
    scores = dict(iter(load_scores(store.root, part).groupby("key", sort=False)))
    names = [name for name in sorted(set(part["method"])) if question.between is None or name in question.between]
    alpha = question.alpha if question.between else min(1.0, 2 * question.alpha / max(2, len(names)))
    verdicts: dict[tuple[str, str], Verdict] = {}
    seeds_of: dict[tuple[str, str], int] = {}
    for first, second in combinations(names, 2):
        kinds = {kind for name, _, kind in cells if name in (first, second)}
        common = [
            seed
            for seed in sorted({seed for _, seed, _ in cells})
            if all((name, seed, kind) in cells for name in (first, second) for kind in kinds)
        ]
        if len(common) < 2:
            continue
        pairs = {
            seed: [(cells[first, seed, kind], cells[second, seed, kind]) for kind in sorted(kinds)] for seed in common
        }
        differences = [sum(aucs[one] - aucs[other] for one, other in pairs[seed]) / len(kinds) for seed in common]

        @cache
        def of_images(n: int, pairs: Any = pairs, common: Sequence[int] = tuple(common)) -> float:
            return image_variance([_compared(scores[a], scores[b]) for seed in common[:n] for a, b in pairs[seed]])

        looks = [n for n in sorted({*range(step, len(common), step), len(common)}) if n >= 2]
        verdicts[first, second] = follow(differences, of_images, looks, question.most, alpha)
        seeds_of[first, second] = len(common)
    if not verdicts:
        return Answer(title, "hopeless", 0)
    means = part.groupby("method")["auroc"].mean()
    candidates = sorted({name for pair in verdicts for name in pair}, key=lambda name: (-means[name], name))
    against = {name: _of(name, verdicts) for name in candidates}
    seeds = max(seeds_of.values())
    whole = len(candidates) == len(names)
    for name in candidates:
        if whole and len(against[name]) == len(names) - 1 and all(v.state == "first" for v in against[name].values()):
            return Answer(title, "decided", seeds, name, against[name])
    leader = candidates[0]
    stuck = not whole or seeds >= question.most or any(v.state == "hopeless" for v in against[leader].values())
    return Answer(title, "hopeless" if stuck else "open", seeds, leader, against[leader])


def _compared(first: pd.DataFrame, second: pd.DataFrame) -> Compared:
    """Two cells on the test images that both have, in one order."""
    both = first.merge(second[["image", "score"]], on="image", suffixes=("", "_second"))
    return Compared(
        both["image"].tolist(), both["label"].tolist(), both["score"].tolist(), both["score_second"].tolist()
    )


def _of(name: str, verdicts: dict[tuple[str, str], Verdict]) -> dict[str, Verdict]:
    """Verdicts on a method against each other, turned so that it is the first."""
    found = {}
    for (first, second), verdict in verdicts.items():
        if name == first:
            found[second] = verdict
        elif name == second:
            found[first] = _turned(verdict)
    return found


def _turned(verdict: Verdict) -> Verdict:
    state = {"first": "second", "second": "first"}.get(verdict.state, verdict.state)
    looks = [
        Look(look.seeds, -look.difference, look.error, look.share, -look.z, look.boundary) for look in verdict.looks
    ]
    return Verdict(state, looks, verdict.needed)  # type: ignore[arg-type]


def _write(path: Path, question: Question, answers: Sequence[Answer]) -> None:
    text = {
        "question": asdict(question),
        "answers": [asdict(one) | {"words": one.in_words(question)} for one in answers],
    }
    write_named(path, json.dumps(text, indent=1, default=str))
