"""Add seeds until the question is answered: run a grid, look, add seeds, with a bounded error rate.

The question of each row of the table is which of its methods is the best, or which of two named ones is better. It is
answered when one method is shown to be better than each of the others. See `osad_bench.results.sequential` for the test. With
k methods each pair is tested at 2 alpha / k: a method that is wrongly called the best must have crossed the boundary on one
side against the best one, and at most k methods can.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from osad_bench.benchmark.grid.asked import Asked, check, earlier, write
from osad_bench.benchmark.grid.plan import Grid
from osad_bench.benchmark.grid.run import Options, Outcome, run_grid
from osad_bench.benchmark.grid.workers import Reporter
from osad_bench.core.errors import InputError
from osad_bench.core.text import printable
from osad_bench.results.aggregate import ROW, comparable
from osad_bench.results.row import Row, digest
from osad_bench.results.scores import load_scores
from osad_bench.results.sequential import Compared, Look, Verdict, follow, image_variance

if TYPE_CHECKING:
    from osad_bench.results.store import Store

MOST = 50
"""Default of the largest number of seeds."""


@dataclass(frozen=True)
class Question:
    """What is asked, and how sure the answer has to be.

    Attributes
    ----------
    between
        Two methods, named as in tables; None asks which of all methods is the best.
    most
        Largest number of seeds.
    alpha
        Share of questions that may be answered wrongly, in (0, 1).
    """

    between: tuple[str, str] | None = None
    most: int = MOST
    alpha: float = 0.05

    def level(self, methods: int) -> float:
        """Two-sided error rate of each pair when this number of methods is compared; see the module."""
        return self.alpha if self.between else min(1.0, 2 * self.alpha / max(2, methods))


@dataclass(frozen=True)
class Answer:
    """State of the question for one row of the table.

    Attributes
    ----------
    row
        The row in words.
    state
        ``decided``, ``open``, or ``hopeless``: the seeds left will hardly decide it.
    seeds
        Number of seeds that were looked at.
    best
        The method that is better than the others, or leads so far; empty if nothing can be compared.
    rivals
        The comparison of `best` with each other method, by that method's name; `best` is the first of the two.
    missing
        Methods of the question that share too few seeds with `best` to be compared.
    after
        In words, an earlier question about the same row; empty if there was none.
    place
        Digest of the row (`results.row.Row`).
    """

    row: str
    state: Literal["decided", "open", "hopeless"]
    seeds: int
    best: str = ""
    rivals: dict[str, Verdict] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    after: str = ""
    place: str = ""

    def in_words(self, question: Question) -> str:
        """The answer as one paragraph."""
        if not self.best:
            return f"{self.row}: there are no two methods with common results to compare."
        sure = {name: verdict for name, verdict in self.rivals.items() if verdict.state == "first"}
        unsure = {name: verdict for name, verdict in self.rivals.items() if name not in sure}
        text = f"{self.row}: "
        if self.state == "decided":
            text += f"decided with {self.seeds} seeds: {self.best} is better than {_listed(sure)}."
        else:
            end = f"not decided with {self.seeds} seeds" + (
                "" if self.seeds >= question.most else f", and unlikely to be decided with {question.most}"
            )
            text += f"{end}: {self.best} leads"
            text += f", but cannot be told from {_listed(unsure)}." if unsure else "."
            if self.missing:
                text += f" Too few cells of {', '.join(self.missing)} have results to be compared."
            if sure:
                rate = question.level(len(self.rivals) + 1 + len(self.missing))
                text += f" Taken one by one, it is better than {_listed(sure)}; at most {rate:.1%} of such statements are wrong."
            needed = [verdict.needed for verdict in unsure.values() if not verdict.looks[-1].identical]
            most = max(map(int, filter(None, needed)), default=0)
            if None in needed:
                text += " No number of seeds settles a difference of this size: the test images are too few."
            elif most > self.seeds:
                text += f" A difference of this size needs about {most} seeds."
        looks = sorted({look.seeds for verdict in self.rivals.values() for look in verdict.looks})
        text += (
            f" Looked at after {', '.join(map(str, looks))} of at most {question.most} seeds; over all looks, at most "
            f"{question.alpha:.0%} of such questions get a wrong answer."
        )
        if self.after:
            text += f" Exploratory: another question about the same seeds ({self.after}) had been answered before this one was asked."
        return text


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
    """Run a grid with more and more seeds until the question of every row is answered, or unlikely to be answered.

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
        The seeds are not 0 to n-1 with n at least 2, or more than `question.most`; the run has fewer than two methods, scores the
        validation part, or lacks a method of the question; or the question was asked before with another `step` or `most`.
    others
        See `osad_bench.benchmark.grid.run.run_grid`.
    """
    step = len(grid.seeds)
    if grid.seeds != list(range(step)) or step < 2:
        raise InputError(
            "--until decided adds seeds by itself: give --seeds as a number of 2 or more, such as --seeds 5"
        )
    if question.most < step:
        raise InputError(f"--max-seeds {question.most}: expected at least the {step} of --seeds")
    planned = run_grid([grid], Options(**(vars(options) | {"dry_run": True})))
    names = _check(question, planned)
    rows = dict.fromkeys(_place(Row.of(cell.cell, cell.label)) for cell in planned.cells)
    compared = tuple(sorted(question.between or names))
    asked = {
        place: Asked(
            place=place, methods=compared, between=question.between is not None, step=step, most=question.most,
            alpha=question.alpha,
        )
        for place in rows
    }  # fmt: skip
    before = check(planned.store.root, list(asked.values()))
    answers: list[Answer] = []
    for seeds in sorted({*range(step, question.most, step), question.most}):
        outcome = run_grid([grid.model_copy(update={"seeds": list(range(seeds))})], options, reporter)
        if options.dry_run:
            break
        found = answer(outcome.store, {cell.key for cell in outcome.cells}, question, step, seeds, names)
        answers = [replace(one, after=earlier(asked[one.place], before)) for one in found]
        write(outcome.store.root, before, list(asked.values()), question, answers)
        if tell is not None:
            tell(answers)
        if all(one.state != "open" for one in answers):
            break
    return outcome, answers


def _place(row: Row) -> str:
    """The name of a row of the table in ``until.json``."""
    return digest([str(value) for value in row])


def _check(question: Question, planned: Outcome) -> list[str]:
    """The methods of the run, named as in tables; raises InputError if the question does not fit them."""
    names = sorted({printable(f"{cell.cell.method} {cell.variant}".strip()) for cell in planned.cells})
    if len(names) < 2:
        raise InputError(
            f"--until decided compares methods, and {names[0]} is the only one; add another with --methods"
        )
    if planned.cells[0].cell.protocol.part != "test":
        raise InputError("--until decided compares on the test part; leave --validate out")
    for name in question.between or ():
        if name not in names:
            raise InputError(f"--between {name}: the methods of this run are {', '.join(names)}")
    return names


def answer(
    store: Store, keys: set[str], question: Question, step: int, seeds: int | None = None, methods: Sequence[str] = ()
) -> list[Answer]:
    """Answer the question of each row of the table from the stored records alone.

    Parameters
    ----------
    keys
        The cells to look at.
    step
        A look is taken after each `step` seeds, as the run took them.
    seeds
        Number of seeds that were run; None takes it from the records.
    methods
        All methods of the question, those without results included; empty takes them from the records.
    """
    frame = store.frame()
    tests = comparable(frame[frame["key"].isin(keys) & (frame["status"] == "ok")])
    run = seeds or int(tests["seed"].max() + 1 if len(tests) else step)
    ends = sorted({*range(step, run, step), run})
    found = []
    for (board, dataset, setting, shots), part in tests.groupby(ROW):
        title = f"{dataset}, {setting} setting, M = {shots}, preset {board}"
        one = _answer_row(title, part, store, question, ends, sorted({*methods, *part["method"]}))
        found.append(replace(one, place=_place(Row(*part.iloc[0][list(Row._fields)]))))
    return found


def _answer_row(
    title: str, part: pd.DataFrame, store: Store, question: Question, ends: Sequence[int], methods: Sequence[str]
) -> Answer:
    """The answer for the records of one row; a look was taken after each number of seeds in `ends`."""
    cells = {(line.method, line.seed, line.known_kind): line.key for line in part.sort_values("created").itertuples()}
    aucs = dict(zip(part["key"], part["auroc"]))
    scores = dict(iter(load_scores(store.root, part).groupby("key", sort=False)))
    names = [name for name in methods if question.between is None or name in question.between]
    alpha = question.level(len(names))
    verdicts: dict[tuple[str, str], Verdict] = {}
    for first, second in combinations(names, 2):
        kinds = {kind for name, _, kind in cells if name in (first, second)}
        common = [
            seed
            for seed in sorted({seed for _, seed, _ in cells})
            if all((name, seed, kind) in cells for name in (first, second) for kind in kinds)
        ]
        looks = sorted({n for end in ends if (n := sum(seed < end for seed in common)) > 1})
        if not looks:
            continue
        pairs = {
            seed: [(cells[first, seed, kind], cells[second, seed, kind]) for kind in sorted(kinds)] for seed in common
        }
        differences = [sum(aucs[one] - aucs[other] for one, other in pairs[seed]) / len(kinds) for seed in common]

        @cache
        def of_images(n: int, pairs: Any = pairs, common: Sequence[int] = tuple(common)) -> float:
            return image_variance([_compared(scores[a], scores[b]) for seed in common[:n] for a, b in pairs[seed]])

        verdicts[first, second] = follow(
            differences, of_images, looks, question.most, alpha, final=ends[-1] >= question.most
        )
    if not verdicts:
        return Answer(title, "hopeless", 0)
    means = part.groupby("method")["auroc"].mean()
    candidates = sorted({name for pair in verdicts for name in pair}, key=lambda name: (-means[name], name))
    against = {name: _of(name, verdicts) for name in candidates}
    seeds = {name: max(verdict.looks[-1].seeds for verdict in found.values()) for name, found in against.items()}
    for name in candidates:
        if len(against[name]) == len(names) - 1 and all(v.state == "first" for v in against[name].values()):
            return Answer(title, "decided", seeds[name], name, against[name])
    leader = candidates[0]
    missing = tuple(name for name in names if name != leader and name not in against[leader])
    stuck = missing or ends[-1] >= question.most or any(v.state == "hopeless" for v in against[leader].values())
    return Answer(title, "hopeless" if stuck else "open", seeds[leader], leader, against[leader], missing)


def _compared(first: pd.DataFrame, second: pd.DataFrame) -> Compared:
    """Scores of two cells on the test images that both have, in the same order."""
    both = first.merge(second[["image", "score"]], on="image", suffixes=("", "_second"))
    return Compared(
        both["image"].tolist(), both["label"].tolist(), both["score"].tolist(), both["score_second"].tolist()
    )


def _of(name: str, verdicts: dict[tuple[str, str], Verdict]) -> dict[str, Verdict]:
    """Verdicts on a method against each other one, turned so that it is the first of the two."""
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
