"""The target N(mean, cov), with maps between standard and user coordinates."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import solve_triangular

#: A component is active if its variance is above this share of the target's variance.
ACTIVE_VARIANCE = 0.01


@dataclass(frozen=True)
class Target:
    """N(mean, cov), with z = mean + L u for u ~ N(0, I) and cov = L L^T.

    Attributes
    ----------
    mean : ndarray of shape (k,)
    cov : ndarray of shape (k, k)
    factor : ndarray of shape (k, k)
        L, the lower Cholesky factor of cov.
    """

    mean: NDArray
    cov: NDArray
    factor: NDArray

    @classmethod
    def from_params(
        cls, mean: ArrayLike | None, cov: ArrayLike | None, k: int, prefix: str = "target_"
    ) -> Self:
        """Validate the parameters ``target_mean`` and ``target_cov``, and replace None.

        Error messages name the parameters with the caller's prefix, followed by "mean" or "cov".

        Raises
        ------
        ValueError
            If an array has the wrong shape or a value that is not finite, or if cov is not
            symmetric positive definite.
        """
        mean = np.zeros(k) if mean is None else _as_floats(f"{prefix}mean", mean)
        if mean.shape != (k,):
            raise ValueError(
                f"{prefix}mean must have shape (n_components,)=({k},), got {mean.shape}"
            )
        cov = np.eye(k) if cov is None else _as_floats(f"{prefix}cov", cov)
        if cov.shape == (k,):
            cov = np.diag(cov)
        if cov.shape != (k, k):
            raise ValueError(
                f"{prefix}cov must have shape (n_components, n_components)=({k}, {k}), or "
                f"({k},) for variances, got {cov.shape}"
            )
        variances = cov.diagonal()
        if variances.min() <= 0:
            raise ValueError(
                f"{prefix}cov must be positive definite, got variances (its diagonal) "
                f"{variances.tolist()}"
            )
        scale = np.sqrt(variances)
        correlation = cov / scale / scale[:, None]
        if not np.allclose(correlation, correlation.T, rtol=0, atol=1e-10):
            raise ValueError(f"{prefix}cov must be symmetric, got {cov.tolist()}")
        # Correlations make the check independent of the components' units.
        smallest = np.linalg.eigvalsh(correlation)[0]
        if smallest <= k * np.finfo(np.float64).eps:
            raise ValueError(
                f"{prefix}cov must be positive definite, got a matrix whose correlations have "
                f"the smallest eigenvalue {smallest:.3g}"
            )
        return cls(mean, cov, scale[:, None] * np.linalg.cholesky(correlation))

    def to_user(self, u: NDArray) -> NDArray:
        """Return z = mean + L u for samples u of shape (n, k), in the type of u."""
        return (u @ self.factor.T + self.mean).astype(u.dtype, copy=False)

    def to_standard(self, z: NDArray) -> NDArray:
        """Return u = L^-1 (z - mean) for samples z of shape (n, k), in the type of z."""
        u = solve_triangular(self.factor, (z - self.mean).T, lower=True).T
        return u.astype(z.dtype, copy=False)


def _as_floats(name: str, value: ArrayLike) -> NDArray:
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array of numbers, got {value!r}") from error
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {value!r}")
    return array
