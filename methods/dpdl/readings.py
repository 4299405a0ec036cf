"""What DPDL's prototypes are: two ways to read Sec. 4.2, each with what it makes of the bridge, of DPL and of Eq. 22.

`Printed` takes the potential's means for the prototypes, as Eqs. 8, 16, 17 and 22 have it.

`Nearest` takes the prototypes e_c for the places where normals *arrive*. With the potential's means r_c = (1 - S) e_c and
weights alpha_c = share_c exp(-(1 - S) |e_c|^2 / (2 eps)) the bridge does what the paper's sentences say:

- psi(x) = e_c + S (x - e_c): x is drawn towards its prototype, and a normal at e_c stays there ("we expect to align it with
  the closest prototype", Sec. 4.2);
- log a~_c(x) = log share_c - (1 - S) |x - e_c|^2 / (2 eps) + the same for all c: the closest prototype is the one "with
  high likelihood" (Sec. 4.2), as Eq. 15 assigns it;
- -eps log pi(e_c* | x) = S |x - e_c*|^2 / 2 + constant where one prototype is much the closest: Eq. 16 then pulls normals
  to it, "a compact and discriminative distribution space" (abstract), and Eq. 17 pushes anomalies off. The coupling
  <x, y> / eps of Eq. 12 is what does that: without it Eq. 16 is log Z(x) alone, whose gradient in x, psi(x) / eps, drives
  normals away from where they are carried. LightSB may leave it out, since its x are data; here x is what is trained;
- normals of cluster c with variance V_c arrive with mean e_c and variance S^2 V_c + eps S: that is the prototype
  N(mu_c, sigma_c) of Eqs. 8 and 22. The residual of Eq. 22 is then (x - e_c*) / sqrt(V_c* + eps / S), which is not x again.

Its points have root mean square 1, where eps = 0.001 leaves the noise small ("smaller values produce straighter
trajectories"); at unit norm and d = 10^4 the noise is three times a coordinate.

docs/deviations.md, "DPDL", has what each reading is worth.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from osad_bench.methods.dpdl.bridge import Bridge
from osad_bench.methods.dpdl.prototypes import Codebook, nearest


def points_of(maps: Tensor, reading: str) -> Tensor:
    """Maps (B, C, H, W) as points x of the bridge.

    Returns
    -------
    tensor of shape (B, C H W), the flattened maps: at unit norm for `printed`, at root mean square 1 for the others; for
    `position` (B H W, C), a point per position
    """
    rows = maps.permute(0, 2, 3, 1).flatten(0, 2) if reading == "position" else maps.flatten(1)
    unit = functional.normalize(rows, dim=1)
    return unit if reading == "printed" else math.sqrt(rows.shape[1]) * unit


def maps_of(points: Tensor, like: Tensor, reading: str) -> Tensor:
    """Points back in the shape of the maps that they were made of, `points_of` the other way: (B, C, H, W)."""
    if reading == "position":
        return points.view(len(like), *like.shape[2:], -1).permute(0, 3, 1, 2)
    return points.view_as(like)


class Printed(Bridge):
    """Prototypes are the potential's means mu_c; mu, S and alpha are trained.

    Parameters
    ----------
    codebook
        Start of mu (Eq. 15) and alpha. Its centres are kept as the samples of the target that Eq. 16 averages over.
    eps
        Entropic regularisation.
    variance, variance_range
        S at the start, and the factor of it that S stays within, either way: without a bound, one narrow component at
        each sample of the codebook makes log phi infinite, as in any Gaussian mixture.
    """

    samples: Tensor

    def __init__(self, codebook: Codebook, eps: float, variance: float = 1.0, variance_range: float = 10.0) -> None:
        super().__init__()
        self.eps = eps
        start, reach = math.log(variance), math.log(variance_range)
        self.bounds = start - reach, start + reach
        self.mu = nn.Parameter(codebook.centres.clone())
        self.log_alpha = nn.Parameter(codebook.shares.log())
        self.log_variance = nn.Parameter(torch.full_like(codebook.centres, start))
        self.register_buffer("samples", codebook.centres.clone())

    @property
    def mean(self) -> Tensor:
        """mu, (C, d)."""
        return self.mu

    @property
    def variance(self) -> Tensor:
        """S, (C, d), within its bounds."""
        return self.log_variance.clamp(*self.bounds).exp()

    @property
    def log_weight(self) -> Tensor:
        """log alpha, normalised, (C,)."""
        return self.log_alpha.double().log_softmax(0)

    def misfit(self, points: Tensor) -> Tensor:
        """Eps times log Z(x) - mean_c log phi(e_c), (B,): L_DPL^n is its mean over normals (Eq. 16, without coupling)."""
        return self.eps * (self.log_normaliser(points) - self.log_potential(self.samples).mean())

    def residual(self, carried: Tensor) -> Tensor:
        """(psi(x) - mu_c*) / S_c* (Eq. 22) in units in which its entries are of order 1, (B, d)."""
        with torch.no_grad():
            likely = self.log_densities(carried).argmax(1)
        return math.sqrt(carried.shape[1]) * (carried - self.mu[likely]) / self.variance[likely]


class Nearest(Bridge):
    """Prototypes e_c are where normals arrive; S is one fixed number below 1.

    Parameters
    ----------
    codebook
        Prototypes, shares and variances within the clusters.
    eps
        Entropic regularisation.
    shrinkage
        S.
    learned
        The prototypes are trained and sigma is constant (`shrunk`); otherwise both are those of the normals' clusters, and
        `refresh` renews them.
    """

    centres: Tensor
    shares: Tensor
    spread: Tensor
    usual: Tensor

    def __init__(self, codebook: Codebook, eps: float, shrinkage: float, learned: bool = False) -> None:
        super().__init__()
        self.eps, self.shrinkage, self.learned = eps, shrinkage, learned
        if learned:
            self.centres = nn.Parameter(codebook.centres.clone())
        else:
            self.register_buffer("centres", codebook.centres.clone())
        self.register_buffer("shares", codebook.shares.clone())
        self.register_buffer("spread", codebook.spread.clone())
        self.register_buffer("usual", torch.ones(2))

    @property
    def mean(self) -> Tensor:
        """r_c = (1 - S) e_c, (C, d)."""
        return (1 - self.shrinkage) * self.centres

    @property
    def variance(self) -> Tensor:
        """S, (C, d)."""
        return torch.full_like(self.centres, self.shrinkage)

    @property
    def log_weight(self) -> Tensor:
        """log share_c - (1 - S) |e_c|^2 / (2 eps), (C,)."""
        squared = self.centres.double().square().sum(1)
        return self.shares.double().log() - (1 - self.shrinkage) * squared / (2 * self.eps)

    def squares(self, x: Tensor) -> Tensor:
        """|x - e_c|^2: (B, d) -> (B, C), float64."""
        norms, of_centres = (rows.square().sum(1).double() for rows in (x, self.centres))
        return (norms[:, None] + of_centres - 2 * (x @ self.centres.T).double()).clamp_min(0)

    def _log_shares(self, squares: Tensor) -> Tensor:
        """`log_components` less |x|^2 / (2 eps), the same for all c: the small difference of the large terms."""
        return self.shares.double().log() - (1 - self.shrinkage) * squares / (2 * self.eps)

    def component_shares(self, x: Tensor) -> Tensor:
        """Share of each component in the plan, by the distances: (B, d) -> (B, C), float64."""
        return self._log_shares(self.squares(x)).softmax(1)

    def mean_plan(self, x: Tensor) -> Tensor:
        """E[y | x] under the plan: S x + (1 - S) times the mean of the prototypes by their shares."""
        share = self.component_shares(x).to(x.dtype)
        return torch.addmm(x, share, self.centres, beta=self.shrinkage, alpha=1 - self.shrinkage)

    def misfit(self, points: Tensor) -> Tensor:
        """-eps / d times log pi(e_c* | x), (B,): how unlikely x arrives at its closest prototype (Eqs. 12, 15 and 16).

        In squared distances alone, with D_c(x) = |x - e_c|^2 (what Eqs. 8 and 12 have beside them is the same in both),

            log pi(e_k | x) = -D_k(x) / (2 eps) + log sum_c share_c exp(-(1 - S) D_c(e_k) / (2 eps S))
                              - log sum_c share_c exp(-(1 - S) D_c(x) / (2 eps)) - d / 2 log(2 pi eps S)

        so that no sums of the size of 1 / eps times a squared norm are subtracted: single precision is enough for D.
        """
        squares, size = self.squares(points), points.shape[1]
        closest = squares.argmin(1, keepdim=True)
        same = torch.eye(len(self.centres), dtype=torch.bool, device=squares.device)
        between = self.squares(self.centres).masked_fill(same, 0)
        arriving = self._log_shares(between / self.shrinkage).logsumexp(1)[closest[:, 0]]
        log_plan = arriving - squares.gather(1, closest)[:, 0] / (2 * self.eps) - self._log_shares(squares).logsumexp(1)
        constant = math.log(2 * math.pi * self.eps * self.shrinkage) / 2
        return self.eps * (constant - log_plan / size)

    def sigma(self, index: Tensor) -> Tensor:
        """Standard deviation with which normals of these clusters arrive, (B, d); constant with `learned`."""
        if self.learned:
            return torch.full_like(self.centres[index], self.shrinkage)
        return (self.shrinkage**2 * self.spread + self.eps * self.shrinkage).sqrt()[index]

    def residual(self, carried: Tensor) -> Tensor:
        """(psi(x) - e_c*) / sigma_c* (Eq. 22), c* the prototype closest to psi(x), (B, d)."""
        closest = nearest(carried, self.centres)
        return (carried - self.centres[closest]) / self.sigma(closest)

    def distance(self, points: Tensor) -> Tensor:
        """Mean square of the residual of the plan's mean, that is of (x - e_c*) / sqrt(V_c* + eps / S): (B,)."""
        return self.residual(self.mean_plan(points)).square().mean(1)

    def refresh(self, points: Tensor) -> None:
        """Move the prototypes to the means of the normals closest to them, and renew shares and variances."""
        renewed = Codebook.around(points, self.centres)
        self.centres.copy_(renewed.centres)
        self.shares.copy_(renewed.shares)
        self.spread.copy_(renewed.spread)

    def compare_with(self, normals: Tensor) -> None:
        """Take the mean and the spread of these normals' distances (`reading=likelihood`)."""
        distance = self.distance(normals)
        self.usual.copy_(torch.stack([distance.mean(), distance.std(correction=0).clamp_min(1e-9)]))

    def unusual(self, points: Tensor) -> Tensor:
        """Distance in units of the normals', (B,) (`reading=likelihood`)."""
        return (self.distance(points) - self.usual[0]) / self.usual[1]
