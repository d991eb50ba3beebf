"""GaussianEmbedderCV: cross-validation of reg_weight."""

from __future__ import annotations

import functools
import inspect
import time
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn import config_context
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    MetaEstimatorMixin,
    TransformerMixin,
    _fit_context,
    is_classifier,
)
from sklearn.callback import CallbackSupportMixin
from sklearn.metrics import get_scorer_names
from sklearn.model_selection import check_cv
from sklearn.utils import Tags, check_array, check_random_state, get_tags, indexable
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _check_sample_weight, _num_samples, check_is_fitted

from ._callbacks import Tasks
from ._data import Data, as_numpy
from ._embedder import GaussianEmbedder
from ._fit import fit_start, processes_of
from ._isolation import default_modes
from ._params import check_n_components, check_nested
from ._persistence import Storable
from ._search import RUNGS, Fold, Scorer, Search, keep_third

SHARED = [
    name
    for name in inspect.signature(GaussianEmbedder).parameters
    if name not in ("reg_weight", "warm_start")
]


def _delegated(name: str) -> Any:
    """Return the method of `GaussianEmbedder` that calls the best embedder's method."""

    def check(self: GaussianEmbedderCV) -> bool:
        getattr(self._embedder, name)  # raises an AttributeError if the task has no such method
        return True

    @available_if(check)
    @functools.wraps(getattr(GaussianEmbedder, name))
    def method(self, *args, **kwargs):
        check_is_fitted(self)
        return getattr(self._embedder, name)(*args, **kwargs)

    return method


def _attribute(name: str) -> Any:
    """Return the property that is the best embedder's attribute."""
    return property(lambda self: getattr(self.best_embedder_, name))


