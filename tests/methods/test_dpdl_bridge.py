"""The bridge against quadrature, finite differences, high precision and its own SDE; never against its own output."""

from __future__ import annotations

import decimal
import math
from decimal import Decimal

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from osad_bench.methods.dpdl.prototypes import Codebook
from osad_bench.methods.dpdl.readings import Printed

EPS = 0.5
REACH, STEP = 12.0, 0.05


def made(means: torch.Tensor, weights: torch.Tensor, eps: float, *variance: float) -> Printed:
    """The bridge with free parameters."""
    return Printed(Codebook(means, weights, torch.ones_like(means)), eps, *variance)


def draw(seed: int, components: int = 3, size: int = 2, eps: float = EPS, scale: float = 1.0) -> Printed:
    """A random bridge in float64."""
    generator = np.random.default_rng(seed)
    weights = torch.from_numpy(generator.dirichlet(np.full(components, 3.0)))
    bridge = made(torch.from_numpy(scale * generator.normal(size=(components, size))), weights, eps).double()
    bridge.log_variance.data = torch.from_numpy(generator.normal(0, 0.5, (components, size)))
    return bridge


def potential(bridge: Printed):
    """phi as SciPy has it."""
    parts = [
        (math.exp(weight), multivariate_normal(mean, np.diag(bridge.eps * variance)))
        for weight, mean, variance in zip(
            bridge.log_weight.tolist(), bridge.mean.detach().numpy(), bridge.variance.detach().numpy()
        )
    ]
    return lambda y: sum(weight * part.pdf(y) for weight, part in parts)


AXIS = np.arange(-REACH, REACH + STEP / 2, STEP)
PLANE = np.stack(np.meshgrid(AXIS, AXIS, indexing="ij"), axis=-1).reshape(-1, 2)


def integral(values: np.ndarray) -> float:
    """Over the plane, of values at `PLANE`: the trapezoidal rule, exact to rounding for what is smooth and falls off."""
    return float(values.sum()) * STEP**2


@pytest.mark.parametrize("seed", [0, 1])
def test_normaliser_and_mean_are_those_of_quadrature(seed):
    bridge = draw(seed)
    phi, x = potential(bridge), np.random.default_rng(seed + 10).normal(size=2) * 0.7
    density = np.exp(PLANE @ x / EPS) * phi(PLANE)
    total = integral(density)
    point = torch.from_numpy(x)[None]
    assert bridge.log_normaliser(point).item() == pytest.approx(math.log(total), abs=1e-6)
    expected = [integral(PLANE[:, i] * density) / total for i in (0, 1)]
    np.testing.assert_allclose(bridge.mean_plan(point)[0].detach(), expected, atol=1e-5)


def test_potential_is_scipys_mixture():
    bridge, y = draw(3, components=4, size=5), np.random.default_rng(0).normal(size=(6, 5))
    expected = np.log([potential(bridge)(one) for one in y])
    np.testing.assert_allclose(bridge.log_potential(torch.from_numpy(y)).detach(), expected, rtol=1e-10)


@pytest.mark.parametrize("time", [0.0, 0.4, 0.9])
def test_drift_is_the_gradient_of_the_heat_flow_of_the_adjusted_potential(time):
    """g(z, t) = eps grad_z log of the integral of N(y; z, (1-t) eps) exp(|y|^2 / (2 eps)) phi(y), by quadrature."""
    bridge = draw(1)
    bridge.log_variance.data.clamp_(max=-0.1)  # the integrand falls off only for S < 1 / t
    phi, z, width = potential(bridge), np.array([0.3, -0.5]), 1 - time

    log_factor = ((PLANE**2).sum(1) - ((PLANE - z) ** 2).sum(1) / width) / (2 * EPS)
    shifted = np.exp(log_factor + np.log(phi(PLANE) + 1e-300))
    total = integral(shifted)
    expected = [integral((PLANE[:, i] - z[i]) / width * shifted) / total for i in (0, 1)]
    found = bridge.drift(torch.from_numpy(z)[None], time)[0].detach()
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_at_time_zero_the_drift_leads_to_the_plans_mean():
    bridge, x = draw(2, size=4), torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(bridge.drift(x, 0.0), bridge.mean_plan(x) - x)


