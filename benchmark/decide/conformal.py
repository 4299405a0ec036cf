"""Decisions whose false alarms are bounded: split conformal p-values from held-out normals.

A method is fitted to some of the normals; n others, drawn at random and never seen by the fit, are scored. The p-value
of a new image with score s is

- p(s) = (1 + number of held-out normals with a score of at least s) / (n + 1).

If the new image is a normal like the held-out ones (exchangeable with them: taken by the same camera, of the same parts,
in the same light), P(p <= a) <= a for every a, whatever the method and however scores are distributed. "Anomaly where
p <= a" therefore raises a false alarm with a probability of at most a. The probability is over both the draw of the
held-out normals and the new image. What one fitted model does in the long run varies around it: `long_run`.

No p-value is below 1 / (n + 1), so a promise of a needs n >= 1 / a - 1 held-out normals.

Sources: Vovk, Gammerman and Shafer, "Algorithmic learning in a random world", 2005; Laxhammar and Falkman, "Conformal
prediction for distribution-independent anomaly detection", 2010; Bates, Candes, Lei, Romano and Sesia, "Testing for
outliers with conformal p-values", Annals of Statistics 51, 2023; Vovk, "Conditional validity of inductive conformal
predictors", ACML 2012 (the long run).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from osad_bench.core.errors import InputError

Floats = npt.NDArray[np.float64]


def needed(false_alarms: float) -> int:
    """Number of held-out normals that a promise of this share of false alarms needs: the least n >= 1 / a - 1."""
    count = max(1, math.ceil(1 / false_alarms) - 2)  # one less, as the quotient may be rounded up
    while smallest(count) > false_alarms:
        count += 1
    return count


def smallest(held_out: int) -> float:
    """The smallest share of false alarms that n held-out normals can promise: 1 / (n + 1)."""
    return 1 / (held_out + 1)


def check(false_alarms: float, held_out: int) -> None:
    """Check that the held-out normals allow a promise.

    Raises
    ------
    InputError
        The share is not between 0 and 1, or there are too few held-out normals; the message says how many are needed.
    """
    if not 0 < false_alarms < 1:
        raise InputError(
            f"--false-alarms {false_alarms:g}: expected a share above 0 and below 1, such as 0.01 for one normal in a hundred"
        )
    if held_out < needed(false_alarms):
        can = (
            f"it can promise {math.ceil(1e4 * smallest(held_out)) / 1e4:g} or more"
            if held_out
            else "it can promise nothing"
        )
        raise InputError(
            f"--false-alarms {false_alarms:g} needs at least {needed(false_alarms)} held-out normals, and this model has "
            f"{held_out}: {can}. Fit it on more normals, hold out more of them (osad-bench fit --calibrate), or take scores "
            "without decisions (--false-alarms 0)."
        )


def p_values(held_out: Floats, scores: Floats) -> Floats:
    """Conformal p-values of scores.

    Parameters
    ----------
    held_out
        (n,), scores of the held-out normals, n at least 1.
    scores
        (m,), higher = more anomalous.

    Returns
    -------
    array of shape (m,), in [1 / (n + 1), 1]; ties count against an alarm
    """
    ordered = np.sort(held_out)
    as_high = len(ordered) - np.searchsorted(ordered, scores, side="left")
    result: Floats = (1 + as_high) / (len(ordered) + 1)
    return result


def threshold(held_out: Floats, false_alarms: float) -> float:
    """The score above which an image is called an anomaly with this promise: p <= a exactly for scores above it.

    Parameters
    ----------
    held_out
        (n,), scores of the held-out normals.
    false_alarms
        Promised share, in (0, 1).

    Raises
    ------
    InputError
        See `check`.
    """
    check(false_alarms, len(held_out))
    # p <= a as long as at most k - 1 held-out normals are as high.
    return float(np.sort(held_out)[::-1][_allowed(false_alarms, len(held_out)) - 1])


def _allowed(false_alarms: float, held_out: int) -> int:
    """The largest k with k / (n + 1) <= a."""
    k = math.ceil(false_alarms * (held_out + 1)) + 1  # at most two too many, even after rounding
    while k / (held_out + 1) > false_alarms:
        k -= 1
    return k


def long_run(false_alarms: float, held_out: int, confidence: float = 0.95) -> float:
    """Upper bound of one model's share of false alarms in the long run, with `confidence` over the draw of held-out normals.

    With k = floor(a (n + 1)) the share is at most Beta(k, n + 1 - k) distributed (Vovk 2012).
    """
    from scipy.stats import beta

    k = _allowed(false_alarms, held_out)
    return float(beta.ppf(confidence, k, held_out + 1 - k))
