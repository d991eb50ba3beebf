"""GaussianEmbedderCV: the path over reg_weight, its candidates trained as one stack."""

from __future__ import annotations

import copy
import inspect
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from numbers import Integral, Real
from traceback import format_exc
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import _fit_context, is_classifier
from sklearn.metrics import get_scorer_names
from sklearn.model_selection import GridSearchCV, check_cv
from sklearn.model_selection._validation import _score, _warn_or_raise_about_fit_failures
from sklearn.utils import _safe_indexing, check_array, check_random_state, indexable, resample
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _check_sample_weight, _num_samples

from ._embedder import GaussianEmbedder
from ._params import is_ours
from ._start import PCAStart
from ._warn import warn
from .training import Drop, Stack, default_modes

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

    error_score : "raise" or float, default=nan
        Score of a candidate whose fit or scoring fails, as in `GridSearchCV`: a warning names the
        error. A fit fails where the training diverges, or for all weights where a fold cannot
        be fitted, for example with fewer samples than components. "raise" raises the
        error instead. If all fits fail, an error is raised in any case.

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
    @default_modes()
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
            As `GaussianEmbedder.fit`, and where every fit fails or, with
            ``error_score="raise"``, any.
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
        search = GridSearchCV(
            embedder, {}, scoring=self.scoring, refit=self.refit, error_score=self.error_score
        )
        scorer, _ = search._get_scorers()
        self.scorer_ = getattr(scorer, "_scorers", scorer)
        self._check_halving(several=self.scorer_ is not scorer)

        def score(candidate, split, max_rows=None):
            if candidate is None:
                return self.error_score
            test = splits[split][1]
            if max_rows is not None and len(test) > max_rows:
                classes = _safe_indexing(y, test) if is_classifier(embedder) else None
                test = resample(
                    test, replace=False, n_samples=max_rows, random_state=0, stratify=classes
                )
            known = [None if part is None else _safe_indexing(part, test) for part in (X, y)]
            weighted = self.scoring is None and weight is not None
            routed = {"sample_weight": weight[test]} if weighted else {}
            scores = _score(candidate, *known, scorer, routed, self.error_score)
            if isinstance(scores, dict):
                search._check_refit_for_multimetric(scores)
                self._check_halving(several=True)
            return scores

        began = time.perf_counter()
        candidates = _Candidates(
            embedder,
            (X, y, weight),
            [train for train, _ in splits],
            self.reg_weights_.tolist(),
            np.unique(data[1]) if is_classifier(embedder) else None,
            self.error_score,
        )
        callbacks = []
        if self.halving:
            epochs = (self.max_iter // 9, self.max_iter // 3)
            callbacks.append(Drop(epochs, candidates.judge(score, self.refit)))
        fitted = candidates.fit(self.max_iter, callbacks)
        fit_time = (time.perf_counter() - began) / len(fitted)
        out = []
        for i, (_, split) in enumerate(candidates.pairs):
            began = time.perf_counter()
            scores = candidates.scores[i]
            if scores is None:
                scores = score(fitted[i], split)
            elapsed = time.perf_counter() - began
            result = {"fit_error": candidates.errors[i], "fit_time": fit_time}
            out.append(result | {"score_time": elapsed, "test_scores": scores})
        _warn_or_raise_about_fit_failures(out, self.error_score)
        _name_error_scores(out, self.error_score)
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


@dataclass
class _Fold:
    """An embedder on the training rows of a fold, ready to be trained with any reg_weight."""

    embedder: GaussianEmbedder
    data: tuple[Any, Any, Any]
    net: Any
    rows: Any = None  # to train on
    valid_rows: Any = None  # to watch, or None
    valid: Any = None  # indices of those

    def prepare(self, n_valid: int) -> None:
        """Split off rows to watch."""
        parts = self.embedder._prepare(self.net, *self.data, n_valid)
        self.rows, self.valid_rows, self.valid = parts

    @property
    def n_valid(self) -> int:
        """How many rows an embedder alone would watch."""
        return self.embedder._n_valid(len(self.data[0]))


class _Candidates:
    """Each reg_weight on each fold.

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
    error_score : "raise" or float
        Score of those that cannot be fitted.

    Attributes
    ----------
    pairs : list of (float, int)
        Weight and fold of each candidate: fold by fold of each weight.
    scores : list
        Of each candidate that a judge found hopeless; None of the others.
    errors : list
        Why each candidate could not be fitted; None of the others.
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
        error_score: float | Literal["raise"],
    ) -> None:
        self.pairs = list(product(reg_weights, range(len(trains))))
        self.scores: list[Any] = [None] * len(self.pairs)
        self.errors: list[str | None] = [None] * len(self.pairs)
        self.racing = list(dict.fromkeys(reg_weights))
        self.error_score = error_score

        def make(split: int) -> _Fold:
            fold = copy.copy(embedder)
            train = trains[split]
            parts = (None if part is None else _safe_indexing(part, train) for part in data)
            X, y, weight = fold._check_rows(*parts, reset=True)
            return _Fold(fold, (X, y, weight), fold._initialize(X, y, weight, classes))

        every = [self._try(make, split, split=split) for split in range(len(trains))]
        #: Folds that can be fitted, by their number.
        self.folds: dict[int, _Fold] = {i: fold for i, fold in enumerate(every) if fold is not None}
        n_valid = {split: fold.n_valid for split, fold in self.folds.items()}
        if n_valid and max(n_valid.values()) - min(n_valid.values()) <= 1:
            # A stack is faster with equally many.
            n_valid = dict.fromkeys(n_valid, min(n_valid.values()))
        for split, n in n_valid.items():
            self._try(self.folds[split].prepare, n, split=split)
            if self.folds[split].rows is None:
                del self.folds[split]

    def _try(self, function: Callable, *args: Any, split: int) -> Any:
        """Call a function; note an error, and return None, for all candidates on a fold."""
        try:
            return function(*args)
        except Exception:
            if self.error_score == "raise":
                raise
            for i, pair in enumerate(self.pairs):
                if pair[1] == split:
                    self.errors[i] = format_exc()
            return None

    def fit(self, max_iter: int, callbacks: list[Any]) -> list[GaussianEmbedder | None]:
        """Return each candidate fitted; None where that failed."""
        if not self.folds:
            return [None] * len(self.pairs)
        if (reason := self._why_not_stacked()) is not None:
            warn(
                f"{reason} cannot be stacked: candidates are trained one at a time",
            )
            return [self._fit_alone(i, max_iter) for i in range(len(self.pairs))]
        folds = list(self.folds.values())
        position = {split: i for i, split in enumerate(self.folds)}
        #: The candidates in the stack.
        self.stacked = [i for i, (_, split) in enumerate(self.pairs) if split in self.folds]
        pairs = [self.pairs[i] for i in self.stacked]
        rows, watched = [fold.rows for fold in folds], None
        if any(fold.valid_rows is not None for fold in folds):
            # A fold with too few rows to set some aside watches those that it trains on.
            watched = [fold.valid_rows or fold.net.resample(fold.rows) for fold in folds]
        stack = Stack(
            [fold.net for fold in folds],
            torch.tensor([position[split] for _, split in pairs]),
            torch.tensor([reg_weight for reg_weight, _ in pairs], dtype=torch.float32),
            callbacks,
        ).initialize()
        fitted = self._finished(stack.train_apart(rows, watched, max_iter))
        for i in self.stacked:
            if fitted[i] is None:
                error = "ValueError: the training loss became infinite or not a number"
                if self.error_score == "raise":
                    raise ValueError(f"{error[12:]} with reg_weight={self.pairs[i][0]}")
                self.errors[i] = error
        return fitted

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
            runners = [i for i in self.stacked if self.pairs[i][0] in racing]
            # What does not race is not worth finishing.
            nets = [
                net if i in runners else None for i, net in zip(self.stacked, nets, strict=True)
            ]
            fitted = self._finished(nets)
            scores = {i: score(fitted[i], self.pairs[i][1], RUNG_ROWS) for i in runners}
            means = []
            for weight in racing:
                mine = [scores[i] for i in runners if self.pairs[i][0] == weight]
                means.append(np.mean([_the_one(each, refit) for each in mine]))
            if np.isnan(means).all():
                return []
            order = np.argsort(-np.nan_to_num(means, nan=-np.inf))
            racing[:] = [racing[i] for i in order[: math.ceil(len(racing) / 3)]]
            dropped = [i for i in runners if self.pairs[i][0] not in racing]
            for i in dropped:
                self.scores[i] = scores[i]
            return [self.stacked.index(i) for i in dropped]

        return hopeless

    def _why_not_stacked(self) -> str | None:
        embedder = next(iter(self.folds.values())).embedder
        for name in ("encoder", "decoder", "net_params"):
            if getattr(embedder, name) not in (None, {}):
                return f"{name}={getattr(embedder, name)!r}"
        if not is_ours(embedder.task_):
            return f"task={embedder.task!r}"
        return None if is_ours(embedder.regularizer_) else f"regularizer={embedder.regularizer!r}"

    def _fit_alone(self, i: int, max_iter: int) -> GaussianEmbedder | None:
        reg_weight, split = self.pairs[i]
        if split not in self.folds:
            return None
        fold = self.folds[split]
        net = copy.deepcopy(fold.net)
        embedder = copy.copy(fold.embedder)
        embedder.reg_weight = reg_weight
        net.set_objective(embedder._objective())
        try:
            embedder._train(net, fold.rows, fold.valid_rows, max_iter, n_rows=len(fold.rows))
        except Exception:
            if self.error_score == "raise":
                raise
            self.errors[i] = format_exc()
            return None
        return self._finish(net, reg_weight, fold)

    def _finished(self, nets: list[Any]) -> list[GaussianEmbedder | None]:
        """Return embedders with the nets of the stack; None for other candidates."""
        fitted: list[GaussianEmbedder | None] = [None] * len(self.pairs)
        for i, net in zip(self.stacked, nets, strict=True):
            if net is not None:
                reg_weight, split = self.pairs[i]
                fitted[i] = self._finish(net, reg_weight, self.folds[split])
        return fitted

    def _finish(self, net: Any, reg_weight: float, fold: _Fold) -> GaussianEmbedder:
        embedder = copy.copy(fold.embedder)
        embedder.reg_weight = reg_weight
        net.set_objective(embedder._objective())
        x, _, weight = fold.data
        x = embedder._start.standardize(x)
        embedder._finish(net, x, weight, fold.valid_rows or fold.rows, held_out=fold.valid)
        return embedder


def _the_one(scores: Any, name: Any) -> float:
    """Return the score that counts; a failed candidate has one without a name."""
    return scores[name] if isinstance(scores, dict) else scores


def _name_error_scores(out: list[dict[str, Any]], error_score: float | str) -> None:
    """Give failed candidates as many scores as the others have."""
    named = next((each["test_scores"] for each in out if isinstance(each["test_scores"], dict)), {})
    for each in out:
        if named and not isinstance(each["test_scores"], dict):
            each["test_scores"] = dict.fromkeys(named, error_score)
