"""An invertible map that makes the projections of an embedding in all directions Gaussian."""

import warnings
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr
from scipy.special import ndtr, ndtri
from scipy.stats import chi2

from .._epps_pulley import KNOTS as FREQUENCIES
from .._epps_pulley import NORMAL as NORMAL_CF
from .._epps_pulley import WEIGHTS as EPPS_PULLEY
from .._epps_pulley import random_directions
from .._weights import unit_weights
from .._whitening import without_outliers
from ._affine import AffineCalibration
from ._flow import MixtureFlow
from ._splines import KNOTS, Splines

#: Histograms represent the projections. Their bin width of 1/32 is far below any bandwidth.
BINS = np.linspace(-8, 8, 513)
BIN_CF = np.exp(1j * np.outer(FREQUENCIES, BINS))

MAX_ROUNDS = 48
DIRECTIONS = 128  # random directions that each round tests
ASCENT_STEPS = 8  # of gradient ascent from the best directions
SEARCH_ROWS = 16384  # samples used to find directions and the number of rounds
LEVEL = 0.05  # of the test that all directions of the embedding are Gaussian
BANDWIDTH = 2.5  # times n^(-1/5), in standard deviations
FLOW_COMPONENTS = 32  # largest number with a flow: 64 centers are far apart in more components
PATIENCE = 16  # rounds in which the log-density of held-out samples must increase
LEAST_GAIN = 1e-4  # increase that counts, in nats: far above rounding errors
BOUND = 5.0  # of one sample's change of log-density, in nats per component: limits outliers
LEAST_SLOPE = 3e-5  # of all maps together: limits how much the inverse amplifies errors
SPENT = 1 / 16  # share of the remaining logarithm of LEAST_SLOPE that a round may use
EXTREMES = 1.5  # samples on each side where no map is estimated; not an integer: no ties


def _bins(p: NDArray) -> tuple[NDArray, NDArray]:
    """Return the bin to the left of each element, and the element's position between bins."""
    position = (np.clip(p, BINS[0], BINS[-1]) - BINS[0]) / (BINS[1] - BINS[0])
    left = np.minimum(position.astype(np.intp), len(BINS) - 2)
    return left, position - left


def _histogram(p: NDArray, weight: NDArray | None) -> NDArray:
    """Return the share of the samples of p, (n, m), in each bin, (bins, m).

    Each sample is divided between its two nearest bins, so that the histogram is continuous in p.
    """
    n, m = p.shape
    left, toward = _bins(p)
    index = (left * m + np.arange(m)).ravel()
    share = unit_weights(weight, n)[:, None] / n
    counts = np.bincount(index, (share * (1 - toward)).ravel(), len(BINS) * m)
    counts += np.bincount(index + m, (share * toward).ravel(), len(BINS) * m)
    return counts.reshape(len(BINS), m)


def _epps_pulley(histogram: NDArray) -> NDArray:
    """Return the squared distance of each column's characteristic function from N(0, 1)'s."""
    return EPPS_PULLEY @ np.abs(BIN_CF @ histogram - NORMAL_CF[:, None]) ** 2


def _influence(p: NDArray, histogram: NDArray) -> NDArray:
    """Return n times the derivative of each column's statistic with respect to its elements."""
    error = BIN_CF @ histogram - NORMAL_CF[:, None]
    table = -2 * (BIN_CF.T @ ((EPPS_PULLEY * FREQUENCIES)[:, None] * np.conj(error))).imag
    left, toward = _bins(p)
    column = np.arange(p.shape[1])
    return table[left, column] * (1 - toward) + table[left + 1, column] * toward


def _null_eigenvalues() -> NDArray:
    """Return the weights of the chi-squares whose sum is the limit law of n times the statistic.

    The limit law holds for Gaussian samples that are standardized by their own mean and variance.
    The standardization removes two terms from the covariance of the characteristic function.
    """
    t, s = FREQUENCIES[:, None], FREQUENCIES
    near, far = np.exp(-((t - s) ** 2) / 2), np.exp(-((t + s) ** 2) / 2)
    scale = np.sqrt(EPPS_PULLEY[:, None] * EPPS_PULLEY)
    product = np.outer(NORMAL_CF, NORMAL_CF)
    real = (near + far) / 2 - product * (1 + (t * s) ** 2 / 2)
    imaginary = (near - far) / 2 - product * t * s
    values = np.concatenate([np.linalg.eigvalsh(scale * part) for part in (real, imaginary)])
    return np.sort(values[values > 1e-10])[::-1]


