"""The least Gaussian projection of an embedding."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import _epps_pulley as integral
from . import _epps_pulley as ep
from ._result import TestResult

SEARCH_ROWS = 4096
STARTS = 256  # random directions tested, in addition to the axes
CLIMBERS = 8  # best directions, from which gradient ascent starts
STEPS = 40


@dataclass(frozen=True)
class WorstDirection:
    """The direction of the least Gaussian projection of an embedding, with moments and a test.

    The search uses a random half of the samples, at most 4096, and the test uses the other half.
    On the samples of the search, some direction looks non-Gaussian by chance.

    Attributes
    ----------
    direction : ndarray of shape (n_components,)
        A unit vector in standard coordinates.
    shares : ndarray of shape (n_components,)
        Squares of the direction's entries: the share of each component, with the sum 1.
    mean, std, skewness, kurtosis : float
        Moments of the projection. The target has 0, 1, 0 and (excess kurtosis) 0.
    test : TestResult
        The Epps-Pulley test of the projection, with a simple null.

    Examples
    --------
    >>> import numpy as np
    >>> from sklatent.metrics import gaussianity_report
    >>> Z = np.random.default_rng(0).standard_normal((500, 2))
    >>> Z[:, 1] = Z[:, 1] ** 2 - 1  # a skewed component
    >>> worst = gaussianity_report(Z).worst
    >>> int(worst.shares.argmax())
    1
    """

    direction: NDArray
    shares: NDArray
    mean: float
    std: float
    skewness: float
    kurtosis: float
    test: TestResult


def worst_direction(u: NDArray, seed: int) -> WorstDirection:
    """Return the worst direction of samples in standard coordinates, (n, k), n >= 4."""
    sought, measured = halves(len(u), seed)
    direction = search(u[sought], seed)
    p = u[measured] @ direction
    mean, std = p.mean(), p.std()
    if std <= 1e-12 * np.abs(u[measured]).max():  # constant up to rounding errors
        std = 0.0
    standard = (p - mean) / std if std else np.zeros_like(p)
    statistic = float(ep.statistics(p[:, None], np.ones((1, 1)))[0])
    mu = ep.expected(len(p), "simple")
    test = TestResult(
        name="Epps-Pulley",
        statistic=statistic,
        expected=mu,
        effect_size=(statistic - mu) / len(p) / ep.effect_unit(1),
        pvalue=ep.null_law(len(p), 1, "simple", 1).sf(statistic),
        null="simple",
        method="analytic",
        n_samples=len(p),
    )
    return WorstDirection(
        direction,
        direction**2,
        float(mean),
        float(std),
        float((standard**3).mean()),
        float((standard**4).mean() - 3) if std else 0.0,
        test,
    )


def halves(n: int, seed: int) -> tuple[NDArray, NDArray]:
    """Return the indices of the samples for the search and for the test of a direction."""
    order = np.random.default_rng([seed, 2]).permutation(n)
    return order[: min(n // 2, SEARCH_ROWS)], order[n // 2 :]


def search(u: NDArray, seed: int) -> NDArray:
    """Return a unit vector with a large Epps-Pulley statistic.

    Gradient ascent on the sphere starts from the best of random directions and the axes.
    """
    k = u.shape[1]
    if k == 1:
        return np.ones(1)
    directions = np.hstack([np.eye(k), integral.random_directions(k, STARTS, seed)])
    best = np.argsort(-ep.statistics(u, directions))[:CLIMBERS]
    directions = directions[:, best]
    values, slopes = _climb(u, directions)
    step = np.full(CLIMBERS, 0.3)
    for _ in range(STEPS):
        candidates = directions + step * slopes
        candidates /= np.linalg.norm(candidates, axis=0)
        new_values, new_slopes = _climb(u, candidates)
        better = new_values > values
        directions = np.where(better, candidates, directions)
        slopes = np.where(better, new_slopes, slopes)
        values = np.where(better, new_values, values)
        step = np.where(better, 1.2 * step, step / 2)
    winner = directions[:, values.argmax()]
    return winner * np.sign(winner[np.abs(winner).argmax()])


def _climb(u: NDArray, directions: NDArray) -> tuple[NDArray, NDArray]:
    """Return the statistics of directions, and the unit tangents of their steepest increase."""
    error = ep.characteristic_function(u, directions) - ep.NORMAL[:, None]  # (knots, directions)
    turn = np.exp(1j * integral.STEP * (u @ directions))
    coefficient = np.conj(error) * (ep.WEIGHTS * ep.KNOTS)[:, None]
    # d/dp of the statistic, up to a factor: -Im sum_j c_j turn^j, by Horner's rule.
    total = np.zeros_like(turn)
    for c in coefficient[::-1]:
        total += c
        total *= turn
    slopes = -(u.T @ total.imag)
    slopes -= directions * (directions * slopes).sum(axis=0)
    slopes /= np.linalg.norm(slopes, axis=0) + 1e-300
    return ep.WEIGHTS @ np.abs(error) ** 2, slopes
