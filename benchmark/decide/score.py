"""Score photographs by a fitted model: one verdict per file, in order; a file that cannot be read gets one too."""

from __future__ import annotations

import itertools
import math
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from osad_bench.benchmark.cell.training import EVAL_BATCH
from osad_bench.benchmark.decide.conformal import check, p_values
from osad_bench.benchmark.features.cache import BATCH, in_threads
from osad_bench.core.errors import InputError
from osad_bench.datasets.base import DatasetError
from osad_bench.datasets.reading.images import decode_rgb, suffixes_read
from osad_bench.datasets.reading.tiles import squared

if TYPE_CHECKING:
    from osad_bench.benchmark.decide.model import Fitted

Rows = list[npt.NDArray[Any]]
"""What a model reads of images: float16 features, one array (n, C, H, W) per map, or one uint8 array (n, H, W, 3)."""

Decision = Literal["normal", "anomaly", "broken", ""]


@dataclass(frozen=True)
class Verdict:
    """What a model says of one file.

    Attributes
    ----------
    file
        The path as given, or the path below the folder that was given.
    path
        Path of the file.
    score
        Higher = more anomalous; None for a broken file.
    p_value
        Upper bound of the probability that a normal scores as high; None for a broken file, or for a model without held-out
        normals.
    decision
        ``anomaly`` where the p-value is at most the promised share of false alarms, else ``normal``; ``broken`` for a file
        that cannot be read; empty where nothing was promised.
    problem
        What is wrong with a broken file, that the method gave it no finite score, or that the photograph has another shape than
        the normals fitted to.
    """

    file: str
    path: Path = field(repr=False)
    score: float | None
    p_value: float | None
    decision: Decision
    problem: str = ""


FAIL_ON: dict[str, tuple[Decision, ...]] = {
    "anomaly": ("anomaly",), "broken": ("broken",), "any": ("anomaly", "broken"),
}  # fmt: skip
"""The values of ``--fail-on``, and the decisions that each stands for."""

SAME_SHAPE = 1.05
"""Largest factor by which a photograph's width / height may lie above the largest or below the smallest of the normals."""

COLUMNS = ("file", "score", "p_value", "decision", "problem")


@dataclass(frozen=True)
class Photographs:
    """Files to score, by the name that each is reported under, and what was passed over.

    Attributes
    ----------
    files
        Name to path, sorted.
    passed_over
        Number of files that are no images, by the ending of their names, and of folders that were not looked into.
    """

    files: dict[str, Path]
    passed_over: dict[str, int]

    def said(self, before: str = "") -> str:
        """What was passed over, such as ``3 .heic, 1 .txt``, after the text `before`; empty if nothing was."""
        listed = ", ".join(f"{count} {ending}" for ending, count in sorted(self.passed_over.items()))
        return f"{before}{listed}" if listed else ""


def find(places: Sequence[Path | str]) -> Photographs:
    """Images among files and below folders, sub-folders included; hidden files and folders are passed over.

    Links to folders are not followed, as they may lead in a circle; they are counted, as is a sub-folder that cannot be read.

    Raises
    ------
    InputError
        A place does not exist, or is a folder that cannot be read.
    """
    files: dict[str, Path] = {}
    passed: Counter[str] = Counter()

    def unreadable(error: OSError) -> None:
        if error.filename in map(str, places):
            raise InputError(f"the folder {error.filename} cannot be read: {error.strerror}") from None
        passed["folder that cannot be read"] += 1

    for place in map(Path, places):
        if place.is_dir():
            for folder, below, names in os.walk(place, onerror=unreadable):
                below[:] = sorted(name for name in below if not name.startswith("."))
                if linked := sum(Path(folder, name).is_symlink() for name in below):
                    passed["linked folder"] += linked
                for name in sorted(names):
                    path, ending = Path(folder, name), os.path.splitext(name)[1].lower()  # noqa: PTH122
                    if name.startswith("."):
                        continue
                    if ending in suffixes_read():
                        files[path.relative_to(place).as_posix() if len(places) == 1 else path.as_posix()] = path
                    else:
                        passed[ending or name] += 1
        elif place.exists():
            files[place.as_posix()] = place
        else:
            raise InputError(f"there is no file or folder {place}; give photographs, or a folder of them")
    return Photographs(files, dict(passed))


@dataclass(frozen=True)
class _Read:
    """A batch of files: rows and names of those that could be read; by name, what is wrong with the others or with a shape."""

    rows: Rows
    good: list[str]
    problems: dict[str, str]


def read_image(path: Path, upright: bool) -> Image.Image:
    """A photograph as images of data sets are read, in RGB.

    Parameters
    ----------
    upright
        Whether the model's own images were turned as their EXIF orientation says.

    Raises
    ------
    DatasetError
        It cannot be read; the message names it.
    """
    try:
        return decode_rgb(path, upright=upright)
    except OSError as error:
        raise DatasetError(f"image {path} cannot be read: {error.strerror or error}") from None


