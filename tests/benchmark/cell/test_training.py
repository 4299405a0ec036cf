"""Training sets: batches hold what they say, and nothing of the test part is ever drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from osad_bench.benchmark.cell.below import Adapter, Normaliser
from osad_bench.benchmark.cell.split import split
from osad_bench.benchmark.cell.training import CachedFeatures, FineTuned
from osad_bench.benchmark.features.backbones import load_backbone
from osad_bench.benchmark.features.cache import FeatureCache
from osad_bench.benchmark.preset import load_preset
from osad_bench.datasets.catalogue import open_dataset
from osad_bench.methods.base import NORMAL, PSEUDO, SEEN, Mix
from osad_bench.results.record import Protocol


def make(cache: Path, changes=None, kind=CachedFeatures, seed=0, generators=("cutmix",)):
    dataset = open_dataset("textures")
    preset = load_preset("quick", {"image_size": 64, "pseudo_draws": 2, "adapter": "none"} | (changes or {}))[1]
    torch.manual_seed(0)
    return kind(
        dataset, split(dataset, Protocol(shots=3)), preset, load_backbone("efficientnet_lite0"), FeatureCache(cache),
        generators, seed, torch.device("cpu"),
    )  # fmt: skip


def rows_of(train: CachedFeatures, pyramid) -> list[int]:
    """Rows of the data set whose (unnormalised) features these are; -1 for none."""
    known = torch.from_numpy(np.array(train.clean[0])).float().flatten(1)
    found = []
    for one in pyramid[0].flatten(1):
        same = (known == one).all(1).nonzero().flatten()
        found.append(int(same[0]) if len(same) else -1)
    return found


def test_a_batch_holds_the_shares_it_was_asked_for_and_only_training_images(cache: Path):
    train = make(cache, {"normalise": "none"})
    batch = train.batch(16, Mix(0.5, 0.25, 0.25), ["cutmix"])
    assert batch.target.tolist() == [NORMAL] * 8 + [SEEN] * 4 + [PSEUDO] * 4
    rows = rows_of(train, batch.pyramid)
    assert set(rows[:8]) <= set(train.normal_rows)
    assert len(set(rows[:8])) == 8, "normals repeat only when they run out"
    assert set(rows[8:12]) == set(train.seen_rows), "each of the three known anomalies, one of them twice"
    assert rows[12:] == [-1] * 4, "pseudo-anomalies are no clean images"


def test_batches_are_fixed_by_the_generator(cache: Path):
    one, same, other = (make(cache, seed=seed).batch(8, Mix(), []).pyramid[0] for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_change_of_one_count_leaves_the_other_draws_as_they_were(cache: Path):
    plain, other = make(cache, {"normalise": "none"}), make(cache, {"normalise": "none"})
    for _ in range(3):
        one = plain.batch(12, Mix(0.5, 0.5, 0), [])
        two = other.batch(16, Mix(0.375, 0.375, 0.25), ["cutmix"], references=5)
        assert rows_of(plain, one.pyramid)[:6] == rows_of(other, two.pyramid)[:6]
        assert rows_of(plain, one.pyramid)[6:] == rows_of(other, two.pyramid)[6:12]


@pytest.mark.parametrize("kind", [CachedFeatures, FineTuned])
def test_references_are_further_training_normals_in_the_same_pass(cache: Path, kind):
    changes = {"normalise": "none"} if kind is CachedFeatures else {"frozen": False}
    train = make(cache, changes, kind)
    batch = train.batch(8, Mix(), [], references=5)
    assert batch.target.shape == (8,)
    assert [len(scale) for scale in batch.pyramid] == [8] * len(train.shapes)
    assert [len(scale) for scale in batch.reference] == [5] * len(train.shapes)
    assert train.batch(8, Mix(), []).reference is None
    if kind is CachedFeatures:
        assert set(rows_of(train, batch.reference)) <= set(train.normal_rows)


def test_the_test_part_comes_whole_and_in_order(cache: Path):
    train = make(cache, {"normalise": "none"})
    pyramid = [torch.cat(scale) for scale in zip(*train.test())]
    assert rows_of(train, pyramid) == train.test_rows.tolist()


@pytest.mark.parametrize("mode", ["standardise", "whiten"])
def test_a_normaliser_gives_the_training_normals_unit_scale(mode):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(200, 6, 5, 5, generator=generator) * torch.arange(1, 7).view(1, 6, 1, 1) + 3
    features[:, 1] += 0.8 * features[:, 0]
    out = Normaliser.fit(features, mode)(features).permute(0, 2, 3, 1).reshape(-1, 6)
    torch.testing.assert_close(out.mean(0), torch.zeros(6), atol=1e-3, rtol=0)
    covariance = torch.cov(out.T)
    torch.testing.assert_close(covariance.diagonal(), torch.ones(6), atol=0.05, rtol=0)
    if mode == "whiten":
        torch.testing.assert_close(covariance, torch.eye(6), atol=0.05, rtol=0)


def test_a_constant_channel_is_no_division_by_zero():
    features = torch.zeros(10, 3, 2, 2)
    assert torch.isfinite(Normaliser.fit(features, "standardise")(features)).all()


def test_the_residual_adapter_starts_as_the_identity_and_is_trained(cache: Path):
    x = torch.randn(2, 8, 3, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Adapter(8, "residual", 4)(x), x)
    assert Adapter(8, "linear", 4)(x).shape == (2, 4, 3, 3)
    train = make(cache, {"adapter": "residual", "adapter_width": 4})
    batch = train.batch(4, Mix(), [])
    sum(scale.square().sum() for scale in batch.pyramid).backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in train.parameters())


def test_fine_tuning_reaches_every_weight_of_the_backbone_and_leaves_the_original_alone(cache: Path):
    train = make(cache, {"frozen": False, "augment": "rotate"}, FineTuned)
    train.train(True)
    batch = train.batch(8, Mix(0.5, 0.25, 0.25), ["cutmix"])
    sum(scale.square().mean() for scale in batch.pyramid).backward()
    assert all(p.grad is not None for p in train.parameters())
    original = next(load_backbone("efficientnet_lite0").module.parameters())
    assert original.grad is None


def test_frozen_and_fine_tuned_sets_show_the_same_clean_features(cache: Path):
    frozen = make(cache, {"normalise": "none"}).normals([0, 5])
    tuned = make(cache, {"frozen": False}, FineTuned).normals([0, 5])
    for one, other in zip(frozen, tuned):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-2)


def test_in_bfloat16_the_backbone_alone_is_coarser(cache: Path):
    fine, coarse = make(cache, {"frozen": False}, FineTuned), make(cache, {"frozen": False}, FineTuned)
    coarse.precision = torch.bfloat16
    for one, other in zip(fine.normals([0, 5]), coarse.normals([0, 5])):
        assert other.dtype == torch.float32
        assert not torch.equal(one, other)
        assert (one - other).norm() / one.norm() < 0.05
    assert all(p.dtype == torch.float32 for p in coarse.parameters())