class GaussianEmbedderCV(
    Storable,
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    MetaEstimatorMixin,
    BaseEstimator,
):
    r"""`GaussianEmbedder` that selects the weight of its regularizer by cross-validation.

    A candidate is one weight on one fold. Each candidate is a fit of `GaussianEmbedder`, so
    `sklearn.model_selection.GridSearchCV` over ``reg_weight`` gives the same scores. Candidates
    on the same fold share its data, its principal components and their initial weights. Then `fit`
    fits `best_embedder_` with the best weight to all samples. The methods of `GaussianEmbedder`
    call its methods.

    The default score of a reconstruction is the log-likelihood. This score selects the best
    model of the data. To select the most Gaussian embedding, pass `metrics.most_gaussian_within`
    as `refit`.

    Parameters
    ----------
    n_components : int or float in (0, 1), default=2
        As in `GaussianEmbedder`. `fit` computes the number for a share of variance once, from
        all samples.

    reg_weights : array-like of shape (n_weights,), default=(0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
        Weights to try.

    cv : int, cross-validation generator or iterable, default=5
        As in `sklearn.model_selection.GridSearchCV`: number of folds (stratified for a
        classification), a splitter, or an iterable of pairs of train and test indices.

    scoring : str, callable, list, tuple or dict, default=None
        As in `GridSearchCV`. None is `GaussianEmbedder.score`, weighted if `fit` receives sample
        weights; other scores are not weighted. ``task=None`` needs a scorer. A task of your own
        should have a scorer too, because its default score ignores the regularizer.
        `metrics.reconstruction_scorer` is the R^2 of a reconstruction.

    refit : bool, str or callable, default=True
        Whether to fit an embedder with the best weight to all samples. With several scores,
        the name of the score that selects the weight. A function of ``cv_results_`` returns the
        index of the best weight.

    halving : bool, default=False
        Whether to drop the worse weights during training (successive halving [1]_). After a
        ninth of the training, and again after a third, only the best third of the weights
        continues, rounded down, but at least one. The score that selects the weight is evaluated
        on at most 100 samples of each fold. Dropped weights keep this score in ``cv_results_``
        and cannot be selected.

    n_jobs : int or None, default=None
        Number of folds that are fitted at the same time, as in `GridSearchCV`. None or 1 with
        ``device="accelerate"``, where all processes train each fit together.

    error_score : "raise" or float, default=nan
        Score of a candidate whose fit or scoring fails, as in `GridSearchCV`: a warning names the
        error. A fit fails if the training diverges. The fits of all weights on a fold fail if the
        fold is unsuitable, for example if it has fewer samples than components. "raise" raises
        the error instead. If all fits fail, `fit` always raises an error.

    regularizer, task, target_mean, target_cov : object
        As in `GaussianEmbedder`.

    hidden_layer_sizes, activation, encoder, decoder : object
        As in `GaussianEmbedder`.

    init, calibration : str or None
        As in `GaussianEmbedder`.

    learning_rate_init, batch_size, max_iter, tol, n_iter_no_change : object
        As in `GaussianEmbedder`.

    early_stopping, validation_fraction, device, random_state : object
        As in `GaussianEmbedder`.

    verbose, net_params : object
        As in `GaussianEmbedder`.

    Attributes
    ----------
    reg_weight_ : float
        The best weight.
    reg_weights_ : ndarray of shape (n_weights,)
    cv_results_ : dict of ndarrays
        Scores and times with the keys of `GridSearchCV`. The first fit time of a fold includes
        the principal components. With `halving`, ``survived`` is whether a weight was trained to
        the end.
    best_index_ : int
        Index of the best weight in ``cv_results_``.
    best_score_ : float
        Mean score of the best weight over the folds; not available if `refit` is a function.
    best_embedder_ : GaussianEmbedder
        Fitted to all samples; not available with ``refit=False``.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features,)
    classes_ : ndarray of shape (n_classes,)
    n_iter_ : int
        As of `best_embedder_`.
    n_splits_ : int
    scorer_ : callable or dict
        The scorer of the candidates, or scorers by name.

    See Also
    --------
    GaussianEmbedder : Documents the attributes of `best_embedder_`.

    Notes
    -----
    With an integer `random_state`, a grid search gives exactly the same scores for all weights
    that are trained to the end. There is one exception with `halving`: layers of your own that
    draw random numbers, such as dropout, draw other numbers.

    Callbacks of `set_callbacks` receive these tasks: the folds (with `halving`, once for each
    comparison of the weights), and the fit of the best embedder.

    References
    ----------
    .. [1] Jamieson, K. and Talwalkar, A. (2016). `Non-stochastic best arm identification and
       hyperparameter optimization <https://arxiv.org/abs/1502.07943>`_. AISTATS.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklatent import GaussianEmbedderCV
    >>> X, _ = load_iris(return_X_y=True)
    >>> search = GaussianEmbedderCV(reg_weights=[0.1, 1], max_iter=0, random_state=0)  # no training
    >>> search.fit(X).transform(X).shape
    (150, 2)
    >>> search.cv_results_["mean_test_score"].shape
    (2,)
    """

    _parameter_constraints: ClassVar[dict] = {
        **{name: GaussianEmbedder._parameter_constraints[name] for name in SHARED},
        "reg_weights": ["array-like"],
        "cv": ["cv_object"],
        "scoring": [StrOptions(set(get_scorer_names())), callable, list, tuple, dict, None],
        "refit": ["boolean", str, callable],
        "halving": ["boolean"],
        "n_jobs": [Integral, None],
        "error_score": [StrOptions({"raise"}), Real],
    }

    def __init__(
        self,
        n_components=2,
        *,
        reg_weights=(0.001, 0.01, 0.1, 1.0, 10.0, 100.0),
        cv=5,
        scoring=None,
        refit=True,
        halving=False,
        n_jobs=None,
        error_score=np.nan,
        regularizer="moment",
        task="reconstruction",
        target_mean=None,
        target_cov=None,
        hidden_layer_sizes=(256, 256),
        activation="silu",
        encoder=None,
        decoder=None,
        init="pca",
        calibration="affine",
        learning_rate_init=1e-3,
        batch_size="auto",
        max_iter="auto",
        tol=1e-4,
        n_iter_no_change=10,
        early_stopping="auto",
        validation_fraction=0.1,
        device="cpu",
        random_state=None,
        verbose=0,
        net_params=None,
    ):
        self.n_components = n_components
        self.reg_weights = reg_weights
        self.cv = cv
        self.scoring = scoring
        self.refit = refit
        self.halving = halving
        self.n_jobs = n_jobs
        self.error_score = error_score
        self.regularizer = regularizer
        self.task = task
        self.target_mean = target_mean
        self.target_cov = target_cov
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.encoder = encoder
        self.decoder = decoder
        self.init = init
        self.calibration = calibration
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.device = device
        self.random_state = random_state
        self.verbose = verbose
        self.net_params = net_params

    # The best embedder

    transform = _delegated("transform")
    inverse_transform = _delegated("inverse_transform")
    posterior = _delegated("posterior")
    sample = _delegated("sample")
    score_samples = _delegated("score_samples")
    predict = _delegated("predict")
    predict_proba = _delegated("predict_proba")
    score = _delegated("score")

    @property
    def _embedder(self) -> GaussianEmbedder:
        """The best embedder, or before the fit an embedder with the same parameters."""
        if not hasattr(self, "cv_results_"):
            return GaussianEmbedder(**self._shared_params())
        if not hasattr(self, "best_embedder_"):
            raise AttributeError("refit=False fits no embedder to all samples")
        return self.best_embedder_

    # Scikit-learn looks for these attributes.
    n_features_in_ = _attribute("n_features_in_")
    feature_names_in_ = _attribute("feature_names_in_")
    classes_ = _attribute("classes_")
    n_iter_ = _attribute("n_iter_")
    _n_features_out = _attribute("n_components_")

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "cv_results_")

    def __sklearn_tags__(self) -> Tags:
        return get_tags(GaussianEmbedder(**self._shared_params()))

    def _shared_params(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in SHARED}

    def set_params(self, **params: Any) -> Self:
        """Set parameters, also of a regularizer or task instance, as in `GaussianEmbedder`."""
        for name in ("regularizer", "task"):
            check_nested(name, params.get(name, getattr(self, name)), params)
        return super().set_params(**params)

    # The search

    @_fit_context(prefer_skip_nested_validation=True)
    @default_modes()
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Select the weight of the regularizer, and learn the embedding of X with this weight.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            As in `GaussianEmbedder.fit`; the splitter and the scores use it too.
        sample_weight : array-like of shape (n_samples,), default=None
            As in `GaussianEmbedder.fit`, in every fold.
        groups : array-like of shape (n_samples,), default=None
            Groups of the samples, for a splitter that keeps groups together.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As `GaussianEmbedder.fit`; also if every fit fails or, with
            ``error_score="raise"``, if any fit fails.
        """
        reg_weights = self._check_reg_weights()
        if self.task is None and self.scoring is None:
            raise ValueError(
                "scoring must not be None with task=None, which has no default score: pass for "
                "example scoring=sklatent.metrics.gaussianity_scorer"
            )
        if self.device == "accelerate" and self.n_jobs not in (None, 1):
            raise ValueError(
                "device='accelerate' trains each fit in all processes, so n_jobs must be None or "
                f"1, got {self.n_jobs}"
            )
        params = self._shared_params()
        embedder = GaussianEmbedder(**params)
        data = Data.check(embedder, self.task, X, y, sample_weight, reset=True)
        check_n_components(self.n_components, *data.X.shape)
        if not isinstance(self.n_components, Integral):
            random_state = check_random_state(self.random_state)
            start, _ = fit_start(data, self.n_components, random_state)
            embedder.n_components = params["n_components"] = len(start.components)
        tasks = Tasks(self, X, y, sample_weight)
        X, y, groups = indexable(*map(as_numpy, (X, y, groups)))
        every = kept = np.arange(_num_samples(X))
        weight: Any = None
        if sample_weight is not None:
            with config_context(array_api_dispatch=False):
                weight = _check_sample_weight(sample_weight, X)
            kept = np.flatnonzero(weight > 0)
        splitter = check_cv(self.cv, y, classifier=is_classifier(embedder))
        folds = [
            Fold(*(part[np.isin(part, kept)] for part in (every[train], every[test])))
            for train, test in splitter.split(X, y, groups)
        ]
        scorer = Scorer(embedder, self.scoring, self.refit, self.error_score)
        self._check_halving(several=isinstance(scorer.scorer, dict))
        weighted = self.scoring is None and weight is not None
        search = Search(embedder, X, y, weight, scorer, weighted, self.n_jobs)
        context = self._init_callback_context(max_subtasks=1 + bool(self.refit))
        found: dict[str, Any] = {}
        with tasks.task(context, attributes=found if self.refit else None):
            folds, remaining = self._run(search, folds, reg_weights.tolist(), tasks, context)
            found |= self._select(scorer, folds, reg_weights, remaining)
            if self.refit:
                best = GaussianEmbedder(**params, reg_weight=found["reg_weight_"])
                found["best_embedder_"] = tasks.fit(context, "refit", best, X, y, sample_weight)
        for name in [name for name in vars(self) if name[-1] == "_"]:
            delattr(self, name)
        self.__dict__.update(found)
        return self

    def _run(self, search, folds, reg_weights, tasks, context):
        """Train and score the candidates; return the folds, and the weights that remain."""
        parts = (*RUNGS, 1) if self.halving else (1,)
        context = context.subcontext("search", max_subtasks=len(parts) * len(folds))
        with tasks.task(context):
            for part in parts:
                folds = self._run_part(search, folds, reg_weights, part, tasks, context)
                if part > 1:
                    scores = [each.scores for fold in folds for each in fold.candidates.values()]
                    self._check_halving(several=any(isinstance(each, dict) for each in scores))
                    reg_weights = keep_third(folds, reg_weights, self.refit)
        return folds, reg_weights

    def _run_part(self, search, folds, reg_weights, part, tasks, context):
        """Train and score some weights on all folds, until a part of the training."""
        done, results = [], search.run(folds, reg_weights, part)
        weights = ", ".join(f"{each:g}" for each in reg_weights)
        title = f"{f'1/{part} of the ' if part > 1 else ''}training with reg_weights {weights}"
        began = time.perf_counter()
        for i in range(len(folds)):
            with tasks.task(context.subcontext("fold")):
                done.append(next(results))
            seconds = time.perf_counter() - began
            self._print(f"{title}: fold {i + 1} of {len(folds)}, {seconds:.1f} s")
        return done

    def _select(self, scorer, folds, reg_weights, remaining):
        """Return the fitted attributes of the search."""
        candidates = [fold.candidates[weight] for weight in reg_weights.tolist() for fold in folds]
        out = [
            {
                "fit_error": each.error,
                "fit_time": each.fit_time,
                "score_time": each.score_time,
                "test_scores": each.scores,
            }
            for each in candidates
        ]
        grid = [{"reg_weight": reg_weight} for reg_weight in reg_weights.tolist()]
        results = scorer.results(grid, len(folds), out)
        found = {
            "reg_weights_": reg_weights,
            "n_splits_": len(folds),
            "scorer_": scorer.scorer,
            "cv_results_": results,
        }
        several = isinstance(out[0]["test_scores"], dict)
        metric = self.refit if several else "score"
        if self.halving:
            results["survived"] = np.isin(reg_weights, remaining)
        if self.refit or not several:
            if self.halving:
                ranks = results[f"rank_test_{metric}"]
                best = int(np.where(results["survived"], ranks, len(ranks) + 1).argmin())
            else:
                best = int(scorer.best_index(metric, results))
            found |= {"best_index_": best, "reg_weight_": float(reg_weights[best])}
            if not callable(self.refit):
                found["best_score_"] = float(results[f"mean_test_{metric}"][best])
            self._print(f"best reg_weight: {found['reg_weight_']:g}")
        return found

    def _print(self, line):
        processes = processes_of(self)
        if self.verbose and (processes is None or processes.rank == 0):
            print(f"[{type(self).__name__}] {line}", flush=True)

    # Files

    def _pack(self) -> dict[str, Any]:
        # `scorer_` follows from the parameters.
        return {name: value for name, value in vars(self).items() if name != "scorer_"}

    def _unpack(self) -> None:
        if hasattr(self, "cv_results_"):
            embedder = GaussianEmbedder(task=self.task)
            self.scorer_ = Scorer(embedder, self.scoring, self.refit, self.error_score).scorer

    def _check_halving(self, *, several):
        named = isinstance(self.refit, str) if several else not callable(self.refit)
        if self.halving and not named:
            raise ValueError(
                "halving=True needs one score to compare weights: refit must be a boolean or, with "
                f"several scores, the name of one of them, got {self.refit!r}"
            )

    def _check_reg_weights(self):
        weights = check_array(
            self.reg_weights,
            ensure_2d=False,
            ensure_min_samples=0,
            dtype=np.float64,
            input_name="reg_weights",
        )
        if weights.ndim != 1 or len(weights) == 0 or weights.min() < 0:
            raise ValueError(
                "reg_weights must be a non-empty sequence of numbers >= 0, got "
                f"{self.reg_weights!r}"
            )
        return weights
