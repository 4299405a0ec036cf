"""A baseline: what a gate needs of a store, in one JSON file that is small enough to commit.

Scores are kept as ranks: no AUC changes under them, and they compress to a few bytes an image. Images are known by a
digest, so that a baseline made elsewhere is compared image by image only where it holds the same images.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from osad_bench.results.aggregate import digest
from osad_bench.results.record import TestScores
from osad_bench.results.store import Store, StoreError

Row = tuple[str, str, str, int, int, bool, str, str]
"""Preset, data set, setting, shots, reserve, dedup, method, variant: what one line of a check is about."""


class BaselineError(StoreError):
    """A baseline cannot be read or made; the message names the file and the remedy."""


class BaselineCell(BaseModel):
    """One finished cell."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    preset: str
    dataset: str
    setting: str
    shots: int
    reserve: int = 0
    dedup: bool = False
    method: str
    variant: str = ""
    known_kind: str | None = None
    seed: int
    fingerprint: str
    preset_digest: str
    auroc: float
    per_kind: dict[str, float]
    seconds: float
    images: str = Field(description="digest of the test images, in order, with labels and kinds")
    ranks: str = Field(description="ranks of the scores: base64 of zlib of little-endian uint32")

    @property
    def row(self) -> Row:
        """What this cell is averaged into."""
        return (
            self.preset, self.dataset, self.setting, self.shots, self.reserve, self.dedup, self.method, self.variant,
        )  # fmt: skip

    def scores(self) -> NDArray[np.float64]:
        """The ranks, as scores."""
        return np.frombuffer(zlib.decompress(base64.b64decode(self.ranks)), dtype="<u4").astype(np.float64)


class Baseline(BaseModel):
    """Finished cells of one store."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["osad-bench baseline 1"] = "osad-bench baseline 1"
    created: datetime
    project_version: str
    commit: str | None
    cells: list[BaselineCell]

    def dump(self) -> str:
        """JSON, a line a cell, so that version control shows what changed."""
        head = self.model_dump(mode="json", exclude={"cells"})
        lines = ",\n".join(cell.model_dump_json() for cell in self.cells)
        return json.dumps(head)[:-1] + ', "cells": [\n' + lines + "\n]}\n"


def image_digest(test: TestScores) -> str:
    """Sixteen hexadecimal digits that name the test images, their order, labels and kinds."""
    text = "\n".join(f"{name}\t{label}\t{kind}" for name, label, kind in zip(test.ids, test.labels, test.kinds))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def newest(tests: pd.DataFrame) -> pd.DataFrame:
    """Of several records of one row and split (another version of the method, say) the one that was made last."""
    what = ["preset", "dataset", "setting", "shots", "reserve", "dedup", "method", "variant", "known_kind", "seed"]
    result: pd.DataFrame = tests.sort_values("created", kind="stable").drop_duplicates(what, keep="last")
    return result


def to_cell(line: dict[str, Any], test: TestScores) -> BaselineCell:
    """A row of `Store.frame` with its scores as a baseline's cell."""
    ranks = np.unique(test.scores, return_inverse=True)[1].astype("<u4")
    return BaselineCell(
        **{name: line[name] for name in ("preset", "dataset", "setting", "shots", "reserve", "dedup", "method", "variant")},
        known_kind=None if pd.isna(line["known_kind"]) else line["known_kind"],
        seed=line["seed"],
        fingerprint=line["fingerprint"],
        preset_digest=digest(line["preset_config"]),
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
        raise BaselineError(f"no finished test cell in {root}: a baseline would compare nothing")
    store = Store(root)
    cells = [to_cell(line, store.scores(line["key"])) for line in done.to_dict("records")]
    last = done.sort_values("created").iloc[-1]
    return Baseline(
        created=last["created"], project_version=last["project_version"], commit=last["commit"],
        cells=sorted(cells, key=lambda cell: (cell.row, cell.known_kind or "", cell.seed)),
    )  # fmt: skip


def read_baseline(path: Path) -> Baseline:
    """Read what `osad-bench baseline` wrote.

    Raises
    ------
    BaselineError
        The file is missing, or it is no baseline.
    """
    try:
        return Baseline.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BaselineError(f"cannot read the baseline {path}: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the top"
        raise BaselineError(
            f"{path} is not a baseline ({first['msg']} at {where}); make one with osad-bench baseline DIR > {path}"
        ) from None
