"""The embedding of an estimator, with its target."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..metrics._unwrap import unwrap


def embedding_of(
    estimator: Any, X: ArrayLike, caller: str
) -> tuple[NDArray, NDArray | None, NDArray | None]:
    """Return the embedding of X, and the target's mean and covariance, or None if unknown.

    Raises
    ------
    TypeError
        If the estimator has no transform.
    """
    if not hasattr(estimator, "transform"):
        raise TypeError(f"{caller} needs an estimator with transform, got {estimator!r}")
    Z = np.asarray(estimator.transform(X))
    inner = unwrap(estimator)
    return Z, getattr(inner, "target_mean_", None), getattr(inner, "target_cov_", None)
