"""The Schroedinger bridge from images to the mixture of prototypes, in closed form and as an SDE (DPDL, Sec. 4.2).

The potential is a mixture of C Gaussians, phi(y) = sum_c alpha_c N(y; mu_c, eps S_c), with S_c > 0 diagonal: LightSB's
parametrisation (Korotin, Gushchin and Burnaev, "Light Schroedinger bridge", ICLR 2024), which is the paper's with
sigma_c = eps S_c; the paper's "variances set to the identity" at eps = 0.001 only makes sense for S_c. What follows was
derived again, since several of the equations as printed are wrong (docs/deviations.md has both forms).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Bridge(nn.Module):
    """Plan and drift of the bridge whose potential is a Gaussian mixture.

    Exponents reach 1 / eps times a squared norm, where float32 has too few digits: they are computed in float64.

    Parameters
    ----------
    means, weights
        (C, d) and (C,): start of mu and alpha. `means` are kept as the samples of the target that Eq. 16 averages over.
    eps
        Entropic regularisation, the variance of the bridge's noise at t = 1; positive.
    variance, variance_range
        S at the start, and the factor of it that S stays within, either way: without a bound, one narrow component at
        each sample of the codebook makes log phi infinite, as in any Gaussian mixture.
    """

    samples: Tensor

    def __init__(
        self, means: Tensor, weights: Tensor, eps: float, variance: float = 1.0, variance_range: float = 10.0
    ) -> None:
        super().__init__()
        self.eps = eps
        start, reach = math.log(variance), math.log(variance_range)
        self.bounds = start - reach, start + reach
        self.mean = nn.Parameter(means.clone())
        self.log_weight = nn.Parameter(weights.log())
        self.log_variance = nn.Parameter(torch.full_like(means, start))
        self.register_buffer("samples", means.clone())

    @property
    def variance(self) -> Tensor:
        """S, (C, d), within its bounds."""
        return self.log_variance.clamp(*self.bounds).exp()

    def _log_weight(self) -> Tensor:
        return self.log_weight.double().log_softmax(0)

    def log_components(self, x: Tensor) -> Tensor:
        """log of the unnormalised component weights of the plan (Eq. 13, derived): (B, d) -> (B, C), float64.

        log alpha_c + (<x, S_c x> + 2 <mu_c, x>) / (2 eps)
        """
        x = x.double()
        quadratic = x.square() @ self.variance.double().T + 2 * x @ self.mean.double().T
        return self._log_weight() + quadratic / (2 * self.eps)

    def log_normaliser(self, x: Tensor) -> Tensor:
        """log Z(x), of the integral of exp(<x, y> / eps) phi(y) over y (Eq. 12, derived): (B, d) -> (B,), float64."""
        return self.log_components(x).logsumexp(1)

    def log_densities(self, y: Tensor) -> Tensor:
        """log alpha_c N(y; mu_c, eps S_c) (Eq. 8): (B, d) -> (B, C), float64."""
        log_variance = self.variance.double().log()
        precision, y, mean = (-log_variance).exp(), y.double(), self.mean.double()
        scaled = precision * mean
        distance = y.square() @ precision.T - 2 * y @ scaled.T + (scaled * mean).sum(1)
        log_det = y.shape[1] * math.log(2 * math.pi * self.eps) + log_variance.sum(1)
        return self._log_weight() - (distance / self.eps + log_det) / 2

    def log_potential(self, y: Tensor) -> Tensor:
        """log phi(y) (Eq. 8): (B, d) -> (B,), float64."""
        return self.log_densities(y).logsumexp(1)

    def nearest(self, y: Tensor) -> Tensor:
        """The component that most likely drew y, c* of Eq. 22: (B, d) -> (B,)."""
        with torch.no_grad():
            return self.log_densities(y).argmax(1)

    def mean_plan(self, x: Tensor, components: Tensor | None = None) -> Tensor:
        """E[y | x] under the plan (Eq. 13): (B, d) -> (B, d). `components`: `log_components` of x, if known."""
        share = (self.log_components(x) if components is None else components).softmax(1).to(x.dtype)
        return share @ self.mean + (share @ self.variance) * x

    def sample_plan(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One draw of y from the plan for each row (Eq. 13): (B, d) -> (B, d)."""
        share = self.log_components(x).softmax(1)
        chosen = torch.multinomial(share.detach().cpu(), 1, generator=generator).flatten().to(x.device)
        variance = self.variance[chosen]
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
        return self.mean[chosen] + variance * x + (self.eps * variance).sqrt() * noise

    def drift(self, z: Tensor, t: float) -> Tensor:
        """g(z, t) for 0 <= t < 1, the drift that carries z towards the target (Eq. 14, derived): (B, d) -> (B, d).

        With h_c = z / (eps (1 - t)) + mu_c / (eps S_c) and Lambda_c = t / (eps (1 - t)) + 1 / (eps S_c):
        (sum_c w_c h_c / Lambda_c - z) / (1 - t), and up to a constant, with width_c = t S_c + 1 - t, log w_c is
        log alpha_c - 1/2 sum log width_c + sum (S_c z^2 + 2 (1-t) z mu_c - t (1-t) mu_c^2) / (2 eps (1-t) width_c).
        At t = 0 these are the plan's weights.
        """
        left, dtype = 1 - t, z.dtype
        z, mean, variance = z.double(), self.mean.double(), self.variance.double()
        width = t * variance + left  # (C, d)
        exponent = z.square() @ (variance / width).T + 2 * left * z @ (mean / width).T
        exponent = exponent - t * left * (mean.square() / width).sum(1)
        log_share = self._log_weight() - width.log().sum(1) / 2 + exponent / (2 * self.eps * left)
        share = log_share.softmax(1)
        target = (share @ (variance / width)) * z + left * (share @ (mean / width))
        return ((target - z) / left).to(dtype)

    def run_sde(self, x: Tensor, steps: int, generator: torch.Generator | None = None) -> Tensor:
        """End point of dz = g dt + sqrt(eps) dW from z = x (Eq. 4) by `steps` steps of Euler and Maruyama: (B, d)."""
        z, dt = x, 1 / steps
        for step in range(steps):
            noise = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
            z = z + self.drift(z, step * dt) * dt + math.sqrt(self.eps * dt) * noise
        return z
