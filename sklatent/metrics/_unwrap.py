"""Access to fitted estimators, also inside pipelines and searches."""

from collections.abc import Callable
from typing import Any

from numpy.typing import ArrayLike
from sklearn.pipeline import Pipeline


def last_step(estimator: Any) -> Any:
    """Return the estimator itself, or the last step of a pipeline."""
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    return estimator


def unwrap(estimator: Any) -> Any:
    """Return the fitted estimator inside nested pipelines (their last step) and searches."""
    estimator = last_step(estimator)
    for name in ("best_estimator_", "best_embedder_"):
        if hasattr(estimator, name):
            return unwrap(getattr(estimator, name))
    return estimator


def method_of(estimator: Any, name: str, caller: str) -> Callable:
    """Return a method of the estimator, or raise a TypeError that names the caller."""
    method = getattr(estimator, name, None)
    if method is None:
        raise TypeError(f"{caller} needs an estimator with {name}, got {estimator!r}")
    return method


def embedding_of(estimator: Any, X: ArrayLike, caller: str) -> tuple[ArrayLike, Any, Any]:
    """Return the embedding of X, and the mean and the covariance of its target or None."""
    Z = method_of(estimator, "transform", caller)(X)
    inner = unwrap(estimator)
    return Z, getattr(inner, "target_mean_", None), getattr(inner, "target_cov_", None)
