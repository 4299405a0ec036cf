"""Testing a difference repeatedly while seeds come in, without raising the rate of false claims.

Whoever adds seeds until a difference is significant will find one sooner or later. A group-sequential test spreads the error
rate over its interim tests, the looks: the critical value (boundary) is high at the first looks and near the usual one at the
last. The error rate spent so far is given by Lan and DeMets' spending function of O'Brien and Fleming's type,

    alpha(t) = 4 - 4 Phi(z_{1 - alpha/4} / sqrt(t))        (two-sided; t = share of the information, 0 to 1)

from which the boundaries follow by integrating over the paths that have not crossed a boundary yet (Armitage, McPherson and
Rowe).

The mean difference of two methods over n seeds has the variance v + s2/n, with s2 from the seeds (training, choice of the known
anomalies) and v from the test images, which more seeds do not reduce. So the information 1 / (v + s2/n) levels off: where v
alone is too large, no number of seeds decides the question, and `follow` reports that.

K. K. G. Lan and D. L. DeMets: Discrete sequential boundaries for clinical trials. Biometrika 70(3), 1983. C. Jennison and
B. W. Turnbull: Group Sequential Methods with Applications to Clinical Trials. Chapman & Hall/CRC, 2000 (Ch. 7 spending, Ch. 9
repeated confidence intervals, Ch. 10 stochastic curtailment).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize
from scipy.special import ndtr, ndtri, stdtr, stdtrit  # many times quicker than scipy.stats for single numbers

from osad_bench.results.paired import placements

Floats = NDArray[np.float64]

NODES = 160
"""Quadrature points for the density of the paths that have not crossed a boundary."""
HIGHEST = 8.0
"""Highest boundary; the error rate that this leaves unspent is below 1e-14."""
LEAST_STEP = 0.01
"""Least share of the information between two looks; from a share of 1 - LEAST_STEP on, further seeds count as useless."""
HOPELESS = 0.1
"""Further seeds count as not worth their time where the probability of a decision is below this, even with a difference at the
upper end of its 95 % interval."""


def spent(share: float, alpha: float) -> float:
    """Error rate, up to `alpha`, that may be spent up to a share of the information (above 0, at most 1)."""
    return float(4 * ndtr(ndtri(alpha / 4) / math.sqrt(share)))


class Boundary:
    """Critical values of abs(Z), computed look by look.

    Parameters
    ----------
    alpha
        Two-sided error rate of all looks together.
    """

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha
        self.times: list[float] = []
        self.values: list[float] = []
        self._points: Floats = np.zeros(1)
        self._masses: Floats = np.ones(1)

    def add(self, share: float) -> float:
        """Add a look at this share of the information (above the last share, at most 1); return its critical value."""
        before = self.times[-1] if self.times else 0.0
        step = math.sqrt(share - before)
        allowed = spent(share, self.alpha) - (spent(before, self.alpha) if before else 0.0)

        def surplus(value: float) -> float:
            b = value * math.sqrt(share)
            crossing = ndtr((self._points - b) / step) + ndtr((-b - self._points) / step)
            return float(self._masses @ crossing) - allowed

        value = HIGHEST if surplus(HIGHEST) >= 0 else float(optimize.brentq(surplus, 0.0, HIGHEST, xtol=1e-10))
        nodes, weights = _quadrature()
        b = value * math.sqrt(share)
        points = nodes * b
        distance = (points[:, None] - self._points[None, :]) / step
        density = np.exp(-0.5 * distance**2) @ self._masses / (step * math.sqrt(2 * math.pi))
        self._points, self._masses = points, weights * b * density
        self.times.append(share)
        self.values.append(value)
        return value


@cache
def _quadrature() -> tuple[Floats, Floats]:
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    return nodes, weights


def boundaries(times: Sequence[float], alpha: float) -> list[float]:
    """Critical values of abs(Z) at these increasing shares of the information (above 0, at most 1)."""
    boundary = Boundary(alpha)
    return [boundary.add(share) for share in times]


@dataclass(frozen=True)
class Compared:
    """Two methods on one split: ids, labels (0 normal, 1 anomaly) and both methods' scores of its test images, shape (n,)."""

    images: Sequence[str]
    labels: Sequence[int]
    first: Sequence[float]
    second: Sequence[float]


def image_variance(cells: Sequence[Compared]) -> float:
    """Variance that the sample of test images gives to the mean difference of two AUCs over cells.

    DeLong's variance (`paired.delong`) for several cells that share images: an image's contributions to the difference are
    added over the cells before squaring.
    """
    parts: dict[int, defaultdict[str, float]] = {0: defaultdict(float), 1: defaultdict(float)}
    for cell in cells:
        labels, images = np.asarray(cell.labels), np.asarray(cell.images)
        (above_a, below_a), (above_b, below_b) = placements(labels, cell.first), placements(labels, cell.second)
        for label, values in ((1, above_a - above_b), (0, below_a - below_b)):
            shares = (values - values.mean()) / (len(values) * len(cells))
            for image, value in zip(images[labels == label].tolist(), shares.tolist()):
                parts[label][image] += value
    return float(sum(sum(v * v for v in part.values()) * len(part) / max(1, len(part) - 1) for part in parts.values()))


