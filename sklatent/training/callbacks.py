"""Bridges from skorch's events to the curves, the stopping rule and the best weights."""

from typing import Any

import torch
from skorch.callbacks import Callback

#: Steps without improvement that are tolerated in any case: an epoch of few rows has few.
MIN_STEPS = 300
#: The same against a critic, which upsets the embedding before it mends it.
MIN_ADVERSARIAL_STEPS = 1000


class StopTraining(Exception):
    """Raised at the end of an epoch to end training; the net's ``train`` catches it."""


class NonFiniteLossError(ValueError):
    """The training loss became infinite or not a number."""


class LossCurves(Callback):
    """Averages the losses of an epoch's batches and writes them to the history.

    Keys: ``loss``, ``task_loss``, ``regularizer``, and ``critic_loss`` where there is a critic;
    means over the rows.
    """

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
                losses = torch.cat([losses, step["critic_loss"].view(1)])
            self.sums_ = self.sums_ + n * losses
            self.n_rows_ += n

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        names = ("loss", "task_loss", "regularizer", "critic_loss")
        losses = dict(zip(names, (self.sums_ / self.n_rows_).tolist(), strict=False))
        for name, loss in losses.items():
            net.history.record(name, loss)
        if not torch.isfinite(self.sums_).all():
            raise NonFiniteLossError(
                f"the training loss became {losses['loss']} in epoch {len(net.history)} "
                f"({', '.join(f'{name} {loss}' for name, loss in losses.items())})"
            )


class Patience(Callback):
    """Stops training that no longer improves, and keeps the best weights.

    It watches the criterion on validation rows where there are some, and then returns the best
    weights seen, those before the first epoch among them; else the training loss, unless a critic
    has a say in it.

    Parameters
    ----------
    tol : float
        Smallest improvement that counts.
    n_iter_no_change : int
        Number of consecutive epochs without one that are still tolerated; more where they have
        not had `MIN_STEPS` steps (`MIN_ADVERSARIAL_STEPS` against a critic).

    Attributes
    ----------
    scores_ : list of float
        Minus the criterion on the validation rows, before the first epoch and after each.
    """

    def __init__(self, tol: float, n_iter_no_change: int) -> None:
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change

    def initialize(self) -> "Patience":
        self.scores_: list[float] = []
        return self

    def on_train_begin(self, net: Any, X: Any = None, **kwargs: Any) -> None:
        self.best_, self.best_weights_, self.wait_ = float("inf"), None, 0
        if X[1] is not None:
            criterion = float(net.losses_on(X[1])[0])
            self._watch(net, criterion, keep_weights=True)
            if not self.scores_:
                self.scores_.append(-criterion)

    def on_epoch_end(self, net: Any, dataset_valid: Any = None, **kwargs: Any) -> None:
        validated = dataset_valid is not None
        criterion = net.history[-1, "criterion" if validated else "loss"]
        self._watch(net, criterion, keep_weights=validated)
        if validated:
            self.scores_.append(-criterion)
        n_steps = self.wait_ * net.history[-1, "train_batch_count"]
        if not validated and net.critic_ is not None:
            return  # A critic's opinion need not fall while the embedding improves.
        least = MIN_STEPS if net.critic_ is None else MIN_ADVERSARIAL_STEPS
        if self.wait_ > self.n_iter_no_change and n_steps >= least:
            raise StopTraining

    def _watch(self, net: Any, loss: float, keep_weights: bool) -> None:
        self.wait_ = self.wait_ + 1 if loss > self.best_ - self.tol else 0
        if loss < self.best_:
            self.best_ = loss
            if keep_weights:
                self.best_weights_ = net.weights()

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        if self.best_weights_ is not None:
            net.module_.load_state_dict(self.best_weights_)
            self.best_weights_ = None
