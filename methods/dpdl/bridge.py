"""The Schroedinger bridge from images to a mixture of Gaussians, in closed form and as an SDE (DPDL, Sec. 4.2).

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
    """Plan and drift of the bridge whose potential is a Gaussian mixture; a subclass says which mixture.

    Exponents reach 1 / eps times a squared norm, where float32 has too few digits: they are computed in float64.

    Attributes
    ----------
    mean, variance
        mu and S, (C, d) each, S positive.
    log_weight
        log alpha, (C,), float64, up to a constant.
    eps
        Entropic regularisation, the variance of the bridge's noise at t = 1; positive.
    """

    eps: float

    @property
    def mean(self) -> Tensor:
        """mu, (C, d)."""
        raise NotImplementedError

    @property
    def variance(self) -> Tensor:
        """S, (C, d)."""
        raise NotImplementedError

    @property
    def log_weight(self) -> Tensor:
        """log alpha, (C,)."""
        raise NotImplementedError

    def log_components(self, x: Tensor) -> Tensor:
        """log of the unnormalised component weights of the plan (Eq. 13, derived): (B, d) -> (B, C), float64.

        log alpha_c + (<x, S_c x> + 2 <mu_c, x>) / (2 eps)
        """
        x = x.double()
        quadratic = x.square() @ self.variance.double().T + 2 * x @ self.mean.double().T
        return self.log_weight + quadratic / (2 * self.eps)

    def logits(self, x: Tensor) -> Tensor:
        """`log_components` up to a constant per row, (B, d) -> (B, C), float64; the carried point and the misfit use them."""
        return self.log_components(x)

    def log_normaliser(self, x: Tensor) -> Tensor:
        """log Z(x), Z(x) the integral of exp(<x, y> / eps) phi(y) over y (Eq. 12, derived): (B, d) -> (B,), float64."""
        return self.log_components(x).logsumexp(1)

    def log_densities(self, y: Tensor) -> Tensor:
        """log alpha_c N(y; mu_c, eps S_c) (Eq. 8): (B, d) -> (B, C), float64."""
        log_variance = self.variance.double().log()
        precision, y, mean = (-log_variance).exp(), y.double(), self.mean.double()
        scaled = precision * mean
        distance = y.square() @ precision.T - 2 * y @ scaled.T + (scaled * mean).sum(1)
        log_det = y.shape[1] * math.log(2 * math.pi * self.eps) + log_variance.sum(1)
        return self.log_weight - (distance / self.eps + log_det) / 2

    def log_potential(self, y: Tensor) -> Tensor:
        """log phi(y) (Eq. 8): (B, d) -> (B,), float64."""
        return self.log_densities(y).logsumexp(1)

    def log_plan(self, x: Tensor, y: Tensor) -> Tensor:
        """log pi(y | x) (Eqs. 12 and 13): rows x and y, (B, d) each -> (B,), float64."""
        coupling = (x.double() * y.double()).sum(1) / self.eps
        return coupling + self.log_potential(y) - self.log_normaliser(x)

    def component_shares(self, x: Tensor, logits: Tensor | None = None) -> Tensor:
        """Share of each component in the plan (Eq. 13): (B, d) -> (B, C), float64, rows sum to 1."""
        return (self.logits(x) if logits is None else logits).softmax(1)

    def mean_plan(self, x: Tensor, logits: Tensor | None = None) -> Tensor:
        """E[y | x] under the plan (Eq. 13): (B, d) -> (B, d); `logits` if already computed."""
        share = self.component_shares(x, logits).to(x.dtype)
        return share @ self.mean + (share @ self.variance) * x

    def sample_plan(self, x: Tensor, generator: torch.Generator | None = None, logits: Tensor | None = None) -> Tensor:
        """One draw of y from the plan for each row (Eq. 13): (B, d) -> (B, d); `logits` if already computed."""
        share = self.component_shares(x, logits)
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
        log_share = self.log_weight - width.log().sum(1) / 2 + exponent / (2 * self.eps * left)
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

    def carry(
        self,
        x: Tensor,
        transport: str,
        steps: int,
        generator: torch.Generator | None = None,
        logits: Tensor | None = None,
    ) -> Tensor:
        """The carried point psi(x): (B, d) -> (B, d).

        Parameters
        ----------
        transport
            ``mean`` of the plan, a ``sample`` of it, or the end point of the ``sde``.
        steps
            Of the ``sde``.
        """
        if transport == "mean":
            return self.mean_plan(x, logits)
        if transport == "sample":
            return self.sample_plan(x, generator, logits)
        return self.run_sde(x, steps, generator)
