"""An invertible map that brings clusters of samples together."""

import math
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp
from sklearn.utils import gen_batches

from .._weights import unit_weights

CENTERS = 64
ROWS = 16384  # samples used to find the centers
MARGIN = 3.0  # samples farther than this plus sqrt(k) from the origin have no center nearby
START, END = 1.0, 8.0  # variances of the noise; at the end the mixture is nearly Gaussian
# Logarithms of the variance s, closer together where s is small, because slopes grow like 1 / s.
# With these distances, the largest errors of the integration are at all s about equal.
LEVELS = -np.log(np.linspace(END**-0.75, START**-0.75, 15)) / 0.75
LEAST_SLOPE = 0.05  # the flow starts at a larger variance if the bound on its slope is lower
BLOCK = 1024  # samples at a time: the arrays of all centers stay in the processor's cache
CORRECTIONS = 4  # of a step back, at most; each divides its error by 1000 or more
ENOUGH = 1e-8  # size of a correction that needs no other


class MixtureFlow:
    r"""Probability flow from a mixture of Gaussians to a single Gaussian.

    .. math:: \frac{dx}{d \log s} = -\frac{s}{2} \nabla \log p_s(x)
        = \frac12 \Bigl(x - \sum_j r_j(x)\, m_j\Bigr), \qquad
        p_s(x) = \sum_j w_j\, N(x; m_j, s I),

    from s = 1 to s = 8, and then division by :math:`\sqrt{9/2}`, so that a standard Gaussian stays
    standard. The centers m_j are 64 k-means centers of the training samples, the weights w_j are
    the shares of their clusters, and r_j is the probability of center j given x. The flow maps the
    density p_s at the start to p_s at the end (Song et al. 2021). The logarithm of the determinant
    of the derivative is therefore a difference of two log-densities. The map integrates the flow
    in at most 14 steps. The determinant of these steps differs from the flow's by less than 0.001
    nats for nearly all samples within 10 standard deviations, and by less than 0.01 nats within 30.
    With more noise than :math:`s = 1`, fewer of the neighbors of a sample change.

    The derivative of the right side is :math:`(I - C / s) / 2`, with the covariance C of the
    centers under r_j(x). The largest eigenvalue of C bounds how close the flow brings two samples.
    `fit` evaluates C where two centers are equally probable, for all pairs of centers. The flow
    starts at a larger s if, by this estimate, two samples would keep less than 0.05 of their
    distance.

    Attributes
    ----------
    least_slope : float
        Smallest ratio of distances after and before the flow, approximately.

    References
    ----------
    Song, Sohl-Dickstein, Kingma, Kumar, Ermon & Poole (2021). `Score-based generative modeling
    through stochastic differential equations <https://arxiv.org/abs/2011.13456>`_. ICLR.

    Examples
    --------
    >>> import numpy as np
    >>> from sklatent.calibration._flow import MixtureFlow
    >>> u = np.array([[-1.0], [1.0]] * 50)
    >>> flow = MixtureFlow().fit(u, None, np.random.default_rng(0))
    >>> z = flow.transform(u)
    >>> bool(z[1] - z[0] < u[1] - u[0]), bool(np.allclose(flow.inverse_transform(z), u))
    (True, True)
    """

    def fit(self, u: NDArray, weight: NDArray | None, rng: np.random.Generator) -> Self:
        """Learn the map from samples u of shape (n, k) with mean zero and covariance I."""
        from sklearn.cluster import KMeans  # takes longer to import than the rest of this package

        share = unit_weights(weight, len(u))
        near = np.linalg.norm(u, axis=1) <= np.sqrt(u.shape[1]) + MARGIN
        rows = np.flatnonzero(near & (share > 0))
        if len(rows) > ROWS:
            rows = rng.choice(rows, ROWS, replace=False)
        kmeans = KMeans(
            max(1, min(CENTERS, len(rows) // 4, len(np.unique(u[rows], axis=0)))),
            n_init=1,
            max_iter=20,
            random_state=int(rng.integers(2**31)),
        ).fit(u[rows], sample_weight=share[rows])
        total = np.bincount(kmeans.labels_, share[rows], len(kmeans.cluster_centers_))
        self.centers = kmeans.cluster_centers_[total > 0]
        self.log_weights = np.log(total[total > 0] / total.sum())
        self.squares = np.square(self.centers).sum(axis=1)
        slopes = self._least_slopes()
        start = np.flatnonzero(slopes >= LEAST_SLOPE)[-1]
        self.least_slope = float(slopes[start])
        self.levels = LEVELS[start::-1]
        self.scale = np.sqrt((1 + np.exp(LEVELS[start])) / (1 + END))
        return self

    def _least_slopes(self) -> NDArray:
        """Return the smallest slope, approximately, of a flow that starts at each of LEVELS."""
        k = self.centers.shape[1]
        first, second = np.triu_indices(len(self.centers))
        middles = (self.centers[first] + self.centers[second]) / 2
        apart = self.centers[first] - self.centers[second]
        # From a middle, the step to the point where both centers are equally probable, per s.
        unequal = self.log_weights[first] - self.log_weights[second]
        unequal /= np.maximum(np.square(apart).sum(axis=1), 1e-12)
        products = (self.centers[:, :, None] * self.centers[:, None]).reshape(-1, k * k)
        rates = []
        for level in LEVELS:
            equal = middles - (np.exp(level) * unequal)[:, None] * apart
            r = self._responsibilities(np.exp(-level) * equal, level).T
            mean = r @ self.centers
            covariance = (r @ products).reshape(-1, k, k) - mean[:, :, None] * mean[:, None]
            widest = np.linalg.eigvalsh(covariance)[:, -1].max()
            rates.append(0.5 * (1 - widest / np.exp(level)))
        rises = np.cumsum([0.0, *(-np.diff(LEVELS) * np.minimum(rates[1:], rates[:-1]))])
        return np.exp(rises) * np.sqrt((1 + np.exp(LEVELS)) / (1 + END))

    def _logits(self, tilt: NDArray, level: float) -> NDArray:
        """Return log w_j N(x; m_j, s I) up to a term of x and s, for tilt = x / s.

        The shape is (centers, n): sums over centers are then sums of whole rows of the array.
        """
        logits = self.centers @ tilt.T
        logits += (self.log_weights - (0.5 * math.exp(-level)) * self.squares)[:, None]
        return logits

    def _responsibilities(self, tilt: NDArray, level: float) -> NDArray:
        """Return r_j(x), of shape (centers, n), for tilt = x / s."""
        r = self._logits(tilt, level)
        r -= r.max(axis=0)
        np.exp(r, out=r)
        r /= r.sum(axis=0)
        return r

    def _velocity(self, y: NDArray, level: float) -> NDArray:
        """Return the derivative of y = x / sqrt(s), which is bounded, with respect to log s."""
        inverse_root = math.exp(-0.5 * level)
        r = self._responsibilities(inverse_root * y, level)
        return (-0.5 * inverse_root) * (r.T @ self.centers)

    def _step(self, y: NDArray, level: float, following: float) -> NDArray:
        """Move y by one step of the Runge-Kutta method of order 4."""
        h = following - level
        a = self._velocity(y, level)
        b = self._velocity(y + h / 2 * a, level + h / 2)
        c = self._velocity(y + h / 2 * b, level + h / 2)
        d = self._velocity(y + h * c, following)
        return y + h / 6 * (a + 2 * b + 2 * c + d)

    def _step_back(self, y: NDArray, level: float, following: float) -> NDArray:
        """Undo `_step` from level to following.

        A step in the other direction differs from the exact inverse by the errors of integration.
        Fixed-point iterations remove the difference.
        """
        start = self._step(y, following, level)
        x = start.copy()
        rows = np.arange(len(y))
        for _ in range(CORRECTIONS):
            again = self._step(self._step(x[rows], level, following), following, level)
            correction = start[rows] - again
            x[rows] += correction
            rows = rows[np.abs(correction).max(axis=1) > ENOUGH]
            if not rows.size:
                break
        return x

    def transform(self, u: NDArray) -> NDArray:
        """Map samples u of shape (n, k)."""
        z = np.empty_like(u)
        for some in gen_batches(len(u), BLOCK):
            y = u[some] * np.exp(-0.5 * self.levels[0])
            for level, following in pairwise(self.levels):
                y = self._step(y, level, following)
            z[some] = y * (np.exp(0.5 * self.levels[-1]) * self.scale)
        return z

    def inverse_transform(self, u: NDArray) -> NDArray:
        """Undo `transform`."""
        x = np.empty_like(u)
        for some in gen_batches(len(u), BLOCK):
            y = u[some] / (np.exp(0.5 * self.levels[-1]) * self.scale)
            for following, level in pairwise(self.levels[::-1]):
                y = self._step_back(y, level, following)
            x[some] = y * np.exp(0.5 * self.levels[0])
        return x

    def forward(self, u: NDArray) -> tuple[NDArray, NDArray]:
        """Return `transform` and the logarithm of the determinant of its derivative."""
        z = self.transform(u)
        log_slope = self._log_density(u, self.levels[0])
        log_slope -= self._log_density(z / self.scale, self.levels[-1])
        return z, log_slope + u.shape[1] * np.log(self.scale)

    def _log_density(self, x: NDArray, level: float) -> NDArray:
        """Return log p_s up to a constant."""
        tilt = math.exp(-level) * x
        squares = np.einsum("ij,ij->i", tilt, x)
        return logsumexp(self._logits(tilt, level), axis=0) - 0.5 * (squares + x.shape[1] * level)
