"""Scorers for `scoring=`, and a `refit` for several scores."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import r2_score

from ._classifier import classifier_two_sample_test
from ._epps_pulley import epps_pulley_test
from ._unwrap import embedding_of, method_of


def gaussianity_scorer(estimator: Any, X: ArrayLike, y: Any = None) -> float:
    """Return minus the sliced Epps-Pulley effect size of the embedding of X.

    The embedding is ``estimator.transform(X)``. The target is N(`target_mean_`, `target_cov_`) of
    the estimator, of a pipeline's last step or of a search's best estimator. If these attributes
    are missing, the target is N(0, I). A greater score is better. If the embedding is from the
    target, the score is about zero and can be slightly positive. The effect size does not grow with
    the number of samples (see `epps_pulley_test`), so that folds of different sizes can be
    compared. The score is deterministic: the scorer uses 512 directions and ``random_state=0``.

    Parameters
    ----------
    estimator : fitted estimator with transform
        `GaussianEmbedder`, ``PCA(whiten=True)``, a pipeline that ends in one, a search, ...
    X : array-like of shape (n_samples, n_features)
    y : ignored

    Returns
    -------
    float

    Raises
    ------
    TypeError
        If the estimator has no transform.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklatent.metrics import gaussianity_scorer
    >>> X, y = load_iris(return_X_y=True)
    >>> scores = cross_val_score(PCA(2, whiten=True), X, y, scoring=gaussianity_scorer)
    >>> scores.shape
    (5,)
    """
    Z, mean, cov = embedding_of(estimator, X, "gaussianity_scorer")
    return -epps_pulley_test(Z, mean, cov, n_slices=512, random_state=0).effect_size


def classifier_scorer(estimator: Any, X: ArrayLike, y: Any = None) -> float:
    """Return minus the effect size of the classifier two-sample test, 1 - 2 AUC.

    The score is about zero if classifiers cannot tell the embedding of X from draws of the target,
    and -1 if they always can. A greater score is better. The target is the one of
    `gaussianity_scorer`. The score is deterministic: the scorer uses ``random_state=0``. The score
    decreases with the number of samples, because the classifiers learn from more of them. So
    compare scores of folds of about the same size.

    Parameters
    ----------
    estimator : fitted estimator with transform
        `GaussianEmbedder`, ``PCA(whiten=True)``, a pipeline that ends in one, a search, ...
    X : array-like of shape (n_samples, n_features)
        At least three samples.
    y : ignored

    Returns
    -------
    float

    Raises
    ------
    TypeError
        If the estimator has no transform.

    See Also
    --------
    classifier_two_sample_test : The test.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklatent.metrics import classifier_scorer
    >>> X, y = load_digits(return_X_y=True)
    >>> -1 < classifier_scorer(PCA(2, whiten=True).fit(X), X) < -0.1
    True
    """
    Z, mean, cov = embedding_of(estimator, X, "classifier_scorer")
    return -classifier_two_sample_test(Z, mean, cov, random_state=0).effect_size


def reconstruction_scorer(estimator: Any, X: ArrayLike, y: Any = None) -> float:
    """Return R^2: the share of the variance of X that the reconstruction explains.

    The reconstruction is ``estimator.inverse_transform(estimator.transform(X))``. Squared errors
    and variances are summed over features, in the units of X.

    Parameters
    ----------
    estimator : fitted estimator with transform and inverse_transform
    X : array-like of shape (n_samples, n_features)
    y : ignored

    Returns
    -------
    float
        At most 1. A greater score is better.

    Raises
    ------
    TypeError
        If the estimator lacks one of the methods.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.decomposition import PCA
    >>> from sklatent.metrics import reconstruction_scorer
    >>> X, y = load_iris(return_X_y=True)
    >>> pca = PCA(2, whiten=True).fit(X)
    >>> bool(abs(reconstruction_scorer(pca, X) - pca.explained_variance_ratio_.sum()) < 1e-9)
    True
    """
    transform = method_of(estimator, "transform", "reconstruction_scorer")
    inverse = method_of(estimator, "inverse_transform", "reconstruction_scorer")
    return float(r2_score(X, inverse(transform(X)), multioutput="variance_weighted"))


def log_likelihood_scorer(estimator: Any, X: ArrayLike, y: Any = None) -> float:
    """Return the mean of ``estimator.score_samples(X)``, a log-likelihood in nats per sample.

    In a pipeline, the density is the density of the input of the last step. Therefore this score
    cannot compare pipelines with different earlier steps.

    Parameters
    ----------
    estimator : fitted estimator with score_samples
    X : array-like of shape (n_samples, n_features)
    y : ignored

    Returns
    -------
    float
        A greater score is better.

    Raises
    ------
    TypeError
        If the estimator has no score_samples.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.decomposition import PCA
    >>> from sklatent.metrics import log_likelihood_scorer
    >>> X, y = load_iris(return_X_y=True)
    >>> pca = PCA(2).fit(X)
    >>> log_likelihood_scorer(pca, X) == pca.score(X)
    True
    """
    return float(np.mean(method_of(estimator, "score_samples", "log_likelihood_scorer")(X)))


@dataclass(frozen=True)
class _MostGaussianWithin:
    metric: str
    tolerance: float | Literal["1se"]
    gaussianity: str

    def __call__(self, cv_results: Mapping[str, Any]) -> int:
        score = self._mean(cv_results, self.metric)
        gaussianity = self._mean(cv_results, self.gaussianity)
        if not (np.isfinite(score) & np.isfinite(gaussianity)).any():
            raise ValueError(
                f"every candidate has a {self.metric!r} or {self.gaussianity!r} score that is not "
                "finite"
            )
        gaussianity = np.where(np.isfinite(gaussianity), gaussianity, -np.inf)
        score = np.where(np.isfinite(score) & np.isfinite(gaussianity), score, -np.inf)
        best = int(np.argmax(score))
        if self.tolerance == "1se":
            splits = [
                values[best]
                for i in range(sum(key.startswith("split") for key in cv_results))
                if (values := cv_results.get(f"split{i}_test_{self.metric}")) is not None
            ]
            if len(splits) < 2:
                raise ValueError(
                    "tolerance='1se' needs the scores of at least two splits, split0_test_"
                    f"{self.metric}, split1_test_{self.metric}, ..., in cv_results_; got "
                    f"{len(splits)}"
                )
            tolerance = np.std(splits, ddof=1) / np.sqrt(len(splits))
        else:
            tolerance = self.tolerance
        near = score >= score[best] - tolerance
        return int(np.argmax(np.where(near, gaussianity, -np.inf)))

    def _mean(self, cv_results: Mapping[str, Any], name: str) -> NDArray:
        key = f"mean_test_{name}"
        if key not in cv_results:
            known = [k.removeprefix("mean_test_") for k in cv_results if k.startswith("mean_test_")]
            raise ValueError(
                f"cv_results_ has no {key!r}: add {name!r} to scoring={{...}}; got the scores "
                f"{sorted(known)}"
            )
        return np.asarray(cv_results[key], dtype=np.float64)


def most_gaussian_within(
    metric: str, tolerance: float | Literal["1se"] = "1se", *, gaussianity: str = "gaussianity"
) -> Callable[[Mapping[str, Any]], int]:
    """Return a `refit` for grid searches that selects the most Gaussian of the good candidates.

    A candidate is good if its mean score of `metric` over the splits is within `tolerance` of the
    best mean score.

    Parameters
    ----------
    metric : str
        Name of a score in ``scoring={...}``. A greater score must be better.
    tolerance : float or "1se", default="1se"
        A number in units of the metric. "1se" means one standard error of the best candidate's mean
        over the splits (Breiman et al. 1984).
    gaussianity : str, default="gaussianity"
        Name of the score that selects among the good candidates.

    Returns
    -------
    callable
        A function that maps ``cv_results_`` to the index of a candidate, and can be pickled and
        cloned. The function raises a ValueError if ``cv_results_`` lacks a score. The function
        never selects a candidate with a score that is not finite, such as a failed fit.

    Raises
    ------
    ValueError
        If `tolerance` is negative or a string other than "1se", or if a name is not a string.

    References
    ----------
    Breiman, Friedman, Olshen & Stone (1984). Classification and regression trees, section 3.4.3.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklatent.metrics import (
    ...     gaussianity_scorer, most_gaussian_within, reconstruction_scorer
    ... )
    >>> search = GridSearchCV(
    ...     PCA(whiten=True),
    ...     {"n_components": [4, 8, 16]},
    ...     scoring={"r2": reconstruction_scorer, "gaussianity": gaussianity_scorer},
    ...     refit=most_gaussian_within("r2", tolerance=0.2),
    ... )
    >>> int(search.fit(load_digits().data).best_estimator_.n_components_)
    8
    """
    for name, value in (("metric", metric), ("gaussianity", gaussianity)):
        if not isinstance(value, str):
            raise ValueError(f"{name} must be the name of a score, got {value!r}")
    if tolerance != "1se" and not (
        isinstance(tolerance, int | float | np.number) and 0 <= tolerance < np.inf
    ):
        raise ValueError(
            f"tolerance must be a float that is not negative or '1se', got {tolerance!r}"
        )
    return _MostGaussianWithin(metric, tolerance, gaussianity)
