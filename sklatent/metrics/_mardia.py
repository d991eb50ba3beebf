"""Mardia's tests of skewness and kurtosis."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln
from scipy.stats import chi2, rankdata

from ._null import NullLaw, RandomState, as_seed, n_draws, simulate
from ._result import TestResult
from ._samples import Null, standard_samples

#: Least number of samples for analytic p-values. Fourth moments become normal slowly.
ANALYTIC_ROWS = 1000


@dataclass(frozen=True)
class MardiaResult:
    """Result of `mardia_test`.

    Attributes
    ----------
    skewness : TestResult
    kurtosis : TestResult
    pvalue : float
        P-value of the two tests together, from the smaller of their p-values.

    Examples
    --------
    >>> import numpy as np
    >>> from sklatent.metrics import mardia_test
    >>> Z = np.random.default_rng(0).exponential(size=(200, 2))
    >>> result = mardia_test(Z, null="composite", random_state=0)
    >>> bool(result.skewness.pvalue < 0.01), bool(result.pvalue < 0.02)
    (True, True)
    """

    skewness: TestResult
    kurtosis: TestResult
    pvalue: float

    def __repr__(self) -> str:
        return f"{self.skewness!r}\n{self.kurtosis!r}\nMardia: p-value {self.pvalue:.3g}"


def third_moments(u: NDArray) -> tuple[NDArray, NDArray]:
    """Return mean products of three components of samples (n, k), and the count of each product.

    The products are u_i u_j u_l with i <= j, of shape (pairs, k). With their counts, they are the
    k^3 entries of the tensor of third moments.
    """
    n, k = u.shape
    i, j = np.triu_indices(k)
    moments = np.zeros((len(i), k))
    step = max(1, 2**19 // len(i))
    for start in range(0, n, step):
        some = u[start : start + step]
        moments += (some[:, i] * some[:, j]).T @ some
    return moments / n, np.where(i == j, 1.0, 2.0)[:, None]


def skewness(u: NDArray, null: Null) -> float:
    """Return an estimate of the squared norm of the tensor of third moments.

    For a composite null, this is Mardia's estimate. For a simple null, this is an unbiased estimate
    for the tensor of Hermite polynomials.
    """
    n, k = u.shape
    if 2 * n < k**2:
        return _skewness_by_pairs(u, null)
    moments, count = third_moments(u)
    if null == "composite":
        return float((count * moments**2).sum())
    i, j = np.triu_indices(k)
    mean, identity = u.mean(axis=0), np.eye(k)
    moments -= identity[i, j][:, None] * mean
    moments -= identity[i] * mean[j][:, None] + identity[j] * mean[i][:, None]
    r = np.square(u).sum(axis=1)
    alone = (r**3 - 6 * r**2 + 3 * (k + 2) * r).mean()  # samples with themselves
    return float((n * (count * moments**2).sum() - alone) / (n - 1))


def _skewness_by_pairs(u: NDArray, null: Null) -> float:
    """Return `skewness` from the inner products of all pairs.

    This way is faster for few samples with many components.

    With s = x'y, the inner product of the Hermite tensors of x and y is
    s^3 - 3 s (|x|^2 + |y|^2) + 3 (k + 2) s.
    """
    n, k = u.shape
    inner = u @ u.T
    cubes = np.vdot(inner, inner * inner)
    if null == "composite":
        return float(cubes / n**2)
    r = inner.diagonal()
    total = u.sum(axis=0)
    pairs = cubes - 6 * (r @ u) @ total + 3 * (k + 2) * total @ total
    alone = (r**3 - 6 * r**2 + 3 * (k + 2) * r).sum()  # samples with themselves
    return float((pairs - alone) / n / (n - 1))


def kurtosis(u: NDArray, null: Null) -> float:
    """Return the mean fourth power of the norms (composite), or its Hermite polynomial (simple)."""
    k = u.shape[1]
    r = np.square(u).sum(axis=1)
    hermite = 0.0 if null == "composite" else (k * (k + 2) - 2 * (k + 2) * r).mean()
    return float((r**2).mean() + hermite)


def _both(samples: NDArray, null: Null) -> NDArray:
    return np.array([[skewness(u, null), kurtosis(u, null)] for u in samples])


@lru_cache(maxsize=64)
def _draws(n: int, k: int, null: Null, seed: int) -> NDArray:
    return simulate(lambda u: _both(u, null), n, k, null, seed, n * k, n_draws(n * min(n, k**2)))


def _kurtosis_law(n: int, k: int, null: Null) -> NullLaw:
    """Return the law of `kurtosis`.

    Mean and variance are exact (Mardia 1974). The third cumulant is the leading term for large n.
    """
    m = k * (k + 2)
    # The moments of r, a chi-square, give the mean of the cubed Hermite polynomial.
    r = np.exp(np.arange(7) * np.log(2) + gammaln(k / 2 + np.arange(7)) - gammaln(k / 2))
    hermite = np.polynomial.Polynomial([m, -2 * (k + 2), 1])
    third = float((hermite**3).coef @ r) / n**2
    if null == "simple":
        return NullLaw(0.0, 8 * m / n, third)
    variance = 8 * m * (n - 3) / (n + 1) ** 2 * (n - k - 1) / (n + 3) * (n - k + 1) / (n + 5)
    return NullLaw(m * (n - 1) / (n + 1), variance, third)


def mardia_test(
    Z: ArrayLike,
    mean: ArrayLike | None = None,
    cov: ArrayLike | None = None,
    *,
    null: Null = "simple",
    random_state: RandomState = None,
) -> MardiaResult:
    r"""Test Gaussianity by third and fourth moments.

    With u the samples in standard coordinates, the test of a composite null has the statistics of
    Mardia (1970),

    .. math::
        \frac n6 b_1, \quad b_1 = \frac1{n^2} \sum_{i, j} (u_i^T u_j)^3, \qquad
        \frac{b_2 - k (k + 2)}{\sqrt{8 k (k + 2) / n}}, \quad b_2 = \frac1n \sum_i |u_i|^4 .

    The first is nearly chi-square with d = k (k + 1)(k + 2) / 6 degrees of freedom, and the second
    is nearly N(0, 1). With a given mean and covariance, these laws do not hold, because the third
    and fourth moments depend on the first and second moments. The test of a simple null therefore
    uses Hermite polynomials: the tensor of the third order, and the trace of the fourth order,

    .. math::
        h_{ij} &= (u_i^T u_j)^3 - 3 (|u_i|^2 + |u_j|^2)\, u_i^T u_j + 3 (k + 2)\, u_i^T u_j, \\
        \tilde b_1 &= \frac1{n (n - 1)} \sum_{i \ne j} h_{ij}, \qquad
        \tilde b_2 = \frac1n \sum_i \bigl( |u_i|^4 - 2 (k + 2) |u_i|^2 + k (k + 2) \bigr) .

    Both are zero in expectation for N(0, I), with the variances 72 d / (n (n - 1)) and
    8 k (k + 2) / n, at any n. The statistics are :math:`d + n \tilde b_1 / 6` and
    :math:`\tilde b_2 / \sqrt{8 k (k + 2) / n}`. The effect of a wrong mean or covariance on them is
    of second order only. They do not detect a deviation that does not change third and fourth
    moments.

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
        Determines the simulated draws. If None, the seed is drawn once per process, so that later
        calls can reuse simulated null distributions.

    Returns
    -------
    MardiaResult
        The `TestResult` of `skewness` (one-sided), the `TestResult` of `kurtosis` (two-sided), and
        their common `pvalue`. The effect size of skewness is b_1 minus its expectation. The effect
        size of kurtosis is b_2 minus its expectation, divided by k (k + 2): 0 for a Gaussian, and
        2 / (nu - 4) for an elliptical t distribution with nu degrees of freedom.

    Raises
    ------
    ValueError
        If an array has the wrong shape or a value that is not finite, or if cov is not positive
        definite. With a composite null also if Z has fewer than n_components + 2 samples or a
        singular covariance.

    Notes
    -----
    With at least 1000 samples, p-values are analytic. Skewness uses a chi-square law with the
    statistic's exact expectation (Mardia 1974) or, with a simple null, its exact variance. Kurtosis
    uses a shifted gamma distribution with exact mean and variance and the leading third cumulant.
    The common p-value is 1 - (1 - p)^2, with p the smaller p-value of the two.

    With fewer samples, a Monte Carlo p-value is (1 + the number of draws with a statistic at least
    as extreme) / (1 + the number of draws). The common p-value is the rank of the smaller p-value
    of the two among those of the draws. There are 999 draws, or 199 for more than 250
    samples if n_samples times n_components^2 is above 62,500.

    Cost is the smaller of n k^3 and n^2 k. Memory is linear in n.

    References
    ----------
    - Mardia (1970). `Measures of multivariate skewness and kurtosis with applications
      <https://doi.org/10.1093/biomet/57.3.519>`_. Biometrika 57.
    - Mardia (1974). Applications of some measures of multivariate skewness and kurtosis in
      testing normality and robustness studies. Sankhya B 36.

    Examples
    --------
    >>> import numpy as np
    >>> from sklatent.metrics import mardia_test
    >>> u = np.random.default_rng(1).standard_normal((500, 3))
    >>> mardia_test(u, random_state=0).pvalue > 0.05
    True
    >>> result = mardia_test(np.exp(u), null="composite", random_state=0)
    >>> result.skewness.pvalue, result.kurtosis.pvalue
    (0.001, 0.002)
    """
    seed = as_seed(random_state)
    u = standard_samples(Z, mean, cov, null)
    n, k = u.shape
    m, d = k * (k + 2), k * (k + 1) * (k + 2) / 6
    b1, b2 = skewness(u, null), kurtosis(u, null)
    law = _kurtosis_law(n, k, null)
    if null == "simple":
        b1_expected, offset = 0.0, d
    else:
        b1_expected, offset = m * ((n + 1) * (k + 1) - 6) / (n + 1) / (n + 3), 0.0
    analytic = n >= ANALYTIC_ROWS
    if analytic:
        if null == "simple":
            p1 = NullLaw(0.0, 72 * d / n / (n - 1), 8 * d * (6 / n) ** 3).sf(b1)
        else:
            p1 = float(chi2.sf(b1 / b1_expected * d, d))
        p2 = min(1.0, 2 * min(law.sf(b2), law.cdf(b2)))
        pvalue = 1 - (1 - min(p1, p2)) ** 2
    else:
        pool = np.concatenate([[[b1, b2]], _draws(n, k, null, seed)])
        larger = rankdata(-pool, method="max", axis=0) / len(pool)
        smaller = rankdata(pool[:, 1], method="max") / len(pool)
        both = np.stack([larger[:, 0], np.minimum(1, 2 * np.minimum(larger[:, 1], smaller))])
        p1, p2 = map(float, both[:, 0])
        smallest = both.min(axis=0)
        pvalue = float((smallest <= smallest[0]).mean())
    unit = np.sqrt(8 * m / n)
    asymptotic = m if null == "composite" else 0

    method: Literal["analytic", "Monte Carlo"] = "analytic" if analytic else "Monte Carlo"
    return MardiaResult(
        TestResult(
            name="Mardia skewness",
            statistic=offset + n * b1 / 6,
            expected=offset + n * b1_expected / 6,
            effect_size=b1 - b1_expected,
            pvalue=p1,
            null=null,
            method=method,
            n_samples=n,
        ),
        TestResult(
            name="Mardia kurtosis",
            statistic=float((b2 - asymptotic) / unit),
            expected=float((law.mean - asymptotic) / unit),
            effect_size=(b2 - law.mean) / m,
            pvalue=p2,
            null=null,
            method=method,
            n_samples=n,
        ),
        pvalue,
    )
