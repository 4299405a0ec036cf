"""DevNet and DRA: which images each loss sees, what the references are, how scores combine."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import stats

from osad_bench.methods.base import NORMAL, PSEUDO, SEEN, Batch
from osad_bench.methods.devnet import DevNet
from osad_bench.methods.dra import DRA, combine, head_losses, mean_map
from osad_bench.methods.parts.losses import Deviation


def test_devnets_loss_is_the_deviation_of_its_scores(train, context, pyramid):
    method = DevNet()
    method.fit(train(), context())
    maps, target = pyramid(6, 9), torch.tensor([0, 0, 0, 1, 1, 1])
    scores = method.score(maps).double().numpy()
    z = (scores - method.deviation.mean) / method.deviation.std
    expected = np.mean(np.where(target.numpy() == 1, np.maximum(0, 5 - z), np.abs(z)))
    assert method.loss(Batch(maps, target))["deviation"].item() == pytest.approx(expected, rel=1e-5)


def test_devnet_separates_what_is_separable(train, context, pyramid):
    method = DevNet()
    method.fit(train(shift=2.0), context(epochs=10, steps=20, lr=0.02))
    normal, anomalous = method.score(pyramid(50, 20)), method.score(pyramid(50, 21, 2.0))
    assert stats.mannwhitneyu(anomalous, normal).statistic / 2500 > 0.99


def test_devnets_map_points_at_the_anomalous_place(train, context, pyramid):
    method = DevNet()
    method.fit(train(shift=2.0), context(epochs=10, steps=20, lr=0.02))
    maps = [torch.zeros_like(scale) for scale in pyramid(1)]
    maps[0][0, :, 1, 2] = 5.0
    where = method.score_map(maps)[0]
    assert where.shape == (4, 4)
    assert where.argmax() == 1 * 4 + 2


def test_each_of_dras_heads_sees_its_own_images():
    target = torch.tensor([NORMAL, NORMAL, SEEN, PSEUDO])
    deviation = Deviation(0.0, 1.0)
    score = torch.tensor([0.5, 1.0, 2.0, 4.5])
    got = head_losses(dict.fromkeys(("seen", "pseudo", "residual", "normality"), score), target, deviation)
    expected = {
        "seen": (0.5 + 1 + 3) / 3,  # the pseudo-anomaly is left out
        "pseudo": (0.5 + 1 + 0.5) / 3,  # the seen anomaly is left out
        "residual": (0.5 + 1 + 3 + 0.5) / 4,
        "normality": (4.5 + 4 + 2 + 4.5) / 4,  # normals are what it should find
    }
    assert {name: value.item() for name, value in got.items()} == pytest.approx(expected)


def test_dras_score_subtracts_normality():
    scores = {"seen": 1.0, "pseudo": 10.0, "residual": 100.0, "normality": 1000.0}
    assert combine({name: torch.tensor([value]) for name, value in scores.items()}).item() == -889


def test_dras_residual_is_taken_from_the_mean_of_training_normals(train, context, pyramid):
    method, data, maps = DRA(), train(), pyramid(4, 30)
    method.fit(data, context())
    assert len(set(method.fixed)) == 5
    for normal, reference in zip(data.normal, method.reference):
        torch.testing.assert_close(reference, normal[method.fixed].mean(0))
    residual = [reference - scale for scale, reference in zip(maps, mean_map(data.normals(method.fixed)))]
    heads = method.network.eval()
    with torch.no_grad():
        expected = heads["seen"](maps) + heads["pseudo"](maps) + heads["residual"](residual) - heads["normality"](maps)
    torch.testing.assert_close(method.score(maps), expected)


@pytest.mark.parametrize("kind", [DevNet, DRA])
def test_a_poisoned_image_beside_it_changes_no_score(kind, train, context, pyramid):
    """Neither references nor batch statistics may let the other images change an image's score."""
    method, maps = kind(), pyramid(4, 30)
    method.fit(train(), context())
    before = method.score(maps)
    poisoned = [scale.clone() for scale in maps]
    for scale in poisoned:
        scale[0] = 1e4
    torch.testing.assert_close(method.score(poisoned)[1:], before[1:], rtol=1e-6, atol=0)


def test_dra_without_a_head_has_none_of_it(train, context, pyramid):
    method = DRA(DRA.Config(residual=False, pseudo=False))
    method.fit(train(), context())
    assert set(method.network) == {"seen", "normality"}
    assert method.score(pyramid(3)).shape == (3,)
    with pytest.raises(ValidationError, match="at least one"):
        DRA.Config(seen=False, pseudo=False, residual=False, normality=False)


def test_dras_references_go_through_the_network_in_one_pass_with_the_batch(train, context):
    """With batch norm below, five references alone would set half of its statistics."""

    class Counts(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.sizes = torch.nn.Conv2d(6, 6, 1), []

        def forward(self, maps):
            self.sizes.append((self.training, len(maps)))
            return self.layer(maps)

    data = train()
    data.below = Counts()
    method = DRA()
    method.fit(data, context(epochs=1, steps=2, batch=12))
    assert [size for training, size in data.below.sizes if training] == [17] * 4
    batch = data.batch(12, method.mix, method.pseudo_anomalies, method.references(data))
    assert all(scale.requires_grad and len(scale) == 5 for scale in batch.reference)


def test_dras_batch_holds_a_third_of_each_sort():
    assert DRA().mix.counts(48) == (16, 16, 16)


def test_references_change_nothing_where_the_residual_head_is_away(train, context, pyramid):
    scores = []
    for count in (5, 6):
        method = DRA(DRA.Config(residual=False, references=count))
        method.fit(train(), context())
        scores.append(method.score(pyramid(4, 30)))
    assert torch.equal(*scores)


@pytest.mark.parametrize("gone", ["seen", "pseudo", "residual", "normality"])
def test_taking_a_head_away_leaves_the_others_as_they_start(gone, train, context):
    whole, rest = (DRA(config).build(train(), context()) for config in (DRA.Config(), DRA.Config(**{gone: False})))
    for name, head in rest.items():
        for one, other in zip(head.parameters(), whole[name].parameters(), strict=True):
            assert torch.equal(one, other), name


def test_more_references_keep_the_first_ones_and_the_batches(train, context):
    few, many = DRA(DRA.Config(references=2)), DRA(DRA.Config(references=5))
    for method in (few, many):
        method.build(train(), context())
    assert many.fixed[:2] == few.fixed
    batches = [train().batch(12, few.mix, few.pseudo_anomalies, count) for count in (0, 2, 5)]
    for batch in batches[1:]:
        assert all(map(torch.equal, batch.pyramid, batches[0].pyramid))
