"""Whitening of samples in any units, of any rank."""

import math
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr

from ._units import Type, is_far, standardize, unstandardize
from ._weights import center, unit_weights

#: A sample dominates if it has a larger share than this of the variance in some direction, and if
#: its squared distance from the mean is more than FAR times the mean squared distance.
DOMINANT, FAR = 0.1, 10.0
ISOLATED = 10.0  # factor between the distances of outliers and of all other samples


class Whitening:
    r"""Affine map that standardizes each feature and then whitens the features.

    .. math:: z = R^{-1/2} \tilde x, \qquad \tilde x = (x - m) / s,

    with the means m, the standard deviations s and the correlation matrix R of the training
    samples (divisor n - 1). Of all matrices that whiten, this one maximizes the sum of the
    correlations between each component and its feature (Kessy, Lewin & Strimmer 2018, "ZCA-cor").

    If R is singular, R^(-1/2) inverts R on the span of its eigenvectors with positive eigenvalues.
    The part of a sample outside this span is kept as it is. An eigenvalue counts as zero if
    rounding errors can explain it. A constant feature is shifted to zero and keeps its scale.

    Attributes
    ----------
    mean_, scale_ : ndarray of shape (p,)
    axes_ : ndarray of shape (p, r)
        Orthonormal basis of the span of the standardized training samples: the identity if R has
        full rank.
    whiten_ : ndarray of shape (p, r)
        Maps standardized samples to coordinates with covariance I, along the axes.
    unwhiten_ : ndarray of shape (r, p)
        Maps the coordinates back.
    log_slope_ : float
        Logarithm of the factor by which the map from x to the coordinates multiplies volumes.

    References
    ----------
    - Cox & Higham (1998). Stability of Householder QR factorization for weighted least squares
      problems. In Numerical Analysis 1997, Addison Wesley Longman.
    - Kessy, Lewin & Strimmer (2018). `Optimal whitening and decorrelation
      <https://doi.org/10.1080/00031305.2016.1277159>`_. The American Statistician 72.

    Examples
    --------
    >>> import numpy as np
    >>> from sklatent._whitening import Whitening
    >>> X = np.random.default_rng(0).exponential(size=(100, 2)) * [1.0, 1e6]
    >>> u, _ = Whitening().fit(X).transform(X)
    >>> bool(np.allclose(np.cov(u.T), np.eye(2)))
    True
    """

    def fit(self, X: NDArray, weight: NDArray | None = None) -> Self:
        """Learn the map from samples X of shape (n, p)."""
        n, p = X.shape
        # Powers of two as units keep the squares of any finite values finite, without rounding.
        exponent = np.frexp(np.abs(X).max(axis=0))[1]
        centered = np.ldexp(X, -exponent, dtype=np.float64)
        mean = center(centered, weight)
        share = unit_weights(weight, n)
        variances = np.einsum("i,ij,ij->j", share, centered, centered) / (n - 1)
        # Arithmetic on a feature before `fit` adds a few units of rounding error.
        rounding = np.finfo(X.dtype).eps ** 2 * (np.square(mean) / 4 + 16 * variances)
        varies = variances > rounding
        spread = np.sqrt(np.where(varies, variances, 1.0))
        self.mean_ = np.ldexp(mean, exponent)
        self.scale_ = np.where(varies, np.ldexp(spread, exponent), 1.0)
        rows = np.divide(centered, spread, out=centered)
        rows *= np.sqrt(share)[:, None]
        rows[:, ~varies] = 0.0
        values, axes = np.linalg.eigh(rows.T @ rows / (n - 1))
        floor = 10 * p * np.finfo(np.float64).eps * values[-1]  # errors of the eigenvalues
        floor = floor + np.square(axes).T @ np.where(varies, rounding / spread**2, 0.0)
        alive = values > floor
        constants = np.ldexp(np.sqrt(rounding), exponent)[~varies]
        self._tolerance = 10 * math.hypot(np.sqrt(floor[~alive].sum()), *constants)
        axes, roots = axes[:, alive], np.sqrt(values[alive])
        self.axes_ = np.eye(p) if alive.all() else axes
        self.whiten_ = (axes / roots) @ (axes.T @ self.axes_)
        self.unwhiten_ = (self.axes_.T @ axes) @ (axes * roots).T
        self.log_slope_ = -float(np.log(roots).sum() + np.log(self.scale_[varies]).sum())
        if not alive.all():
            self.log_slope_ = self._log_slope_in_span(varies)
        return self

    def _log_slope_in_span(self, varies):
        # The factor of volumes in the span is the product of the singular values. With sorted rows
        # and pivoted columns, QR is accurate for scales of very different sizes (Cox & Higham
        # 1998).
        scale = np.where(varies, self.scale_, 0.0)
        largest = scale.max() or 1.0
        rows = (self.unwhiten_ * (scale / largest)).T[np.argsort(-scale)]
        triangle, _ = qr(rows, mode="r", pivoting=True)
        pivots = np.abs(np.diag(triangle))
        return -float(np.log(pivots).sum() + len(pivots) * np.log(largest))

    def transform(self, X: NDArray) -> tuple[NDArray, NDArray]:
        """Return coordinates along the axes (n, r), and the part outside the span (n, p)."""
        rows = standardize(X, self.mean_, self.scale_, np.float64)
        return rows @ self.whiten_, self._outside(rows)

    def inverse_transform(
        self, u: NDArray, outside: NDArray | float = 0.0, dtype: Type = np.float64
    ) -> NDArray:
        """Undo `transform`, in float32 or float64."""
        return unstandardize(u @ self.unwhiten_ + outside, self.mean_, self.scale_, dtype)

    def join(self, u: NDArray, outside: NDArray) -> NDArray:
        """Return coordinates along the axes and the part outside as one array (n, p)."""
        return u @ self.axes_.T + outside

    def split(self, z: NDArray) -> tuple[NDArray, NDArray]:
        """Undo `join`."""
        return z @ self.axes_, self._outside(z)

    def contains(self, X: NDArray, outside: NDArray) -> NDArray:
        """Return whether each sample is in the span, up to rounding errors."""
        x = standardize(X, np.zeros(X.shape[1]), self.scale_, np.float64)
        rounding = 10 * np.finfo(X.dtype).eps * np.linalg.norm(x, axis=1)
        return np.linalg.norm(outside, axis=1) <= self._tolerance + rounding

    def is_far(self, X: NDArray) -> NDArray:
        """Return whether `transform` clips a value of each sample."""
        return is_far(standardize(X, self.mean_, self.scale_, np.float64))

    def _outside(self, rows):
        if self.axes_.shape[0] == self.axes_.shape[1]:
            return np.zeros_like(rows)
        return rows - (rows @ self.axes_) @ self.axes_.T


