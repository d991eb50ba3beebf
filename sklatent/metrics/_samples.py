"""Validation, standardization and subsampling of samples."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array

from .._target import Target

Null = Literal["simple", "composite"]

#: Largest number of samples for statistics of quadratic cost.
MAX_SAMPLES = 5000


def check_samples(Z: ArrayLike, min_samples: int = 2) -> NDArray:
    """Return Z as finite float64 samples, (n, k)."""
    return check_array(Z, dtype=np.float64, input_name="Z", ensure_min_samples=min_samples)


def standard_samples(
    Z: ArrayLike, mean: ArrayLike | None, cov: ArrayLike | None, null: Null
) -> NDArray:
    """Return samples that are N(0, I) under a simple null, or have its moments (composite).

    Raises
    ------
    ValueError
        If null is neither. With a composite null, also if a mean or covariance is given, or if
        there are too few samples or a singular covariance.
    """
    if null == "simple":
        Z = check_samples(Z)
        return Target.from_params(mean, cov, Z.shape[1], prefix="").to_standard(Z)
    if null != "composite":
        raise ValueError(f"null must be 'simple' or 'composite', got {null!r}")
    for name, value in (("mean", mean), ("cov", cov)):
        if value is not None:
            raise ValueError(
                f"{name} must be None with null='composite', which estimates it from Z, "
                f"got {value!r}"
            )
    Z = check_samples(Z)
    n, k = Z.shape
    if n < k + 2:
        raise ValueError(
            "null='composite' needs at least n_components + 2 samples to estimate a covariance, "
            f"got Z of shape ({n}, {k})"
        )
    # The division by the standard deviations makes the test of the rank independent of units.
    centered = Z - Z.mean(axis=0)
    spread = centered.std(axis=0)
    if (spread <= 1e-12 * np.abs(Z).max(axis=0)).any():
        raise ValueError("null='composite' needs components that vary, got a constant component")
    singular = np.linalg.svd(np.cov(centered.T / spread[:, None]).reshape(k, k), compute_uv=False)
    if singular[-1] <= 1e-12 * singular[0]:
        raise ValueError(
            "null='composite' needs a covariance of full rank, got Z of shape "
            f"({n}, {k}) with rank {int((singular > 1e-12 * singular[0]).sum())}"
        )
    return whiten(centered / spread)


def whiten(u: NDArray) -> NDArray:
    """Return samples (..., n, k) with mean zero and covariance I, divisor n."""
    u = u - u.mean(axis=-2, keepdims=True)
    factor = np.linalg.cholesky(np.swapaxes(u, -1, -2) @ u / u.shape[-2])
    return np.swapaxes(np.linalg.solve(factor, np.swapaxes(u, -1, -2)), -1, -2)


def thin(u: NDArray, seed: int) -> NDArray:
    """Return at most `MAX_SAMPLES` of the samples, drawn without replacement."""
    if len(u) <= MAX_SAMPLES:
        return u
    return u[np.random.default_rng(seed).choice(len(u), MAX_SAMPLES, replace=False)]


def squared_distances(u: NDArray) -> Iterator[NDArray]:
    """Yield blocks of the squared distances of samples (..., n, k), each (..., some, n)."""
    u = u - u.mean(axis=-2, keepdims=True)
    norms = np.square(u).sum(axis=-1)
    step = max(1, 2**20 // max(1, norms.size))
    for start in range(0, u.shape[-2], step):
        some = slice(start, start + step)
        block = u[..., some, :] @ np.swapaxes(u, -1, -2)
        block *= -2
        block += norms[..., some, None]
        block += norms[..., None, :]
        yield np.maximum(block, 0, out=block)
