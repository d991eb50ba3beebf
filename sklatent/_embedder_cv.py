"""GaussianEmbedderCV: the path over reg_weight, its candidates trained as one stack."""

from __future__ import annotations

import copy
import inspect
import math
import time
import warnings
from collections.abc import Callable
from itertools import product
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import _fit_context, is_classifier
from sklearn.exceptions import FitFailedWarning
from sklearn.metrics import get_scorer_names
from sklearn.model_selection import GridSearchCV, check_cv
from sklearn.utils import _safe_indexing, check_array, check_random_state, indexable, resample
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _check_sample_weight, _num_samples

from ._embedder import GaussianEmbedder
from ._params import is_ours
from ._start import PCAStart
from .regularizers import Adversarial
from .tasks import TASKS
from .training import Drop, NonFiniteLossError, Stack

#: Rows of a fold, at most, on which weights are compared while they train.
RUNG_ROWS = 100

SHARED = [
    name
    for name in inspect.signature(GaussianEmbedder).parameters
    if name not in ("reg_weight", "warm_start")
]


class GaussianEmbedderCV(GaussianEmbedder):
    r"""`GaussianEmbedder` that chooses the weight of its regularizer by cross-validation.

    It does what `sklearn.model_selection.GridSearchCV` over ``reg_weight`` does, and trains all
    candidates, each weight on each fold, as one stacked network: each on its own rows, from its
    own principal components, with its own early stop. Then it fits an embedder with the best
    weight to all rows; its attributes and methods are those of that embedder.

    The log-likelihood, the default score of a reconstruction, chooses the best model of the
    data, and that need not be the most Gaussian embedding: see
    `metrics.most_gaussian_within` for `refit`.

    Parameters
    ----------
    n_components : int or float in (0, 1), default=2
        As in `GaussianEmbedder`. A share of variance is resolved once, on all rows.

    reg_weights : array-like of shape (n_weights,), default=(0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
        Weights to try.

    cv : int, cross-validation generator or iterable, default=5
        As in `sklearn.model_selection.GridSearchCV`: number of folds (stratified for a
        classification), a splitter, or an iterable of pairs of train and test indices.

    scoring : str, callable, list, tuple or dict, default=None
        As in `GridSearchCV`. None is `GaussianEmbedder.score`, weighted where `fit` is given
        weights; other scores are not weighted. It is not there for ``task=None``; for a task of
        your own it takes no account of the regularizer, and a scorer is better. R^2 of a
        reconstruction is `metrics.reconstruction_scorer`.

    refit : bool, str or callable, default=True
        Whether to fit an embedder with the best weight to all rows. With several scores, the
        name of the one that decides. A function of ``cv_results_`` returns the index of the
        best weight.

    halving : bool, default=False
        Whether to stop hopeless weights early. After a ninth of ``max_iter`` epochs, and again
        after a third, only the better third of the weights goes on (successive halving, Jamieson
        & Talwalkar 2016), by the score that decides, on at most 100 rows of a fold. The scores of
        the others, in ``cv_results_``, are those of their shorter training, and they cannot be
        chosen. Candidates that train one at a time are not stopped.

    regularizer, task, target_mean, target_cov, hidden_layer_sizes, activation, encoder, decoder, \
            init, calibration, learning_rate_init, batch_size, max_iter, tol, n_iter_no_change, \
            early_stopping, validation_fraction, device, random_state, verbose, net_params
        As in `GaussianEmbedder`; `verbose` shows the last fit alone. Own networks, regularizers
        and tasks, and `net_params`, cannot be stacked: then candidates train one at a time, and a
        warning says so.

    Attributes
    ----------
    reg_weight_ : float
        The best weight.
    reg_weights_ : ndarray of shape (n_weights,)
    cv_results_ : dict of ndarrays
        Scores and times with the keys of `GridSearchCV`. A candidate's time is its share of the
        stack's. With `halving` also ``survived``, whether a weight was trained to the end.
    best_index_ : int
        Where ``cv_results_`` has the best weight.
    best_score_ : float
        Mean score of the best weight over the folds; not where `refit` is a function.
    best_embedder_ : GaussianEmbedder
        Fitted to all rows; not with ``refit=False``.
    n_splits_ : int
    scorer_ : callable or dict
        What scored the candidates.

    See Also
    --------
    GaussianEmbedder : Has all other attributes, which this class shares.

    Notes
    -----
    Candidates on the same fold start with the same weights and see the same batches, as those
    of a grid search do that share an integer `random_state`. Without draws (of directions, or of
    a stochastic encoder), they are the grid search's up to rounding where folds are equally large
    and a whole number of batches. Else an epoch is one of the largest fold: what does not fill a
    step is left out at random, and smaller folds begin their rows anew, so that they are trained
    for more of their own epochs than a grid search would.

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
        max_iter=200,
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
        """Choose the weight of the regularizer, and learn the embedding of X with it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            As in `GaussianEmbedder.fit`; also for the splitter and the scores.
        sample_weight : array-like of shape (n_samples,), default=None
            As in `GaussianEmbedder.fit`, in every fold.
        groups : array-like of shape (n_samples,), default=None
            For a splitter that keeps groups together.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As `GaussianEmbedder.fit`, and where every candidate diverges.
        """
        for name in [name for name in vars(self) if name[-1] == "_"]:
            delattr(self, name)
        self.reg_weights_ = self._check_reg_weights()
        if self.task is None and self.scoring is None:
            raise ValueError(
                "task=None has no score by which to choose a weight: pass scoring, for example "
                "sklatent.metrics.gaussianity_scorer"
            )
        params = {name: getattr(self, name) for name in SHARED}
        embedder = GaussianEmbedder(**params)
        data = self._check_rows(X, y, sample_weight, reset=True)
        if not isinstance(self.n_components, Integral):
            random_state = check_random_state(self.random_state)
            start = PCAStart.fit(data[0], data[2], self.n_components, random_state)
            embedder.n_components = params["n_components"] = len(start.components)

        X, y, groups = indexable(X, y, groups)
        every = kept = np.arange(_num_samples(X))
        weight: Any = None
        if sample_weight is not None:
            weight = _check_sample_weight(sample_weight, X)
            kept = np.flatnonzero(weight > 0)
        splitter = check_cv(self.cv, y, classifier=is_classifier(embedder))
        splits = [
            tuple(part[np.isin(part, kept)] for part in (every[train], every[test]))
            for train, test in splitter.split(X, y, groups)
        ]
        self.n_splits_ = len(splits)
        search = GridSearchCV(embedder, {}, scoring=self.scoring, refit=self.refit)
        scorer, _ = search._get_scorers()
        self.scorer_ = getattr(scorer, "_scorers", scorer)
        self._check_halving(several=self.scorer_ is not scorer)

        def score(candidate, fold, max_rows=None):
            if candidate is None:
                return None
            test = splits[fold][1]
            if max_rows is not None and len(test) > max_rows:
                classes = _safe_indexing(y, test) if is_classifier(embedder) else None
                test = resample(
                    test, replace=False, n_samples=max_rows, random_state=0, stratify=classes
                )
            known = [_safe_indexing(part, test) for part in (X, y) if part is not None]
            weighted = self.scoring is None and weight is not None
            routed = {"sample_weight": weight[test]} if weighted else {}
            scores = scorer(candidate, *known, **routed)
            if isinstance(scores, dict):
                search._check_refit_for_multimetric(scores)
                self._check_halving(several=True)
            return scores

        candidates = _Candidates(
            embedder,
            (X, y, weight),
            [train for train, _ in splits],
            self.reg_weights_.tolist(),
            np.unique(data[1]) if is_classifier(embedder) else None,
        )
        callbacks = []
        if self.halving:
            epochs = (self.max_iter // 9, self.max_iter // 3)
            callbacks.append(Drop(epochs, candidates.judge(score, self.refit)))
        began = time.perf_counter()
        fitted = candidates.fit(self.max_iter, callbacks)
        fit_time = (time.perf_counter() - began) / len(fitted)
        out = []
        for i, candidate in enumerate(fitted):
            began = time.perf_counter()
            scores = candidates.scores[i]
            if scores is None:
                scores = score(candidate, candidates.pairs[i][1])
            elapsed = time.perf_counter() - began
            out.append({"test_scores": scores, "fit_time": fit_time, "score_time": elapsed})
        out = _without_gaps(out)
        grid = [{"reg_weight": reg_weight} for reg_weight in self.reg_weights_.tolist()]
        self.cv_results_ = search._format_results(grid, self.n_splits_, out)

        several = isinstance(out[0]["test_scores"], dict)
        refit_metric = self.refit if several else "score"
        if self.halving:
            survived = np.array([weight in candidates.racing for weight in self.reg_weights_])
            self.cv_results_["survived"] = survived
        if self.refit or not several:
            if self.halving:
                ranks = self.cv_results_[f"rank_test_{refit_metric}"]
                best = np.where(survived, ranks, len(ranks) + 1).argmin()
            else:
                best = search._select_best_index(self.refit, refit_metric, self.cv_results_)
            self.best_index_, self.reg_weight_ = int(best), float(self.reg_weights_[best])
            if not callable(self.refit):
                self.best_score_ = float(self.cv_results_[f"mean_test_{refit_metric}"][best])
        if self.refit:
            self.best_embedder_ = GaussianEmbedder(**params, reg_weight=self.reg_weight_)
            self.best_embedder_.fit(X, y, sample_weight)
            for name in set(vars(self.best_embedder_)) - {*params, "reg_weight", "warm_start"}:
                setattr(self, name, getattr(self.best_embedder_, name))
        return self

    def _check_halving(self, *, several):
        named = isinstance(self.refit, str) if several else not callable(self.refit)
        if self.halving and not named:
            raise ValueError(
                "halving=True needs one score to go by: refit must be a boolean or, with several "
                f"scores, the name of one, got {self.refit!r}"
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
                f"reg_weights must be a sequence of numbers >= 0, got {self.reg_weights!r}"
            )
        return weights


class _Candidates:
    """An embedder on the training rows of each fold, ready to be trained with any reg_weight.

    Parameters
    ----------
    embedder : GaussianEmbedder
        Its ``n_components`` are a number.
    data : tuple
        All rows, their labels or None and weights or None.
    trains : list of ndarray
        Indices of each fold's training rows.
    reg_weights : list of float
    classes : ndarray or None
        All classes, for a classification.

    Attributes
    ----------
    pairs : list of (float, int)
        Weight and fold of each candidate: fold by fold of each weight.
    scores : list
        Of each candidate that a judge found hopeless; None of the others.
    racing : list of float
        The weights that no judge found hopeless.
    """

    def __init__(
        self,
        embedder: GaussianEmbedder,
        data: tuple[Any, Any, Any],
        trains: list[Any],
        reg_weights: list[float],
        classes: Any,
    ) -> None:
        self.pairs = list(product(reg_weights, range(len(trains))))
        self.scores: list[Any] = [None] * len(self.pairs)
        self.racing = list(dict.fromkeys(reg_weights))
        self.embedders: list[Any] = [copy.copy(embedder) for _ in trains]
        self.data: list[Any] = [
            fold._check_rows(
                *(None if part is None else _safe_indexing(part, train) for part in data),
                reset=True,
            )
            for fold, train in zip(self.embedders, trains, strict=True)
        ]
        folds = list(zip(self.embedders, self.data, strict=True))
        self.nets = [fold._initialize(*each, classes) for fold, each in folds]
        n_valid = [fold._n_valid(len(each[0])) for fold, each in folds]
        if max(n_valid) - min(n_valid) <= 1:  # a stack is faster with equally many
            n_valid = [min(n_valid)] * len(folds)
        self.rows, self.valid_rows, self.valid = zip(
            *(
                fold._prepare(net, *each, n)
                for net, (fold, each), n in zip(self.nets, folds, n_valid, strict=True)
            ),
            strict=True,
        )

    def fit(self, max_iter: int, callbacks: list[Any]) -> list[GaussianEmbedder | None]:
        """Return each candidate fitted; None where its training diverged."""
        if (reason := self._why_not_stacked()) is not None:
            warnings.warn(
                f"{reason} cannot be stacked: candidates are trained one at a time",
                UserWarning,
                stacklevel=4,
            )
            return [self._fit_alone(*pair, max_iter) for pair in self.pairs]
        weights, folds = (torch.tensor(each) for each in zip(*self.pairs, strict=True))
        rows, watched = list(self.rows), None
        if any(valid is not None for valid in self.valid_rows):
            # A fold with too few rows to set some aside watches those that it trains on.
            watched = [
                valid or net.resample(train)
                for net, valid, train in zip(self.nets, self.valid_rows, rows, strict=True)
            ]
        stack = Stack(self.nets, folds, weights, callbacks).initialize()
        return self._finished(stack.train_apart(rows, watched, max_iter))

    def judge(self, score: Callable, refit: bool | str) -> Callable[[list[Any]], list[int]]:
        """Return a judge that lets the better third of the weights go on.

        Parameters
        ----------
        score : callable
            ``score(candidate, fold, max_rows)`` returns a candidate's scores: a number, or numbers
            by name.
        refit : bool or str
            Name of the one that counts, where they have names.
        """
        racing = self.racing

        def hopeless(nets: list[Any]) -> list[int]:
            runners = [i for i, (weight, _) in enumerate(self.pairs) if weight in racing]
            # What does not race is not worth finishing.
            fitted = self._finished([net if i in runners else None for i, net in enumerate(nets)])
            scores = {i: score(fitted[i], self.pairs[i][1], RUNG_ROWS) for i in runners}
            means = []
            for weight in racing:
                mine = [scores[i] for i in runners if self.pairs[i][0] == weight]
                mine = [each[refit] if isinstance(each, dict) else each for each in mine]
                means.append(np.mean([np.nan if each is None else each for each in mine]))
            if np.isnan(means).all():
                return []
            best = np.argsort(-np.nan_to_num(means, nan=-np.inf))[: math.ceil(len(racing) / 3)]
            racing[:] = [racing[i] for i in best]
            dropped = [i for i in runners if self.pairs[i][0] not in racing]
            for i in dropped:
                self.scores[i] = scores[i]
            return dropped

        return hopeless

    def _why_not_stacked(self) -> str | None:
        embedder = self.embedders[0]
        for name in ("encoder", "decoder", "net_params"):
            if getattr(embedder, name) not in (None, {}):
                return f"{name}={getattr(embedder, name)!r}"
        if embedder.task_ is not None and type(embedder.task_) not in TASKS.values():
            return f"task={embedder.task!r}"
        return None if is_ours(embedder.regularizer_) else f"regularizer={embedder.regularizer!r}"

    def _fit_alone(self, reg_weight: float, fold: int, max_iter: int) -> GaussianEmbedder | None:
        net, rows = copy.deepcopy(self.nets[fold]), self.rows[fold]
        embedder = copy.copy(self.embedders[fold])
        embedder.reg_weight = reg_weight
        net.set_objective(embedder._objective())
        try:
            embedder._train(net, rows, self.valid_rows[fold], max_iter, n_rows=len(rows))
        except ValueError as error:
            if not isinstance(error.__cause__, NonFiniteLossError):
                raise
            net = None
        return self._finish(net, reg_weight, fold)

    def _finished(self, nets: list[Any]) -> list[GaussianEmbedder | None]:
        return [self._finish(net, *pair) for net, pair in zip(nets, self.pairs, strict=True)]

    def _finish(self, net: Any, reg_weight: float, fold: int) -> GaussianEmbedder | None:
        if net is None:
            return None
        embedder = copy.copy(self.embedders[fold])
        embedder.reg_weight = reg_weight
        net.set_objective(embedder._objective())
        if isinstance(embedder.regularizer_, Adversarial):
            watched = self.valid_rows[fold] or self.rows[fold]
            embedder.critic_gap_ = net.critic_gap(watched)
        x, _, weight = self.data[fold]
        embedder._finish(net, embedder._start.standardize(x), weight, held_out=self.valid[fold])
        return embedder


def _without_gaps(out: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Let candidates that diverged score nan."""
    scores = [each["test_scores"] for each in out if each["test_scores"] is not None]
    if not scores:
        raise ValueError("the training loss of every candidate became infinite or not a number")
    if len(scores) < len(out):
        warnings.warn(
            f"{len(out) - len(scores)} of {len(out)} fits failed: their training loss became "
            "infinite or not a number. They score nan.",
            FitFailedWarning,
            stacklevel=4,
        )
    nan = dict.fromkeys(scores[0], np.nan) if isinstance(scores[0], dict) else np.nan
    filled = ((each, each["test_scores"]) for each in out)
    return [each | {"test_scores": nan if score is None else score} for each, score in filled]