def without_outliers(X: NDArray, weight: NDArray | None = None) -> NDArray:
    r"""Return which samples X of shape (n, p) are not isolated outliers, as a mask.

    The largest share of a sample in the variance along any direction is its leverage,
    :math:`|u_i|^2 / (n - 1)`, with the whitened sample u. A value that is wrong by orders of
    magnitude has a leverage near one. Samples with large leverage are set aside, and the others
    are whitened again, until no sample dominates. In the units of the others, a sample set aside is
    an outlier if it is several times farther from the mean than all samples but other outliers. In
    heavy tails distances increase gradually, so these samples are kept. Samples without which the
    others span fewer dimensions are kept too.
    """
    n = len(X)
    share = unit_weights(weight, n)
    kept, needed = np.ones(n, bool), np.zeros(n, bool)
    while True:
        whitening = Whitening().fit(X[kept], share[kept])
        u, _ = whitening.transform(X[kept])
        squares = np.square(u).sum(axis=1)
        # A large weight is the weight of many samples, each with its own leverage.
        leverage = np.minimum(share[kept], 1) * squares / (n - 1)
        dominant = (leverage > DOMINANT) & (squares > FAR * u.shape[1])
        aside = np.flatnonzero(kept)[dominant]
        aside = aside[~needed[aside]]
        if not aside.size or kept.sum() - aside.size < 2:  # one sample has no variance
            break
        kept[aside] = False
        without = Whitening().fit(X[kept], share[kept])
        if without.axes_.shape[1] < u.shape[1]:
            _, outside = without.transform(X[aside])
            needed[aside] = ~without.contains(X[aside], outside)
            kept |= needed
    aside = np.flatnonzero(~kept)
    if not aside.size:
        return kept
    distance = np.abs(whitening.transform(X)[0]).max(axis=1)
    aside = aside[np.argsort(-distance[aside])]
    farthest = pairwise([*distance[aside], distance[kept].max()])
    gaps = [number for number, (one, two) in enumerate(farthest, 1) if one > ISOLATED * two]
    outliers = aside[: max(gaps, default=0)]
    return ~np.isin(np.arange(n), outliers)