@dataclass(frozen=True)
class Look:
    """The result of one look: difference, standard error, share of the information, Z, and the boundary for abs(Z)."""

    seeds: int
    difference: float
    error: float
    share: float
    z: float
    boundary: float

    @property
    def identical(self) -> bool:
        """Whether the difference and its variance are zero."""
        return self.error == 0 and abs(self.difference) < 1e-12

    @property
    def interval(self) -> tuple[float, float]:
        """Repeated confidence interval within [-1, 1]; the intervals of all looks hold simultaneously."""
        half = self.boundary * self.error
        return max(-1.0, self.difference - half), min(1.0, self.difference + half)


State = Literal["first", "second", "open", "hopeless"]
"""See `Verdict.state`."""


@dataclass(frozen=True)
class Verdict:
    """Where the comparison of two methods stands.

    Attributes
    ----------
    state
        ``first`` or ``second`` (this method is better), ``open`` (not decided yet), or ``hopeless`` (the remaining seeds will
        hardly decide it).
    looks
        All looks, in order, up to the one that decided.
    needed
        Seeds that a difference as large as the observed one would need (80 % power); None where no number suffices because
        the test images are too few.
    """

    state: State
    looks: list[Look] = field(default_factory=list)
    needed: int | None = None


def follow(
    differences: Sequence[float],
    image_variances: Callable[[int], float],
    looks: Sequence[int],
    most: int,
    alpha: float,
    *,
    final: bool = False,
) -> Verdict:
    """Test two methods at several looks, each with the seeds that were there at the time.

    Parameters
    ----------
    differences
        First minus second, one per seed, in the order in which the seeds were run.
    image_variances
        Function from n to `image_variance` of the first n seeds.
    looks
        Numbers of seeds at which to test, increasing, each at least 2.
    most
        Largest number of seeds that will be run.
    alpha
        Two-sided error rate of all looks together.
    final
        No look follows the last of these, although it has fewer seeds than `most`, as cells failed.
    """
    boundary, done = Boundary(alpha), list[Look]()
    needed: int | None = None
    for seeds in looks:
        seen = np.asarray(differences[:seeds], dtype=np.float64)
        mean, of_seeds, of_images = float(seen.mean()), float(seen.var(ddof=1)), image_variances(seeds)
        # By chance, few seeds can have a small spread, which would end the test too early; so it is widened.
        variance = of_images + _widened(seeds) * of_seeds / seeds
        if variance <= 1e-18:  # deterministic scores on separable images: no randomness is left
            state: State = "hopeless" if abs(mean) < 1e-12 else "first" if mean > 0 else "second"
            return Verdict(state, [*done, Look(seeds, mean, 0.0, 1.0, 0.0, 0.0)])
        needed = _needed(mean, of_seeds, of_images, alpha)
        last = (of_images + _widened(most) * of_seeds / most) / variance
        over = seeds >= most or (final and seeds == looks[-1])
        share = 1.0 if over or last > 1 - LEAST_STEP else last
        if boundary.times and share < boundary.times[-1] + LEAST_STEP and share < 1:
            continue  # the variance estimates changed, and this look has no new information
        if boundary.times and boundary.times[-1] >= 1:
            break
        error = math.sqrt(variance)
        freedom = variance**2 / max(
            (_widened(seeds) * of_seeds / seeds) ** 2 / (seeds - 1), 1e-300
        )  # Satterthwaite; images as known
        z = math.copysign(-float(ndtri(stdtr(min(freedom, 1e9), -abs(mean) / error))), mean)
        done.append(Look(seeds, mean, error, share, z, boundary.add(max(share, _next(boundary)))))
        if abs(z) >= done[-1].boundary:
            return Verdict("first" if z > 0 else "second", done, needed)
        if share == 1 or _chance(abs(z), share, alpha) < HOPELESS:
            return Verdict("hopeless", done, needed)
    return Verdict("open", done, needed)


def _widened(seeds: int) -> float:
    """Square of the ratio of Student's and the normal 97.5 % quantile; 2.0 for five seeds."""
    return float(stdtrit(seeds - 1, 0.975) / ndtri(0.975)) ** 2


def _next(boundary: Boundary) -> float:
    """The smallest share of the information that the next look may have."""
    return min(1.0, boundary.times[-1] + 1e-6) if boundary.times else 0.0


def _chance(z: float, share: float, alpha: float) -> float:
    """Probability that a difference at the upper end of its interval crosses the last boundary (about that of one look)."""
    reached, left = z * math.sqrt(share), 1 - share
    drift = z / math.sqrt(share) + 1.96 / math.sqrt(share)
    return float(ndtr((ndtri(alpha / 2) + reached + drift * left) / math.sqrt(left)))


def _needed(mean: float, of_seeds: float, of_images: float, alpha: float) -> int | None:
    wanted = float(ndtri(1 - alpha / 2) + ndtri(0.8))
    left = (mean / wanted) ** 2 - of_images
    return None if left <= 0 else max(2, math.ceil(of_seeds / left))
