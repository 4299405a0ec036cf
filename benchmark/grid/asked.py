"""Which questions were asked of the records of a store, and with how many seeds: ``until.json`` beside them.

The error rate of a question is spent by a rule that is fixed before its first look. Every change of the rule after a look would
add another error rate, so the rule is kept, and another one is refused. Another question about the same records is allowed and
called exploratory, because whoever asks it has seen them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from osad_bench.core.errors import InputError
from osad_bench.core.files import read_bounded, write_whole

if TYPE_CHECKING:
    from osad_bench.benchmark.grid.until import Answer, Question

NAME = "until.json"


class Asked(BaseModel):
    """One question about one row of the table, and the rule of its looks."""

    model_config = ConfigDict(frozen=True)

    place: str
    methods: tuple[str, ...]
    between: bool
    step: int
    most: int
    alpha: float

    @property
    def what(self) -> tuple[str, tuple[str, ...], bool]:
        """The question without its rule."""
        return self.place, self.methods, self.between

    @property
    def words(self) -> str:
        """The question in words."""
        return f"which of {', '.join(self.methods)} is {'better' if self.between else 'the best'}"

    @property
    def rule(self) -> str:
        """The options that fix its looks."""
        return f"--seeds {self.step} --max-seeds {self.most}"


class _Book(BaseModel):
    asked: list[Asked] = []


def read(root: Path) -> list[Asked]:
    """The questions that were asked about a store, the first one first.

    Raises
    ------
    InputError
        The file is damaged, so which looks were taken is unknown.
    """
    path = root / NAME
    try:
        return _Book.model_validate_json(read_bounded(path)).asked
    except FileNotFoundError:
        return []
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is damaged"
        raise InputError(f"{path} cannot be read ({reason}), so which looks were taken is unknown") from None


def check(root: Path, questions: Sequence[Asked]) -> list[Asked]:
    """The questions asked before; checks that none of `questions` was asked with another rule.

    Raises
    ------
    InputError
        One of them was asked with another rule, or the file is damaged.
    """
    before = read(root)
    rules = {one.what: one for one in before}
    for one in questions:
        other = rules.get(one.what, one)
        if other != one:
            raise InputError(
                f"{root / NAME}: {one.words} was asked with {other.rule}, and its error rate is spent by that rule: go on with "
                f"{other.rule}, or call what more seeds show exploratory (run without --until)"
            )
    return before


def earlier(question: Asked, before: Sequence[Asked]) -> str:
    """The first other question that was asked about the same row before this one, in words; empty if there is none."""
    for one in before:
        if one.what == question.what:
            break
        if one.place == question.place:
            return one.words
    return ""


def write(
    root: Path, before: Sequence[Asked], new: Sequence[Asked], question: Question, answers: Sequence[Answer]
) -> None:
    """Note the answers of the last question, and all questions that were asked."""
    known = {one.what for one in before}
    text: dict[str, Any] = {
        "question": asdict(question),
        "answers": [asdict(one) | {"words": one.in_words(question)} for one in answers],
        "asked": [one.model_dump() for one in (*before, *(one for one in new if one.what not in known))],
    }
    write_whole(root / NAME, json.dumps(text, indent=1, default=str).encode())
