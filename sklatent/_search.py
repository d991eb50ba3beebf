"""Trains and scores each reg_weight on each fold, for GaussianEmbedderCV."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from traceback import format_exc
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.model_selection import GridSearchCV
from sklearn.model_selection._validation import _score, _warn_or_raise_about_fit_failures
from sklearn.utils import _safe_indexing, resample

from ._data import check_classes
from ._fit import Fit

#: Maximum number of samples of a fold on which halving compares weights.
RUNG_SAMPLES = 100
#: Halving compares the weights after these parts of the training: a ninth and a third.
RUNGS = (9, 3)


@dataclass
class Candidate:
    """One weight on one fold.

    Attributes
    ----------
    fit : Fit or None
        The training so far; None before and after the training.
    error : str or None
        Traceback of a fit that failed.
    fit_time, score_time : float
        In seconds.
    scores : float or dict
        Of the last scoring.
    """

    fit: Fit | None = None
    error: str | None = None
    fit_time: float = 0.0
    score_time: float = 0.0
    scores: Any = None


@dataclass
class Fold:
    """The candidates of one fold.

    Attributes
    ----------
    train, test : ndarray
        Indices of the training samples and of the test samples.
    candidates : dict of float to Candidate
    start : Fit or None
        What all candidates start from: the data, its principal components, and the net.
    """

    train: NDArray
    test: NDArray
    candidates: dict[float, Candidate] = field(default_factory=dict)
    start: Fit | None = None


class Scorer:
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
        embedder: Any,
        scoring: Any,
        refit: bool | str | Callable,
        error_score: float | str,
    ) -> None:
        self._search = GridSearchCV(
            embedder, {}, scoring=scoring, refit=refit, error_score=error_score
        )
        self._scorer, _ = self._search._get_scorers()
        self.scorer = getattr(self._scorer, "_scorers", self._scorer)

    def score(self, candidate: Any, X: Any, y: Any, params: dict[str, Any]) -> Any:
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


class Search:
    """A search for the best weight: what is the same in all folds.

    Parameters
    ----------
    embedder : GaussianEmbedder
        Its ``n_components`` is an int.
    data : tuple
        All samples, their labels or None, and their weights or None.
    classes : ndarray or None
        All classes, for a classification.
    error_score : "raise" or float
    scorer : Scorer
    weighted : bool
        Whether scores are weighted.
    n_jobs : int or None
        As for `joblib.Parallel`.
    """

    def __init__(
        self,
        embedder: Any,
        data: tuple[Any, Any, Any],
        classes: Any,
        error_score: Any,
        scorer: Scorer,
        weighted: bool,
        n_jobs: int | None,
    ) -> None:
        self.embedder = embedder
        self.data = data
        self.classes = classes
        self.error_score = error_score
        self.scorer = scorer
        self.weighted = weighted
        self.n_jobs = n_jobs

    def run(self, folds: list[Fold], reg_weights: list[float], part: int) -> Iterator[Fold]:
        """Train some weights until a part of the training, and score them; yield each fold.

        Parameters
        ----------
        folds : list of Fold
        reg_weights : list of float
        part : int
            Train until 1 / `part` of the epochs.
        """
        parallel = Parallel(n_jobs=self.n_jobs, return_as="generator")
        return parallel(delayed(self._run_fold)(fold, reg_weights, part) for fold in folds)

    def _run_fold(self, fold: Fold, reg_weights: list[float], part: int) -> Fold:
        for reg_weight in reg_weights:
            candidate = fold.candidates.setdefault(reg_weight, Candidate())
            began = time.perf_counter()
            embedder = None
            try:
                if candidate.error is None:
                    embedder = self._train(fold, candidate, reg_weight, part)
            except Exception:
                if self.error_score == "raise":
                    raise
                candidate.fit, candidate.error = None, format_exc()
            trained = time.perf_counter()
            candidate.fit_time += trained - began
            candidate.scores = self.error_score
            if embedder is not None:
                candidate.scores = self._score(embedder, fold.test, part)
            candidate.score_time += time.perf_counter() - trained
        if part == 1:
            fold.start = None
        return fold

    def _train(self, fold: Fold, candidate: Candidate, reg_weight: float, part: int) -> Any:
        if candidate.fit is None:
            if fold.start is None:
                fold.start = self._start(fold.train)
            candidate.fit = fold.start.with_weight(reg_weight)
        embedder = candidate.fit.train_until(part)
        if part == 1:
            candidate.fit = None
        return embedder

    def _start(self, train: NDArray) -> Fit:
        X, y, weight = (None if each is None else _safe_indexing(each, train) for each in self.data)
        fit = Fit.start(copy.copy(self.embedder), X, y, weight, self.classes)
        if self.classes is not None:
            check_classes(fit.data.y)
        fit.set_aside(fit.n_valid)
        fit.tasks = None  # of this process
        return fit

    def _score(self, embedder: Any, test: NDArray, part: int) -> Any:
        if part > 1 and len(test) > RUNG_SAMPLES:
            classes = None if self.classes is None else _safe_indexing(self.data[1], test)
            test = resample(
                test, replace=False, n_samples=RUNG_SAMPLES, random_state=0, stratify=classes
            )
        X, y, weight = (None if each is None else _safe_indexing(each, test) for each in self.data)
        return self.scorer.score(embedder, X, y, {"sample_weight": weight} if self.weighted else {})


def best_third(folds: list[Fold], reg_weights: list[float], metric: str | None) -> list[float]:
    """Return the third of the weights with the best mean score over the folds, at least one.

    Parameters
    ----------
    folds : list of Fold
    reg_weights : list of float
        In ascending order of the result's preference for equal scores.
    metric : str or None
        Name of the score, if there are several.
    """
    means = []
    for reg_weight in reg_weights:
        scores = [fold.candidates[reg_weight].scores for fold in folds]
        # A fit that failed has a single score.
        means.append(np.mean([each[metric] if isinstance(each, dict) else each for each in scores]))
    if np.isnan(means).all():
        return reg_weights
    order = np.argsort(-np.nan_to_num(means, nan=-np.inf), kind="stable")
    kept = set(order[: max(1, len(reg_weights) // 3)].tolist())
    return [each for i, each in enumerate(reg_weights) if i in kept]
