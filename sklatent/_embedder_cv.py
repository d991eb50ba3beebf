"""GaussianEmbedderCV: cross-validation of reg_weight."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn import config_context
from sklearn.base import _fit_context, is_classifier
from sklearn.callback import with_callbacks
from sklearn.metrics import get_scorer_names
from sklearn.model_selection import GridSearchCV, check_cv
from sklearn.model_selection._validation import _score, _warn_or_raise_about_fit_failures
from sklearn.utils import _safe_indexing, check_array, check_random_state, indexable, resample
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _check_sample_weight, _num_samples

from ._callbacks import Tasks
from ._candidates import Candidates
from ._data import Data, as_numpy, set_fitted
from ._embedder import GaussianEmbedder
from ._fit import fit_start
from ._params import check_n_components
from .training import Drop

SHARED = [
    name
    for name in inspect.signature(GaussianEmbedder).parameters
    if name not in ("reg_weight", "warm_start")
]


class GaussianEmbedderCV(GaussianEmbedder):
    r"""`GaussianEmbedder` that selects the weight of its regularizer by cross-validation.

    The search is equivalent to `sklearn.model_selection.GridSearchCV` over ``reg_weight``. A
    candidate is one weight on one fold. All candidates train as one stacked network, each on its
    own samples, from its own principal components, with its own early stopping. Then `fit` fits
    an embedder with the best weight to all samples, and this class has all attributes and
    methods of the embedder.

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
        ninth of ``max_iter``, and again after a third, only the best third of the weights
        continues. The score that selects the weight is evaluated on at most 100 samples of each
        fold. Dropped weights keep this score in ``cv_results_`` and cannot be selected.
        Candidates that train one at a time are not dropped.

    error_score : "raise" or float, default=nan
        Score of a candidate whose fit or scoring fails, as in `GridSearchCV`: a warning names the
        error. A fit fails if the training diverges. The fits of all weights on a fold fail if the
        fold is unsuitable, for example if it has fewer samples than components. "raise" raises
        the error instead. If all fits fail, `fit` always raises an error.

    regularizer, task, target_mean, target_cov : object
        As in `GaussianEmbedder`. Your own regularizers and tasks cannot be stacked: candidates then
        train one at a time, and `fit` warns.

    hidden_layer_sizes, activation, encoder, decoder : object
        As in `GaussianEmbedder`. Your own networks cannot be stacked either.

    init, calibration : str or None
        As in `GaussianEmbedder`.

    learning_rate_init, batch_size, max_iter, tol, n_iter_no_change : object
        As in `GaussianEmbedder`.

    early_stopping, validation_fraction, device, random_state : object
        As in `GaussianEmbedder`.

    verbose, net_params : object
        As in `GaussianEmbedder`. With `net_params`, candidates train one at a time.

    Attributes
    ----------
    reg_weight_ : float
        The best weight.
    reg_weights_ : ndarray of shape (n_weights,)
    cv_results_ : dict of ndarrays
        Scores and times with the keys of `GridSearchCV`. The fit time of a candidate is the
        stack's time divided by the number of candidates. With `halving`, ``survived`` is whether
        a weight was trained to the end.
    best_index_ : int
        Index of the best weight in ``cv_results_``.
    best_score_ : float
        Mean score of the best weight over the folds; not available if `refit` is a function.
    best_embedder_ : GaussianEmbedder
        Fitted to all samples; not available with ``refit=False``.
    n_splits_ : int
    scorer_ : callable or dict
        The scorer of the candidates, or scorers by name.

    See Also
    --------
    GaussianEmbedder : Documents all other attributes of this class.

    Notes
    -----
    Candidates on the same fold start with the same weights and train on the same batches, as in
    a grid search with an integer `random_state`. The results equal the grid search's up to
    rounding if the training uses no random draws (of directions, or of a stochastic encoder),
    and if the folds are equally large and consist of full batches. Otherwise an epoch has the
    steps of the largest fold. Each epoch omits, at random, the samples that do not fill a step.
    A smaller fold repeats its samples, so it trains for more epochs than in a grid search.

    Callbacks of `set_callbacks` receive these tasks: the epochs of the stack, the scores of the
    candidates, and the fit of the best embedder.

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

    partial_fit = available_if(lambda self: False)(GaussianEmbedder.partial_fit)

    @_fit_context(prefer_skip_nested_validation=True)
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
        with self._as_it_was_on_failure():
            self._fit(X, y, sample_weight, groups)
        return self

    @with_callbacks
    def _fit(self, X, y, sample_weight, groups):
        for name in self._shared() | {name for name in vars(self) if name[-1] == "_"}:
            delattr(self, name)
        self.reg_weights_ = self._check_reg_weights()
        if self.task is None and self.scoring is None:
            raise ValueError(
                "scoring must not be None with task=None, which has no default score: pass for "
                "example scoring=sklatent.metrics.gaussianity_scorer"
            )
        params = {name: getattr(self, name) for name in SHARED}
        embedder = GaussianEmbedder(**params)
        data = Data.check(self, self.task, X, y, sample_weight, reset=True)
        set_fitted(self, data.features)
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
        splits = [
            tuple(part[np.isin(part, kept)] for part in (every[train], every[test]))
            for train, test in splitter.split(X, y, groups)
        ]
        self.n_splits_ = len(splits)
        search = _Search(embedder, self.scoring, self.refit, self.error_score)
        self.scorer_ = search.scorer
        self._check_halving(several=isinstance(self.scorer_, dict))

        def score(candidate, split, max_samples=None):
            if candidate is None:
                return self.error_score
            test = splits[split][1]
            if max_samples is not None and len(test) > max_samples:
                classes = _safe_indexing(y, test) if is_classifier(embedder) else None
                test = resample(
                    test, replace=False, n_samples=max_samples, random_state=0, stratify=classes
                )
            known = [None if part is None else _safe_indexing(part, test) for part in (X, y)]
            weighted = self.scoring is None and weight is not None
            routed = {"sample_weight": weight[test]} if weighted else {}
            scores = search.score(candidate, known[0], known[1], routed)
            if isinstance(scores, dict):
                self._check_halving(several=True)
            return scores

        context = self._init_callback_context(max_subtasks=3 if self.refit else 2)
        with tasks.task(context, attributes={} if self.refit else None):
            began = time.perf_counter()
            candidates = Candidates(
                embedder,
                (X, y, weight),
                [train for train, _ in splits],
                self.reg_weights_.tolist(),
                np.unique(data.y) if data.y is not None and is_classifier(embedder) else None,
                self.error_score,
            )
            self._select(search, candidates, score, began, tasks, context)
            if self.refit:
                refitted = GaussianEmbedder(**params, reg_weight=self.reg_weight_)
                self.best_embedder_ = tasks.fit(context, "refit", refitted, X, y, sample_weight)
                self._take_over()

    def _select(self, search, candidates, score, began, tasks, context):
        """Train and score the candidates, and select the best weight."""
        callbacks = []
        if self.halving:
            callbacks.append(Drop((9, 3), candidates.halving(score, self.refit)))
        fitted = candidates.fit(callbacks, tasks, context)
        fit_time = (time.perf_counter() - began) / len(fitted)
        out = []
        with tasks.task(context.subcontext("score", max_subtasks=len(fitted))) as task:
            for i, (_, split) in enumerate(candidates.pairs):
                began = time.perf_counter()
                scores = candidates.scores[i]
                with tasks.task(task.subcontext("candidate")):
                    if scores is None:
                        scores = score(fitted[i], split)
                elapsed = time.perf_counter() - began
                result = {"fit_error": candidates.errors[i], "fit_time": fit_time}
                out.append(result | {"score_time": elapsed, "test_scores": scores})
        grid = [{"reg_weight": reg_weight} for reg_weight in self.reg_weights_.tolist()]
        self.cv_results_ = search.results(grid, self.n_splits_, out)

        several = isinstance(out[0]["test_scores"], dict)
        refit_metric = self.refit if several else "score"
        if self.halving:
            survived = np.array([weight in candidates.remaining for weight in self.reg_weights_])
            self.cv_results_["survived"] = survived
        if self.refit or not several:
            if self.halving:
                ranks = self.cv_results_[f"rank_test_{refit_metric}"]
                best = int(np.where(survived, ranks, len(ranks) + 1).argmin())
            else:
                best = int(search.best_index(refit_metric, self.cv_results_))
            self.best_index_, self.reg_weight_ = best, float(self.reg_weights_[best])
            if not callable(self.refit):
                self.best_score_ = float(self.cv_results_[f"mean_test_{refit_metric}"][best])
            if candidates.verbose:
                print(f"[{type(self).__name__}] best reg_weight: {self.reg_weight_:g}", flush=True)

    def _take_over(self):
        """Set the fitted attributes of the best embedder."""
        params = GaussianEmbedder._get_param_names()
        fitted = vars(self.best_embedder_).items()
        self.__dict__.update({name: value for name, value in fitted if name not in params})

    def _shared(self) -> set[str]:
        """Return the names of the attributes that are also the best embedder's."""
        own, params = vars(self), self._get_param_names()
        best = vars(own["best_embedder_"]) if "best_embedder_" in own else {}
        return {
            name
            for name, value in best.items()
            if name in own and name not in params and own[name] is value
        }

    def _pack(self) -> dict[str, Any]:
        # The scorer is made from a parameter, and the best embedder stores what it shares.
        left_out = self._shared() | {"scorer_"}
        return {name: value for name, value in vars(self).items() if name not in left_out}

    def _unpack(self) -> None:
        own = vars(self).copy()
        if "cv_results_" in own:
            embedder = GaussianEmbedder(task=self.task)
            self.scorer_ = _Search(embedder, self.scoring, self.refit, self.error_score).scorer
        if "best_embedder_" in own:
            self._take_over()
            self.__dict__.update(own)

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


