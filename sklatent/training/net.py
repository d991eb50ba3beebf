"""The skorch net that trains an embedding."""

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from skorch import NeuralNet
from torch import Tensor, nn

from ..networks import Autoencoder, Embedding
from ..regularizers import Adversarial
from .average import Average
from .batches import Batches, Drawn, Samples, systematic_resample
from .callbacks import LossCurves, NonFiniteLossError, Patience, StopTraining, Watcher
from .critic import Critic
from .objective import Objective
from .processes import Processes

#: Limits of `epochs` = None.
AUTO_EPOCHS, AUTO_STEPS = 200, 20_000


class EmbedderNet(NeuralNet):
    """A `skorch.NeuralNet` whose data are `Samples`, and whose loss is an `Objective`.

    The data are a pair of `Samples`: training samples, and validation samples or None. All draws
    come from the net's own generator, never from torch's global generator.

    Parameters
    ----------
    module : Autoencoder
    criterion : Objective
    critic : Module or None
        The critic of an adversarial regularizer. It has its own optimizer.
    seed : int
        Seed of the order of the samples and of a stochastic encoder's draws.
    patience : Patience
        Stopping rule.
    **kwargs
        As for `skorch.NeuralNet`.

    Attributes
    ----------
    processes : Processes or None
        Processes that train this net together.
    """

    processes: Processes | None = None
    sharing_: Processes | None = None  # the same, during training only
    batches_: Batches | None = None  # the training samples, during training only

    def __init__(
        self,
        module: Autoencoder,
        criterion: Objective,
        critic: nn.Module | None = None,
        *,
        seed: int,
        patience: Patience,
        **kwargs: Any,
    ) -> None:
        self.critic = critic
        self.seed = seed
        self.patience = patience
        if "optimizer" not in kwargs:
            # Fused Adam is several times faster than plain Adam, also on a CPU.
            fused = not kwargs.get("optimizer__foreach")
            kwargs = {"optimizer": torch.optim.Adam, "optimizer__fused": fused} | kwargs
        super().__init__(
            module,
            criterion,
            train_split=None,
            **kwargs,
        )

    # Set-up

    @property
    def _default_callbacks(self) -> list[tuple[str, Any]]:
        return [("loss_curves", LossCurves()), ("patience", self.patience)]

    def initialize(self) -> "EmbedderNet":
        """Put the modules on the device and make optimizer, callbacks and generator."""
        self.generator_ = torch.Generator().manual_seed(self.seed)
        super().initialize()
        # module_ and criterion_ refer to the same objects. Pickle would store a second reference
        # as a second copy, which training would not update.
        self.module = self.criterion = self.critic = None
        return self

    def get_split_datasets(
        self, X: tuple[Samples, Samples | None], y: Any = None, **fit_params: Any
    ) -> tuple[Samples, Samples | None]:
        return X

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:
        if training:
            return self.batches_ or Batches(dataset, self.batch_size, self.generator_)
        return Batches(dataset, len(dataset))

    def get_all_learnable_params(self) -> Iterator[tuple[str, nn.Parameter]]:
        # Parameters of the main optimizer, and the parameters that callbacks receive.
        yield from self.module_.named_parameters()

    def initialize_optimizer(self, triggered_directly: Any = None) -> "EmbedderNet":
        super().initialize_optimizer()
        self.average_: Average | None = None
        self.critic_: Critic | None = None
        if self.critic is not None:
            regularizer = cast(Adversarial, self.criterion_.regularizer)
            self.critic_ = Critic(self.critic.to(self.device), regularizer)
            # A net trained on a GPU can then be loaded on a machine without a GPU.
            net: Any = self
            net.cuda_dependent_attributes_ = [*net.cuda_dependent_attributes_, "critic_"]
        return self

    def torch_compile(self, module: nn.Module, name: str) -> nn.Module:
        # Compile the encoder and decoder only. The gradient penalty needs the critic's second
        # derivative, and compiled modules do not support second derivatives. The objective caches
        # constants and draws random numbers, and tracing would replace both by fixed values.
        return super().torch_compile(module, name) if name == "module" else module

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        super().notify(method_name, **cb_kwargs)
        if method_name != "on_epoch_end":
            return
        if self.sharing_ is not None:
            # A callback can stop one process, and the others would wait for its gradients.
            self.patience.done_ = self.sharing_.of_main(self.patience.done_)
        # Raise after the last callback, so that all callbacks process the last epoch.
        if self.patience.done_:
            raise StopTraining

    # Steps

    def train_step(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        extra = {}
        if self.critic_ is not None:
            self._set_training(True)
            x = batch[0]
            with torch.no_grad():
                u = self.uncompiled.encoder(x, self._noise(x, self.generator_)).sample
            extra["critic_loss"] = self.critic_.train(self.uncompiled, x, u, self.generator_)
        step = super().train_step(batch, **fit_params)
        if self.average_ is not None:
            self.average_.update(self.module_)
        return step | extra

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Replace the trained weights by their average for a block."""
        moved = cast(Any, self).module_
        if self.average_ is not None:
            self.module_ = self.average_.model.module
        try:
            yield
        finally:
            self.module_ = moved

    def infer(self, x: Tensor, **fit_params: Any) -> tuple[Embedding, Tensor | None]:
        noise = self._noise(x, **fit_params)
        if self.sharing_ is not None:
            return self.sharing_.apply(self.module_, x, noise)
        return self.module_(x, noise)

    def _noise(self, x: Tensor, generator: torch.Generator) -> Tensor | None:
        log_var = self.uncompiled.encoder.log_var
        if log_var is None:
            return None
        shape = (len(x), len(log_var))
        return torch.randn(shape, generator=generator, dtype=torch.float32).to(x)

    def _set_training(self, training: bool = True) -> None:
        # Setting the mode of all modules at every step takes as long as a layer.
        if not self.module_.training == self.criterion_.training == training:
            super()._set_training(training)

    def train_step_single(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        self._set_training(True)
        x, y = batch
        embedding, output = self.infer(x, generator=self.generator_)
        opinion = None
        if self.critic_ is not None:
            u = embedding.sample
            opinion = self.critic_.encoder_loss(self.uncompiled, x, u, self.generator_)
        losses = self.criterion_(x, embedding, output, y, self.n_rows_, self.generator_, opinion)
        loss = losses[0]
        if not loss.requires_grad:
            raise ValueError("the loss does not depend on any weight that can be trained")
        loss.backward()
        stacked = torch.stack(losses).detach()
        if self.sharing_ is not None:
            stacked = self.sharing_.sum_gradients(self.module_.parameters(), stacked)
        return {"loss": loss, "losses": stacked}

    def validation_step(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        with self._averaged():
            losses = self.losses_on(Samples(*batch))
        self.history.record("valid_loss", float(losses[0]))
        return {"loss": losses[0], "losses": losses}

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        super().on_epoch_begin(net, **kwargs)
        if len(self.history) > 1:
            # Nothing reads the batches of past periods, and a fit can have millions of batches.
            self.history[-2]["batches"].clear()

    def critic_gap(self, samples: Samples) -> float:
        """Return `Critic.gap` on some samples."""
        self._set_training(False)
        frozen = torch.Generator().manual_seed(self.seed)
        with torch.no_grad():
            u = self.infer(samples.x, generator=frozen)[0].sample
        return cast(Critic, self.critic_).gap(self.uncompiled, samples.x, u, frozen)

    # Training

    def samples(self, x: Any, y: NDArray | None, weight: NDArray | None) -> Samples:
        """Return `Samples` on the device: floats as float32, integers as int64.

        If x is not an ndarray, its samples become tensors when they are drawn.
        """
        labels = None
        if y is not None:
            dtype = torch.float32 if y.dtype.kind == "f" else torch.int64
            labels = torch.tensor(y, dtype=dtype, device=self.device)
        values: Any = Drawn(x, self.device)
        if isinstance(x, np.ndarray):
            values = torch.tensor(x, dtype=torch.float32, device=self.device)
        return Samples(values, labels, None if weight is None else torch.tensor(weight))

    def resample(self, samples: Samples) -> Samples:
        """Return the same number of samples, each repeated in proportion to its weight.

        The result is in memory.
        """
        if samples.weight is None:
            return Samples(*samples[:])
        generator = torch.Generator().manual_seed(self.seed)
        return Samples(
            *samples[systematic_resample(samples.weight, generator).to(samples.x.device)]
        )

    def draw_seed(self) -> int:
        """Draw a seed from the net's generator."""
        return int(torch.randint(2**31, (), generator=self.generator_))

    def set_objective(self, objective: Objective) -> None:
        """Change the objective that training minimizes."""
        self.criterion_ = objective.to(self.device)
        if self.critic_ is not None:
            self.critic_.set_regularizer(cast(Adversarial, objective.regularizer))

    def train(
        self, samples: Samples, valid: Samples | None, epochs: int | None, n_rows: float
    ) -> BaseException | None:
        """Train for some epochs; return the exception that ended training before, or None.

        This method replaces `NeuralNet.fit`, which treats KeyboardInterrupt as a regular end of
        training. `StopTraining` is returned if the stopping rule ended training. A
        KeyboardInterrupt after the first period is returned too: the weights are the best so far,
        as after a regular end.

        Parameters
        ----------
        samples, valid : Samples
            Samples to train on, and samples to evaluate the criterion on. If `valid` is None,
            the stopping rule uses the training loss.
        epochs : int or None
            None is `AUTO_EPOCHS` epochs, but at most `AUTO_STEPS` steps.
        n_rows : float
            Size of the data set that batches are drawn from, for the regularizer.
        """
        n_periods, _ = self.schedule(samples, epochs)
        try:
            self.begin(samples, valid, n_rows)
            end = self.advance(samples, valid, n_periods)
            self.end(samples, valid)
        finally:
            self._leave()
        return end

    def begin(self, samples: Samples, valid: Samples | None, n_rows: float) -> None:
        """Begin a training; `advance` continues it, and `end` ends it."""
        self.n_rows_ = n_rows
        # `advance` can end within an epoch, and the next call continues the epoch.
        self.batches_ = self.get_iterator(samples, training=True)
        self.n_periods_ = self.batches_.n_periods  # in an epoch
        self.sharing_ = self.processes
        self._equalize()
        if self.critic_ is not None or self.n_periods_ > 1:
            self._begin_average(resume=valid is None)
        self.notify("on_train_begin", X=(samples, valid), y=None)

    def advance(
        self, samples: Samples, valid: Samples | None, n_periods: int
    ) -> BaseException | None:
        """Train for some periods; return the exception that ended training before, or None."""
        try:
            self.fit_loop((samples, valid), epochs=n_periods)
        except StopTraining as error:
            return error.with_traceback(None)  # its frames would keep the data alive
        except KeyboardInterrupt as error:
            n_complete = self.patience.n_complete_
            if n_complete == self.patience.before_:
                raise
            del self.history[n_complete:]
            del self.patience.scores_[n_complete + 1 :]
            return error
        return None

    def end(self, samples: Samples, valid: Samples | None) -> None:
        """End a training with the best weights."""
        self._end_average()
        self.notify("on_train_end", X=(samples, valid), y=None)
        self._equalize()
        if not all(bool(value.isfinite().all()) for value in self.module_.parameters()):
            raise NonFiniteLossError("the weights became infinite or not a number")
        self._leave()

    def _leave(self) -> None:
        self.average_ = self.sharing_ = self.batches_ = None
        self._set_training(False)

    def schedule(self, samples: Any, epochs: int | None) -> tuple[int, int]:
        """Return the number of periods of a training, and of an epoch.

        Parameters
        ----------
        samples, epochs
            As for `train`.
        """
        batches = self.get_iterator(samples, training=True)
        return _count_periods(batches, epochs), batches.n_periods

    @contextmanager
    def watched(self, watchers: Iterable[Watcher]) -> Iterator[None]:
        """Call watchers after the other callbacks, for the trainings in a block."""
        callbacks = cast(Any, self).callbacks_
        self.callbacks_ = [*callbacks, *((type(each).__name__, each) for each in watchers)]
        try:
            yield
        finally:
            self.callbacks_ = callbacks

    def as_if_ended(self) -> "EmbedderNet":
        """Return a copy of the net as if training ended now; users' callbacks are not copied."""
        shared: dict[int, Any] = {
            id(each): each for _, each in self.callbacks_ if each is not self.patience
        }
        shared[id(self.batches_)] = self.batches_
        net = self.__deepcopy__(shared)
        net.callbacks_ = [each for each in net.callbacks_ if not isinstance(each[1], Watcher)]
        net._end_average()
        net.patience.on_train_end(net)
        net._leave()
        return net

    def _equalize(self) -> None:
        """Take the weights of the first of the processes that share the batches."""
        if self.sharing_ is not None:
            self.sharing_.equalize(self.module_)
            if self.critic_ is not None:
                self.sharing_.equalize(self.critic_.module)

    def _begin_average(self, resume: bool) -> None:
        """Start a moving average of the weights; with a critic, resume the previous average."""
        self.average_ = Average(self.module_, warm_up=self.critic_ is None)
        if resume and self.critic_ is not None and self.critic_.paused is not None:
            moved, averaged = self.critic_.paused
            self.module_.load_state_dict(moved)
            self.average_.model.load_state_dict(averaged)

    def _end_average(self) -> None:
        """Set the weights to their average."""
        if self.average_ is None:
            return
        if self.critic_ is not None:
            moved = {name: value.clone() for name, value in self.module_.state_dict().items()}
            self.critic_.paused = moved, self.average_.model.state_dict()
        self.module_.load_state_dict(self.average_.model.module.state_dict())

    def losses_on(self, samples: Samples) -> Tensor:
        """Return criterion, task loss and regularizer on all samples at once.

        Draws are frozen, and the regularizer is at least zero.
        """
        self._set_training(False)
        # Every call uses the same draws, so that the criterion is comparable between epochs.
        frozen = torch.Generator().manual_seed(self.seed)
        with torch.no_grad():
            embedding, output = self.infer(samples.x, generator=frozen)
            _, task_loss, penalty = self.criterion_(
                samples.x, embedding, output, samples.y, math.inf, frozen
            )
        # An unbiased estimate can be negative by chance. Without the clamp, chance would select
        # the best epoch.
        penalty = penalty.clamp(min=0)
        criterion = task_loss + self.criterion_.reg_weight * penalty
        losses = torch.stack([criterion, task_loss, penalty])
        return losses if self.sharing_ is None else self.sharing_.of_main(losses)

    def task_losses(self, samples: Samples, u: NDArray, output: NDArray | None) -> NDArray:
        """Return the task's loss of each sample, given its embedding and the decoder's output.

        Parameters
        ----------
        samples : Samples
        u : ndarray of shape (n, k)
            In standard coordinates.
        output : ndarray of shape (n, q) or None
        """
        z, given = self.samples(u, None, None).x, None
        if output is not None:
            given = self.samples(output, None, None).x
        with torch.no_grad():
            return (
                self.criterion_.task_losses(samples.x, z, given, samples.y).cpu().double().numpy()
            )

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of the modules' weights, or of their average if there is one."""
        with self._averaged():
            return {name: value.clone() for name, value in self.module_.state_dict().items()}

    def _stateful(self) -> list[Any]:
        critic = [] if self.critic_ is None else [self.critic_.module, self.critic_.optimizer]
        return [self.module_, self.optimizer_, *critic]

    def checkpoint(self) -> tuple[Any, ...]:
        """Return the state that training and new settings change."""
        return (
            {"lr": self.lr, "batch_size": self.batch_size},
            self.patience.get_params(),
            self.criterion_,
            [copy.deepcopy(part.state_dict()) for part in self._stateful()],
            self.generator_.get_state(),
            None if self.critic_ is None else (self.critic_.regularizer, self.critic_.paused),
            len(self.history),
            len(self.patience.scores_),
        )

    def restore(self, checkpoint: tuple[Any, ...]) -> None:
        """Restore the state of a checkpoint."""
        settings, patience, objective, states, generator, critic, n_periods, n_scores = checkpoint
        self.criterion_ = objective
        if self.critic_ is not None:
            self.critic_.regularizer, self.critic_.paused = critic
        self.__dict__.update(settings)
        self.patience.set_params(**patience)
        for part, state in zip(self._stateful(), states, strict=True):
            part.load_state_dict(state)
        self.generator_.set_state(generator)
        del self.history[n_periods:]
        del self.patience.scores_[n_scores:]

    # Copies

    def to_arrays(self) -> dict[str, Any]:
        """Return all that training has changed since `initialize`, with arrays for tensors."""
        state = {
            "seed": self.seed,
            "reg_weight": self.criterion_.reg_weight,
            "settings": {"lr": self.lr, "batch_size": self.batch_size},
            "patience": self.patience.get_params(),
            "generator": self.generator_.get_state(),
            "history": [
                {name: value for name, value in period.items() if name != "batches"}
                for period in self.history
            ],
            "scores": self.patience.scores_,
            "module": self.uncompiled.state_dict(),
            "optimizer": self.optimizer_.state_dict()["state"],
        }
        if self.critic_ is not None:
            state |= {
                "critic": self.critic_.module.state_dict(),
                "critic_optimizer": self.critic_.optimizer.state_dict()["state"],
                "paused": self.critic_.paused,
            }
        return _map_leaves(_to_array, state)

    def from_arrays(self, state: dict[str, Any]) -> None:
        """Continue from the state of a net that had the same networks with the same weights.

        Raises
        ------
        ValueError
            If the state has other arrays than training gives it.
        """
        state = _map_leaves(_to_tensor, state)
        self.__dict__.update(state["settings"])
        self.patience.set_params(**state["patience"])
        self.patience.scores_ = state["scores"]
        self.history.extend({**period, "batches": []} for period in state["history"])
        _set_generator(self.generator_, state["generator"])
        _set_optimizer(self.optimizer_, state["optimizer"])
        if self.critic_ is not None:
            _set_optimizer(self.critic_.optimizer, state["critic_optimizer"])
            self.critic_.paused = state["paused"]
            if state["paused"] is not None:
                moved = self.module_.state_dict()
                averaged = {f"module.{name}": value for name, value in moved.items()}
                _check_like(state["paused"], (moved, averaged | {"n_averaged": torch.tensor(0)}))

    @property
    def uncompiled(self) -> Autoencoder:
        """The modules before compilation."""
        return cast(Autoencoder, getattr(self.module_, "_orig_mod", self.module_))

    def __deepcopy__(self, memo: dict[int, Any]) -> "EmbedderNet":
        # skorch copies through pickle, which fails for modules and tasks defined in a script.
        new = type(self).__new__(type(self))
        memo[id(self)] = new
        new.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return new


def _count_periods(batches: Any, epochs: int | None) -> int:
    if epochs is not None:
        return epochs * batches.n_periods
    most = max(1, AUTO_STEPS * batches.n_periods // batches.n_steps)
    return min(AUTO_EPOCHS * batches.n_periods, most)


def set_weights(module: nn.Module, weights: dict[str, Any]) -> None:
    """Give a module on any device, also "meta", the weights that `to_arrays` returned.

    Raises
    ------
    ValueError
        If the weights have other names, shapes or types than the module's.
    """
    tensors = _map_leaves(_to_tensor, weights)
    _check_like(tensors, module.state_dict())
    module.load_state_dict(tensors, assign=True)


def _set_optimizer(optimizer: torch.optim.Optimizer, state: dict[int, Any]) -> None:
    probe = copy.deepcopy(optimizer)  # one step shows what the state consists of
    for group in probe.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    probe.step()
    expected = probe.state_dict()["state"]
    _check_like(state, {index: expected.get(index) for index in state})
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _set_generator(generator: torch.Generator, state: Tensor) -> None:
    # The state of a Mersenne Twister: torch does not check that the next number is inside.
    n_left, following = state[8:12].view(torch.int32).item(), state[16:24].view(torch.int64).item()
    if (n_left, following) != (1, 0) and n_left + following != 625:
        raise ValueError(f"a generator has {n_left} numbers left at number {following} of 624")
    generator.set_state(state)


def _check_like(value: Any, expected: Any) -> None:
    """Raise if nested dicts and tuples of tensors differ in keys, shapes or types."""
    difference = _forms(value).items() ^ _forms(expected).items()
    if difference:
        names = sorted({".".join(map(str, path)) for path, _ in difference})
        raise ValueError(f"arrays are missing, or have unexpected shapes or types: {names}")


def _forms(value: Any, path: tuple[Any, ...] = ()) -> dict[tuple[Any, ...], Any]:
    """Return shape and type of each tensor in nested dicts and tuples."""
    if isinstance(value, tuple):
        value = dict(enumerate(value))
    if isinstance(value, dict):
        parts = [_forms(item, (*path, key)) for key, item in value.items()]
        return {place: form for part in parts for place, form in part.items()}
    return {path: (value.shape, value.dtype) if isinstance(value, Tensor) else type(value)}


def _to_array(value: Any) -> Any:
    return value.numpy(force=True) if isinstance(value, Tensor) else value


def _to_tensor(value: Any) -> Any:
    return torch.tensor(value) if isinstance(value, np.ndarray) else value


def _map_leaves(function: Callable[[Any], Any], value: Any) -> Any:
    """Apply a function to everything in nested dicts, lists and tuples."""
    if isinstance(value, dict):
        return {key: _map_leaves(function, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_map_leaves(function, item) for item in value)
    return function(value)
