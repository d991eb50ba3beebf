"""Callbacks for the loss curves, the stopping rule, the best weights and watchers."""

import math
from collections.abc import Callable
from typing import Any

import torch
from skorch.callbacks import Callback
from torch import Tensor

#: Minimum number of steps without improvement: for small data, a period has few steps.
MIN_STEPS = 300
#: The same with a critic, and for long epochs before any period is better than the start, because
#: training at first makes the embedding less Gaussian.
MIN_FIRST_STEPS = 1000
#: Maximum number of periods that an epoch without improvement counts as.
MOST_PERIODS = 2


class StopTraining(Exception):
    """Raised after a period's last callback to end training; the net's ``run`` catches it."""


class NonFiniteLossError(ValueError):
    """The training loss or the criterion became infinite or not a number."""


class LossCurves(Callback):
    """Averages the losses of a period's batches and writes them to the history.

    A period is an epoch, or a part of a long one; see `Batches`. skorch calls it an epoch.

    The keys are ``train_loss``, ``task_loss``, ``regularizer`` and, with a critic,
    ``critic_loss``. The values are means over the samples. ``n_iter`` is the number of epochs so
    far, including the one that the period belongs to. ``train_loss_best`` and ``valid_loss_best``
    are whether a loss is the lowest so far. skorch's callbacks monitor these names.
    """

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        self.before_ = len(net.history)
        self.n_iter_ = net.history[-1, "n_iter"] if net.history else 0

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        self.sums_: Any = 0.0
        self.n_rows_ = 0

    def on_batch_end(
        self, net: Any, batch: Any = None, training: bool = False, **step: Any
    ) -> None:
        if training:
            n = len(batch[0])
            losses = step["losses"]
            if "critic_loss" in step:
                losses = torch.cat([losses, step["critic_loss"].unsqueeze(0)])
            self.sums_ = self.sums_ + n * losses
            self.n_rows_ += n

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        names = ("train_loss", "task_loss", "regularizer", "critic_loss")
        losses = dict(zip(names, (self.sums_ / self.n_rows_).tolist(), strict=False))
        for name, loss in losses.items():
            net.history.record(name, loss)
        epochs = math.ceil((len(net.history) - self.before_) / net.n_periods_)
        net.history.record("n_iter", self.n_iter_ + epochs)
        if not torch.isfinite(self.sums_).all():
            raise NonFiniteLossError(
                f"the training loss became {losses['train_loss']} in epoch "
                f"{net.history[-1, 'n_iter']} "
                f"({', '.join(f'{name} {loss}' for name, loss in losses.items())})"
            )
        for name in {"train_loss", "valid_loss"} & net.history[-1].keys():
            *earlier, loss = (epoch[name] for epoch in net.history if name in epoch)
            net.history.record(f"{name}_best", loss < min(earlier, default=math.inf))


class Patience(Callback):
    """Stops training without improvement, and keeps the best weights.

    With validation samples, it monitors the criterion on these samples and keeps the weights of
    the best period, or the weights before the first one if these are better. Without validation
    samples, it monitors the training loss, and with a critic it never stops training.

    Parameters
    ----------
    tol : float
        Minimum improvement.
    n_iter_no_change : int
        Number of consecutive epochs without improvement before training stops. An epoch counts
        as at most `MOST_PERIODS` periods. Training also continues until there are `MIN_STEPS`
        steps without improvement, or `MIN_FIRST_STEPS`.

    Attributes
    ----------
    scores_ : list of float
        Minus the criterion on the validation samples, before the first period and after each. A
        period without validation samples has nan if a later period has validation samples.
    n_complete_ : int
        Number of periods in the history that training has completed.
    wait_ : int
        Number of periods without improvement.
    done_ : bool
        Whether training has ended.
    """

    def __init__(self, tol: float, n_iter_no_change: int) -> None:
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change

    def initialize(self) -> "Patience":
        self.scores_: list[float] = []
        return self

    def on_train_begin(self, net: Any, X: Any = None, **kwargs: Any) -> None:
        self.best_, self.wait_, self.done_ = math.inf, 0, False
        self.best_weights_: dict[str, Tensor] | None = None
        self.before_ = self.n_complete_ = len(net.history)
        if X[1] is not None:
            criterion = float(net.losses_on(X[1])[0])
            self._watch(net, criterion, keep_weights=True)
            gap = len(net.history) - len(self.scores_)
            if gap >= 0:  # the last period and those in the gap have no score yet
                self.scores_ += [math.nan] * gap + [-criterion]

    def on_epoch_end(self, net: Any, dataset_valid: Any = None, **kwargs: Any) -> None:
        validated = dataset_valid is not None
        criterion = net.history[-1, "valid_loss" if validated else "train_loss"]
        self._watch(net, criterion, keep_weights=validated)
        if validated:
            self.scores_.append(-criterion)
        self.n_complete_ = len(net.history)
        n_steps = self.wait_ * net.history[-1, "train_batch_count"]
        if not validated and net.critic_ is not None:
            return  # The critic's output need not fall while the embedding improves.
        never_better = self.wait_ == self.n_complete_ - self.before_
        patient = net.critic_ is not None or (net.n_periods_ > 1 and never_better)
        waited = self.wait_ > self.n_iter_no_change * min(net.n_periods_, MOST_PERIODS)
        self.done_ |= waited and n_steps >= (MIN_FIRST_STEPS if patient else MIN_STEPS)

    def _watch(self, net: Any, criterion: float, keep_weights: bool) -> None:
        if not math.isfinite(criterion):
            n_iter = net.history[-1, "n_iter"] if net.history else 0
            raise NonFiniteLossError(
                f"the criterion of the validation set became {criterion} after epoch {n_iter}"
            )
        self.wait_ = self.wait_ + 1 if criterion > self.best_ - self.tol else 0
        if criterion < self.best_:
            self.best_ = criterion
            if keep_weights:
                self.best_weights_ = net.weights()

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        if self.best_weights_ is not None:
            net.module_.load_state_dict(self.best_weights_)
            self.best_weights_ = None

    def stop(self) -> None:
        """End the training after the current period."""
        self.done_ = True


class Watcher(Callback):
    """Base class of callbacks that belong to one training, and not to the net."""


class Watch(Watcher):
    """Calls functions at the beginning and at the end of each period.

    Parameters
    ----------
    begin : callable
    end : callable
        Training stops if it returns True.
    """

    def __init__(self, begin: Callable[[], None], end: Callable[[], bool]) -> None:
        self.begin = begin
        self.end = end

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        self.begin()

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        if self.end():
            net.patience.stop()