class _Search:
    """Wrapper of the private scikit-learn methods that score candidates and collect results.

    Parameters
    ----------
    embedder, scoring, refit, error_score
        As for `sklearn.model_selection.GridSearchCV`.

    Attributes
    ----------
    scorer : callable, or dict of callables for several scores
    """

    def __init__(
        self,
        embedder: GaussianEmbedder,
        scoring: Any,
        refit: bool | str | Callable,
        error_score: float | str,
    ) -> None:
        self._search = GridSearchCV(
            embedder, {}, scoring=scoring, refit=refit, error_score=error_score
        )
        self._scorer, _ = self._search._get_scorers()
        self.scorer = getattr(self._scorer, "_scorers", self._scorer)

    def score(self, candidate: GaussianEmbedder, X: Any, y: Any, params: dict[str, Any]) -> Any:
        """Return a candidate's score, or scores by name; error_score if scoring fails."""
        scores = _score(candidate, X, y, self._scorer, params, self._search.error_score)
        if isinstance(scores, dict):
            self._search._check_refit_for_multimetric(scores)
        return scores

    def results(
        self, grid: list[dict[str, float]], n_splits: int, out: list[dict[str, Any]]
    ) -> dict[str, Any]:
        """Return ``cv_results_``; warn if some fits failed, and raise if all failed."""
        error_score = self._search.error_score
        _warn_or_raise_about_fit_failures(out, error_score)
        scores = [each["test_scores"] for each in out]
        named = next((each for each in scores if isinstance(each, dict)), {})
        for each in out:
            if named and not isinstance(each["test_scores"], dict):
                each["test_scores"] = dict.fromkeys(named, error_score)
        return self._search._format_results(grid, n_splits, out)

    def best_index(self, metric: Any, results: dict[str, Any]) -> int:
        """Return the index of the candidate that `refit` selects."""
        return self._search._select_best_index(self._search.refit, metric, results)
