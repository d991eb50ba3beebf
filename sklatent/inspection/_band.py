"""A simultaneous confidence band for quantile-quantile plots."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, gammaln

#: Largest number of samples with an exact band, which takes half a second.
EXACT_SAMPLES = 10_000


@lru_cache(maxsize=64)
def uniform_band(n: int, level: float) -> tuple[NDArray, NDArray, NDArray]:
    """Return lower bounds, medians and upper bounds of the n order statistics of uniforms.

    All order statistics lie inside the band with the probability `level`. The i-th order statistic
    is a Beta(i, n + 1 - i) variable. All order statistics have the same probability to be outside,
    and the same probability on both sides: equal local levels (Berk & Jones 1979; Aldor-Noiman et
    al. 2013). In contrast, a band of constant width, such as the Kolmogorov-Smirnov band, hardly
    detects deviations in the tails.
    """
    alpha = local_level(n, level)
    lower, middle, upper = (_beta_quantile(n, q) for q in (alpha / 2, 0.5, 1 - alpha / 2))
    for bound in (lower, middle, upper):
        bound.flags.writeable = False  # the cache returns the same arrays again
    return lower, middle, upper


@lru_cache(maxsize=64)
def local_level(n: int, level: float) -> float:
    """Return the probability of each single order statistic to be outside the band."""
    if n > EXACT_SAMPLES:
        # Levels are nearly proportional to 1 / (log n log log n) (Weine, McPeek & Abney 2023).
        # The extrapolation to ten times as many samples gives 94.92% instead of 95%.
        growth = [np.log(rows) * np.log(np.log(rows)) for rows in (EXACT_SAMPLES, n)]
        return local_level(EXACT_SAMPLES, level) * growth[0] / growth[1]
    alpha = (1 - level) / n**0.5
    for _ in range(20):
        # -log of the probability to be inside is nearly proportional to alpha.
        better = alpha * np.log(level) / np.log(coverage(n, alpha))
        done = abs(better / alpha - 1) < 1e-4
        alpha = min(better, 1 - level)
        if done:
            break
    return float(alpha)


def coverage(n: int, alpha: float) -> float:
    """Return the probability that all n order statistics are inside, at the local level alpha.

    The number of uniforms below t is a Poisson process, conditioned on n at t = 1. The algorithm
    propagates its distribution from bound to bound, and removes the probability outside the bounds
    (Moscovich & Nadler 2017).
    """
    lower, upper = (_beta_quantile(n, q) for q in (alpha / 2, 1 - alpha / 2))
    times = np.concatenate([lower, upper])
    order = np.argsort(times, kind="stable")
    # At most i uniforms are below lower[i], and at least i + 1 are below upper[i].
    is_lower: NDArray = order < n
    most: NDArray = np.cumsum(is_lower) - is_lower
    least: NDArray = np.cumsum(~is_lower)
    means = n * np.diff(times[order], prepend=0.0)
    inside = np.ones(1)  # probabilities of first, first + 1, ... uniforms below the current time
    first = 0
    for mean, low, high in zip(means, least, most, strict=True):
        if mean > 0:
            inside = np.convolve(inside, _poisson(mean))
        inside = inside[low - first : high + 1 - first]
        first = low
    rest = n * (1 - times.max())
    final = inside[-1] * np.exp(-rest) if first + len(inside) - 1 == n else 0.0
    return float(final / np.exp(n * np.log(n) - n - gammaln(n + 1)))


def _poisson(mean: float) -> NDArray:
    counts = np.arange(int(mean + 12 * mean**0.5) + 20)
    return np.exp(counts * np.log(mean) - mean - _log_factorials(len(counts)))


@lru_cache(maxsize=256)
def _log_factorials(length: int) -> NDArray:
    return gammaln(np.arange(1.0, length + 1))


def _beta_quantile(n: int, q: float) -> NDArray:
    i = np.arange(1, n + 1)
    return betaincinv(i, n + 1 - i, q)
