"""Looking at results while seeds come in, without raising the share of false claims.

Who adds seeds until a difference is significant will find one sooner or later. A group-sequential test spends the error
rate over the looks: the boundary is high at the first looks and near the usual one at the last. Spent is by Lan and DeMets'
function of O'Brien and Fleming's kind,

    alpha(t) = 4 - 4 Phi(z_{1 - alpha/4} / sqrt(t))        (two-sided; t = share of the information, 0 to 1)

and the boundaries follow from it by integrating over what has not crossed before (Armitage, McPherson and Rowe).

A difference of two methods over n seeds has the variance v + s2/n: s2 from the seeds (training, choice of the known
anomalies), v from the test images, which more seeds do not lessen. The information 1 / (v + s2/n) therefore levels off:
where v decides, no number of seeds will, and `follow` says so.

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
"""Points at which the density of what has not crossed is known."""
HIGHEST = 8.0
"""No boundary is higher: the error that this leaves unspent is below 1e-14."""
LEAST_STEP = 0.01
"""Information that two looks must lie apart; at 1 - LEAST_STEP further seeds count as useless."""
HOPELESS = 0.1
"""Chance of a decision below which seeds are not worth their time, reckoned with a difference at the upper end of its
95 % interval."""


def spent(share: float, alpha: float) -> float:
    """Error rate that may be spent up to a share of the information."""
    return float(4 * ndtr(ndtri(alpha / 4) / math.sqrt(share)))


class Boundary:
    """Critical values of abs(Z), one look after the other.

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
        """The critical value of the next look, at this share of the information (0 to 1, above the last)."""
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
    """Critical values of abs(Z) at these shares of the information."""
    boundary = Boundary(alpha)
    return [boundary.add(share) for share in times]


@dataclass(frozen=True)
class Compared:
    """Two methods on one cell: ids and labels of its test images, and the scores of both, shape (n,)."""

    images: Sequence[str]
    labels: Sequence[int]
    first: Sequence[float]
    second: Sequence[float]


def image_variance(cells: Sequence[Compared]) -> float:
    """Variance that the sample of test images gives to the mean difference of two AUCs over cells.

    DeLong's variance (`paired.delong`) for several cells that share images: what an image contributes to the difference is
    added over the cells before it is squared.
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
    """What one look showed: a difference, its standard error, the repeated interval, and how much information it had."""

    seeds: int
    difference: float
    error: float
    share: float
    z: float
    boundary: float

    @property
    def identical(self) -> bool:
        """Whether the two methods do not differ at all."""
        return self.error == 0 and abs(self.difference) < 1e-12

    @property
    def interval(self) -> tuple[float, float]:
        """Repeated confidence interval: those of all looks hold at once."""
        half = self.boundary * self.error
        return max(-1.0, self.difference - half), min(1.0, self.difference + half)


State = Literal["first", "second", "open", "hopeless"]


@dataclass(frozen=True)
class Verdict:
    """Where the comparison of two methods stands.

    Attributes
    ----------
    state
        ``first`` or ``second`` is better, ``open``, or ``hopeless``: the seeds left will hardly decide it.
    looks
        All looks, in order, up to the one that decided.
    needed
        Seeds that a difference as large as the one seen would need (80 % power); None where no number suffices because
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
    """Test two methods at several looks, as if each had been made when its seeds were there.

    Parameters
    ----------
    differences
        First minus second, one per seed, in the order in which the seeds were run.
    image_variances
        Of the mean difference over the first n seeds.
    looks
        Numbers of seeds at which is looked, increasing, each at least 2.
    most
        Seeds that will be run at the most.
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
        # A small spread that few seeds show by chance would end the test too early: it is widened as in `paired`.
        variance = of_images + _widened(seeds) * of_seeds / seeds
        if variance <= 1e-18:  # deterministic scores on separable images: nothing is left to chance
            state: State = "hopeless" if abs(mean) < 1e-12 else "first" if mean > 0 else "second"
            return Verdict(state, [*done, Look(seeds, mean, 0.0, 1.0, 0.0, 0.0)])
        needed = _needed(mean, of_seeds, of_images, alpha)
        last = (of_images + _widened(most) * of_seeds / most) / variance
        over = seeds >= most or (final and seeds == looks[-1])
        share = 1.0 if over or last > 1 - LEAST_STEP else last
        if boundary.times and share < boundary.times[-1] + LEAST_STEP and share < 1:
            continue  # the estimates of the variances changed: this look has nothing new
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
    """Square of Student's quantile over the normal one, 2.0 for five seeds."""
    return float(stdtrit(seeds - 1, 0.975) / ndtri(0.975)) ** 2


def _next(boundary: Boundary) -> float:
    """The least share that the next look may have."""
    return min(1.0, boundary.times[-1] + 1e-6) if boundary.times else 0.0


def _chance(z: float, share: float, alpha: float) -> float:
    """Chance that a difference at the upper end of its interval crosses the last boundary (about the fixed one)."""
    reached, left = z * math.sqrt(share), 1 - share
    drift = z / math.sqrt(share) + 1.96 / math.sqrt(share)
    return float(ndtr((ndtri(alpha / 2) + reached + drift * left) / math.sqrt(left)))


def _needed(mean: float, of_seeds: float, of_images: float, alpha: float) -> int | None:
    wanted = float(ndtri(1 - alpha / 2) + ndtri(0.8))
    left = (mean / wanted) ** 2 - of_images
    return None if left <= 0 else max(2, math.ceil(of_seeds / left))