def _read(model: Fitted, part: Sequence[tuple[str, Path]]) -> _Read:
    images, good, problems = [], [], {}
    for name, path in part:
        try:
            image = read_image(path, model.about.fitted_to.upright)
            images.append(squared(image, model.about.preset.image_size, model.about.preset.tiles))
            good.append(name)
            if other := other_shape(image, model.about.fitted_to.aspects):
                problems[name] = other
        except DatasetError as error:
            problems[name] = str(error)
    return _Read(model.rows(np.stack(images)) if images else [], good, problems)


def other_shape(image: Image.Image, aspects: tuple[float, float] | None) -> str:
    """What is said of a photograph of another shape than the normals fitted to; empty if it has theirs.

    Resized to a square, a part that lies across or a cut-out looks unlike them, so that its p-value means nothing.
    """
    if aspects is None or aspects[0] / SAME_SHAPE <= image.width / image.height <= aspects[1] * SAME_SHAPE:
        return ""
    low, high = (f"{one:.2f}" for one in aspects)
    fitted = low if low == high else f"{low} to {high}"
    return (
        f"{image.width} x {image.height} pixels, width / height {image.width / image.height:.2f}, and that of the normals fitted "
        f"to is {fitted}"
    )


def verdicts(model: Fitted, files: Iterable[tuple[str, Path]], false_alarms: float | None) -> Iterator[Verdict]:
    """Yield one verdict per file, in the order of the files.

    Parameters
    ----------
    model
        A fitted model.
    files
        Name and path of each.
    false_alarms
        Largest share of normals that may be called anomalies, in (0, 1); None for scores without decisions.

    Raises
    ------
    InputError
        The model has too few held-out normals for this promise.
    """
    if false_alarms is not None:
        check(false_alarms, len(model.calibration))
    waiting: list[tuple[list[tuple[str, Path]], _Read]] = []
    model.extractor  # noqa: B018  # loaded here, so that its errors are not raised in a thread
    for part, read in in_threads(_batches(files, BATCH), lambda part: _read(model, part)):
        waiting.append((part, read))
        if sum(len(one.good) for _, one in waiting) + BATCH > EVAL_BATCH:
            yield from _judged(model, waiting, false_alarms)
            waiting = []
    yield from _judged(model, waiting, false_alarms)


def _batches(files: Iterable[tuple[str, Path]], size: int) -> Iterator[list[tuple[str, Path]]]:
    files = iter(files)
    while part := list(itertools.islice(files, size)):
        yield part


def _judged(
    model: Fitted, waiting: list[tuple[list[tuple[str, Path]], _Read]], false_alarms: float | None
) -> Iterator[Verdict]:
    rows = [read.rows for _, read in waiting if read.good]
    scores = model.score_rows([np.concatenate(one) for one in zip(*rows)]) if rows else np.zeros(0)
    found = dict(zip((name for _, read in waiting for name in read.good), scores))
    problems = {name: problem for _, read in waiting for name, problem in read.problems.items()}
    for name, path in (one for part, _ in waiting for one in part):
        if name not in found:
            yield Verdict(name, path, None, None, "broken", problems[name])
            continue
        score = float(found[name])
        if not math.isfinite(score):
            yield Verdict(name, path, None, None, "broken", f"{model.about.method} gives {path} the score {score}")
            continue
        p_value = float(p_values(model.calibration, np.array([score]))[0]) if len(model.calibration) else None
        decision: Decision = ""
        if false_alarms is not None and p_value is not None:
            decision = "anomaly" if p_value <= false_alarms else "normal"
        yield Verdict(name, path, score, p_value, decision, problems.get(name, ""))


def _there(places: Sequence[Path | str]) -> list[tuple[str, Path]]:
    try:
        return list(find(places).files.items())
    except InputError:
        return []


PAUSE = 1.0
"""Seconds between two looks at a watched folder."""


def watching(
    model: Fitted, places: Sequence[Path | str], false_alarms: float | None, pause: float = PAUSE
) -> Iterator[Verdict]:
    """Yield verdicts of the files that are there, then of each new or changed file; runs until it is interrupted.

    A file is read once its size and time have been the same at two looks, so that one that is still being written is not
    called broken. A folder that is away for a while (a share of the network) is looked for again.

    Raises
    ------
    InputError
        A place does not exist, or the model has too few held-out normals for this promise.
    """
    before: dict[str, tuple[int, int]] = {}
    done: dict[str, tuple[int, int]] = {}
    while True:
        now: dict[str, tuple[int, int]] = {}
        ready = []
        for name, path in _there(places):
            try:
                status = path.stat()
            except OSError:  # gone since it was listed
                continue
            now[name] = status.st_size, status.st_mtime_ns
            if done.get(name) != now[name] and before.get(name) == now[name]:
                ready.append((name, path))
        for verdict in verdicts(model, ready, false_alarms) if ready else ():
            done[verdict.file] = now[verdict.file]
            yield verdict
        before = now
        time.sleep(pause)
