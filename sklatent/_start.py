"""The start of training: the units of X and its whitened principal components, in float64."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import diags_array, issparse
from scipy.sparse.linalg import LinearOperator, svds
from sklearn.decomposition import PCA
from sklearn.utils.extmath import svd_flip
from sklearn.utils.sparsefuncs import mean_variance_axis, min_max_axis

from ._units import standardize, unstandardize
from ._weights import center, unit_weights
from .tasks import NOISE_FLOOR

#: Number of features up to which the covariance matrix of sparse data is computed.
FEW_FEATURES = 1000

CONSTANT = "X is constant: at least one feature must vary"
#: Absolute values of X, and standard deviations, must be in this range: float64 holds squares.
LEAST, LARGEST = 1e-150, 1e150
#: One sample dominates a component if it has more than this share of the component's variance,
#: and is more than FAR standard deviations from the mean.
DOMINANT, FAR = 0.5, 5.0


@dataclass(frozen=True)
class PCAStart:
    """The units of X and its whitened principal components.

    Standardized samples are x~ = (x - mean) / scale, with one scale for all features.

    Attributes
    ----------
    mean : ndarray of shape (p,)
    scale : float
        Square root of the mean variance per feature (divisor n - 1).
    components : ndarray of shape (k, p)
        Orthonormal principal axes, with the signs of scikit-learn's PCA.
    variances : ndarray of shape (k,)
        Variances of the components of x~.
    noise_variance : float
        Variance of x~ per feature that the components do not explain:
        (p - sum(variances)) / (p - k), the maximum-likelihood noise variance of probabilistic
        PCA (Tipping & Bishop 1999, eq. 8). Zero if k = p.
    """

    mean: NDArray
    scale: float
    components: NDArray
    variances: NDArray
    noise_variance: float

    @classmethod
    def fit(
        cls,
        X: Any,
        weight: NDArray | None,
        n_components: int | float,
        random_state: np.random.RandomState,
    ) -> Self:
        """Compute the units and the principal components.

        Parameters
        ----------
        X : ndarray or CSR matrix of shape (n, p)
        weight : ndarray of shape (n,) or None
            Positive weights.
        n_components : int or float
            As in `sklearn.decomposition.PCA`.
        random_state : RandomState
            Random state of the solver.

        Raises
        ------
        ValueError
            If X is constant, if n_components exceeds the rank of X, or if the squares of X are
            too large or too small for float64.
        """
        row, column = np.unravel_index(abs(X).argmax(), X.shape)
        largest = float(X[row, column])
        if abs(largest) > LARGEST:
            raise ValueError(
                f"X has the value {largest:.3g} in column {column}, and absolute values must be at "
                f"most {LARGEST:g}. Correct wrong values, or divide X by a constant."
            )
        components_of = _sparse_components if issparse(X) else _dense_components
        mean, feature_variances, components, variances, error = components_of(
            X, weight, n_components, random_state
        )
        n, p = X.shape
        k = len(components)
        scale = _scale(feature_variances)
        # Two errors can appear as variance: errors of the solver, and rounding of X. Arithmetic on
        # a feature before `fit` adds a few units of rounding error.
        squares = np.square(mean) / 4 + 16 * feature_variances
        rounding = np.finfo(X.dtype).eps ** 2 * np.square(components) @ (squares / scale**2)
        rank = int((variances > np.maximum(variances[0] * error, rounding)).sum())
        if rank == 0:
            raise ValueError(CONSTANT)
        if rank < k:
            raise ValueError(
                f"n_components={k} exceeds the rank of X: only {rank} of its principal "
                f"components have any variance (n_samples={n}, n_features={p}; {largest:.3g} in "
                f"column {column} is the largest value). Set n_components to at most {rank}."
            )
        noise_variance = max(0.0, p - variances.sum()) / (p - k) if k < p else 0.0
        return cls(mean, float(scale), components, variances, float(noise_variance))

    @property
    def encoder_skip(self) -> NDArray:
        """W, of shape (k, p): the covariance of u = W x~ is the identity."""
        return self.components / np.sqrt(self.variances)[:, None]

    @property
    def decoder_skip(self) -> NDArray:
        """V, of shape (p, k): V u is the projection of x~ on its principal components."""
        return self.components.T * np.sqrt(self.variances)

    @property
    def log_var(self) -> NDArray:
        """Log-variance of each component given x in probabilistic PCA, of shape (k,)."""
        noise = max(self.noise_variance, NOISE_FLOOR)
        return np.log(np.minimum(1.0, noise / self.variances))

    def dominant_value(
        self, X: NDArray, weight: NDArray | None
    ) -> tuple[int, int, int, float] | None:
        """Find a sample that causes most of the variance of a component by itself.

        Returns
        -------
        tuple or None
            Indices of the sample, of the feature that contributes most, and of the component, and
            the sample's share of the component's variance. None if there is no such sample.
        """
        u = self.standardize(X) @ self.encoder_skip.T  # (n, k)
        share = unit_weights(weight, len(u))[:, None] * np.square(u) / (len(u) - 1)
        sample, component = map(int, np.unravel_index(share.argmax(), share.shape))
        if share[sample, component] <= DOMINANT or abs(u[sample, component]) <= FAR:
            return None
        parts = (X[sample] - self.mean) * self.components[component]
        return sample, int(np.abs(parts).argmax()), component, float(share[sample, component])

    def standardize(self, X: NDArray) -> NDArray:
        """Return x~ in the type of X, computed in float64."""
        return standardize(X, self.mean, self.scale, X.dtype)

    def unstandardize(self, x: NDArray) -> NDArray:
        """Return samples in the units of X, in the type of x."""
        return unstandardize(x, self.mean, self.scale, x.dtype)


def _scale(feature_variances: NDArray) -> float:
    """Return the square root of the mean variance per feature."""
    scale = np.sqrt(feature_variances.mean())
    if scale < LEAST:
        raise ValueError(
            f"X varies too little: its standard deviation per feature is {scale:.3g}, and must be "
            f"at least {LEAST:g}. Multiply X by a constant."
        )
    return float(scale)


def _dense_components(
    X: NDArray,
    weight: NDArray | None,
    n_components: int | float,
    random_state: np.random.RandomState,
) -> tuple[NDArray, NDArray, NDArray, NDArray, float]:
    """Return means and variances of the features, and axes and variances of the components.

    The last value is the relative error of the components' variances.
    """
    n, p = X.shape
    centered = X.astype(np.float64)
    mean = center(centered, weight)
    share = unit_weights(weight, n)
    feature_variances = np.einsum("i,ij,ij->j", share, centered, centered) / (n - 1)
    if not np.ptp(X, axis=0).any():
        raise ValueError(CONSTANT)
    rows = np.divide(centered, _scale(feature_variances), out=centered)
    if weight is not None:
        # PCA does not support weights. Samples scaled by the square roots of their weights have
        # the same axes. The mirror image of each sample keeps the mean at zero.
        rows *= np.sqrt(share)[:, None]
        rows = np.concatenate([rows, rows])
        np.negative(rows[n:], out=rows[n:])
    pca = PCA(n_components, random_state=random_state).fit(rows)
    eps = np.finfo(np.float64).eps
    if pca.explained_variance_[-1] < np.sqrt(eps) * pca.explained_variance_[0]:
        # The eigenvalues of a covariance matrix have errors of eps times the largest.
        # Singular values have errors of eps times the largest singular value.
        pca = PCA(n_components, svd_solver="full").fit(rows)
    variances = pca.explained_variance_ * (len(rows) - 1) / (len(rows) / n * (n - 1))
    return mean, feature_variances, pca.components_, variances, (max(n, p) * eps) ** 2


def _sparse_components(
    X: Any,
    weight: NDArray | None,
    n_components: int | float,
    random_state: np.random.RandomState,
) -> tuple[NDArray, NDArray, NDArray, NDArray, float]:
    """Return the same for a CSR matrix, with the two solvers of PCA for sparse data.

    `PCA` itself does not support weights.
    """
    n, p = X.shape
    X = X.astype(np.float64)
    mean, feature_variances = mean_variance_axis(X, axis=0, weights=weight)
    if np.array_equal(*min_max_axis(X, axis=0)):
        raise ValueError(CONSTANT)
    feature_variances = feature_variances * (n / (n - 1))
    scale2 = _scale(feature_variances) ** 2
    root = np.sqrt(unit_weights(weight, n))
    rows = diags_array(root).tocsr() @ X
    share = not isinstance(n_components, int | np.integer)
    if share or p <= FEW_FEATURES or n_components >= min(n, p):
        products = (rows.T @ rows).toarray() - n * np.outer(mean, mean)
        variances, axes = np.linalg.eigh(products / (scale2 * (n - 1)))
        variances, axes = np.maximum(variances[::-1], 0.0), axes.T[::-1]
        k = n_components
        if share:
            k = int(np.searchsorted(np.cumsum(variances) / p, n_components, side="right")) + 1
        variances, axes = variances[:k], axes[:k]
    else:
        centered = LinearOperator(
            shape=(n, p),
            dtype=np.float64,
            matvec=lambda v: rows @ v.ravel() - root * (mean @ v.ravel()),
            rmatvec=lambda u: rows.T @ u.ravel() - mean * (root @ u.ravel()),
        )
        v0 = random_state.uniform(-1, 1, min(n, p))
        _, values, axes = svds(centered, n_components, v0=v0)
        variances, axes = np.square(values[::-1]) / (scale2 * (n - 1)), axes[::-1]
    _, axes = svd_flip(None, axes, u_based_decision=False)
    return mean, feature_variances, axes, variances, max(n, p) * np.finfo(np.float64).eps
