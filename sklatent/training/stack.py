"""Trains many nets as one, with their weights stacked along a leading axis."""

import copy
import math
from collections.abc import Callable, Collection
from typing import Any, cast

import torch
from skorch.callbacks import Callback
from torch import Tensor, nn

from ..networks import WithSkip
from .batches import FoldBatches, Samples, stack_samples
from .callbacks import Patience
from .critic import Critic
from .net import EmbedderNet

#: Share of done models at which the other models are copied to a smaller stack.
DONE_SHARE = 1 / 8

CURVES = ("train_loss", "task_loss", "regularizer", "critic_loss", "valid_loss")


class Stack(EmbedderNet):
    """Many nets that train as one.

    Model i starts as ``nets[fold[i]]`` and trains on the samples of its fold, with its own
    reg_weight. The models do not affect each other: the loss is the sum of their losses, and Adam
    updates each weight separately. A model whose training has ended is removed from the stack.

    Parameters
    ----------
    nets : list of EmbedderNet
        One per fold, all of the same architecture, each with the task of its fold. Training
        changes only their generators, which determine the order of the samples.
    fold : Tensor of shape (models,)
        Index of each model's fold.
    reg_weight : Tensor of shape (models,)
    callbacks : list of Callback
    """

    def __init__(
        self,
        nets: list[EmbedderNet],
        fold: Tensor,
        reg_weight: Tensor,
        callbacks: list[Callback],
    ) -> None:
        self.nets = nets
        self.fold = fold
        first = nets[0]
        objective: Any = copy.copy(first.criterion_)
        objective.reg_weight = reg_weight.to(first.device)
        if objective.task is not None:
            objective.task = copy.copy(objective.task)
            tasks: list[Any] = [net.criterion_.task for net in nets]
            nats = torch.tensor([task.nats_ for task in tasks], dtype=torch.float32)
            objective.task.nats_ = nats[fold].to(first.device)
        super().__init__(
            stack_modules([net.module_ for net in nets], fold),
            objective,
            None
            if first.critic_ is None
            else stack_modules([cast(Critic, net.critic_).module for net in nets], fold),
            seed=first.seed,
            patience=Patience(first.patience.tol, first.patience.n_iter_no_change),
            lr=first.lr,
            batch_size=max(net.batch_size for net in nets),
            device=first.device,
            callbacks=callbacks,
        )
        self.verbose = 0
        self.processes = first.processes

    # Set-up

    @property
    def _default_callbacks(self) -> list[tuple[str, Any]]:
        curves, *others = super()._default_callbacks
        return [curves, ("remove_done", RemoveDone()), *others]

    @property
    def models(self) -> tuple[int, ...]:
        """Shape of the stack: the number of remaining models."""
        return (len(self.alive_),)

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:
        if training:
            generators = [net.generator_ for net in self.nets]
            return FoldBatches(dataset, self.batch_size, generators)
        return [(dataset[0].x, dataset)]  # skorch needs the number of samples in the first part

    # Steps

    def train_step(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        return super().train_step(self._of_models(*batch), **fit_params)

    def validation_step(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        return self.validation_on(batch[1])

    def losses_on(self, samples: Samples | list[Samples]) -> Tensor:
        """Return criterion, task loss and regularizer of each model: shape (3, models)."""
        losses_on = super().losses_on
        if not isinstance(samples, list):
            return losses_on(samples)
        if len({len(fold) for fold in samples}) == 1:
            stacked = stack_samples([(fold.x, fold.y) for fold in samples])
            return losses_on(Samples(*self._of_models(*stacked)))
        # Evaluate all models on every fold. This is rare and cheap: folds are seldom unequal,
        # and validation sets are small.
        losses = torch.stack(
            [
                losses_on(Samples(*stack_samples([(fold.x, fold.y)] * len(self.fold_))))
                for fold in samples
            ]
        )
        return losses[self.fold_, :, torch.arange(len(self.fold_))].T

    def _of_models(self, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return x[self.fold_], None if y is None else y[self.fold_]

    # Training

    def train_models(
        self, samples: list[Samples], valid: list[Samples] | None, epochs: int | None
    ) -> list[EmbedderNet | None]:
        """Train for some epochs; return each model as a single net, or None if it diverged.

        Parameters
        ----------
        samples, valid : list of Samples
            Samples to train on, and samples to evaluate the criterion on: one per fold.
        epochs : int or None
            As for `EmbedderNet.train`.

        Raises
        ------
        KeyboardInterrupt
            If the user interrupts training.
        """
        sizes = [len(fold) for fold in samples]
        n_rows = torch.tensor(sizes, dtype=torch.float32, device=self.device)
        self.alive_ = torch.arange(len(self.fold))
        self.fold_ = self.fold.to(self.device)
        self.trained_: list[EmbedderNet | None] = [None] * len(self.fold)
        self.curves_: list[list[dict[str, float]]] = [[] for _ in self.fold]
        self.diverged_: set[int] = set()
        end = self.run(samples, valid, epochs, n_rows[self.fold_])
        if isinstance(end, KeyboardInterrupt):
            raise end
        self.remove(torch.ones(self.models, dtype=torch.bool), self.weights())
        return self.trained_

    def remove(self, done: Tensor, weights: dict[str, Tensor]) -> None:
        """Remove models from the stack.

        Parameters
        ----------
        done : Tensor of shape (models,)
        weights : dict
            Weights of the removed models.
        """
        for i in done.nonzero().flatten().tolist():
            self.trained_[int(self.alive_[i])] = self._by_itself(i, weights)
        self._keep(~done)

    def separate(self) -> list[EmbedderNet | None]:
        """Return each model as a single net, as if training ended now."""
        nets = list(self.trained_)
        weights = self.patience.best_weights_ or self.weights()
        for i, model in enumerate(self.alive_.tolist()):
            nets[model] = self._by_itself(i, weights)
        return nets

    def _by_itself(self, i: int, weights: dict[str, Tensor]) -> EmbedderNet | None:
        model = int(self.alive_[i])
        finite = all(bool(value[i].isfinite().all()) for value in weights.values())
        finite &= all(math.isfinite(start[model]) for start in self.patience.scores_[:1])
        if not finite or model in self.diverged_:
            return None
        net = copy.deepcopy(self.nets[int(self.fold[model])])
        net.module_.load_state_dict({name: value[i] for name, value in weights.items()})
        if self.critic_ is not None:
            state = self.critic_.module.state_dict()
            critic = cast(Critic, net.critic_).module
            critic.load_state_dict({name: value[i] for name, value in state.items()})
        for epoch in self.curves_[model]:
            net.history.new_epoch()
            for name, value in epoch.items():
                net.history.record(name, value)
        scores = [-epoch["valid_loss"] for epoch in self.curves_[model] if "valid_loss" in epoch]
        net.patience.scores_ = [start[model] for start in self.patience.scores_[:1]] + scores
        return net

    def _keep(self, kept: Tensor) -> None:
        patience: Any = self.patience
        objective: Any = self.criterion_
        average = [] if self.average_ is None else [self.average_.model]
        for part in (*self._stateful(), *average):
            if isinstance(part, nn.Module):
                _select(part, kept)
                continue
            for state in part.state.values():
                for name in ("exp_avg", "exp_avg_sq"):
                    state[name] = state[name][kept]
        self.alive_, self.fold_ = self.alive_[kept], self.fold_[kept]
        self.n_rows_ = self.n_rows_[kept]
        objective.reg_weight = objective.reg_weight[kept]
        if objective.task is not None:
            objective.task.nats_ = objective.task.nats_[kept]
        patience.best_, patience.wait_ = patience.best_[kept], patience.wait_[kept]
        patience.done_ = patience.done_[kept]
        if patience.best_weights_ is not None:
            patience.best_weights_ = {
                name: value[kept] for name, value in patience.best_weights_.items()
            }


class RemoveDone(Callback):
    """Records each model's curves, and removes models whose training has ended."""

    def on_epoch_begin(self, net: Stack, **kwargs: Any) -> None:
        done, best_weights = net.patience.done_, net.patience.best_weights_
        # Without saved best weights, a model must keep the weights it has when it is done.
        if done.any() if best_weights is None else done.float().mean() >= DONE_SHARE:
            net.remove(done, best_weights or net.weights())

    def on_epoch_end(self, net: Stack, **kwargs: Any) -> None:
        patience, epoch = net.patience, net.history[-1]
        losses = [epoch[name] for name in ("train_loss", "valid_loss") if name in epoch]
        diverged = ~torch.tensor(losses).isfinite().all(dim=0)
        net.diverged_.update(net.alive_[diverged].tolist())
        patience.done_ = patience.done_ | diverged
        names = [name for name in CURVES if name in epoch]
        for i, model in enumerate(net.alive_.tolist()):
            if not patience.done_[i]:
                curves = {name: epoch[name][i] for name in names}
                net.curves_[model].append(curves | {"n_iter": epoch["n_iter"]})


class Drop(Callback):
    """Removes models from the stack at some times.

    Parameters
    ----------
    parts : collection of int
        Models are compared after one of so many parts of the training: 3 means after a third.
    select : callable
        Maps the list of all models, as single nets or None if diverged, to the indices of the
        models to remove.
    """

    def __init__(
        self,
        parts: Collection[int],
        select: Callable[[list[EmbedderNet | None]], list[int]],
    ) -> None:
        self.parts = parts
        self.select = select

    def on_epoch_end(self, net: Stack, **kwargs: Any) -> None:
        if len(net.history) in [net.last_ // part for part in self.parts]:
            removed = torch.tensor(self.select(net.separate()), dtype=torch.int64)
            net.patience.done_ = net.patience.done_ | torch.isin(net.alive_, removed)


def stack_modules(modules: list[Any], index: Tensor) -> Any:
    """Stack the parameters and buffers of modules of one architecture.

    Parameters
    ----------
    modules : list of Module
    index : Tensor of shape (models,)
        Index of the module for each model.
    """
    parameters, buffers = torch.func.stack_module_state(modules)
    stacked = copy.deepcopy(modules[0])
    for path, module in stacked.named_modules():
        prefix = f"{path}." if path else ""
        for name in [name for name, value in module._parameters.items() if value is not None]:
            value = parameters[prefix + name].detach()[index]
            module._parameters[name] = nn.Parameter(value)
        for name in [name for name, value in module._buffers.items() if value is not None]:
            module._buffers[name] = buffers[prefix + name][index]
        if isinstance(module, WithSkip):
            module.exact_skip = None  # for float64 predictions; a stack only trains
    return stacked


def _select(module: nn.Module, kept: Tensor) -> None:
    for value in (*module.parameters(), *module.buffers()):
        if value.ndim:  # scalars, such as counters, have no model axis
            value.data = value.data[kept]
        value.grad = None
