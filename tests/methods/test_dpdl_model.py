"""DPDL's parts other than the bridge, and the whole: losses against NumPy, switches, bounds, learning."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp

from osad_bench.methods.base import Batch
from osad_bench.methods.dpdl.dispersion import dispersion_loss
from osad_bench.methods.dpdl.model import DPDL
from osad_bench.methods.dpdl.prototypes import Codebook
from osad_bench.methods.dpdl.readings import points_of

SMALL = {"prototypes": 4, "eps": 0.05, "per_prototype": 1}
READINGS = ("printed", "shrunk", "cluster", "position", "likelihood")


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_dispersion_is_the_formula_in_numpy():
    x, kappa = np.random.default_rng(0).normal(size=(7, 11)), 10.0
    unit_x = x / np.linalg.norm(x, axis=1, keepdims=True)
    expected = np.mean([
        logsumexp([kappa * unit_x[i] @ unit_x[j] for j in range(7) if j != i]) - math.log(6) for i in range(7)
    ])  # fmt: skip
    assert dispersion_loss(torch.from_numpy(x), kappa).item() == pytest.approx(expected, rel=1e-12)


def test_dispersion_lies_between_minus_and_plus_kappa_and_gradchecks():
    same, opposite = torch.ones(4, 3), torch.tensor([[1.0, 0], [-1, 0]])
    assert dispersion_loss(same, 10.0).item() == pytest.approx(10, rel=1e-5)
    assert dispersion_loss(opposite, 10.0).item() == pytest.approx(-10, rel=1e-5)
    x = torch.randn(4, 3, dtype=torch.float64, generator=gen(), requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: dispersion_loss(z, 3.0), x)


@pytest.mark.parametrize("size", [3, 400])
def test_the_codebook_holds_the_means_and_shares_of_separated_clusters(size):
    centres = 20 * torch.randn(4, size, generator=gen(1))
    rows = torch.cat(
        [centre + 0.1 * torch.randn(n, size, generator=gen(n)) for centre, n in zip(centres, (10, 20, 30, 40))]
    )
    # One start can put two centres into one cluster; the best of a few cannot with so clear a case.
    found = [Codebook.learn(rows, 4, gen(seed)) for seed in range(5)]
    best = min(found, key=lambda book: torch.cdist(rows, book.centres).min(1).values.sum().item())
    order = best.shares.argsort()
    torch.testing.assert_close(best.shares[order], torch.tensor([0.1, 0.2, 0.3, 0.4]))
    torch.testing.assert_close(best.centres[order], centres, atol=0.2, rtol=0)
    within = torch.cat([rows[a:b] - rows[a:b].mean(0) for a, b in ((0, 10), (10, 30), (30, 60), (60, 100))])
    first = (within[:10].square().sum(0) + 10 * within.square().mean(0)) / 20
    torch.testing.assert_close(best.spread[order][0], first, rtol=1e-3, atol=1e-5)


def test_fewer_distinct_features_than_prototypes_shrink_the_codebook_with_a_warning():
    rows = torch.randn(3, 5, generator=gen()).repeat(4, 1)
    with pytest.warns(UserWarning, match="3 distinct normal features for 8 prototypes"):
        book = Codebook.learn(rows, 8, gen())
    assert book.centres.shape == (3, 5)
    torch.testing.assert_close(book.shares, torch.full((3,), 1 / 3))


def test_prototypes_follow_the_normals_and_an_empty_one_stays():
    rows = torch.cat([torch.randn(30, 4, generator=gen(1)) + 5, torch.randn(10, 4, generator=gen(2)) - 5])
    book = Codebook.around(rows, torch.tensor([[4.0] * 4, [-4.0] * 4, [100.0] * 4]))
    torch.testing.assert_close(book.centres[:2], torch.stack([rows[:30].mean(0), rows[30:].mean(0)]))
    assert book.centres[2].tolist() == [100.0] * 4
    torch.testing.assert_close(book.shares, torch.tensor([31, 11, 1]) / 43)
    assert (book.spread > 0).all()


@pytest.mark.parametrize(("normals", "expected"), [(40, 4), (25, 2), (9, 1)])
def test_few_normals_lower_the_number_of_prototypes(normals, expected, train, context):
    method = DPDL(DPDL.Config(prototypes=32))
    method.fit(train(normals=normals), context())
    assert {len(bridge.centres) for bridge in method.bridges} == {expected}


def fitted(train, context, config=None, shift: float = 2.0, **schedule) -> DPDL:
    method = DPDL(DPDL.Config(**SMALL | (config or {})))
    method.fit(train(shift=shift), context(**schedule))
    return method


def test_prototype_losses_are_equations_16_and_17_in_numpy(train, context, pyramid):
    method = fitted(train, context, {"bound": "none", "reading": "printed"})
    maps, target = pyramid(6, 9), torch.tensor([0, 0, 0, 1, 1, 2])
    terms = method.loss(Batch(maps, target))
    normal, anomalous = [], []
    for x, bridge in zip(maps, method.bridges):
        flat = x.flatten(1).double().numpy()
        flat /= np.linalg.norm(flat, axis=1, keepdims=True)
        weight = bridge.log_weight.detach().numpy()
        mean, var = bridge.mean.detach().double().numpy(), bridge.variance.detach().double().numpy()
        eps = bridge.eps
        log_z = logsumexp(weight + (flat**2 @ var.T + 2 * flat @ mean.T) / (2 * eps), axis=1)
        samples = bridge.samples.double().numpy()
        log_phi = logsumexp(
            [w + stats.multivariate_normal(m, np.diag(eps * v)).logpdf(samples) for w, m, v in zip(weight, mean, var)],
            axis=0,
        )
        normal.append(eps * (log_z[:3].mean() - log_phi.mean()))
        anomalous.append(eps * (log_phi.mean() - log_z[3:].mean()))
    assert terms["dpl_normal"].item() == pytest.approx(np.mean(normal), rel=1e-5, abs=1e-6)
    assert terms["dpl_anomaly"].item() == pytest.approx(np.mean(anomalous), rel=1e-5, abs=1e-6)


def test_without_a_bound_the_sum_falls_without_limit_and_either_bound_stops_it(train, context, pyramid):
    """The prototype terms cancel in Eq. 23: scaling the means alone gives mean_n log Z - mean_a log Z any value."""
    maps, target = pyramid(6, 9), torch.tensor([0, 0, 0, 1, 1, 2])
    totals: dict[str, list[float]] = {}
    for bound in ("none", "hinge", "weight"):
        method = fitted(train, context, {"bound": bound, "reading": "printed"})
        for size in (1.0, 1e3, 1e6):
            with torch.no_grad():
                for x, bridge in zip(maps, method.bridges):
                    points = points_of(x, "printed")
                    direction = points[3:].mean(0) - points[:3].mean(0)
                    bridge.mu.copy_(size * direction.expand_as(bridge.mu))
            terms = method.loss(Batch(maps, target))
            totals.setdefault(bound, []).append((terms["dpl_normal"] + terms["dpl_anomaly"]).item())
    assert totals["none"][2] < totals["none"][1] < totals["none"][0] - 10
    for bound in ("hinge", "weight"):
        assert totals[bound][2] > totals[bound][0], "the normals' term, with its samples, answers"


OTHERS = [
    {name: value}
    for name, values in (
        ("transport", ("mean", "sample", "sde")),
        ("reading", READINGS),
        ("loss", ("deviation", "bce", "focal")),
    )
    for value in values
    if value != DPDL.Config.model_fields[name].default
]


@pytest.mark.parametrize("changes", [{}, *OTHERS], ids=lambda changes: "-".join(changes.values()) or "default")
def test_every_transport_reading_and_binary_loss_trains_and_separates(train, context, pyramid, changes):
    method = fitted(train, context, {"steps": 5} | changes, epochs=5, steps=20, lr=0.02)
    normal, anomalous = method.score(pyramid(40, 20)), method.score(pyramid(40, 21, 2.0))
    assert stats.mannwhitneyu(anomalous, normal).statistic / 1600 > 0.95


def test_each_ablation_takes_away_its_term_alone(train, context, pyramid):
    maps, target = pyramid(6, 9), torch.tensor([0, 0, 0, 1, 1, 2])
    whole = set(fitted(train, context).loss(Batch(maps, target)))
    assert whole == {"anomaly", "normal", "residual", "dpl_normal", "dpl_anomaly", "dfl"}
    gone = {
        "without DPL": {"dpl_normal", "dpl_anomaly"},
        "without DFL": {"dfl"},
        "without M_n": {"normal"},
        "without M_a": {"anomaly"},
        "without M_r": {"residual"},
    }
    assert gone.keys() == DPDL.ablations.keys()
    for name, changes in DPDL.ablations.items():
        method = fitted(train, context, changes)
        assert whole - set(method.loss(Batch(maps, target))) == gone[name]
        assert torch.isfinite(method.score(maps)).all()


def test_the_score_is_anomaly_plus_residual_minus_normality(train, context, pyramid):
    method, maps = fitted(train, context), pyramid(4, 3)
    with torch.no_grad():
        parts = method._scores(maps, method._points(maps))
    torch.testing.assert_close(method.score(maps), parts["anomaly"] + parts["residual"] - parts["normal"])


def test_the_dispersion_reaches_what_lies_below_the_pyramid(train, context):
    """Over frozen features without an adapter DFL has nothing to move; with one it moves it."""
    layer = torch.nn.Conv2d(6, 6, 1)
    start = layer.weight.detach().clone()
    data = train()
    data.below = layer
    config = {"dpl": False, "anomaly_head": False, "residual_head": False, "dispersion": 1.0}
    with_dfl, without = (DPDL(DPDL.Config(**SMALL | config | {"dfl": dfl})) for dfl in (True, False))
    with_dfl.fit(data, context())
    moved = (layer.weight - start).abs().sum()
    assert moved > 0
    with torch.no_grad():
        layer.weight.copy_(start)
    without.fit(data, context())
    assert not torch.equal(moved, (layer.weight - start).abs().sum())


def test_one_known_anomaly_is_enough(train, context, pyramid):
    method = DPDL(DPDL.Config(**SMALL))
    method.fit(train(seen=1), context())
    assert torch.isfinite(method.score(pyramid(3))).all()


@pytest.mark.parametrize("transport", ["sample", "sde"])
def test_scoring_twice_gives_the_same_and_leaves_training_as_it_was(train, context, pyramid, transport):
    changes = {"transport": transport, "steps": 3}
    plain = fitted(train, context, changes).score(pyramid(5, 8))
    watched, at = DPDL(DPDL.Config(**SMALL | changes)), context()
    at.after_epoch = lambda _epoch: watched.score(pyramid(5, 8))
    watched.fit(train(shift=2.0), at)
    assert torch.equal(watched.score(pyramid(5, 8)), plain)
    assert torch.equal(watched.score(pyramid(5, 8)), plain)


def test_two_fits_of_one_seed_are_identical(train, context, pyramid):
    one, two = (fitted(train, context, {"transport": "sample"}).score(pyramid(5, 8)) for _ in range(2))
    assert torch.equal(one, two)
