"""Whitening of samples in any units, of any rank."""

from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr


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
        self.mean_ = np.average(X.astype(np.float64), axis=0, weights=weight)
        centered = X - self.mean_
        # A second pass corrects the rounding errors of the mean, which grow with the offset of X.
        self.mean_ += np.average(centered, axis=0, weights=weight)
        centered = np.subtract(X, self.mean_, out=centered)
        share = np.ones(n) if weight is None else weight * (n / weight.sum())
        variances = np.einsum("i,ij,ij->j", share, centered, centered) / (n - 1)
        # Arithmetic on a feature before `fit` adds a few units of rounding error.
        rounding = np.finfo(X.dtype).eps ** 2 * (np.square(self.mean_) / 4 + 16 * variances)
        self.scale_ = np.sqrt(np.where(variances > rounding, variances, 1.0))
        rows = np.divide(centered, self.scale_, out=centered)
        rows *= np.sqrt(share)[:, None]
        values, axes = np.linalg.eigh(rows.T @ rows / (n - 1))
        floor = 10 * p * np.finfo(np.float64).eps * values[-1]  # errors of the eigenvalues
        floor = floor + np.square(axes).T @ (rounding / self.scale_**2)
        alive = values > floor
        self._tolerance = 10 * np.sqrt(floor[~alive].sum())
        axes, roots = axes[:, alive], np.sqrt(values[alive])
        self.axes_ = np.eye(p) if alive.all() else axes
        self.whiten_ = (axes / roots) @ (axes.T @ self.axes_)
        self.unwhiten_ = (self.axes_.T @ axes) @ (axes * roots).T
        # The factor of volumes in the span is the product of the singular values. With sorted rows
        # and pivoted columns, QR is accurate for scales of any sizes (Cox & Higham 1998).
        rows = (self.unwhiten_ * self.scale_).T[np.argsort(-self.scale_)]
        triangle, _ = qr(rows, mode="r", pivoting=True)
        self.log_slope_ = -float(np.log(np.abs(np.diag(triangle))).sum())
        return self

    def transform(self, X: NDArray) -> tuple[NDArray, NDArray]:
        """Return coordinates along the axes (n, r), and the part outside the span (n, p)."""
        rows = (X - self.mean_) / self.scale_
        return rows @ self.whiten_, self._outside(rows)

    def inverse_transform(self, u: NDArray, outside: NDArray | float = 0.0) -> NDArray:
        """Undo `transform`."""
        return (u @ self.unwhiten_ + outside) * self.scale_ + self.mean_

    def join(self, u: NDArray, outside: NDArray) -> NDArray:
        """Return coordinates along the axes and the part outside as one array (n, p)."""
        return u @ self.axes_.T + outside

    def split(self, z: NDArray) -> tuple[NDArray, NDArray]:
        """Undo `join`."""
        return z @ self.axes_, self._outside(z)

    def contains(self, X: NDArray, outside: NDArray) -> NDArray:
        """Return whether each sample is in the span, up to rounding errors."""
        rounding = 10 * np.finfo(X.dtype).eps * np.linalg.norm(X / self.scale_, axis=1)
        return np.linalg.norm(outside, axis=1) <= self._tolerance + rounding

    def _outside(self, rows):
        if self.axes_.shape[0] == self.axes_.shape[1]:
            return np.zeros_like(rows)
        return rows - (rows @ self.axes_) @ self.axes_.T
