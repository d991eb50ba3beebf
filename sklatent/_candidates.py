"""The candidates of GaussianEmbedderCV: trains each reg_weight on each fold."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from itertools import product
from traceback import format_exc
from typing import Any, Literal

import numpy as np
import torch
from sklearn.utils import _safe_indexing

from ._callbacks import Tasks
from ._data import check_classes
from ._fit import Fit
from ._params import is_ours
from ._warn import warn
from .training import PrintLosses, Stack

#: Maximum number of samples of a fold on which halving compares weights.
RUNG_SAMPLES = 100


class Candidates:
    """Each reg_weight on each fold.

    Parameters
    ----------
    embedder : GaussianEmbedder
        Its ``n_components`` is an int.
    data : tuple
        All samples, their labels or None, and their weights or None.
    trains : list of ndarray
        Indices of each fold's training samples.
    reg_weights : list of float
    classes : ndarray or None
        All classes, for a classification.
    error_score : "raise" or float
        Score of candidates whose fit fails.

    Attributes
    ----------
    pairs : list of (float, int)
        Weight and fold of each candidate, in the order of the weights and then of the folds.
    scores : list
        Score of each candidate that halving dropped; None for the others.
    errors : list
        Traceback of each candidate whose fit failed; None for the others.
    remaining : list of float
        The weights that halving has not dropped.
    """

    def __init__(
        self,
        embedder: Any,
        data: tuple[Any, Any, Any],
        trains: list[Any],
        reg_weights: list[float],
        classes: Any,
        error_score: float | Literal["raise"],
    ) -> None:
        self.pairs = list(product(reg_weights, range(len(trains))))
        self.scores: list[Any] = [None] * len(self.pairs)
        self.errors: list[str | None] = [None] * len(self.pairs)
        self.remaining = list(dict.fromkeys(reg_weights))
        self.error_score = error_score

        def make(split: int) -> Fit:
            X, y, weight = (_part(each, trains[split]) for each in data)
            fit = Fit.start(copy.copy(embedder), X, y, weight, classes)
            if classes is not None:
                check_classes(fit.data.y)
            return fit

        every = [self._try(make, split, split=split) for split in range(len(trains))]
        #: Folds that can be fitted, by their number.
        self.folds: dict[int, Fit] = {i: fold for i, fold in enumerate(every) if fold is not None}
        n_valid = {split: fold.n_valid for split, fold in self.folds.items()}
        if n_valid and max(n_valid.values()) - min(n_valid.values()) <= 1:
            # A stack trains faster if all folds set aside equally many samples.
            n_valid = dict.fromkeys(n_valid, min(n_valid.values()))
        for split, n in n_valid.items():
            self._try(self.folds[split].set_aside, n, split=split)
            if self.folds[split].samples is None:
                del self.folds[split]

    @property
    def verbose(self) -> int:
        """As the embedder's parameter; of several processes, one prints."""
        return next(iter(self.folds.values())).net.verbose if self.folds else 0

    def _try(self, function: Callable, *args: Any, split: int) -> Any:
        """Call a function; on error, record it for all candidates of a fold and return None."""
        try:
            return function(*args)
        except Exception:
            if self.error_score == "raise":
                raise
            for i, pair in enumerate(self.pairs):
                if pair[1] == split:
                    self.errors[i] = format_exc()
            return None

    def fit(self, callbacks: list[Any], tasks: Tasks, context: Any) -> list[Any]:
        """Return each fitted candidate, or None if its fit failed or `halving` dropped it.

        Parameters
        ----------
        callbacks : list of skorch callbacks
            For the training of a stack.
        tasks : Tasks
        context : CallbackContext
            The task that the training is a subtask of.
        """
        if not self.folds:
            return [None] * len(self.pairs)
        if (reason := self._why_not_stacked()) is not None:
            warn(f"{reason} cannot be stacked: candidates are trained one at a time")
            return self._fit_one_by_one(tasks, context)
        folds = list(self.folds.values())
        position = {split: i for i, split in enumerate(self.folds)}
        #: The candidates in the stack.
        self.stacked = [i for i, (_, split) in enumerate(self.pairs) if split in self.folds]
        pairs = [self.pairs[i] for i in self.stacked]
        samples, valid = [fold.samples for fold in folds], None
        if any(fold.valid_samples is not None for fold in folds):
            # A fold too small to set samples aside evaluates the criterion on its training
            # samples.
            valid = [fold.valid_samples or fold.net.resample(fold.samples) for fold in folds]
        stack = Stack(
            [fold.net for fold in folds],
            torch.tensor([position[split] for _, split in pairs]),
            torch.tensor([reg_weight for reg_weight, _ in pairs], dtype=torch.float32),
            callbacks,
        ).initialize()
        n_periods, n_in_epoch = stack.schedule(samples, folds[0].epochs)
        context = context.subcontext("search", max_subtasks=n_periods)
        watchers = tasks.watch(context, "epoch" if n_in_epoch == 1 else "period")
        if verbose := self.verbose:
            title = f"{type(tasks.estimator).__name__}, {len(pairs)} candidates"
            watchers.append(PrintLosses(title, every_period=verbose > 1))
        with tasks.task(context), stack.watched(watchers):
            nets = stack.train_models(samples, valid, folds[0].epochs)
            fitted = self._finished(
                [
                    net if self.scores[i] is None else None
                    for i, net in zip(self.stacked, nets, strict=True)
                ]
            )
        for i, net in zip(self.stacked, nets, strict=True):
            if net is None:
                error = "ValueError: the loss or the criterion became infinite or not a number"
                if self.error_score == "raise":
                    raise ValueError(f"{error[12:]} with reg_weight={self.pairs[i][0]}")
                self.errors[i] = error
        return fitted

    def halving(self, score: Callable, refit: bool | str) -> Callable[[list[Any]], list[int]]:
        """Return a function that drops all but the better third of the weights.

        Parameters
        ----------
        score : callable
            ``score(candidate, fold, max_samples)`` returns a score, or a dict of scores.
        refit : bool or str
            Name of the score that selects the weight, if there are several.
        """
        remaining = self.remaining

        def dropped_of(nets: list[Any]) -> list[int]:
            compared = [i for i in self.stacked if self.pairs[i][0] in remaining]
            # Calibrate only the candidates that are compared.
            nets = [
                net if i in compared else None for i, net in zip(self.stacked, nets, strict=True)
            ]
            fitted = self._finished(nets)
            scores = {i: score(fitted[i], self.pairs[i][1], RUNG_SAMPLES) for i in compared}
            means = []
            for weight in remaining:
                mine = [scores[i] for i in compared if self.pairs[i][0] == weight]
                means.append(np.mean([the_one(each, refit) for each in mine]))
            if np.isnan(means).all():
                return []
            order = np.argsort(-np.nan_to_num(means, nan=-np.inf))
            remaining[:] = [remaining[i] for i in order[: math.ceil(len(remaining) / 3)]]
            dropped = [i for i in compared if self.pairs[i][0] not in remaining]
            for i in dropped:
                self.scores[i] = scores[i]
            return [self.stacked.index(i) for i in dropped]

        return dropped_of

    def _why_not_stacked(self) -> str | None:
        embedder = next(iter(self.folds.values())).embedder
        for name in ("encoder", "decoder", "net_params"):
            if getattr(embedder, name) not in (None, {}):
                return f"{name}={getattr(embedder, name)!r}"
        if not is_ours(embedder.task_):
            return f"task={embedder.task!r}"
        return None if is_ours(embedder.regularizer_) else f"regularizer={embedder.regularizer!r}"

    def _fit_one_by_one(self, tasks: Tasks, context: Any) -> list[Any]:
        fitted = []
        n, name = len(self.pairs), type(tasks.estimator).__name__
        with tasks.task(context.subcontext("search", max_subtasks=n)) as context:
            for i, (reg_weight, split) in enumerate(self.pairs):
                began = time.perf_counter()
                with tasks.task(context.subcontext("candidate")):
                    fitted.append(self._fit_alone(i))
                if self.verbose:
                    seconds = time.perf_counter() - began
                    print(
                        f"[{name}] candidate {i + 1} of {n}: reg_weight={reg_weight:g}, "
                        f"fold {split}, {seconds:.1f} s",
                        flush=True,
                    )
        return fitted

    def _fit_alone(self, i: int) -> Any:
        reg_weight, split = self.pairs[i]
        if split not in self.folds:
            return None
        fold = self.folds[split]
        # As in a single fit, the copies of users' callbacks are shallow.
        callbacks = [each[1] if isinstance(each, tuple) else each for each in fold.net.callbacks]
        net = copy.deepcopy(fold.net, {id(each): copy.copy(each) for each in callbacks})
        fit = fold.with_weight(reg_weight, net)
        try:
            fit.train(fit.epochs)
        except Exception:
            if self.error_score == "raise":
                raise
            self.errors[i] = format_exc()
            return None
        if fit.interrupt is not None:
            raise fit.interrupt
        fit.finish()
        return fit.embedder

    def _finished(self, nets: list[Any]) -> list[Any]:
        """Return embedders with the nets of the stack; None for other candidates."""
        fitted: list[Any] = [None] * len(self.pairs)
        for i, net in zip(self.stacked, nets, strict=True):
            if net is not None:
                reg_weight, split = self.pairs[i]
                fit = self.folds[split].with_weight(reg_weight, net)
                fit.finish()
                fitted[i] = fit.embedder
        return fitted


def _part(array: Any, index: Any) -> Any:
    return None if array is None else _safe_indexing(array, index)


def the_one(scores: Any, name: Any) -> float:
    """Return the score that selects the weight; a failed candidate has a single score."""
    return scores[name] if isinstance(scores, dict) else scores