NULL_EIGENVALUES = _null_eigenvalues()
#: Statistic that chance explains: the search for a rotation increases its expectation.
CHANCE = 2 * NULL_EIGENVALUES.sum()
#: For Gaussian samples, the largest statistic of all directions exceeds this threshold with a
#: probability of at most LEVEL (Bonferroni; tail of the limit law after Zolotarev 1961).
CRITICAL = NULL_EIGENVALUES[0] * chi2.isf(
    LEVEL / DIRECTIONS * np.sqrt(np.prod(1 - NULL_EIGENVALUES[1:] / NULL_EIGENVALUES[0])), 1
)


def _smoothed(x: NDArray, histogram: NDArray, h: float) -> tuple[NDArray, NDArray]:
    """Return each column's distribution function at x with noise of std h, and h sqrt(2 pi) f."""
    distance = (x[:, None] - BINS) / h
    return ndtr(distance) @ histogram, np.exp(-np.square(distance) / 2) @ histogram


def _gaussianizing(histogram: NDArray, n: float, strength: NDArray, floor: float) -> Splines:
    """Return splines between the identity (strength 0) and each column's map to N(0, 1) (1).

    Between clusters the map to N(0, 1) is nearly flat. The splines' slopes are at least floor.
    """
    h = BANDWIDTH * n**-0.2
    share = np.cumsum(histogram, axis=0)
    low = np.minimum(BINS[(share >= EXTREMES / n).argmax(axis=0)], -1)
    high = np.maximum(BINS[(share >= 1 - EXTREMES / n).argmax(axis=0)], 1)
    x = np.clip(KNOTS[:, None], low, high)
    cdf, bumps = _smoothed(KNOTS, histogram, h)
    for end, beyond in ((low, KNOTS[:, None] < low), (high, KNOTS[:, None] > high)):
        at_end = (np.diagonal(part) for part in _smoothed(end, histogram, h))
        cdf, bumps = (
            np.where(beyond, at, part) for at, part in zip(at_end, (cdf, bumps), strict=True)
        )
    scale = np.sqrt(1 + h * h)
    quantile = ndtri(np.clip(cdf, 1e-12, 1 - 1e-12))
    values = scale * quantile
    slopes = scale / h * bumps / np.exp(-(quantile**2) / 2)
    # Outside [low, high] the map is a shift, because there are too few samples to estimate more.
    values += KNOTS[:, None] - x
    slopes = np.where(x == KNOTS[:, None], slopes, 1.0)
    slopes[[0, -1]] = 1.0
    return Splines.steeper_than(
        floor, KNOTS[:, None] + strength * (values - KNOTS[:, None]), 1 + strength * (slopes - 1)
    )


def _ascend(u: NDArray, weight: NDArray | None, rotation: NDArray) -> NDArray:
    """Rotate the axes to increase the sum of their statistics, by projected gradients."""
    share = unit_weights(weight, len(u)) / len(u)
    step, best = 0.3, -np.inf
    candidate = rotation
    for _ in range(ASCENT_STEPS + 1):
        p = u @ candidate
        histogram = _histogram(p, weight)
        # Where rounding errors decide, similar samples would get different rotations.
        if (total := _epps_pulley(histogram).sum()) > 1.001 * best:
            rotation, best, step = candidate, total, 1.2 * step
            slope = (u * share[:, None]).T @ _influence(p, histogram)
            inner = rotation.T @ slope
            gradient = slope - rotation @ (inner + inner.T) / 2  # along the orthogonal group
            gradient /= np.linalg.norm(gradient, axis=0).max() + 1e-300
        else:
            step /= 2
        left, _, right = np.linalg.svd(rotation + step * gradient)
        candidate = left @ right
    return rotation


def _effective(n: int, weight: NDArray | None) -> float:
    """Return Kish's effective number of samples."""
    return n if weight is None else weight.sum() ** 2 / np.square(weight).sum()


