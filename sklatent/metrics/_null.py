"""Null distributions of the test statistics, in closed form or simulated."""

import os
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import comb, gammainc, gammaincc, gammainccinv, gammaln
from sklearn.utils import check_random_state

from ._samples import Null, whiten

RandomState = int | np.random.RandomState | None

#: Number of floats in one batch of draws.
BATCH = 2**17

#: Number of different weights of chi-squares that are not approximated.
LEADING = 8

# The seed for `random_state=None` is drawn once, so that later calls can reuse simulations.
_PROCESS_SEED = int.from_bytes(os.urandom(4), "little")


def as_seed(random_state: RandomState) -> int:
    """Return an int seed for random_state."""
    if random_state is None:
        return _PROCESS_SEED
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31))
    check_random_state(random_state)  # for its error message
    return int(random_state)


def n_draws(products: int) -> int:
    """Return the number of draws that a simulated p-value is a rank among.

    A p-value is valid with any number of them. Fewer draws keep the time at some seconds where the
    statistic is a sum of many products: n^2 if it is one over pairs.
    """
    return 999 if products <= 250**2 else 199 if products <= 2000**2 else 99


def is_analytic(n: int, k: int, null: Null) -> bool:
    """Return whether the law for large n, with the exact mean, is accurate enough.

    With a composite null, n must be large enough for the k (k + 3) / 2 estimated moments.
    """
    return n >= 50 if null == "simple" else n >= max(200, 20 * k)


class NullLaw(NamedTuple):
    """The law of a weighted sum of chi-squares.

    The terms with the largest weights are exact. A shifted gamma variable (Pearson's type III, as
    in Buckley & Eagleson 1988) with the remaining cumulants approximates all other terms.

    Attributes
    ----------
    mean, variance, third : float
        The first three cumulants.
    leading : tuple of (float, float)
        The largest weights, each with the number of chi-squares (one degree of freedom) that have
        this weight.
    """

    mean: float
    variance: float
    third: float
    leading: tuple[tuple[float, float], ...] = ()

    def sf(self, statistic: float) -> float:
        """Return the probability of a larger statistic."""
        rough = float(gammaincc(*self._standard(statistic)))
        if not self.leading or rough < 1e-5:  # below the precision of the integral
            return rough
        # Gil-Pelaez (1951), by the midpoint rule. Its step makes the law periodic, with a period of
        # 60 standard deviations.
        step = 2 * np.pi / (60 * np.sqrt(self.variance))
        s = step * (np.arange(1024) + 0.5)
        log_cf = -1j * s * statistic
        mean, variance, third = self[:3]
        for weight, number in self.leading:
            log_cf -= number / 2 * np.log(1 - 2j * weight * s)
            mean -= number * weight
            variance -= 2 * number * weight**2
            third -= 8 * number * weight**3
        if third > 1e-9 * self.third and variance > 1e-9 * self.variance:
            shape = 4 * variance**3 / third**2
            scale = np.sqrt(variance / shape)
            log_cf += 1j * s * (mean - shape * scale) - shape * np.log(1 - 1j * scale * s)
        else:
            log_cf += 1j * s * mean
        above = 0.5 + step / np.pi * (np.exp(log_cf).imag / s).sum()
        return float(np.clip(above, 0.0, 1.0))

    def cdf(self, statistic: float) -> float:
        """Return the probability of a smaller statistic, by the shifted gamma law alone."""
        return float(gammainc(*self._standard(statistic)))

    def isf(self, probability: float) -> float:
        """Return the quantile with this upper probability, by the shifted gamma law alone."""
        shape = 4 * self.variance**3 / self.third**2
        deviation = (gammainccinv(shape, probability) - shape) / np.sqrt(shape)
        return float(self.mean + np.sqrt(self.variance) * deviation)

    def _standard(self, statistic: float) -> tuple[float, float]:
        shape = 4 * self.variance**3 / self.third**2
        deviation = (statistic - self.mean) / np.sqrt(self.variance)
        return shape, max(shape + np.sqrt(shape) * deviation, 0.0)


