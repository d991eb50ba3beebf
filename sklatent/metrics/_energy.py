"""Energy test: mean distances between samples, and from samples to the Gaussian."""

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, hyp1f1

from ._null import (
    NullLaw,
    RandomState,
    as_seed,
    beta_quadrature,
    characteristic_law,
    is_analytic,
    n_draws,
    rank_pvalue,
    simulate,
)
from ._result import TestResult
from ._samples import MAX_SAMPLES, Null, squared_distances, standard_samples, thin

#: Squared norm per component above which an expansion replaces the mean distance to N(0, I).
FAR = 1e8


def half_distance(k: int) -> float:
    """Return c: half the mean distance of two draws from N(0, I)."""
    return float(np.exp(gammaln((k + 1) / 2) - gammaln(k / 2)))


def mean_distance(squared_norm: NDArray, k: int) -> NDArray:
    """Return the mean distance of a point with this squared norm to draws from N(0, I).

    With x half the squared norm, the distance is sqrt(2) c 1F1(-1/2; k/2; -x). SciPy's 1F1
    overflows there for k >= 100. DLMF 13.3.4 turns the function into a sum of two positive terms,
    for which SciPy's 1F1 is accurate.
    """
    x = np.minimum(squared_norm, FAR * k) / 2
    first = np.exp(-x) if k == 1 else hyp1f1(0.5, k / 2, -x)  # SciPy is slow for a = b
    near = np.sqrt(2) * half_distance(k) * (first + 2 * x / k * hyp1f1(0.5, k / 2 + 1, -x))
    # For large x the first two terms of the expansion are exact up to rounding.
    norm = np.sqrt(np.maximum(squared_norm, FAR * k))
    return np.where(squared_norm > FAR * k, norm + (k - 1) / (2 * norm), near)


def terms(u: NDArray) -> tuple[NDArray, NDArray]:
    """Return the mean distance of samples (..., n, k) to N(0, I), and the sum over all pairs."""
    k = u.shape[-1]
    pairs = np.zeros(u.shape[:-2])
    for block in squared_distances(u):
        pairs += np.sqrt(block, out=block).sum(axis=(-2, -1))
    return mean_distance(np.square(u).sum(axis=-1), k).mean(axis=-1), pairs


def statistic_of(u: NDArray) -> NDArray:
    """Return the statistic of samples in standard coordinates, (..., n, k)."""
    n, k = u.shape[-2:]
    outward, pairs = terms(u)
    return n * (2 * outward - 2 * half_distance(k)) - pairs / n


@lru_cache(maxsize=64)
def expected(n: int, k: int, null: Null) -> float:
    """Return the statistic's expectation, exact at every n and k."""
    c = half_distance(k)
    if null == "simple":
        return 2 * c
    beta, weights = beta_quadrature(n, k)
    outward = mean_distance((n - 1) * beta, k)
    return float(
        2 * n * (weights @ outward - c) - (n - 1) * np.sqrt(2 * n) * (weights @ np.sqrt(beta))
    )


@lru_cache(maxsize=64)
def null_law(n: int, k: int, null: Null) -> NullLaw:
    """Return the law of the statistic under the null, for large n.

    The energy distance is a distance of characteristic functions with the weight t^-2 along each
    direction (Szekely & Rizzo 2013). Frequencies beyond t = 12 contribute next to nothing.
    """
    nodes, weights = np.polynomial.legendre.leggauss(160)
    t = 6 * (nodes + 1)
    weight = 6 * weights * 2 * half_distance(k) / np.sqrt(np.pi) / t**2
    law = characteristic_law(t, weight, k, null, n_orders=180)
    return law._replace(mean=expected(n, k, null))


@lru_cache(maxsize=64)
def _draws(n: int, k: int, null: Null, seed: int) -> NDArray:
    return simulate(statistic_of, n, k, null, seed, n * n, n_draws(n * n))


def effect_unit(k: int) -> float:
    """Return the distance per unit of effect size: that of `regularizers.EnergyDistance`."""
    return 3 * half_distance(k) / (8 * (k + 2))


