"""The embedding that an estimator makes of rows, with the target it was pushed toward."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.pipeline import Pipeline


def last_step(estimator: Any) -> Any:
    """Return the estimator itself, or the last step of a pipeline."""
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    return estimator


def embedding_of(
    estimator: Any, X: ArrayLike, caller: str
) -> tuple[NDArray, NDArray | None, NDArray | None]:
    """Return the embedding of X, and the target's mean and covariance, None where unknown.

    Raises
    ------
    TypeError
        If the estimator has no transform.
    """
    if not hasattr(estimator, "transform"):
        raise TypeError(f"{caller} needs an estimator with transform, got {estimator!r}")
    Z = np.asarray(estimator.transform(X))
    last = last_step(estimator)
    return Z, getattr(last, "target_mean_", None), getattr(last, "target_cov_", None)