class _Round(NamedTuple):
    """One round: whiten, rotate, transform each coordinate by a spline, rotate back."""

    affine: AffineCalibration
    rotation: NDArray
    splines: Splines

    def transform(self, u: NDArray) -> NDArray:
        return self.splines(self.affine.transform(u) @ self.rotation) @ self.rotation.T

    def forward(self, u: NDArray) -> tuple[NDArray, NDArray]:
        """Return `transform` and the logarithm of the determinant of its derivative."""
        turned = self.affine.transform(u) @ self.rotation
        log_slope = np.log(self.splines.slope(turned)).sum(axis=1) + self.affine.log_slope
        return self.splines(turned) @ self.rotation.T, log_slope

    @property
    def least_slope(self) -> float:
        """Return a lower bound on the ratio of distances after and before the round."""
        return self.affine.least_slope * self.splines.least_slope

    def inverse_transform(self, u: NDArray) -> NDArray:
        bent = self.splines.inverse(u @ self.rotation)
        return self.affine.inverse_transform(bent @ self.rotation.T)


def _some(u: NDArray, weight: NDArray | None, rng: np.random.Generator):
    """Return at most SEARCH_ROWS of the samples, and their weights."""
    if len(u) <= SEARCH_ROWS:
        return u, weight
    rows = rng.choice(len(u), SEARCH_ROWS, replace=False)
    return u[rows], None if weight is None else weight[rows]


def _directions(u: NDArray, weight: NDArray | None, rng: np.random.Generator):
    """Return random directions (k, m), and the statistics of the samples along them times n."""
    directions = random_directions(u.shape[1], DIRECTIONS, rng)
    statistic = _epps_pulley(_histogram(u @ directions, weight))
    return directions, statistic * _effective(len(u), weight)


def _fit_round(
    u: NDArray, weight: NDArray | None, rng: np.random.Generator, slope: float
) -> _Round | None:
    """Return a round for samples u, or None if the rounds before have used up the least slope."""
    affine = AffineCalibration().fit(u, weight)
    spent = LEAST_SLOPE / (slope * affine.least_slope)
    if spent >= 1:
        return None
    white = affine.transform(u)
    some, some_weight = _some(white, weight, rng)
    directions, statistic = _directions(some, some_weight, rng)
    # Pivoting selects the direction with the largest statistic first. Then the others are
    # projected on the complement of the selected ones, and the largest is selected again.
    rotation = qr(directions * statistic, pivoting=True)[0]
    rotation = _ascend(some, some_weight, rotation)
    histogram = _histogram(white @ rotation, weight)
    n = _effective(len(u), weight)
    statistic = n * _epps_pulley(histogram)
    strength = 1 - CHANCE / np.maximum(statistic, CHANCE)
    return _Round(affine, rotation, _gaussianizing(histogram, n, strength, spent**SPENT))


def _layers(
    u: NDArray, weight: NDArray | None, rng: np.random.Generator, flow: MixtureFlow | None
) -> Iterator[tuple[MixtureFlow | _Round, NDArray]]:
    """Yield the flow, if there is one, and the rounds, each with the samples u after this map."""
    slope = 1.0  # lower bound on the slope of all maps so far, in any direction
    if flow is not None:
        slope, u = flow.least_slope, flow.transform(u)
        yield flow, u
    for _ in range(MAX_ROUNDS):
        if (layer := _fit_round(u, weight, rng, slope)) is None:
            return
        slope, u = slope * layer.least_slope, layer.transform(u)
        yield layer, u


def _log_normal(z: NDArray) -> NDArray:
    return -0.5 * (np.square(z).sum(axis=1) + z.shape[1] * np.log(2 * np.pi))


