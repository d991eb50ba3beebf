"""OutlierDetector: a threshold on the log-likelihood of any density model."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, floor
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MetaEstimatorMixin, OutlierMixin, _fit_context, clone
from sklearn.callback import CallbackSupportMixin
from sklearn.model_selection import KFold, check_cv
from sklearn.utils import Tags, _safe_indexing, get_tags, indexable
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.validation import _num_samples, check_is_fitted

from ._callbacks import Tasks
from ._data import features_of, set_fitted


class OutlierDetector(CallbackSupportMixin, OutlierMixin, MetaEstimatorMixin, BaseEstimator):
    r"""Detect the samples that are unlikely under a density model.

    A sample x is an outlier if :math:`\log p(x) < t`, where log p is the model's
    ``score_samples``. By default, the threshold t makes the share `contamination` of the training
    samples outliers.

    A flexible model gives its training samples higher scores than new samples. Then the share of
    regular new samples below the threshold exceeds `contamination`. With `cv`, the threshold
    comes from scores of samples that the model was not fitted to, and the share of false alarms
    is close to `contamination`.

    Parameters
    ----------
    estimator : estimator
        Density model with the methods ``fit`` and ``score_samples``, for example
        `GaussianEmbedder`, `Gaussianizer`, `sklearn.mixture.GaussianMixture`, or a pipeline that
        ends in one of these.

    contamination : float in (0, 0.5], default=0.1
        Share of the training samples that count as outliers. If no training sample is an outlier,
        this is the wanted share of false alarms. With `cv`, a share c needs at least 1/c - 1
        samples.

    cv : int, cross-validation generator, iterable or None, default=None
        How to split the training samples to compute the threshold: the estimator is fitted
        without each fold, and scores this fold. An int is the number of folds, which are drawn
        at random with a fixed seed. None fits one estimator only and uses its scores of the
        training samples. To clone the detector, pass a list of splits instead of an iterator.

    Attributes
    ----------
    estimator_ : estimator
        Fitted to all training samples.
    offset_ : float
        Threshold t, a little below a score. So rounding errors do not change the prediction.
    n_features_in_ : int
        Number of features, if the estimator has this attribute.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, if the estimator has this attribute.

    See Also
    --------
    sklearn.ensemble.IsolationForest : Needs no density model.
    sklearn.neighbors.LocalOutlierFactor : Compares the densities of a sample and of its neighbors.

    Notes
    -----
    Without `cv`, floor(c n) of the n training samples are outliers for a `contamination` of c, or
    fewer if several samples have the same score.

    With `cv`, the threshold lies just below the r-th smallest of n held-out scores, where
    r = floor(c (n + 1)). A sample that is held out several times has its mean score. A new sample
    is an outlier if its conformal p-value, (1 + number of lower held-out scores) / (n + 1), is at
    most c. If one model scored all samples, the share of false alarms would be r / (n + 1) on
    average. Its standard deviation over training sets would be about
    :math:`\sqrt{c (1 - c) / n}` [2]_. But several models score the folds, as in cross-conformal
    prediction [1]_, so both values are approximate. The models of the folds have fewer training
    samples than the final model, so their scores are a little lower, and so is the share of false
    alarms.

    A score of nan counts as a score of -inf: such a sample is an outlier.

    `fit` does not support sample weights.

    References
    ----------
    .. [1] Vovk, V. (2015). `Cross-conformal predictors <https://arxiv.org/abs/1208.0806>`_.
       Annals of Mathematics and Artificial Intelligence 74.
    .. [2] Bates, S., Candès, E., Lei, L., Romano, Y. and Sesia, M. (2023). `Testing for outliers
       with conformal p-values <https://arxiv.org/abs/2104.08279>`_. Annals of Statistics 51.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklatent import OutlierDetector
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> benign, malignant = X[y == 1], X[y == 0]
    >>> model = make_pipeline(StandardScaler(), PCA(4))
    >>> detector = OutlierDetector(model, contamination=0.05, cv=5).fit(benign)
    >>> float((detector.predict(malignant) == -1).mean()) > 0.75  # detected
    True
    """

    _parameter_constraints: ClassVar[dict] = {
        "estimator": [HasMethods(["fit", "score_samples"])],
        "contamination": [Interval(Real, 0, 0.5, closed="right")],
        "cv": ["cv_object", None],
    }

    def __init__(self, estimator, *, contamination=0.1, cv=None):
        self.estimator = estimator
        self.contamination = contamination
        self.cv = cv

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.estimator).input_tags
        return tags

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: ArrayLike, y: Any = None, groups: ArrayLike | None = None) -> Self:
        """Fit the density model, and compute the threshold.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : ignored
            Present by convention.
        groups : array-like of shape (n_samples,), default=None
            Groups of the samples, for a `cv` that keeps groups together.

        Returns
        -------
        self
        """
        cv = self._splitter()
        tasks = Tasks(self, X, y, None)
        n_fits = 1 if cv is None else 1 + cv.get_n_splits(X, groups=groups)
        context = self._init_callback_context(max_subtasks=n_fits)
        fitted: dict[str, Any] = {}
        with tasks.task(context, attributes=fitted):
            fitted.update(self._fit(X, groups, cv, tasks, context))
        set_fitted(self, fitted)
        return self

    def _fit(self, X, groups, cv, tasks, context):
        """Return the fitted attributes."""
        model = tasks.fit(context, "fit", clone(self.estimator), X)
        if cv is None:
            scores = model.score_samples(X)
            rank = 1 + self._n_outliers(len(scores))
        else:
            scores = self._held_out_scores(X, groups, cv, tasks, context)
            rank = self._n_outliers(len(scores) + 1)
        offset = just_below(scores, rank)
        if not np.isfinite(offset):
            raise ValueError(
                f"score {rank} of {len(scores)} in ascending order is {offset}, so no threshold "
                f"exists for contamination={self.contamination}: increase contamination, or fit a "
                "model that gives new samples a positive density"
            )
        return features_of(model) | {"estimator_": model, "offset_": offset}

    def _n_outliers(self, n):
        return floor(self.contamination * n + 1e-9)  # 0.07 * 100 exceeds 7, 0.29 * 100 is below 29

    def _splitter(self):
        if self.cv is None:
            return None
        if isinstance(self.cv, Integral):  # samples are often sorted
            return KFold(self.cv, shuffle=True, random_state=0)
        if not isinstance(self.cv, Iterator):
            return check_cv(self.cv)
        if getattr(self, "_cv", None) is not self.cv:  # the first fit empties an iterator
            self._cv, self._cv_splits = self.cv, check_cv(self.cv)
        return self._cv_splits

    def _held_out_scores(self, X, groups, cv, tasks, context):
        X, groups = indexable(X, groups)
        every = np.arange(_num_samples(X))
        splits = [(every[train], every[test]) for train, test in cv.split(X, groups=groups)]
        held_out, counts = np.unique(np.concatenate([s[1] for s in splits]), return_counts=True)
        if self._n_outliers(len(held_out) + 1) == 0:
            raise ValueError(
                f"contamination={self.contamination} needs at least "
                f"{ceil(1 / self.contamination - 1 - 1e-9)} held-out samples, got {len(held_out)}: "
                "pass more samples, increase contamination, or set cv=None"
            )
        sums = np.zeros(len(every))
        for train, test in splits:
            model = clone(self.estimator)
            tasks.fit(context, "fit-fold", model, _safe_indexing(X, train))
            np.add.at(sums, test, model.score_samples(_safe_indexing(X, test)))
        return sums[held_out] / counts

    def score_samples(self, X: ArrayLike) -> NDArray:
        """Return the log-likelihood of each sample under the density model.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        check_is_fitted(self, "estimator_")
        return self.estimator_.score_samples(X)

    def decision_function(self, X: ArrayLike) -> NDArray:
        """Return the log-likelihood minus the threshold; negative for outliers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        return np.subtract(self.score_samples(X), self.offset_, dtype=np.float64)

    def predict(self, X: ArrayLike) -> NDArray:
        """Return -1 for outliers and 1 for inliers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        return np.where(self.decision_function(X) >= 0, 1, -1)


def just_below(scores, rank):
    """Return a value below the score of this rank, and above all lower scores.

    Scores that differ by rounding errors only count as equal. The distance to the score is a
    hundredth of the gap to the next lower score, or to the next higher score if no score is lower.
    This is more than rounding errors, and too little to change the share of false alarms.
    """
    scores = np.asarray(scores, dtype=np.float64)
    scores = np.sort(np.where(np.isnan(scores), -np.inf, scores))
    score = scores[rank - 1]
    if not np.isfinite(score):
        return float(score)
    finite = scores[np.isfinite(scores)]
    rounding = 1e-9 * abs(score)
    equal = finite[np.abs(finite - score) <= rounding]
    lower, higher = finite[finite < equal[0]], finite[finite > equal[-1]]
    if lower.size:
        gap = equal[0] - lower[-1]
    else:
        gap = higher[0] - equal[-1] if higher.size else 100 * rounding
    return float(equal[0] - gap / 100)