def test_draws_and_the_sde_have_the_plans_distribution():
    bridge = draw(4, components=3, scale=0.6)
    bridge.log_variance.data *= 0.5
    count, x = 20_000, torch.tensor([[0.4, -0.3]], dtype=torch.float64)
    many = x.expand(count, 2)
    share = bridge.log_components(x).softmax(1)[0].detach()
    means = (bridge.mean + bridge.variance * x).detach()
    mean = share @ means
    covariance = torch.diag(share @ (EPS * bridge.variance.detach()))
    covariance += torch.einsum("c,ci,cj->ij", share, means - mean, means - mean)
    torch.testing.assert_close(bridge.mean_plan(x)[0].detach(), mean)
    draws = bridge.sample_plan(many, torch.Generator().manual_seed(0)).detach()
    ends = bridge.run_sde(many, 200, torch.Generator().manual_seed(1)).detach()
    spread = covariance.diagonal().sqrt().max().item()
    for found, bias in ((draws, 0.0), (ends, 0.01)):  # Euler's error is of order 1 / steps
        # Four standard errors, of a mean and of a variance: how torch draws differs between its versions.
        torch.testing.assert_close(found.mean(0), mean, atol=4 * spread / math.sqrt(count) + bias, rtol=0)
        torch.testing.assert_close(found.T.cov(), covariance, atol=4 * spread**2 * math.sqrt(2 / count) + bias, rtol=0)


def test_precise_at_the_size_and_regularisation_of_the_paper():
    """d = 1e5, eps = 1e-3, float32 features, not normalised: against decimal arithmetic with 60 digits."""
    size, components, eps = 100_000, 3, 1e-3
    generator = torch.Generator().manual_seed(0)
    means = 0.3 * torch.randn(components, size, generator=generator)
    bridge = made(means, torch.tensor([0.2, 0.5, 0.3]), eps)
    bridge.log_variance.data = 0.1 * torch.randn(components, size, generator=generator)
    # Between the first two components to the last digit that float32 features have, so that the weights are not 0 and 1.
    x = torch.randn(1, size, generator=generator)
    with decimal.localcontext() as digits:
        digits.prec = 60

        def exact(values: torch.Tensor) -> list[Decimal]:
            return list(map(Decimal, values.detach().double().tolist()))

        def log_component(weight: float, variance: list[Decimal], mean: list[Decimal]) -> Decimal:
            total = sum(xi * (xi * s + 2 * m) for xi, s, m in zip(features, variance, mean))
            return Decimal(weight) + total / (2 * Decimal(eps))

        features = exact(x[0])
        logs = list(
            map(log_component, bridge.log_weight.tolist(), map(exact, bridge.variance), map(exact, bridge.mean))
        )
        top = max(logs)
        log_z = top + sum((one - top).exp() for one in logs).ln()
        found = bridge.log_components(x)[0].tolist()
        assert max(abs(Decimal(f) - e) for f, e in zip(found, logs)) < Decimal("1e-4"), (
            "absolute: what the softmax sees"
        )
        assert abs(Decimal(bridge.log_normaliser(x).item()) / log_z - 1) < Decimal("1e-6")
    assert abs(found[0]) > 1e5, "the case is to be a hard one"


def test_gradients_are_those_of_finite_differences_and_finite_at_the_papers_size():
    bridge = draw(5, components=3, size=4)
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True, generator=torch.Generator().manual_seed(0))
    for function in (bridge.log_normaliser, bridge.mean_plan, bridge.log_potential, lambda z: bridge.drift(z, 0.3)):
        assert torch.autograd.gradcheck(function, x)
    generator = torch.Generator().manual_seed(0)
    big = made(torch.randn(4, 100_000, generator=generator), torch.full((4,), 0.25), 1e-3)
    far = torch.randn(2, 100_000, generator=generator, requires_grad=True)
    (big.log_normaliser(far).mean() + big.mean_plan(far).square().mean() - big.log_potential(far).mean()).backward()
    assert far.grad is not None
    assert torch.isfinite(far.grad).all()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in big.parameters())


def test_the_residual_is_taken_from_the_most_responsible_component():
    bridge, y = draw(6, components=4, size=3), np.random.default_rng(0).normal(size=(20, 3))
    weights = bridge.log_weight.exp().tolist()
    means, variances = bridge.mean.detach().numpy(), bridge.variance.detach().numpy()
    density = [
        w * multivariate_normal(m, np.diag(EPS * s)).pdf(y) for w, m, s in zip(weights, means, variances, strict=True)
    ]
    likely = np.argmax(density, 0)
    expected = np.sqrt(3) * (y - means[likely]) / variances[likely]
    np.testing.assert_allclose(bridge.residual(torch.from_numpy(y)).detach(), expected, rtol=1e-10)


@pytest.mark.parametrize(("start", "factor"), [(1.0, 10.0), (0.1, 4.0)])
def test_variances_start_where_set_and_stay_within_their_range(start, factor):
    bridge = made(torch.zeros(3, 2), torch.full((3,), 1 / 3), EPS, start, factor)
    assert bridge.variance.tolist() == pytest.approx(np.full((3, 2), start))
    bridge.log_variance.data = torch.tensor([[-50.0, 50.0]] * 3)
    assert bridge.variance.min().item() == pytest.approx(start / factor)
    assert bridge.variance.max().item() == pytest.approx(start * factor)
