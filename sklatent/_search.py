"""Trains and scores each reg_weight on each fold, for GaussianEmbedderCV."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from traceback import format_exc
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.model_selection import GridSearchCV
from sklearn.model_selection._validation import _score, _warn_or_raise_about_fit_failures
from sklearn.utils import _safe_indexing, resample
from sklearn.utils.parallel import Parallel, delayed

from ._fit import Fit, processes_of

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
        Of the last scoring; a fit that failed has error_score.
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
    """

    train: NDArray
    test: NDArray
    candidates: dict[float, Candidate] = field(default_factory=dict)


class Scorer:
    """Wrapper of the private scikit-learn methods that score candidates and collect results.

    Parameters
    ----------
    embedder, scoring, refit, error_score
        As for `sklearn.model_selection.GridSearchCV`.

    Attributes
    ----------
    scorer : callable, or dict of callables for several scores
    error_score : float or "raise"
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
        self.error_score = error_score

    def score(self, candidate: Any, X: Any, y: Any, params: dict[str, Any]) -> Any:
        """Return a candidate's score, or scores by name; error_score if scoring fails."""
        scores = _score(candidate, X, y, self._scorer, params, self.error_score)
        if isinstance(scores, dict):
            self._search._check_refit_for_multimetric(scores)
        return scores

    def results(
        self, grid: list[dict[str, float]], n_splits: int, out: list[dict[str, Any]]
    ) -> dict[str, Any]:
        """Return ``cv_results_``; warn if some fits failed, and raise if all failed."""
        _warn_or_raise_about_fit_failures(out, self.error_score)
        scores = [each["test_scores"] for each in out]
        named = next((each for each in scores if isinstance(each, dict)), {})
        for each in out:
            if named and not isinstance(each["test_scores"], dict):
                each["test_scores"] = dict.fromkeys(named, self.error_score)
        return self._search._format_results(grid, n_splits, out)

    def best_index(self, metric: Any, results: dict[str, Any]) -> int:
        """Return the index of the candidate that `refit` selects."""
        return self._search._select_best_index(self._search.refit, metric, results)


@dataclass
class Search:
    """What the search for the best weight needs on each fold.

    Attributes
    ----------
    embedder : GaussianEmbedder
        Its ``n_components`` is an int.
    X, y, weight : array-like or None
        All samples, their labels, and their weights.
    scorer : Scorer
    weighted : bool
        Whether scores are weighted.
    n_jobs : int or None
        Number of folds that are fitted at the same time.
    """

    embedder: Any
    X: Any
    y: Any
    weight: Any
    scorer: Scorer
    weighted: bool
    n_jobs: int | None

    def run(self, folds: list[Fold], reg_weights: list[float], part: int) -> Iterator[Fold]:
        """Train some weights until 1 / `part` of the training, and score them; yield each fold."""
        parallel = Parallel(n_jobs=self.n_jobs, return_as="generator")
        return parallel(delayed(self._run_fold)(fold, reg_weights, part) for fold in folds)

    def _run_fold(self, fold: Fold, reg_weights: list[float], part: int) -> Fold:
        processes = processes_of(self.embedder)
        start: Fit | None = None
        for reg_weight in reg_weights:
            candidate = fold.candidates.setdefault(reg_weight, Candidate())
            began = time.perf_counter()
            embedder = None
            try:
                if candidate.error is None:
                    if candidate.fit is None:
                        start = start or self._start(fold.train)
                        candidate.fit = start.with_weight(reg_weight)
                    embedder = candidate.fit.train_until(part)
            except Exception:
                if self.scorer.error_score == "raise":
                    raise
                candidate.error = format_exc()
            if embedder is None or part == 1:
                candidate.fit = None
            trained = time.perf_counter()
            candidate.fit_time += trained - began
            candidate.scores = self.scorer.error_score
            if embedder is not None:
                candidate.scores = self._score(embedder, fold.test, part)
            if processes is not None:  # all processes must select the same weights
                candidate.scores = processes.of_main(candidate.scores)
            candidate.score_time += time.perf_counter() - trained
        return fold

    def _start(self, train: NDArray) -> Fit:
        """Return what all candidates start from: the data, its principal components, and a net."""
        embedder = copy.copy(self.embedder)
        # As in a grid search, all folds start from the same state of a RandomState.
        embedder.random_state = copy.deepcopy(embedder.random_state)
        fit = Fit.start(embedder, *self._part(train))
        fit.set_aside(fit.n_valid)
        fit.tasks = None  # it belongs to this process
        return fit

    def _score(self, embedder: Any, test: NDArray, part: int) -> Any:
        if part > 1 and len(test) > RUNG_SAMPLES:
            classes = _safe_indexing(self.y, test) if is_classifier(embedder) else None
            test = resample(
                test, replace=False, n_samples=RUNG_SAMPLES, random_state=0, stratify=classes
            )
        X, y, weight = self._part(test)
        return self.scorer.score(embedder, X, y, {"sample_weight": weight} if self.weighted else {})

    def _part(self, index: NDArray) -> Iterator[Any]:
        """Yield the samples with these indices, their labels and their weights."""
        for each in (self.X, self.y, self.weight):
            yield None if each is None else _safe_indexing(each, index)


def keep_third(folds: list[Fold], reg_weights: list[float], metric: Any) -> list[float]:
    """Drop all but a third of the weights; return those with the best mean scores over the folds.

    At least one weight is kept, and all if no weight has a score.

    Parameters
    ----------
    folds : list of Fold
    reg_weights : list of float
        Of weights with equal scores, the first is better.
    metric : str
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
    kept = [reg_weights[i] for i in sorted(order[: max(1, len(reg_weights) // 3)])]
    for fold in folds:
        for reg_weight in set(reg_weights) - set(kept):
            fold.candidates[reg_weight].fit = None  # free its memory
    return kept
