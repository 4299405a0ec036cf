"""A baseline: what `osad-bench check` needs of a store, in one JSON file that is small enough to commit.

Scores are kept as ranks, which give the same AUCs and compress to a few bytes per image. A digest names the test images of
a cell, so that a baseline made elsewhere is compared image by image only where the images are the same.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from osad_bench.core.files import read_bounded
from osad_bench.core.text import printable
from osad_bench.results.record import Amount, Moment, Protocol, Share, TestScores, Text
from osad_bench.results.row import Row, options
from osad_bench.results.store import Store, StoreError

MOST_BYTES = 2**29
"""Most bytes of a baseline's file; 100,000 cells of ELPV take 120 MB."""

MOST_IMAGES = 10_000_000
"""Most images of one cell; the ranks of more are refused."""


class Entry(NamedTuple):
    """A row of the table and a method with its changed settings: what one finding of a check is about."""

    row: Row
    method: str
    variant: str

    @property
    def title(self) -> str:
        """Method, data set and protocol."""
        return f"{self.method} {self.variant}".strip() + f" on {self.row.title}"


class BaselineError(StoreError):
    """A baseline cannot be read or made; the message names the file and the remedy."""


Shown = Annotated[Text, AfterValidator(printable)]
"""A name made `printable`, as in `Store.frame`: a baseline may be a stranger's file."""


class BaselineCell(BaseModel):
    """One finished cell: its place in the table, AUROC (0 to 1), time in seconds, and the ranks of its scores."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    preset: Shown
    dataset: Shown
    setting: Literal["general", "hard"]
    shots: int = Field(ge=1, le=2**53)
    options: Shown = ""
    method: Shown
    variant: Shown = ""
    known_kind: Shown | None = None
    seed: int = Field(ge=0, le=2**63 - 1)
    fingerprint: Text
    preset_digest: Text
    auroc: Share
    per_kind: dict[Shown, Share]
    seconds: Amount
    images: Text = Field(description="digest of the test images, in order, with labels and kinds")
    ranks: str = Field(description="ranks of the scores: base64 of zlib of little-endian uint32")

    @model_validator(mode="before")
    @classmethod
    def _of_version_1(cls, value: Any) -> Any:
        """Read the first baselines too, which had two of the protocol's options as fields of their own."""
        if isinstance(value, dict) and {"reserve", "dedup"} & set(value):
            value = dict(value)
            old = {name: value.pop(name) for name in ("reserve", "dedup") if name in value}
            value.setdefault("options", options(dict(Protocol.model_validate(old))))
        return value

    @model_validator(mode="after")
    def _ranks_can_be_read(self) -> BaselineCell:
        self.scores()
        return self

    @property
    def entry(self) -> Entry:
        """The row of the table and the method that this cell is averaged into."""
        row = Row(
            self.preset, self.preset_digest, self.dataset, self.fingerprint, self.setting, self.shots, self.options
        )
        return Entry(row, self.method, self.variant)

    def scores(self) -> NDArray[np.float64]:
        """The ranks as scores, shape (n,), from 0; equal scores have equal ranks.

        Raises
        ------
        ValueError
            They are damaged.
        """
        try:
            packed = base64.b64decode(self.ranks, validate=True)
            unpacker = zlib.decompressobj()
            found = np.frombuffer(unpacker.decompress(packed, 4 * MOST_IMAGES), dtype="<u4")
        except (ValueError, zlib.error):
            raise ValueError("the ranks of the scores are damaged") from None
        if len(found) < 2 or not unpacker.eof or found.max() >= len(found):
            raise ValueError("the ranks of the scores are damaged")
        return found.astype(np.float64)


