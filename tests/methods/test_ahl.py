"""AHL: the meta-gradient in closed form, the episodes, the rewards, and that nothing below the heads moves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from osad_bench.methods.ahl.episodes import make_episodes
from osad_bench.methods.ahl.inner import adapt, meta_gradient
from osad_bench.methods.ahl.model import AHL, AHLDevNet
from osad_bench.methods.ahl.weighting import rewards
from osad_bench.methods.base import NORMAL, PSEUDO, SEEN

CURVATURE = {"support": (3.0, 0.5), "query": (2.0, 4.0)}
CENTRE = {"support": (1.0, -1.0), "query": (-0.5, 2.0)}


def quadratic(parameters, half):
    """Half sum of a_i (theta_i - b_i)^2 of the two parameters."""
    a, b = (torch.tensor(values[half], dtype=torch.float64) for values in (CURVATURE, CENTRE))
    theta = torch.stack([parameters["x"], parameters["y"]])
    return (a * (theta - b) ** 2).sum() / 2


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("first_order", [False, True])
def test_the_meta_gradient_of_two_parameters_is_the_closed_form(steps, first_order):
    lr, theta = 0.1, np.array([2.0, -3.0])
    a, b = np.array(CURVATURE["support"]), np.array(CENTRE["support"])
    c, d = np.array(CURVATURE["query"]), np.array(CENTRE["query"])
    shrink = (1 - lr * a) ** steps  # each step pulls theta towards b by the factor 1 - lr a
    inner = b + shrink * (theta - b)
    outer = c * (inner - d) * (1 if first_order else shrink)
    start = {name: torch.tensor(value, dtype=torch.float64) for name, value in zip("xy", theta)}
    adapted = adapt(quadratic, start, "support", lr, steps)
    np.testing.assert_allclose([adapted["x"], adapted["y"]], inner, rtol=1e-12)
    gradients, value, same = meta_gradient(quadratic, start, "support", "query", lr, steps, first_order)
    np.testing.assert_allclose([gradients["x"], gradients["y"]], outer, rtol=1e-12)
    assert value.item() == pytest.approx((c * (inner - d) ** 2).sum() / 2)
    np.testing.assert_allclose([same["x"], same["y"]], inner, rtol=1e-12)


@pytest.mark.parametrize(("normal", "pseudo", "seen"), [(0.5, 0.5, 1.0), (2.0, 0.0, 0.3)])
def test_rewards_weigh_each_sort_by_its_weight(normal, pseudo, seen):
    predicted = torch.tensor([[0.1, 0.9], [0.2, 0.6], [0.7, 0.5], [0.4, 1.0]])
    target = torch.tensor([NORMAL, NORMAL, SEEN, PSEUDO])
    expected = [
        -(normal * (0.01 + 0.04) / 2 + seen * 0.09 + pseudo * 0.36),
        -(normal * (0.81 + 0.36) / 2 + seen * 0.25 + pseudo * 0.0),
    ]
    np.testing.assert_allclose(rewards(predicted, target, (normal, pseudo, seen)), expected, rtol=1e-6)
    if (normal, pseudo, seen) == (0.5, 0.5, 1.0):
        np.testing.assert_allclose(rewards(predicted, target), expected, rtol=1e-6)


def clustered(train, shapes=((6, 4, 4), (6, 2, 2))):
    """Normals in three clear clusters of 12, by index."""
    data = train(normals=36, seen=5)
    for scale in data.normal:
        scale[12:24, 0] += 30
        scale[24:, 1] += 30
    return data


def test_episodes_are_ordered_pairs_of_clusters_and_a_halving(train, context):
    data, method = clustered(train), AHL()
    pools = [method._pool(data, sort) for sort in method.pseudo_anomalies]
    episodes = make_episodes(data, pools, method.config.clusters, context())
    groups = [frozenset(range(0, 12)), frozenset(range(12, 24)), frozenset(range(24, 36))]
    pairs = [(frozenset(e.support.normal.tolist()), frozenset(e.query.normal.tolist())) for e in episodes]
    assert set(pairs[:6]) == {(s, q) for s in groups for q in groups if s != q}
    assert pairs[6][0] | pairs[6][1] == set(range(36))
    for episode, (support, query) in zip(episodes, pairs):
        assert not support & query
        assert sorted([*episode.support.seen.tolist(), *episode.query.seen.tolist()]) == list(range(5))


def test_a_single_known_anomaly_serves_both_halves(train, context):
    method, data = AHL(AHL.Config(outer_epochs=1)), train(seen=1)
    method.fit(data, context(epochs=1))
    pools = [method._pool(data, sort) for sort in method.pseudo_anomalies]
    episodes = make_episodes(data, pools, method.config.clusters, context())
    assert all(e.support.seen.tolist() == e.query.seen.tolist() == [0] for e in episodes)


@pytest.mark.parametrize("kind", [AHL, AHLDevNet])
def test_meta_learning_moves_the_heads_and_nothing_below_them(kind, train, context, pyramid):
    data = train()
    data.below = torch.nn.Conv2d(6, 6, 1)
    base = kind(kind.Config(outer_epochs=0))
    base.fit(data, context())
    below = [p.clone() for p in data.parameters()]
    before = base.score(pyramid(4))
    method = kind(kind.Config(outer_epochs=8, history=2, clusters=2, batch=12))
    method.model = base.model
    seen = []
    at = context()
    at.progress = lambda epoch, epochs, values: seen.append((epoch, epochs, values))
    method._meta_learn(data, at)
    assert all(torch.equal(one, other) for one, other in zip(below, data.parameters()))
    assert not torch.allclose(method.score(pyramid(4)), before)
    assert [epoch for epoch, *_ in seen] == list(range(3, 11))
    assert seen[-1][1] == 10
    assert seen[-1][2]["sequence"] > 0
    assert seen[-1][2]["spread of weights"] > 0
    assert seen[1][2]["spread of weights"] == 0, "equal weights until the history is full"


def test_meta_learning_lowers_the_query_loss(train, context):
    method, data, at = (
        AHLDevNet(AHLDevNet.Config(outer_epochs=40, outer_decay_every=100, clusters=2, batch=24)),
        train(shift=2.0),
        context(),
    )
    losses = []
    at.progress = lambda _epoch, _epochs, values: losses.append(values.get("query"))
    method.fit(data, at)
    losses = [value for value in losses if value is not None]
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
