"""The affine map that gives the training embedding mean zero and covariance I."""

from typing import Self

import numpy as np
from numpy.typing import NDArray

from .._warn import warn
from .._weights import center, unit_weights

#: Variance below which a direction of the embedding counts as collapsed.
VARIANCE_FLOOR = 1e-6


class AffineCalibration:
    r"""Affine map that gives an embedding mean zero and the identity as covariance.

    .. math:: u \mapsto S^{-1/2} (u - m)

    with the mean m and the covariance S (divisor n - 1) of the training embedding. Of all
    matrices that whiten, the symmetric root changes the embedding least (Kessy, Lewin &
    Strimmer 2018). The components therefore keep their signs and their order.

    Attributes
    ----------
    mean_ : ndarray of shape (k,)
    root_ : ndarray of shape (k, k)
        S^(1/2). Eigenvalues of S below 1e-6 are replaced by 1e-6.
    inverse_root_ : ndarray of shape (k, k)

    References
    ----------
    Kessy, Lewin & Strimmer (2018). `Optimal whitening and decorrelation
    <https://doi.org/10.1080/00031305.2016.1277159>`_. The American Statistician 72.

    Examples
    --------
    >>> import numpy as np
    >>> from sklatent.calibration import AffineCalibration
    >>> u = np.random.default_rng(0).exponential(size=(100, 2))
    >>> z = AffineCalibration().fit(u).transform(u)
    >>> bool(np.allclose(np.cov(z.T), np.eye(2)))
    True
    """

    def fit(self, u: NDArray, weight: NDArray | None = None) -> Self:
        """Learn the map from samples u of shape (n, k).

        A direction with a variance below 1e-6 is treated as if it had the variance 1e-6, and `fit`
        warns. To scale such a direction to unit variance would amplify rounding errors.
        """
        n = len(u)
        centered = u.astype(np.float64)
        self.mean_ = center(centered, weight)
        share = unit_weights(weight, n)[:, None]
        variances, axes = np.linalg.eigh((share * centered).T @ centered / (n - 1))
        if collapsed := int((variances < VARIANCE_FLOOR).sum()):
            warn(
                f"{collapsed} of {u.shape[1]} directions of the embedding have collapsed "
                f"(variance below {VARIANCE_FLOOR:g}). The calibration does not restore their "
                "variance. Lower n_components or reg_weight.",
            )
        scales = np.sqrt(np.maximum(variances, VARIANCE_FLOOR))
        self.root_ = (axes * scales) @ axes.T
        self.inverse_root_ = (axes / scales) @ axes.T
        return self

    def transform(self, u: NDArray) -> NDArray:
        """Return the calibrated samples, in the type of u."""
        return ((u - self.mean_) @ self.inverse_root_).astype(u.dtype, copy=False)

    def inverse_transform(self, u: NDArray) -> NDArray:
        """Undo `transform`."""
        return (u @ self.root_ + self.mean_).astype(u.dtype, copy=False)

    @property
    def log_slope(self) -> float:
        """The logarithm of the determinant of `transform`'s matrix."""
        return float(np.linalg.slogdet(self.inverse_root_)[1])

    @property
    def least_slope(self) -> float:
        """The smallest singular value of `transform`'s matrix."""
        return 1 / float(np.linalg.norm(self.root_, 2))