def energy_test(
    Z: ArrayLike,
    mean: ArrayLike | None = None,
    cov: ArrayLike | None = None,
    *,
    null: Null = "simple",
    random_state: RandomState = None,
) -> TestResult:
    r"""Test Gaussianity by the energy distance.

    With u the samples in standard coordinates, Y and Y' from N(0, I), and
    :math:`c = \Gamma(\frac{k+1}2) / \Gamma(\frac k2)`, the statistic of Szekely & Rizzo (2005) is

    .. math::
        n \Bigl(\frac2n \sum_i E|u_i - Y| - E|Y - Y'| - \frac1{n^2} \sum_{i,j} |u_i - u_j|\Bigr),
        \quad E|u - Y| = \sqrt2 c\, {}_1F_1(-\tfrac12; \tfrac k2; -\tfrac12 |u|^2),
        \quad E|Y - Y'| = 2 c .

    Parameters
    ----------
    Z : array-like of shape (n_samples, n_components)
    mean : array-like of shape (n_components,), default=None
        Mean of the given Gaussian. If None, zeros.
    cov : array-like of shape (n_components, n_components) or (n_components,), default=None
        Covariance or variances of the given Gaussian. If None, the identity.
    null : {"simple", "composite"}, default="simple"
        "simple": the samples are from N(mean, cov). "composite": the samples are from any
        Gaussian. The composite test standardizes the samples by their own mean and covariance
        (divisor n).
    random_state : int, RandomState instance or None, default=None
        Determines the subsample and the simulated draws. If None, the seed is drawn once per
        process, so that later calls can reuse simulated null distributions.

    Returns
    -------
    TestResult
        The effect size is (statistic - expectation) / n, divided by the unit
        :math:`3 c / (8 (k + 2))` of `regularizers.EnergyDistance`. In this unit, one component of
        variance v scores (v - 1)^2 / k near the given Gaussian.

    Raises
    ------
    ValueError
        If an array has the wrong shape or a value that is not finite, or if cov is not positive
        definite. With a composite null also if Z has fewer than n_components + 2 samples or a
        singular covariance.

    Notes
    -----
    Cost is quadratic in the number of samples. If there are more than 5000 samples, the test uses a
    random subsample of 5000.

    The p-value is analytic with at least 50 samples (simple) or at least max(200, 20 n_components)
    samples (composite). The analytic law is a weighted sum of chi-squares, with the weights of the
    limit for large n and with the exact mean. With fewer samples, a Monte Carlo p-value is
    (1 + the number of draws with a statistic at least as large) / (1 + the number of draws).
    There are 999 draws, 199 for more than 250 samples, and 99 for more than 2000.

    References
    ----------
    - Szekely & Rizzo (2005). `A new test for multivariate normality
      <https://doi.org/10.1016/j.jmva.2003.12.002>`_. Journal of Multivariate Analysis 93.
    - Szekely & Rizzo (2013). `Energy statistics: a class of statistics based on distances
      <https://doi.org/10.1016/j.jspi.2013.03.018>`_. Journal of Statistical Planning and Inference
      143.

    Examples
    --------
    >>> import numpy as np
    >>> from sklatent.metrics import energy_test
    >>> u = np.random.default_rng(1).standard_normal((500, 3))
    >>> energy_test(u).pvalue > 0.05
    True
    >>> energy_test(u + 0.5).pvalue < 0.001
    True
    """
    seed = as_seed(random_state)
    u = standard_samples(Z, mean, cov, null)
    if len(u) > MAX_SAMPLES:
        u = standard_samples(thin(u, seed), None, None, null)
    n, k = u.shape
    statistic, mu = float(statistic_of(u)), expected(n, k, null)
    analytic = is_analytic(n, k, null)
    return TestResult(
        name="energy",
        statistic=statistic,
        expected=mu,
        effect_size=(statistic - mu) / n / effect_unit(k),
        pvalue=null_law(n, k, null).sf(statistic)
        if analytic
        else rank_pvalue(statistic, _draws(n, k, null, seed)),
        null=null,
        method="analytic" if analytic else "Monte Carlo",
        n_samples=n,
    )
