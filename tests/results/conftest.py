"""A factory of records through the real `Record` and `Store`, with scores drawn from known distributions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from osad_bench.results.metrics import compute
from osad_bench.results.record import Cell, Failure, Protocol, Provenance, Record, SplitSummary, TestScores, Timings
from osad_bench.results.store import Store


def draw_scores(
    separation: float, seed: int, *, normals: int = 60, anomalies: int = 40, kinds=("mono", "poly")
) -> TestScores:
    """Unit normals at 0 for normal images and at `separation` for anomalies: the true AUC is Phi(separation / sqrt 2).

    The images' own difficulty (drawn once) is shared by all methods, as on a real data set.
    """
    difficulty = np.random.default_rng(12345).standard_normal(normals + anomalies)
    noise = np.random.default_rng(seed).standard_normal(normals + anomalies)
    labels = np.array([0] * normals + [1] * anomalies)
    names = np.array([""] * normals + [kinds[i % len(kinds)] for i in range(anomalies)])
    scores = separation * labels + np.sqrt(0.7) * difficulty + np.sqrt(0.3) * noise
    ids = [f"image/{i:04d}.png" for i in range(normals + anomalies)]
    return TestScores(ids, labels, names, scores)


TITLES = {
    "dra": "DRA", "dpdl": "DPDL", "devnet": "DevNet", "ahl": "AHL", "flos": "FLOS", "elpv": "ELPV", "aitex": "AITEX",
    "sdd": "SDD", "mvtec/carpet": "MVTec AD", "mvtec/leather": "MVTec AD", "mvtec/tile": "MVTec AD",
}  # fmt: skip
"""What the benchmark writes into the records of these methods and data sets; others here have none."""


def make_record(
    method: str = "dra",
    *,
    dataset: str = "elpv",
    setting: str = "general",
    shots: int = 10,
    known_kind: str | None = None,
    seed: int = 0,
    scores: TestScores | None = None,
    error: str | None = None,
    preset: str = "quick",
    preset_config: dict | None = None,
    variant: str = "",
    config: dict | None = None,
    part: str = "test",
    reserve: int = 0,
    dedup: bool = False,
    fingerprint: str = "f" * 64,
    version: int = 1,
    crossing: int = 0,
    diagnostics: dict | None = None,
    total: float = 10.0,
    method_title: str | None = None,
    dataset_title: str | None = None,
    citation: str = "",
    curve: dict | None = None,
    options: dict | None = None,
) -> Record:
    protocol = Protocol(
        **({
            "setting": setting, "shots": shots, "known_kind": known_kind, "seed": seed, "part": part, "reserve": reserve,
            "dedup": dedup,
        } | (options or {}))
    )  # fmt: skip
    cell = Cell(
        dataset=dataset,
        fingerprint=fingerprint,
        protocol=protocol,
        method=method,
        version=version,
        config={"variant": variant} if config is None else config,
        preset=preset_config or {"image_size": 320, "preset": preset},
    )
    return Record(
        key=cell.key,
        cell=cell,
        preset=preset,
        variant=variant,
        status="failed" if error else "ok",
        metrics=None if error else compute(scores if scores is not None else draw_scores(2.0, seed)),
        error=Failure(type="RuntimeError", message=error) if error else None,
        split=SplitSummary(
            digest="d" * 64,
            train_normal=100,
            train_anomaly=shots,
            test_normal=60,
            test_anomaly=40,
            crossing_duplicates=crossing,
        ),
        curve={"loss": [1.0 / (i + 1) for i in range(10)]} if curve is None else curve,
        method_title=TITLES.get(method, "") if method_title is None else method_title,
        dataset_title=TITLES.get(dataset, "") if dataset_title is None else dataset_title,
        citation=citation,
        diagnostics=diagnostics or {},
        timings=Timings(fit=total * 0.8, score=total * 0.2, total=total),
        provenance=Provenance(project_version="0.1.0", commit="abc1234", python="3.12", packages={"numpy": "2"}),
    )


class Records:
    """A store to fill."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root)

    def add(self, method: str = "dra", separation: float = 2.0, noise: int = 0, **changes) -> Record:
        """Store one record whose scores have this separation; `noise` sets the method's own random draw."""
        scores = changes.pop("scores", None)
        if scores is None and not changes.get("error"):
            own = sum(map(ord, f"{method}{changes.get('dataset', '')}{changes.get('known_kind', '')}"))
            scores = draw_scores(separation, 1000 * noise + 17 * own + changes.get("seed", 0))
        record = make_record(method, scores=scores, **changes)
        self.store.put(record, scores)
        return record

    def frame(self):
        return self.store.frame()


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "store")


@pytest.fixture
def make_records() -> Callable[[Path], Records]:
    return Records


@pytest.fixture(scope="session")
def records_at() -> type[Records]:
    """The factory itself, for stores that several tests of a module share."""
    return Records


@pytest.fixture(scope="session")
def draw() -> Callable[..., TestScores]:
    """`draw_scores`: ``draw(separation, seed)``."""
    return draw_scores
