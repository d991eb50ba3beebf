"""Access to the estimators inside pipelines and searches."""

from typing import Any

from sklearn.pipeline import Pipeline


def last_step(estimator: Any) -> Any:
    """Return the estimator itself, or the last step of a pipeline."""
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    return estimator


def unwrap(estimator: Any) -> Any:
    """Return the fitted estimator inside nested pipelines (their last step) and searches."""
    estimator = last_step(estimator)
    while hasattr(estimator, "best_estimator_"):
        estimator = last_step(estimator.best_estimator_)
    return estimator