def _choose(u: NDArray, weight: NDArray | None, rng: np.random.Generator) -> tuple[bool, int]:
    """Return whether the flow, and how many maps, maximize the log-density of held-out samples."""
    rows = rng.permutation(len(u) if weight is None else np.flatnonzero(weight))[:SEARCH_ROWS]
    held, rest = np.split(rows, [len(rows) // 4])
    w, held_weight = (None if weight is None else weight[part] for part in (rest, held))
    u, v, log_slope = u[rest], u[held], np.zeros(len(held))

    def log_density(u: NDArray, v: NDArray, log_slope: NDArray) -> NDArray:
        last = AffineCalibration().fit(u, w)
        return log_slope + last.log_slope + _log_normal(last.transform(v))

    def gain(u: NDArray, v: NDArray, log_slope: NDArray) -> tuple[float, float]:
        bound = BOUND * u.shape[1]
        gains = np.clip(log_density(u, v, log_slope) - affine, -bound, bound)
        mean = np.average(gains, weights=held_weight)
        return mean, np.sqrt(np.average((gains - mean) ** 2, weights=held_weight))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a rare value may be absent from the rest
        affine = log_density(u, v, log_slope)
        flow = None
        if 1 < u.shape[1] <= FLOW_COMPONENTS:
            flow = MixtureFlow().fit(u, w, rng)
            flow = flow if gain(flow.transform(u), *flow.forward(v))[0] > 0 else None
        best, error, n_maps = 0.0, 0.0, 0
        for count, (layer, moved) in enumerate(_layers(u, w, rng, flow), start=1):
            v, log_slopes = layer.forward(v)
            log_slope += log_slopes
            mean, deviation = gain(moved, v, log_slope)
            if mean > best + LEAST_GAIN:
                best, n_maps = mean, count
                error = deviation / np.sqrt(_effective(len(held), held_weight))
            elif count >= n_maps + PATIENCE:
                break
    # A gain below its standard error is often chance.
    n_maps = n_maps if best > error else 0
    return flow is not None and n_maps > 0, n_maps


class Gaussianization:
    r"""Invertible map that makes the projections of an embedding in all directions Gaussian.

    .. math:: u \mapsto A \circ T_R \circ \ldots \circ T_1 \circ G \circ A_0(u), \qquad
        T_r(u) = Q_r\, t_r(Q_r^T A_r(u)),

    with affine maps A, A_r (`AffineCalibration`), a probability flow G, rotations Q_r, and
    increasing functions t_r of one coordinate each. The flow takes a Gaussian mixture with 64
    centers to a Gaussian, and brings clusters of samples together (Song et al. 2021). The rounds
    T_r then transform the samples along the axes of one rotation after another (Chen & Gopinath
    2000; Laparra et al. 2011). The search for a rotation starts from the most non-Gaussian of 128
    random directions. Gradient ascent then increases the Epps-Pulley statistics of the axes (Epps
    & Pulley 1983). Each round undoes its rotation at the end, so that the components keep their
    meaning. Each coordinate is transformed by

    .. math:: x \mapsto x + \lambda \bigl(\sqrt{1 + h^2}\, \Phi^{-1}(F_h(x)) - x\bigr),

    where F_h is the distribution function of the training samples plus Gaussian noise of standard
    deviation :math:`h = 2.5\, n^{-1/5}`. With :math:`\lambda = 1`, the transformation is smooth
    and, for any h, the identity if the samples are Gaussian. The strength is
    :math:`\lambda = \max(0, 1 - 2 E_0 / S)`, with the statistic S of the coordinate and its
    expectation E_0 for Gaussian samples. The factor 2 is there because the search for a rotation
    increases S also for Gaussian samples.

    If none of 128 random directions has a significant statistic (with Bonferroni's correction for
    128 tests), the embedding gets the affine map only. Otherwise the maps are first fitted to three
    quarters of the samples. The number of rounds, at most 48, maximizes the log-density of the
    other quarter. The flow is used if there are 2 to 32 components, and if it increases this
    log-density. If the increase from the affine map is below its standard error, the embedding gets
    the affine map. Otherwise the maps are fitted to all samples.

    Far beyond the training samples, the map is linear along each coordinate. The map is strictly
    increasing everywhere: the flow and the functions t_r have slopes above a floor. Two samples
    keep about 1e-5 or more of the distance that they have after the affine map alone. Therefore
    `inverse_transform` recovers u to within about :math:`10^5 \varepsilon (1 + |z|)` standard
    deviations of the embedding, where z is the output of `transform` and :math:`\varepsilon` is
    2e-16 in float64 and 1e-7 in float32.

    Parameters
    ----------
    random_state : int or numpy.random.Generator, default=0
        Determines the random directions.

    Attributes
    ----------
    n_rounds_ : int
        Number of maps between the first and the last affine map, the flow included. 0 means that
        the map is affine.

    References
    ----------
    - Chen & Gopinath (2000). Gaussianization. NeurIPS 13.
    - Epps & Pulley (1983). `A test for normality based on the empirical characteristic function
      <https://doi.org/10.1093/biomet/70.3.723>`_. Biometrika 70.
    - Gregory & Delbourgo (1982). `Piecewise rational quadratic interpolation to monotonic data
      <https://doi.org/10.1093/imanum/2.2.123>`_. IMA Journal of Numerical Analysis 2.
    - Laparra, Camps-Valls & Malo (2011). `Iterative Gaussianization: from ICA to random rotations
      <https://arxiv.org/abs/1602.00229>`_. IEEE Transactions on Neural Networks 22.
    - Song, Sohl-Dickstein, Kingma, Kumar, Ermon & Poole (2021). `Score-based generative modeling
      through stochastic differential equations <https://arxiv.org/abs/2011.13456>`_. ICLR.

    Examples
    --------
    >>> import numpy as np
    >>> from sklatent.calibration import Gaussianization
    >>> rng = np.random.default_rng(0)
    >>> angle = rng.uniform(0, 2 * np.pi, size=1000)
    >>> ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    >>> ring *= rng.normal(1, 0.1, size=(1000, 1))
    >>> gaussianization = Gaussianization().fit(ring)
    >>> z = gaussianization.transform(ring)
    >>> bool(np.allclose(np.cov(z.T), np.eye(2)))
    True
    >>> bool(np.allclose(gaussianization.inverse_transform(z), ring))
    True
    """

    def __init__(self, random_state: int | np.random.Generator = 0) -> None:
        self.random_state = random_state

    def fit(self, u: NDArray, weight: NDArray | None = None) -> Self:
        """Learn the map from samples u of shape (n, k).

        Collapsed directions get the affine map only, and `AffineCalibration` warns about them.
        Isolated outliers are left out.
        """
        rng = np.random.default_rng(self.random_state)
        kept = without_outliers(u, weight)
        u, weight = u[kept], None if weight is None else weight[kept]
        self._first = AffineCalibration().fit(u, weight)
        u = self._first.transform(u.astype(np.float64))
        variances, axes = np.linalg.eigh(np.atleast_2d(np.cov(u.T, aweights=weight)))
        alive = variances > 0.5  # a direction that has not collapsed has the variance 1
        self._axes = np.eye(len(axes)) if alive.all() else axes[:, alive]
        self._rounds: list[MixtureFlow | _Round] = []
        self._last = self._first  # not used if all directions have collapsed
        if alive.any():
            u = u @ self._axes
            some, some_weight = _some(u, weight, rng)
            if _directions(some, some_weight, rng)[1].max() > CRITICAL:
                # The number of draws until the choice must not influence the maps.
                with_flow, n_maps = _choose(u, weight, np.random.default_rng(rng.integers(2**63)))
                flow = MixtureFlow().fit(u, weight, rng) if with_flow else None
                for layer, moved in islice(_layers(u, weight, rng, flow), n_maps):
                    self._rounds.append(layer)
                    u = moved
            self._last = AffineCalibration().fit(u, weight)
        self.n_rounds_ = len(self._rounds)
        return self

    def transform(self, u: NDArray) -> NDArray:
        """Return the Gaussianized samples, in the type of u."""
        z = self._first.transform(u.astype(np.float64))
        if self._axes.size:
            bent = flat = z @ self._axes
            for layer in self._rounds:
                bent = layer.transform(bent)
            z = z + (self._last.transform(bent) - flat) @ self._axes.T
        return z.astype(u.dtype, copy=False)

    def inverse_transform(self, u: NDArray) -> NDArray:
        """Undo `transform`."""
        z = u.astype(np.float64)
        if self._axes.size:
            bent = z @ self._axes
            flat = self._last.inverse_transform(bent)
            for layer in reversed(self._rounds):
                flat = layer.inverse_transform(flat)
            z = z + (flat - bent) @ self._axes.T
        return self._first.inverse_transform(z).astype(u.dtype, copy=False)

    @property
    def affine(self) -> AffineCalibration:
        """The affine map before the first round."""
        return self._first

    def log_density(self, u: NDArray) -> NDArray:
        r"""Return the log-density at samples u of the distribution that the map takes to N(0, I).

        The log-density is :math:`\log N(C(u); 0, I) + \log |\det C'(u)|`, where C is this map.
        """
        z = self._first.transform(u.astype(np.float64))
        log_slope = np.full(len(z), self._first.log_slope)
        if self._axes.size:
            bent = flat = z @ self._axes
            for layer in self._rounds:
                bent, log_slopes = layer.forward(bent)
                log_slope += log_slopes
            log_slope += self._last.log_slope
            z = z + (self._last.transform(bent) - flat) @ self._axes.T
        return log_slope + _log_normal(z)
