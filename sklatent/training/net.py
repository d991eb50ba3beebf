"""The skorch net that trains an embedding, and the objective it minimises."""

import copy
import math
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from skorch import NeuralNet
from skorch.callbacks import EpochTimer, PrintLog
from torch import Tensor, nn

from ..networks import Autoencoder, Embedding, linear
from ..regularizers import Regularizer
from ..tasks import Task
from .batches import Batches, Rows, systematic_resample
from .callbacks import LossCurves, NonFiniteLossError, Patience, StopTraining


class Objective(nn.Module):
    r"""The criterion: task loss + reg_weight * regularizer.

    Parameters
    ----------
    task : Task or None
    regularizer : Regularizer or None
    reg_weight : float
    mean, scale : ndarray of shape (p,), float
        Units of X: x = mean + scale * x~.
    target_mean, target_factor : ndarray of shapes (k,), (k, k)
        The target: z = target_mean + target_factor u.
    """

    mean: Tensor
    target_mean: Tensor
    target_factor: Tensor

    def __init__(
        self,
        task: Task | None,
        regularizer: Regularizer | None,
        reg_weight: float,
        mean: NDArray,
        scale: float,
        target_mean: NDArray,
        target_factor: NDArray,
    ) -> None:
        super().__init__()
        self.task = task
        self.regularizer = regularizer
        self.reg_weight = reg_weight
        self.scale = scale
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("target_mean", torch.tensor(target_mean, dtype=torch.float32))
        self.register_buffer("target_factor", torch.tensor(target_factor, dtype=torch.float32))

    def forward(
        self,
        x: Tensor,
        embedding: Embedding,
        output: Tensor | None,
        y: Tensor | None,
        n_rows: float = math.inf,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return loss, task loss and regularizer of a batch, stacked: shape (3, ...)."""
        penalty = task_loss = embedding.mean.new_zeros(embedding.mean.shape[:-2])
        if self.task is not None:
            task_loss = self.task_losses(x, embedding.sample, output, y).mean(dim=-1)
        if self.regularizer is not None:
            penalty = self.regularizer(embedding, n_rows, generator)
            if self.regularizer.in_nats and self.task is not None:
                penalty = penalty / self.task.nats_
        return torch.stack([task_loss + self.reg_weight * penalty, task_loss, penalty])

    def task_losses(self, x: Tensor, u: Tensor, output: Tensor | None, y: Tensor | None) -> Tensor:
        """Return the task's loss of each sample, of shape (..., n)."""
        assert self.task is not None
        if self.task.standardized:
            return self.task.loss(x, u, output, y)
        z = self.target_mean + linear(u, self.target_factor)
        losses = self.task.loss(self.mean + self.scale * x, z, output, y)
        if not isinstance(losses, Tensor) or losses.shape != u.shape[:-1]:
            got = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
            raise ValueError(
                f"task must return a loss of shape (n,), one for each sample; for n = {len(u)} "
                f"it returned {got}"
            )
        return losses


class EmbedderNet(NeuralNet):
    """A `skorch.NeuralNet` whose data are `Rows`, and whose loss is an `Objective`.

    Training rows and validation rows come as a pair of `Rows`. Draws come from the net's own
    generator, never from torch's global one.

    Parameters
    ----------
    module : Autoencoder
    criterion : Objective
    seed : int
        Seed of the order of rows and of a stochastic encoder's draws.
    patience : Patience
        Stopping rule.
    **kwargs
        As for `skorch.NeuralNet`.
    """

    def __init__(
        self,
        module: Autoencoder,
        criterion: Objective,
        *,
        seed: int,
        patience: Patience,
        iterator_train: type = Batches,
        iterator_valid: type = Batches,
        **kwargs: Any,
    ) -> None:
        self.seed = seed
        self.patience = patience
        if "optimizer" not in kwargs:
            # The fused form takes a fraction of the time of the plain one, on a CPU too.
            fused = not kwargs.get("optimizer__foreach")
            kwargs = {"optimizer": torch.optim.Adam, "optimizer__fused": fused} | kwargs
        super().__init__(
            module,
            criterion,
            iterator_train=iterator_train,
            iterator_valid=iterator_valid,
            **kwargs,
        )

    # Set-up

    @property
    def _default_callbacks(self) -> list[tuple[str, Any]]:
        callbacks = [("loss_curves", LossCurves()), ("patience", self.patience)]
        if self.verbose:
            callbacks += [("epoch_timer", EpochTimer()), ("print_log", PrintLog())]
        return callbacks

    def initialize(self) -> "EmbedderNet":
        """Put the modules on the device and make optimizer, callbacks and generator."""
        self.generator_ = torch.Generator().manual_seed(self.seed)
        super().initialize()
        # module_ and criterion_ are these objects; a second reference would be pickled as a
        # second copy and drift from the first.
        self.module = self.criterion = None
        return self

    def get_split_datasets(
        self, X: tuple[Rows, Rows | None], y: Any = None, **fit_params: Any
    ) -> tuple[Rows, Rows | None]:
        return X

    def get_iterator(self, dataset: Rows, training: bool = False) -> Batches:
        if training:
            return self.iterator_train(dataset, self.batch_size, self.generator_)
        return self.iterator_valid(dataset, len(dataset))

    # Steps

    def infer(self, x: Tensor, **fit_params: Any) -> tuple[Embedding, Tensor | None]:
        return self.module_(x, self._noise(x, **fit_params))

    def _noise(self, x: Tensor, generator: torch.Generator) -> Tensor | None:
        log_var = self.uncompiled.encoder.log_var
        if log_var is None:
            return None
        *models, k = log_var.shape
        return torch.randn((*models, x.shape[-2], k), generator=generator).to(x)

    def _losses(self, rows: tuple[Tensor, Tensor | None], n_rows: float, generator: Any) -> Tensor:
        x, y = rows
        embedding, output = self.infer(x, generator=generator)
        return self.criterion_(x, embedding, output, y, n_rows, generator)

    def _set_training(self, training: bool = True) -> None:
        # Walking the modules at every step costs as much as a layer.
        if self.module_.training != training:
            super()._set_training(training)

    def train_step_single(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        self._set_training(True)
        losses = self._losses(batch, self.n_rows_, self.generator_)
        loss = losses[0].sum()
        loss.backward()
        return {"loss": loss, "losses": losses.detach()}

    def validation_step(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        losses = self.losses_on(Rows(*batch))
        self.history.record("criterion", float(losses[0]))
        return {"loss": losses[0], "losses": losses}

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        super().on_epoch_begin(net, **kwargs)
        if len(self.history) > 1:
            # Nobody reads the batches of past epochs, and there can be millions.
            self.history[-2]["batches"].clear()

    # Training

    def rows(self, x: NDArray, y: NDArray | None, weight: NDArray | None) -> Rows:
        """Put rows on the device: floats as float32, whole numbers as int64."""
        labels = None
        if y is not None:
            dtype = torch.float32 if y.dtype.kind == "f" else torch.int64
            labels = torch.tensor(y, dtype=dtype, device=self.device)
        return Rows(
            torch.tensor(x, dtype=torch.float32, device=self.device),
            labels,
            None if weight is None else torch.tensor(weight),
        )

    def resample(self, rows: Rows) -> Rows:
        """Return as many rows, each repeated in proportion to its weight, without weights."""
        if rows.weight is None:
            return rows
        generator = torch.Generator().manual_seed(self.seed)
        return Rows(*rows[systematic_resample(rows.weight, generator).to(rows.x.device)])

    def draw_seed(self) -> int:
        """Draw a seed from the net's generator."""
        return int(torch.randint(2**31, (), generator=self.generator_))

    def set_objective(self, objective: Objective) -> None:
        """Change what training minimises."""
        self.criterion_ = objective.to(self.device)

    def settings(self) -> tuple[Objective, Tensor]:
        """Return what changes between trainings: the objective and the generator's state."""
        return self.criterion_, self.generator_.get_state()

    def apply_settings(self, settings: tuple[Objective, Tensor]) -> None:
        """Go back to `settings` returned before."""
        self.criterion_ = settings[0]
        self.generator_.set_state(settings[1])

    def train(self, rows: Rows, valid: Rows | None, epochs: int, n_rows: float) -> bool:
        """Train for some epochs; return whether the stopping rule ended it.

        `NeuralNet.fit` would do, did it not take KeyboardInterrupt for a regular end. An
        exception of any kind leaves weights, optimizer, history and generator as they were.

        Parameters
        ----------
        rows, valid : Rows
            To train on, and to watch the criterion on; None watches the training loss.
        epochs : int
        n_rows : float
            Number of rows that a regularizer is told batches are drawn from.
        """
        before = self._checkpoint()
        self.n_rows_ = n_rows
        self.start_loss_ = float(self.losses_on(rows)[0]) if epochs == 0 else None
        data = (rows, valid)
        stopped = False
        try:
            self.notify("on_train_begin", X=data)
            try:
                self.fit_loop(data, epochs=epochs)
            except StopTraining:
                stopped = True
            self.notify("on_train_end", X=data)
            if not all(bool(value.isfinite().all()) for value in self.module_.parameters()):
                raise NonFiniteLossError("the weights became infinite or not a number")
        except BaseException:
            self._restore(before)
            raise
        finally:
            self._set_training(False)
            self.__dict__.pop("double_", None)
        return stopped

    def losses_on(self, rows: Rows) -> Tensor:
        """Return criterion, task loss and regularizer on all rows at once, draws frozen."""
        self._set_training(False)
        # The same draws each time, so that the criterion of two epochs can be compared.
        frozen = torch.Generator().manual_seed(self.seed)
        with torch.no_grad():
            return self._losses((rows.x, rows.y), math.inf, frozen)

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of the modules' weights."""
        return {name: value.clone() for name, value in self.module_.state_dict().items()}

    def _checkpoint(self) -> tuple[Any, ...]:
        return (
            self.weights(),
            copy.deepcopy(self.optimizer_.state_dict()),
            self.generator_.get_state(),
            len(self.history),
            len(self.patience.scores_),
        )

    def _restore(self, checkpoint: tuple[Any, ...]) -> None:
        weights, optimizer, generator, n_epochs, n_scores = checkpoint
        self.module_.load_state_dict(weights)
        self.optimizer_.load_state_dict(optimizer)
        self.generator_.set_state(generator)
        del self.history[n_epochs:]
        del self.patience.scores_[n_scores:]

    # Use of the trained modules

    @property
    def uncompiled(self) -> Autoencoder:
        """The modules, also where ``module_`` is their compiled form."""
        return cast(Autoencoder, getattr(self.module_, "_orig_mod", self.module_))

    def encode(self, x: NDArray) -> tuple[NDArray, NDArray | None]:
        """Return mean and log-variance of standardised rows, computed in their type."""
        module = self._module_for(x.dtype)
        with torch.inference_mode():
            mean, log_var, _ = module.encoder(self._tensor(x))
        return mean.cpu().numpy(), None if log_var is None else log_var.cpu().numpy()

    def decode(self, u: NDArray) -> NDArray:
        """Return the decoder's output for rows in standard coordinates, computed in their type."""
        module = self._module_for(u.dtype)
        assert module.decoder is not None
        with torch.inference_mode():
            return module.decoder(self._tensor(u)).cpu().numpy()

    def _tensor(self, array: NDArray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _module_for(self, dtype: Any) -> Autoencoder:
        if dtype == np.float32:
            return self.uncompiled
        if "double_" not in self.__dict__:
            self.double_ = [copy.deepcopy(self.uncompiled).double().eval()]
        return self.double_[0]

    # Copies

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state.pop("double_", None)
        return state

    def __deepcopy__(self, memo: dict[int, Any]) -> "EmbedderNet":
        # skorch's way round, through pickle, refuses modules and tasks defined in a script.
        new = type(self).__new__(type(self))
        memo[id(self)] = new
        new.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return new
