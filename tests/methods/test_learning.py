"""Every registered method on the synthetic textures, preset quick at small size: it learns, and it learns from the right part."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from osad_bench.benchmark.cell.execute import schedule_of
from osad_bench.benchmark.cell.split import Split, split
from osad_bench.benchmark.cell.training import CachedFeatures, preset_for
from osad_bench.benchmark.features.backbones import load_backbone
from osad_bench.benchmark.features.cache import FeatureCache
from osad_bench.benchmark.preset import load_preset
from osad_bench.core.registry import methods
from osad_bench.datasets.base import Sample
from osad_bench.datasets.textures import KINDS, Textures, _defect, _texture
from osad_bench.methods.base import Context
from osad_bench.results.record import Protocol

SMALL = {"image_size": 64, "pseudo_draws": 1, "schedule.epochs": 8, "schedule.steps": 10}


class ManyNormals(Textures):
    """Anomalies that are normals: 80 normals to train on, 200 to test on, 10 known anomalies and 200 to test on.

    With 200 of each an AUROC of 0.5 has a standard deviation of 0.03.
    """

    def scan(self) -> Iterator[Sample]:
        for index in range(280):
            yield Sample(f"normal/{index:03}", 0, partition="train" if index < 80 else "test")
        for index in range(210):
            kind = KINDS[index % 3]
            yield Sample(f"{kind}/{index:03}", 1, kind)


class Marked(Textures):
    """Every image has two marks. A normal's are holes and scratches; one of an anomaly's is a blot.

    The number and the strength of the marks tell nothing, so that untrained heads cannot separate the images: a method must
    learn from the known blots, or from the normals' holes and scratches.
    """

    def load(self, sample: Sample) -> np.ndarray:
        seed = int.from_bytes(hashlib.sha256(sample.id.encode()).digest()[:8], "big")
        generator = np.random.default_rng(seed)
        canvas = _texture(generator)
        for kind in generator.choice(["hole", "scratch"], 2 - sample.label):
            canvas, _ = _defect(canvas, kind, generator)
        if sample.label:
            canvas, _ = _defect(canvas, "blot", generator)
        return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


class Poisoned(Textures):
    """A test normal and a test anomaly are inverted; all other images are as they were."""

    victims: tuple[str, ...] = ()

    def load(self, sample: Sample) -> np.ndarray:
        image = super().load(sample)
        return 255 - image if sample.id in self.victims else image


def short(name: str, epochs: int):
    """The method; AHL's own schedule is cut to `epochs` meta-epochs of three small episodes."""
    kind = methods.get(name)
    own = {"outer_epochs": epochs, "history": 2, "clusters": 2, "batch": 24}
    return kind(kind.Config(**(own if "outer_epochs" in kind.Config.model_fields else {})))


def fitted_scores(method, dataset: Textures, division: Split, **changes: object) -> np.ndarray:
    """Scores of the test part, normals first, after a fit by the small preset."""
    preset = load_preset("quick", SMALL | changes)[1]
    preset = preset_for(type(method), preset)
    backbone = load_backbone(preset.backbone)
    torch.manual_seed(0)
    train = CachedFeatures(
        dataset, division, preset, backbone, FeatureCache(Path(os.environ["OSAD_BENCH_CACHE"])),
        method.pseudo_anomalies, 0, torch.device("cpu"),
    )  # fmt: skip
    method.fit(train, Context(0, torch.device("cpu"), schedule_of(method, preset)))
    return torch.cat([method.score(pyramid).detach() for pyramid in train.test()]).double().numpy()


def auroc(division: Split, scores: np.ndarray) -> float:
    return float(roc_auc_score([0] * len(division.test_normal) + [1] * len(division.test_anomaly), scores))


@pytest.fixture(params=methods.names())
def name(request) -> str:
    return request.param


@pytest.mark.parametrize("name", [name for name in methods.names() if not methods.get(name).schedule])
def test_a_method_without_training_separates_an_easy_defect(name):
    textures = Textures(root=None, variant=None)
    division = split(textures, Protocol(shots=10))
    assert auroc(division, fitted_scores(short(name, 6), textures, division)) > 0.95


@pytest.mark.parametrize("name", [name for name in methods.names() if methods.get(name).schedule])
def test_only_training_separates_an_easy_defect_among_marks(name):
    """The same network with a learning rate of 0 does not."""
    marked = Marked(root=None, variant=None)
    division = split(marked, Protocol(shots=10))
    untrained, trained = (
        fitted_scores(short(name, epochs), marked, division, **{"schedule.lr": lr})
        for epochs, lr in ((0, 0.0), (6, 1e-3))
    )
    assert auroc(division, untrained) < 0.85
    assert auroc(division, trained) > 0.95


def test_auroc_is_one_half_where_anomalies_are_normals(name):
    textures = ManyNormals(root=None, variant="null")
    division = split(textures, Protocol(shots=10))
    assert (len(division.train_normal), len(division.test_normal), len(division.test_anomaly)) == (80, 200, 200)
    assert auroc(division, fitted_scores(short(name, 6), textures, division)) == pytest.approx(0.5, abs=0.1)


def test_a_poisoned_test_image_changes_no_other_score(name):
    """Residual references, normalisers, clusters, prototypes, coresets: all from the training part alone."""
    textures, poisoned = (kind(root=None, variant=None) for kind in (Textures, Poisoned))
    division = split(textures, Protocol(shots=10))
    poisoned.victims = (division.test_normal[0], division.test_anomaly[0])
    clean, other = (
        fitted_scores(short(name, 1), dataset, division, **{"schedule.epochs": 1, "schedule.steps": 2})
        for dataset in (textures, poisoned)
    )
    victims = [0, len(division.test_normal)]
    assert (clean[victims] != other[victims]).all(), "the poisoned images themselves are scored anew"
    np.testing.assert_array_equal(np.delete(clean, victims), np.delete(other, victims))