class Baseline(BaseModel):
    """Finished cells of one store."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["osad-bench baseline 1"] = "osad-bench baseline 1"
    created: Moment
    project_version: str
    commit: str | None
    cells: list[BaselineCell] = Field(min_length=1)

    @model_validator(mode="after")
    def _every_cell_once(self) -> Baseline:
        names = Counter((cell.entry, cell.known_kind, cell.seed) for cell in self.cells)
        (entry, _, seed), count = names.most_common(1)[0]
        if count > 1:
            raise ValueError(f"{entry.title}, seed {seed} stands in it {count} times, expected once")
        return self

    def dump(self) -> str:
        """JSON, one line per cell, so that version control shows what changed."""
        head = self.model_dump(mode="json", exclude={"cells"})
        lines = ",\n".join(cell.model_dump_json() for cell in self.cells)
        return json.dumps(head)[:-1] + ', "cells": [\n' + lines + "\n]}\n"


def image_digest(test: TestScores) -> str:
    """Sixteen hexadecimal digits that name the test images, their order, labels and kinds."""
    text = "\n".join(f"{name}\t{label}\t{kind}" for name, label, kind in zip(test.ids, test.labels, test.kinds))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def newest(tests: pd.DataFrame) -> pd.DataFrame:
    """Of several records of one row, method and split (such as of two versions of the method), only the newest."""
    what = [
        "preset", "settings", "dataset", "fingerprint", "setting", "shots", "options", "method", "variant", "known_kind",
        "seed",
    ]  # fmt: skip
    result: pd.DataFrame = tests.sort_values("created", kind="stable").drop_duplicates(what, keep="last")
    return result


def to_cell(line: dict[str, Any], test: TestScores) -> BaselineCell:
    """The baseline's cell for a row of `Store.frame` and its test scores."""
    ranks = np.unique(test.scores, return_inverse=True)[1].astype("<u4")
    return BaselineCell(
        **{name: line[name] for name in ("preset", "dataset", "setting", "shots", "options", "method", "variant")},
        known_kind=None if pd.isna(line["known_kind"]) else line["known_kind"],
        seed=line["seed"],
        fingerprint=line["fingerprint"],
        preset_digest=line["settings"],
        auroc=line["auroc"],
        per_kind=line["per_kind"],
        seconds=round(line["fit_seconds"] + line["score_seconds"], 3),
        images=image_digest(test),
        ranks=base64.b64encode(zlib.compress(ranks.tobytes(), 9)).decode(),
    )  # fmt: skip


def make_baseline(root: Path | str, frame: pd.DataFrame) -> Baseline:
    """A baseline of the finished test cells of `frame`, which was read from `root`.

    Raises
    ------
    BaselineError
        No cell is finished.
    StoreError
        Scores are damaged.
    """
    tests = newest(frame[frame["part"] == "test"])
    done = tests[tests["status"] == "ok"]
    if done.empty:
        raise BaselineError(f"no finished test cell in {root}: run osad-bench run --out {root} first")
    store = Store(root)
    cells = [to_cell(line, store.scores(line["key"])) for line in done.to_dict("records")]
    last = done.sort_values("created").iloc[-1]
    return Baseline(
        created=last["created"], project_version=last["project_version"], commit=last["commit"],
        cells=sorted(cells, key=lambda cell: (cell.entry, cell.known_kind or "", cell.seed)),
    )  # fmt: skip


def read_baseline(path: Path) -> Baseline:
    """Read what `osad-bench baseline` wrote.

    Raises
    ------
    BaselineError
        The file cannot be read, or it is no baseline.
    InputError
        It is larger than `MOST_BYTES`.
    """
    try:
        text = read_bounded(path, MOST_BYTES)
    except OSError as error:
        raise BaselineError(f"cannot read the baseline {path}: {error.strerror}") from None
    try:
        return Baseline.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the top"
        what = (
            "has no cells, so that it compares nothing"
            if first["type"] == "too_short"
            else f"is not a baseline ({first['msg']} at {where})"
        )
        raise BaselineError(f"{path} {what}; make one with osad-bench baseline DIR > {path}") from None