def characteristic_law(
    t: NDArray, weight: NDArray, k: int, null: Null, n_slices: float = np.inf, n_orders: int = 64
) -> NullLaw:
    r"""Return the law of n times a weighted distance of characteristic functions, for large n.

    The statistic is n times the mean over directions a, uniform on the sphere, of the sum over
    knots t > 0 of weight(t) |ecf(t a) - exp(-t^2/2)|^2. Under the null it is a weighted sum
    of chi-squares, whose weights are the eigenvalues of the covariance function

    .. math:: e^{-(t^2 + s^2)/2} \sum_{m \ge M} (t s\, a'b)^m / m! ,

    M is 1 if mean and covariance are given. If they are estimated, M is 3, because the estimates
    remove the orders 1 and 2. The covariance function is invariant under rotations. Therefore the
    trace of its third power is a sum over spherical harmonics (Funk-Hecke), and the trace of its
    square is a moment of a'b.

    With finitely many random directions, some pairs and triples consist of the same direction,
    which increases the cumulants. The leading weights are those of infinitely many directions.
    """
    m = np.arange(1 if null == "simple" else 3, n_orders)
    bell = -(t[:, None] ** 2) / 2 + m * np.log(t)[:, None] + np.log(weight)[:, None] / 2
    factor = np.exp(bell - gammaln(m + 1) / 2)
    total = m[:, None] + m
    gram = np.where(total % 2 == 0, factor.T @ factor, 0.0)  # odd products cancel: t and -t
    moment = np.exp(  # of a'b, even orders
        gammaln(k / 2) + gammaln((total + 1) / 2) - gammaln((total + k) / 2) - np.log(np.pi) / 2
    )
    square = gram @ gram
    second, second_same = (gram**2 * moment).sum(), (gram**2).sum()
    third_two, third_same = (gram * square * moment).sum(), (gram * square).sum()
    third = 0.0
    weights: list[tuple[float, float]] = []
    for degree in range(n_orders):
        dimension = _n_harmonics(degree, k)
        order = m[(m >= degree) & ((m - degree) % 2 == 0)]
        if dimension == 0 or order.size == 0:
            break
        share = (
            gammaln(k / 2)
            + gammaln((order - degree + 1) / 2)
            - gammaln(order - degree + 1)
            - gammaln((order + degree + k) / 2)
            - degree * np.log(2)
            - np.log(np.pi) / 2
        )
        factor = np.exp(bell[:, order - m[0]] + share / 2)
        block = factor.T @ factor
        third += dimension * (block * (block @ block)).sum()
        weights += [(float(w), dimension) for w in np.linalg.eigvalsh(block)[-LEADING:]]
    one = 1 / n_slices
    return NullLaw(
        float(np.trace(gram)),
        float(2 * ((1 - one) * second + one * second_same)),
        float(
            8
            * (
                (1 - one) * (1 - 2 * one) * third
                + 3 * one * (1 - one) * third_two
                + one**2 * third_same
            )
        ),
        tuple(sorted(weights, reverse=True)[:LEADING]),
    )


def _n_harmonics(degree: int, k: int) -> float:
    """Return the number of independent spherical harmonics in k dimensions."""
    if degree < 2 or k == 1:
        return [1.0, float(k)][degree] if degree < 2 else 0.0
    return float(comb(degree + k - 1, k - 1) - comb(degree + k - 3, k - 1))


@lru_cache(maxsize=64)
def beta_quadrature(n: int, k: int) -> tuple[NDArray, NDArray]:
    """Return nodes and weights of a beta variable B, for n up to `MAX_SAMPLES`.

    Samples that are standardized by their own moments have the squared norms (n - 1) B and the
    squared distances 2 n B from each other.
    """
    nodes, weights = np.polynomial.legendre.leggauss(400)
    angle = np.pi / 4 * (nodes + 1)  # its squared sine is B
    density = (k - 1) * np.log(np.sin(angle)) + (n - k - 2) * np.log(np.cos(angle))
    weights = weights * np.exp(density - density.max())
    return np.sin(angle) ** 2, weights / weights.sum()


def simulate(
    statistic: Callable[[NDArray], NDArray],
    n: int,
    k: int,
    null: Null,
    seed: int,
    size: int,
    draws: int,
) -> NDArray:
    """Return the statistics of many sets of n samples of N(0, I), along the first axis.

    `statistic` maps data sets (b, n, k) to (b, ...). `size` is the number of floats that it
    allocates for one data set.
    """
    rng = np.random.default_rng([seed, 1])  # another stream than directions and subsamples
    step = max(1, BATCH // size)
    values = []
    for start in range(0, draws, step):
        u = rng.standard_normal((min(step, draws - start), n, k))
        values.append(statistic(whiten(u) if null == "composite" else u))
    return np.concatenate(values)


def rank_pvalue(statistic: float, draws: NDArray) -> float:
    """Return (1 + the number of draws >= statistic) / (1 + the number of draws)."""
    return float((1 + (draws >= statistic).sum()) / (1 + len(draws)))
