"""Sliced Epps-Pulley: characteristic functions of projections against the Gaussian's."""

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _epps_pulley as integral
from ._null import (
    NullLaw,
    RandomState,
    as_seed,
    characteristic_law,
    is_analytic,
    n_draws,
    rank_pvalue,
    simulate,
)
from ._result import TestResult
from ._rows import Null, standard_rows

#: The knot t = 0 adds nothing: every characteristic function is 1 there.
KNOTS, NORMAL, WEIGHTS = integral.KNOTS[1:], integral.NORMAL[1:], integral.WEIGHTS[1:]

NAME = "sliced Epps-Pulley"
N_SLICES = 256  # directions of the test by default

CACHE_BLOCK = 2**16  # projections worked on at a time: they stay in the processor's cache


def check_n_slices(n_slices: int) -> None:
    """Raise a ValueError unless it is a number of directions."""
    if not isinstance(n_slices, int | np.integer) or n_slices < 1:
        raise ValueError(f"n_slices must be an int of at least 1, got {n_slices!r}")


def random_directions(k: int, n_slices: int, seed: int) -> NDArray:
    """Return directions that are uniform on the sphere, (k, n_slices)."""
    directions = np.random.default_rng(seed).standard_normal((k, n_slices))
    return directions / np.linalg.norm(directions, axis=0)


