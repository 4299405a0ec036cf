"""What DPDL's prototypes are: two ways to read Sec. 4.2, each with its bridge, its DPL and its residual (Eq. 22).

`Printed` takes the potential's means as the prototypes, as Eqs. 8, 16, 17 and 22 are printed.

`Nearest` takes the places where normals *arrive* as the prototypes e_c. With the potential's means r_c = (1 - S) e_c and
weights alpha_c = share_c exp(-(1 - S) |e_c|^2 / (2 eps)) the bridge does what the paper's sentences say:

- psi(x) = e_c + S (x - e_c): x is drawn towards its prototype, and a normal at e_c stays there ("we expect to align it with
  the closest prototype", Sec. 4.2);
- log a~_c(x) = log share_c - (1 - S) |x - e_c|^2 / (2 eps) + the same for all c: the closest prototype is the one "with
  high likelihood" (Sec. 4.2), as Eq. 15 assigns it;
- -eps log pi(e_c* | x) = S |x - e_c*|^2 / 2 + constant where one prototype is much the closest: Eq. 16 then pulls normals
  to it, "a compact and discriminative distribution space" (abstract), and Eq. 17 pushes anomalies off. The coupling
  <x, y> / eps of Eq. 12 causes this: without it Eq. 16 is log Z(x) alone, whose gradient in x, psi(x) / eps, drives
  normals away from where they are carried. LightSB may leave it out, since its x are data; here x is what is trained;
- normals of cluster c with variance V_c arrive with mean e_c and variance S^2 V_c + eps S: that is the prototype
  N(mu_c, sigma_c) of Eqs. 8 and 22. The residual of Eq. 22 is then (x - e_c*) / sqrt(V_c* + eps / S), not x itself.

Its points have root mean square 1, where eps = 0.001 leaves the noise small ("smaller values produce straighter
trajectories"); at unit norm and d = 10^4 the noise is three times a coordinate.

docs/deviations.md, "DPDL", compares the readings.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from osad_bench.methods.dpdl.bridge import Bridge
from osad_bench.methods.dpdl.prototypes import Codebook


def points_of(maps: Tensor, reading: str) -> Tensor:
    """Maps (B, C, H, W) as points x of the bridge.

    Returns
    -------
    tensor of shape (B, C H W), the flattened maps: at unit norm for `printed`, at root mean square 1 for the others; for
    `position` (B H W, C), one point per position
    """
    rows = maps.permute(0, 2, 3, 1).flatten(0, 2) if reading == "position" else maps.flatten(1)
    length = 1 if reading == "printed" else math.sqrt(rows.shape[1])
    points: Tensor = rows * (length / torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp_min(1e-12))
    return points


def maps_of(points: Tensor, like: Tensor, reading: str) -> Tensor:
    """Points in the shape of the maps that `points_of` made them from: (B, C, H, W)."""
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
        S at the start, and the factor by which it may grow or shrink from there: without a bound, one narrow component at
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

    def misfit(self, points: Tensor, logits: Tensor | None = None) -> Tensor:
        """Eps times log Z(x) - mean_c log phi(e_c), (B,): L_DPL^n is its mean over normals (Eq. 16, without coupling)."""
        log_z = (self.logits(points) if logits is None else logits).logsumexp(1)
        return self.eps * (log_z - self.log_potential(self.samples).mean())

    def residual(self, carried: Tensor) -> Tensor:
        """(psi(x) - mu_c*) / S_c* (Eq. 22) in units in which its entries are of order 1, (B, d)."""
        with torch.no_grad():
            likely = self.log_densities(carried).argmax(1)
        return math.sqrt(carried.shape[1]) * (carried - self.mu[likely]) / self.variance[likely]


def _keep_again(bridge: nn.Module, _: object) -> None:
    """Hook after weights were loaded: compute again what depends on them."""
    assert isinstance(bridge, Nearest)
    bridge._keep()


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
    log_share: Tensor
    """log share_c, (C,), float64."""
    kept_squared: Tensor
    kept_arriving: Tensor
    precision: Tensor
    """1 / sigma_c, (C, d)."""

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
        for name in ("log_share", "kept_squared", "kept_arriving", "precision"):
            self.register_buffer(name, torch.empty(0), persistent=False)
        self._keep()
        self.register_load_state_dict_post_hook(_keep_again)  # type: ignore[no-untyped-call]

    def _keep(self) -> None:
        """Compute what depends on the prototypes alone, once until they are renewed."""
        with torch.no_grad():
            self.log_share = self.shares.double().log()
            self.kept_squared = self._squared()
            self.kept_arriving = self._arriving()
            variance = self.shrinkage**2 * self.spread + self.eps * self.shrinkage
            self.precision = torch.full_like(variance, 1 / self.shrinkage) if self.learned else variance.rsqrt()

    def _squared(self) -> Tensor:
        """|e_c|^2, (C,)."""
        return self.centres.square().sum(1)

    def _arriving(self) -> Tensor:
        """log of 1 / share_k sum_c share_c exp(-(1 - S) D_c(e_k) / (2 eps S)) for each k, (C,), float64."""
        same = torch.eye(len(self.centres), dtype=torch.bool, device=self.centres.device)
        between = self.squares(self.centres).masked_fill(same, 0)
        return self._logits(between / self.shrinkage).logsumexp(1) - self.log_share

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
        return self.log_share - (1 - self.shrinkage) * squared / (2 * self.eps)

    def squares(self, x: Tensor) -> Tensor:
        """|x - e_c|^2: (B, d) -> (B, C), float64."""
        squared = self._squared() if self.learned else self.kept_squared
        both = x.square().sum(1).double()[:, None] + squared
        return torch.add(both, x @ self.centres.T, alpha=-2).clamp_min(0)

    def _logits(self, squares: Tensor) -> Tensor:
        return torch.add(self.log_share, squares, alpha=-(1 - self.shrinkage) / (2 * self.eps))

    def logits(self, x: Tensor) -> Tensor:
        """`log_components` minus |x|^2 / (2 eps), which is the same for all c: no large terms are subtracted."""
        return self._logits(self.squares(x))

    def mean_plan(self, x: Tensor, logits: Tensor | None = None) -> Tensor:
        """E[y | x] under the plan: S x + (1 - S) times the mean of the prototypes by their shares."""
        share = self.component_shares(x, logits).to(x.dtype)
        return torch.addmm(x, share, self.centres, beta=self.shrinkage, alpha=1 - self.shrinkage)

    def misfit(self, points: Tensor, logits: Tensor | None = None) -> Tensor:
        """-eps / d times log pi(e_c* | x), (B,): how unlikely x arrives at its closest prototype (Eqs. 12, 15 and 16).

        In squared distances alone, with D_c(x) = |x - e_c|^2 (the other terms of Eqs. 8 and 12 cancel),

            log pi(e_k | x) = -D_k(x) / (2 eps) + log sum_c share_c exp(-(1 - S) D_c(e_k) / (2 eps S))
                              - log sum_c share_c exp(-(1 - S) D_c(x) / (2 eps)) - d / 2 log(2 pi eps S)

        so that no sums of the size of 1 / eps times a squared norm are subtracted: single precision is enough for D.
        With the logits l_c = log share_c - (1 - S) D_c / (2 eps), the first and the third term are, for each k,

            S / (1 - S) (l_k - log share_k) - log share_k + log softmax(l)_k
        """
        if logits is None:
            logits = self.logits(points)
        arriving = self._arriving() if self.learned else self.kept_arriving
        near = logits - self.log_share  # -(1 - S) D / (2 eps), (B, C)
        plans = torch.add(arriving, near, alpha=self.shrinkage / (1 - self.shrinkage)) + logits.log_softmax(1)
        closest = near.argmax(1, keepdim=True) == torch.arange(len(self.centres), device=near.device)
        # A product, not an index: the gradient of an index adds rows up, which a GPU does by sorting them.
        log_plan = (plans * closest).sum(1)
        constant = math.log(2 * math.pi * self.eps * self.shrinkage) / 2
        return log_plan * (-self.eps / points.shape[1]) + constant * self.eps

    def closest(self, points: Tensor) -> Tensor:
        """Index of the prototype closest to each point, (B,); carries no gradient."""
        with torch.no_grad():
            squared = self._squared() if self.learned else self.kept_squared
            return torch.addmm(squared, points, self.centres.T, alpha=-2).argmin(1)

    def residual(self, carried: Tensor) -> Tensor:
        """(psi(x) - e_c*) / sigma_c* (Eq. 22), c* the prototype closest to psi(x), sigma constant with `learned`: (B, d)."""
        closest = self.closest(carried)
        return (carried - self.centres[closest]) * self.precision[closest]

    def distance(self, points: Tensor) -> Tensor:
        """Mean square of the residual of the plan's mean, that is of (x - e_c*) / sqrt(V_c* + eps / S): (B,)."""
        return self.residual(self.mean_plan(points)).square().mean(1)

    def refresh(self, points: Tensor) -> None:
        """Move the prototypes to the means of the normals closest to them, and renew shares and variances."""
        renewed = Codebook.around(points, self.centres)
        self.centres.copy_(renewed.centres)
        self.shares.copy_(renewed.shares)
        self.spread.copy_(renewed.spread)
        self._keep()

    def compare_with(self, normals: Tensor) -> None:
        """Take the mean and the spread of these normals' distances (`reading=likelihood`)."""
        distance = self.distance(normals)
        self.usual.copy_(torch.stack([distance.mean(), distance.std(correction=0).clamp_min(1e-9)]))

    def unusual(self, points: Tensor) -> Tensor:
        """Distance in units of the normals', (B,) (`reading=likelihood`)."""
        return (self.distance(points) - self.usual[0]) / self.usual[1]
