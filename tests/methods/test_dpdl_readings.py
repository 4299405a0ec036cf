"""What makes the paper's sentences true: the derivations of the readings, each against an independent calculation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from osad_bench.methods.dpdl.model import DPDL
from osad_bench.methods.dpdl.prototypes import Codebook, nearest
from osad_bench.methods.dpdl.readings import Nearest, Printed, maps_of, points_of

S, EPS = 0.3, 0.02


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def book(components: int = 5, size: int = 6, seed: int = 0) -> Codebook:
    """Prototypes in general position, equal shares, variances of their own."""
    centres = torch.randn(components, size, generator=gen(seed), dtype=torch.float64)
    spread = 0.1 + torch.rand(components, size, generator=gen(seed + 1), dtype=torch.float64)
    return Codebook(centres, torch.full((components,), 1 / components, dtype=torch.float64), spread)


def points(count: int, size: int = 6, seed: int = 7) -> torch.Tensor:
    return torch.randn(count, size, generator=gen(seed), dtype=torch.float64)


@pytest.mark.parametrize("seed", range(3))
def test_the_plans_top_component_is_the_nearest_prototype_at_any_s(seed):
    x = points(200)
    for shrinkage in (0.05, 0.3, 0.9):
        bridge = Nearest(book(seed=seed), EPS, shrinkage)
        distances = np.linalg.norm(x.numpy()[:, None] - bridge.centres.numpy(), axis=2)
        assert bridge.log_components(x).argmax(1).tolist() == distances.argmin(1).tolist()


def test_as_printed_it_is_often_another():
    """The largest inner product, not the closest prototype: Eq. 15 and Sec. 4.2 are not met."""
    bridge, x = Printed(book(), EPS), points(200)
    agree = bridge.log_components(x).argmax(1) == nearest(x, bridge.mean)
    assert agree.double().mean() < 0.9


def test_the_carried_point_is_x_drawn_towards_its_prototype():
    bridge = Nearest(book(), 1e-4, S)
    x = points(50)
    closest = bridge.centres[nearest(x, bridge.centres)]
    torch.testing.assert_close(bridge.mean_plan(x), closest + S * (x - closest), atol=1e-2, rtol=0)
    torch.testing.assert_close(bridge.mean_plan(bridge.centres), bridge.centres, atol=1e-6, rtol=0)


def descent(function, x: torch.Tensor, step: float = 1e-5) -> torch.Tensor:
    """Minus the gradient of a function of each row, by central differences."""
    columns = []
    for i in range(x.shape[1]):
        shift = torch.zeros_like(x)
        shift[:, i] = step
        columns.append((function(x + shift) - function(x - shift)) / (2 * step))
    return -torch.stack(columns, dim=1).detach()


def test_dpl_draws_a_normal_to_its_closest_prototype():
    bridge, x = Nearest(book(), 1e-3, S), points(100)
    closest = bridge.centres[nearest(x, bridge.centres)]
    clear = (
        np.diff(np.sort(np.linalg.norm(x.numpy()[:, None] - bridge.centres.numpy(), axis=2) ** 2)[:, :2]).ravel() > 0.1
    )
    moves = descent(bridge.misfit, x)
    expected = S * (closest - x) / x.shape[1]
    torch.testing.assert_close(moves[clear], expected[clear], atol=1e-5, rtol=1e-3)


def test_as_printed_dpl_drives_a_normal_away_from_where_it_is_carried():
    bridge, x = Printed(book(), EPS), points(100)
    moves = descent(bridge.misfit, x)
    torch.testing.assert_close(moves, -bridge.mean_plan(x).detach(), atol=1e-6, rtol=1e-5)
    assert ((moves * bridge.mean_plan(x).detach()).sum(1) < 0).all()


def test_the_misfit_is_a_one_class_loss_up_to_a_constant():
    """-eps log pi(e_c* | x) = S |x - e_c*|^2 / 2 + eps d / 2 log(2 pi eps S), where one prototype is much the closest."""
    bridge = Nearest(book(), 1e-4, S)
    x = bridge.centres[2] + 0.1 * points(20)
    squared = (x - bridge.centres[2]).square().sum(1)
    size = x.shape[1]
    expected = S * squared / 2 + 1e-4 * size / 2 * math.log(2 * math.pi * 1e-4 * S)
    torch.testing.assert_close(size * bridge.misfit(x), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("eps", [1e-3, 0.5])
def test_the_misfit_in_distances_is_that_of_the_plan(eps):
    bridge, x = Nearest(book(), eps, S), points(50)
    closest = bridge.centres[nearest(x, bridge.centres)]
    torch.testing.assert_close(bridge.misfit(x), -eps * bridge.log_plan(x, closest) / x.shape[1])
    torch.testing.assert_close(bridge.component_shares(x), bridge.log_components(x).softmax(1))


def test_single_precision_is_enough_at_the_papers_size():
    """d = 1e5, eps = 1e-3: values, carried points and gradients against double precision."""
    size, found = 100_352, {}
    centres = math.sqrt(size) * torch.nn.functional.normalize(torch.randn(4, size, generator=gen()), dim=1)
    x = 0.8 * centres[[0, 1, 2]] + 0.6 * torch.randn(3, size, generator=gen(1))
    for kind in (torch.float32, torch.float64):
        codebook = Codebook(centres.to(kind), torch.full((4,), 0.25, dtype=kind), torch.ones_like(centres, dtype=kind))
        bridge, rows = Nearest(codebook, 1e-3, 0.1), x.to(kind).clone().requires_grad_()
        misfit = bridge.misfit(rows)
        (misfit.sum() + bridge.residual(bridge.mean_plan(rows)).square().mean()).backward()
        found[kind] = misfit.detach(), bridge.mean_plan(rows).detach(), rows.grad
    for single, double in zip(found[torch.float32], found[torch.float64]):
        assert ((single.double() - double).norm() / double.norm()).item() < 1e-5


@pytest.mark.parametrize("transport", ["sample", "sde"])
def test_normals_of_a_cluster_arrive_with_its_mean_and_variance(transport):
    """Draws of normals around one prototype, carried: mean e_c, variance S^2 V_c + eps S."""
    start = book(components=3)
    start.centres[0] = 6.0  # far from the others, so that its normals are carried to it alone
    bridge = Nearest(start, 0.05, S)
    count = 40_000
    normals = bridge.centres[0] + bridge.spread[0].sqrt() * points(count, seed=11)
    arrived = bridge.carry(normals, transport, 100, gen(3))
    expected = 1 / bridge.precision[0] ** 2
    torch.testing.assert_close(arrived.mean(0), bridge.centres[0], atol=0.01, rtol=0)
    torch.testing.assert_close(arrived.var(0), expected, rtol=0.05 if transport == "sde" else 0.03, atol=0)


def test_the_residual_is_the_whitened_distance_whatever_s_is():
    x = points(30)
    for shrinkage in (0.05, 0.5):
        bridge = Nearest(book(), 1e-6, shrinkage)
        closest = nearest(x, bridge.centres)
        expected = (x - bridge.centres[closest]) / (bridge.spread[closest] + 1e-6 / shrinkage).sqrt()
        torch.testing.assert_close(bridge.residual(bridge.mean_plan(x)), expected, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(bridge.distance(x), expected.square().mean(1), rtol=1e-2, atol=1e-3)


def alike(one: torch.Tensor, other: torch.Tensor) -> float:
    """Mean squared correlation of rows."""
    return float(torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] ** 2 for pair in zip(one, other)]).mean())


def test_what_m_r_sees_is_what_m_a_sees_only_as_printed():
    """With r_c = mu_c the residual is S x over S, x itself, for any S; measured from where normals arrive it is not."""
    x, centres = points(50, size=40), 3 * points(4, size=40, seed=3)
    x = x + centres[torch.arange(50) % 4]
    clusters = Codebook(centres, torch.full((4,), 0.25, dtype=torch.float64), torch.ones_like(centres))
    for variance in (0.5, 1.0, 2.0):
        printed = Printed(clusters, 1e-3, variance)
        top = printed.log_components(x).argmax(1)
        raw = (printed.mean_plan(x) - printed.mean[top]) / printed.variance[top]
        assert alike(raw.detach(), x) > 0.999
    drawn = Nearest(clusters, 1e-3, S)
    assert alike(drawn.residual(drawn.mean_plan(x)), x) < 0.5


def test_points_have_their_norm_and_go_back_to_maps(pyramid):
    for maps in pyramid(3):
        size = maps[0].numel()
        torch.testing.assert_close(points_of(maps, "printed").norm(dim=1), torch.ones(3))
        torch.testing.assert_close(points_of(maps, "cluster").square().mean(1), torch.ones(3))
        positions = points_of(maps, "position")
        assert positions.shape == (size * 3 // 6, 6)
        for reading in ("cluster", "position"):
            back = maps_of(points_of(maps, reading), maps, reading)
            cosine = torch.nn.functional.cosine_similarity(back, maps, dim=1)
            torch.testing.assert_close(cosine, torch.ones_like(cosine))


def test_cluster_renews_its_prototypes_from_the_batches_as_the_network_sees_them(train, context):
    """The layer below is what moves: prototypes learned before it moved would be left behind."""
    data = train()
    with context().initialised("below"):
        data.below = torch.nn.Sequential(torch.nn.Conv2d(6, 6, 1), torch.nn.BatchNorm2d(6))
    method = DPDL(DPDL.Config(prototypes=4, per_prototype=1, eps=0.05, dpl=False))
    method.fit(data, context(epochs=4, steps=6, lr=0.05))
    method.network.train()
    data.train(True)
    with torch.no_grad():
        seen = data.batch(40, method.mix, ("cutmix",)).pyramid
    for maps, bridge in zip(seen, method.bridges):
        normals = points_of(maps[:20], "cluster")
        gap = (normals - bridge.centres[nearest(normals, bridge.centres)]).square().mean()
        around = Codebook.around(normals, bridge.centres)
        best = (normals - around.centres[nearest(normals, around.centres)]).square().mean()
        assert gap < 2 * best + 0.2


def test_likelihood_adds_the_distance_in_units_of_the_normals(train, context, pyramid):
    method = DPDL(DPDL.Config(prototypes=4, per_prototype=1, eps=0.05, reading="likelihood"))
    data = train()
    method.fit(data, context())
    maps = pyramid(5, 9)
    with torch.no_grad():
        parts = method._scores(maps, method._points(maps))
    added = method.score(maps) - (parts["anomaly"] + parts["residual"] - parts["normal"])
    expected = 0
    for normal, x, bridge in zip(data.normal, maps, method.bridges):
        at, fresh = (bridge.distance(points_of(y, "likelihood")).numpy() for y in (normal, x))
        expected = expected + (fresh - at.mean()) / at.std() / 2
    np.testing.assert_allclose(added, expected, rtol=1e-3, atol=1e-4)