def characteristic_function(u: NDArray, directions: NDArray) -> NDArray:
    """Return the empirical one of rows (..., n, k) at all knots: (knots, ..., slices).

    The knots are multiples of one, so that one sine and cosine per projection serve for all.
    """
    n = u.shape[-2]
    sums = np.zeros((len(KNOTS), *u.shape[:-2], directions.shape[1]), dtype=complex)
    samples = u.size // (n * u.shape[-1])
    step = max(1, CACHE_BLOCK // (samples * directions.shape[1]))
    for start in range(0, n, step):
        angle = integral.STEP * (u[..., start : start + step, :] @ directions)
        turn = np.empty(angle.shape, dtype=complex)
        np.cos(angle, out=turn.real)
        np.sin(angle, out=turn.imag)
        power = turn.copy()
        for j in range(len(KNOTS)):
            if j:
                power *= turn
            sums[j] += power.sum(axis=-2)
    return sums / n


def statistics(u: NDArray, directions: NDArray) -> NDArray:
    """Return n times the distance along each direction: (..., slices)."""
    error = characteristic_function(u, directions)
    error -= NORMAL.reshape(-1, *[1] * (error.ndim - 1))
    return u.shape[-2] * np.tensordot(WEIGHTS, error.real**2 + error.imag**2, axes=1)


def expected(n: int, null: Null) -> float:
    """Return the statistic's expectation, exact at every n and k.

    Rows that were standardized by their own moments have projections that are uniform on a
    sphere in n - 1 dimensions, whose characteristic function is a Bessel function.
    """
    if null == "simple":
        return float(WEIGHTS @ (1 - NORMAL**2))
    one = _bessel((n - 1) / 2, KNOTS**2 * (n - 1) / 4)
    two = _bessel((n - 1) / 2, KNOTS**2 * n / 2)
    return float(WEIGHTS @ (1 + (n - 1) * two - n * (2 * one * NORMAL - NORMAL**2)))


def _bessel(b: float, x: NDArray) -> NDArray:
    """Return 0F1(b; -x) for b of the order of x, by its series (scipy's overflows)."""
    j = np.arange(80)[:, None]
    return 1 + np.cumprod(-x / ((j + 1) * (b + j)), axis=0).sum(axis=0)


@lru_cache(maxsize=64)
def null_law(n: int, k: int, null: Null, n_slices: int) -> NullLaw:
    """Return the law for random directions and n not small."""
    law = characteristic_law(KNOTS, WEIGHTS, k, null, n_slices)
    return law._replace(mean=expected(n, null))


@lru_cache(maxsize=64)
def _draws(n: int, k: int, null: Null, n_slices: int, seed: int) -> NDArray:
    directions = random_directions(k, n_slices, seed)
    size = n * n_slices
    draws = n_draws(n * n)
    return simulate(
        lambda u: statistics(u, directions).mean(axis=-1), n, k, null, seed, size, draws
    )


def effect_unit(k: int) -> float:
    """Return the distance per unit of effect size: that of `regularizers.SlicedEppsPulley`."""
    return float(3 * integral.CURVATURE / (k + 2))


def epps_pulley_test(
    Z: ArrayLike,
    mean: ArrayLike | None = None,
    cov: ArrayLike | None = None,
    *,
    null: Null = "simple",
    n_slices: int = N_SLICES,
    random_state: RandomState = None,
) -> TestResult:
    r"""Test Gaussianity by characteristic functions of random projections.

    With u the rows in standard coordinates and :math:`\hat\varphi_a` the empirical
    characteristic function of their projections on a unit vector a, the statistic is the mean
    over random directions a of

    .. math:: n \int |\hat\varphi_a(t) - e^{-t^2/2}|^2\, e^{-t^2/2}\, dt ,

    by the trapezoidal rule with 17 knots on [0, 3], and symmetry: the statistic of Epps & Pulley
    (1983), sliced as by Balestriero & LeCun (2025). Its expectation is 1.0525 at any n and k when
    the rows are from the given Gaussian. Cost and memory are linear in n.

    Parameters
    ----------
    Z : array-like of shape (n_samples, n_components)
    mean : array-like of shape (n_components,), default=None
        Of the given Gaussian; zeros if None.
    cov : array-like of shape (n_components, n_components) or (n_components,), default=None
        Covariance or variances of the given Gaussian; identity if None.
    null : {"simple", "composite"}, default="simple"
        "simple": the rows are from N(mean, cov). "composite": they are from some Gaussian;
        they are standardized by their own mean and covariance (divisor n).
    n_slices : int, default=256
        Number of directions.
    random_state : int, RandomState instance or None, default=None
        Determines directions and simulated draws. With None both are from a seed that is drawn
        once per process, so that simulated null distributions are kept for later calls.

    Returns
    -------
    TestResult
        The effect size is (statistic - expectation) / n over :math:`\sqrt{2\pi/3} / (4 (k + 2))`.
        In this unit, that of `regularizers.SlicedEppsPulley`, one component of variance v scores
        (v - 1)^2 / k near the given Gaussian.

    Raises
    ------
    ValueError
        If a shape is wrong, a number not finite, cov not positive definite, `n_slices` less
        than one; for a composite null also if Z has fewer than n_components + 2 rows or its
        covariance no inverse.

    Notes
    -----
    The p-value is analytic from 50 rows on (simple) or from max(200, 20 n_components) on
    (composite): the law of a weighted sum of chi-squares, with the weights for n to infinity
    and the exact mean. Below, the p-value is by Monte Carlo:
    1 plus the number of draws with a statistic at least as large, over 1 plus the number of draws.
    There are 999 draws, 199 for more than 250 samples, and 99 for more than 2000.

    A composite null does not depend on mean and covariance. The statistic depends on which root of
    the covariance (here Cholesky's) standardizes, as far as the directions are few.

    References
    ----------
    - Epps & Pulley (1983), A test for normality based on the empirical characteristic function.
      Biometrika 70.
    - Balestriero & LeCun (2025), LeJEPA. arXiv:2511.08544.

    Examples
    --------
    >>> import numpy as np
    >>> from sklatent.metrics import epps_pulley_test
    >>> u = np.random.default_rng(1).standard_normal((500, 3))
    >>> epps_pulley_test(u, random_state=0).pvalue > 0.05
    True
    >>> epps_pulley_test(1.2 * u, random_state=0).pvalue < 0.001
    True
    >>> epps_pulley_test(1.2 * u, null="composite", random_state=0).pvalue > 0.05
    True
    """
    check_n_slices(n_slices)
    seed = as_seed(random_state)
    u = standard_rows(Z, mean, cov, null)
    n, k = u.shape
    statistic = float(statistics(u, random_directions(k, n_slices, seed)).mean())
    mu = expected(n, null)
    analytic = is_analytic(n, k, null)
    return TestResult(
        name=NAME,
        statistic=statistic,
        expected=mu,
        effect_size=(statistic - mu) / n / effect_unit(k),
        pvalue=null_law(n, k, null, n_slices).sf(statistic)
        if analytic
        else rank_pvalue(statistic, _draws(n, k, null, n_slices, seed)),
        null=null,
        method="analytic" if analytic else "Monte Carlo",
        n_samples=n,
    )
