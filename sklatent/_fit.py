"""One fit of an embedder: builds its net, or continues with it, trains it, and sets attributes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.callback import with_callbacks
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import validate_parameter_constraints
from sklearn.utils.validation import _num_samples

from ._callbacks import Tasks
from ._data import Data, check_classes, set_fitted, split
from ._isolation import default_modes, seeded
from ._lazy import CHUNK, LazySamples, sample_size
from ._model import Model
from ._params import (
    accelerate_state,
    check_n_components,
    is_ours,
    is_stochastic,
    is_task,
    resolve_device,
    resolve_hidden_layer_sizes,
    resolve_net_params,
    resolve_regularizer,
    resolve_task,
)
from ._reservoir import Reservoir
from ._start import PCAStart
from ._target import ACTIVE_VARIANCE, Target
from ._warn import warn
from .calibration import AffineCalibration, Gaussianization
from .networks import Autoencoder
from .regularizers import Adversarial
from .tasks import Classification, Reconstruction
from .training import (
    Architecture,
    EmbedderNet,
    NonFiniteLossError,
    Objective,
    Patience,
    PrintLosses,
    StopTraining,
    build_critic,
)
from .training.net import set_weights
from .training.processes import Processes

#: Draws of a stochastic encoder for the map of its prior: at least so many in all, unless these
#: are more than MOST_DRAWS for each sample.
ENOUGH_DRAWS, MOST_DRAWS = 16384, 4
MOST_VALID = 5000  # samples set aside for early stopping: more are slow to evaluate
RESERVOIR = 4096  # samples of a stream kept for the calibration
CALIBRATION = 2**17  # most samples of large or sparse data that the calibration is fitted to
STALE = (  # attributes of an earlier fit that a new one does not always set
    "_model",
    "_n_calibrated",
    "_reservoir",
    "classes_",
    "noise_variance_",
    "n_active_components_",
    "critic_",
    "critic_loss_curve_",
    "critic_gap_",
)


class Fit:
    """One fit of an embedder to some data.

    Make it with `start`. Then call `fit` or `fit_batch`; or, for a candidate of a search,
    `set_aside`, `with_weight` and `train_until`.

    Parameters
    ----------
    embedder : GaussianEmbedder
        Its start, target, task and regularizer are resolved.
    data : Data
    net : EmbedderNet

    Attributes
    ----------
    samples : Samples or None
        Training samples; None before `set_aside`.
    valid_samples : Samples or None
        Samples set aside for early stopping.
    valid : ndarray of shape (n_valid,) or None
        Indices of the samples set aside.
    begun : bool
        Whether `train_until` has begun the training.
    interrupt : KeyboardInterrupt or None
        What interrupted training after its first period.
    tasks : Tasks or None
        Tells scikit-learn's callbacks about the fit; None without `start`.
    """

    def __init__(self, embedder: Any, data: Data, net: EmbedderNet) -> None:
        self.embedder = embedder
        self.data = data
        self.net = net
        self.samples: Any = None
        self.valid_samples: Any = None
        self.valid: NDArray | None = None
        self.begun = False
        self.interrupt: KeyboardInterrupt | None = None
        self.tasks: Any = None

    # Start

    @classmethod
    def start(
        cls,
        embedder: Any,
        X: ArrayLike,
        y: ArrayLike | None,
        sample_weight: ArrayLike | None,
        classes: ArrayLike | None = None,
    ) -> Self:
        """Check the data, and build the net or continue with the net of an earlier fit.

        Parameters
        ----------
        embedder : GaussianEmbedder
            A net is built if it has no attribute ``net_``.
        X, y, sample_weight : array-like
            As in `GaussianEmbedder.fit`.
        classes : array-like, default=None
            All classes; by default those in y.

        Raises
        ------
        ValueError
            For invalid data or parameters, or if a parameter has changed that must not change.
        """
        begin = cls._resume if hasattr(embedder, "net_") else cls._begin
        fit = begin(embedder, X, y, sample_weight, classes)
        fit.tasks = Tasks(embedder, X, y, sample_weight)
        fit._share(processes_of(embedder))
        return fit

    @classmethod
    def _begin(cls, embedder, X, y, sample_weight, classes):
        """Resolve the embedder's parameters against the data, and build the net."""
        data = Data.check(embedder, embedder.task, X, y, sample_weight, reset=True)
        set_fitted(embedder, data.features)
        check_n_components(embedder.n_components, *data.X.shape)
        if embedder.task is None:
            if embedder.regularizer is None:
                raise ValueError("task=None and regularizer=None leave nothing to train for")
            if embedder.decoder is not None:
                raise ValueError(f"decoder must be None with task=None, got {embedder.decoder!r}")
            warn(
                "task=None trains for the regularizer alone, so the embedding can lose all "
                'information about X. init="pca" starts at an informative embedding.',
            )
        random_state = check_random_state(embedder.random_state)
        processes = processes_of(embedder)
        if processes is not None:
            random_state = processes.of_main(random_state)
        start, sample = fit_start(data, embedder.n_components, random_state)
        if processes is not None:
            start = processes.of_main(start)
        _warn_of_dominant_value(embedder, start, sample, complete=len(sample) == _num_samples(X))
        embedder._start, embedder.n_components_ = start, len(start.components)
        _set_target(embedder)
        embedder.regularizer_ = resolve_regularizer(embedder.regularizer)
        joint = getattr(embedder.regularizer_, "joint", False)
        if joint and not is_task(embedder.task, "reconstruction"):
            raise ValueError(
                f"Adversarial(joint=True) needs task='reconstruction', got task={embedder.task!r}"
            )
        for stale in STALE:
            embedder.__dict__.pop(stale, None)
        _set_task(embedder, sample, data.y if classes is None else classes)
        embedder._fixed = _fixed(embedder)
        seed, net_seed = random_state.randint(np.iinfo(np.int32).max, size=2).tolist()
        return cls(embedder, data, _build_net(embedder, seed, net_seed, len(data)))

    @classmethod
    def _resume(cls, embedder, X, y, sample_weight, classes):
        """Continue with the net of an earlier fit and with the embedder's current parameters."""
        known = getattr(embedder, "classes_", [])
        if not (classes is None or np.array_equal(np.unique(classes), known)):
            raise ValueError(f"classes must be as in the first call, {known}, got {classes}")
        fitted = embedder.task_
        data = Data.check(embedder, fitted, X, y, sample_weight, reset=False, least=1)
        embedder.task_ = task = resolve_task(embedder.task)
        embedder.regularizer_ = resolve_regularizer(embedder.regularizer)
        _set_target(embedder)
        was = embedder._fixed
        for name, now in _fixed(embedder).items():
            if now != was[name]:
                raise ValueError(
                    f"{name} cannot change between fits that resume one another: it was "
                    f"{was[name]!r}, got {now!r}"
                )
        if task is not None:
            before = vars(fitted).items()
            task.__dict__.update({name: value for name, value in before if name[-1] == "_"})
        net = embedder.net_
        net.set_objective(_objective(embedder))
        net.batch_size, net.verbose = _batch_size(embedder, len(data)), embedder.verbose
        if net.lr != embedder.learning_rate_init:
            net.set_params(lr=embedder.learning_rate_init)
        net.patience.set_params(tol=embedder.tol, n_iter_no_change=embedder.n_iter_no_change)
        return cls(embedder, data, net)

    def _share(self, processes: Processes | None) -> None:
        """Train together with other processes, if they have the same samples."""
        self.net.processes = processes
        if processes is None:
            return
        if getattr(self.embedder.regularizer_, "joint", False):
            raise ValueError("device='accelerate' does not support Adversarial(joint=True)")
        n, data = len(self.data), self.data
        some = np.unique(np.linspace(0, n - 1, 64, dtype=int))
        parts = [None if part is None else part[some] for part in (data.y, data.sample_weight)]
        processes.check_same([np.array(n), data.X[some], *parts])
        if processes.rank > 0:
            self.net.verbose = 0

    def with_weight(self, reg_weight: float) -> Fit:
        """Return the same fit with another weight of the regularizer, and with its own net."""
        # As in a single fit, the copies of users' callbacks are shallow.
        callbacks = [each[1] if isinstance(each, tuple) else each for each in self.net.callbacks]
        fit = copy.copy(self)
        fit.embedder = copy.copy(self.embedder)
        fit.net = copy.deepcopy(self.net, {id(each): copy.copy(each) for each in callbacks})
        objective: Any = fit.net.criterion_
        fit.embedder.reg_weight = objective.reg_weight = reg_weight
        fit.embedder.task_, fit.embedder.regularizer_ = objective.task, objective.regularizer
        return fit

    # Whole fits, which callbacks are told about

    def fit(self) -> bool:
        """Set samples aside, train and finish; return whether the stopping rule ended training."""
        self.set_aside(self.n_valid)

        def work() -> bool:
            stopped = self.train(self.epochs)
            self.finish()
            return stopped

        return self._run(work, "fit", self.epochs, Fit.finish, titled=True)

    def fit_batch(self) -> None:
        """Train for one epoch on a batch of a stream, and finish."""
        self.set_aside(0)

        def work() -> None:
            # A stream has no end, so a batch is not a fraction of a finite data set.
            self.train(1, n_rows=np.inf)
            if self.interrupt is not None:
                raise self.interrupt  # undo: the caller does not know what was trained on
            self.finish_batch()

        titled = not self.net.history
        self._run(work, "partial-fit", 1, Fit.finish_batch, titled)

    def _run(
        self,
        work: Callable[[], Any],
        name: str,
        epochs: int | None,
        finish: Callable[[Fit], None],
        titled: bool,
    ) -> Any:
        """Train, and tell callbacks about it and print losses.

        Parameters
        ----------
        work : callable
            Trains and finishes.
        name : str
            Name of the task.
        epochs : int or None
        finish : callable
            Sets the fitted attributes of a copy of the fit in the middle of training.
        titled : bool
            Whether to print names above the losses.
        """
        embedder, net = self.embedder, self.net
        n_periods, n_in_epoch = net.schedule(self.samples, epochs)

        def now() -> dict[str, Any]:
            fit = self._as_if_ended()
            finish(fit)
            return vars(fit.embedder)

        @with_callbacks
        def run(embedder: Any) -> Any:
            context = embedder._init_callback_context(task_name=name, max_subtasks=n_periods)
            watchers = self.tasks.watch(context, "epoch" if n_in_epoch == 1 else "period", now)
            if net.verbose:
                title = type(embedder).__name__ if titled else None
                watchers.append(PrintLosses(title, every_period=net.verbose > 1))
            with self.tasks.task(context, attributes={}), net.watched(watchers):
                return work()

        return run(embedder)

    # Training

    @property
    def n_valid(self) -> int:
        """The number of samples to set aside; 0 without early stopping."""
        n, early_stopping = len(self.data), self.embedder.early_stopping
        if not (n >= 10 if early_stopping == "auto" else early_stopping):
            return 0
        n_valid = max(2, round(min(self.embedder.validation_fraction * n, MOST_VALID)))
        return min(n_valid, self._n_in_memory)

    @property
    def _n_in_memory(self) -> int:
        """The number of samples that the networks can be given at once."""
        n, p = self.data.X.shape
        return min(CHUNK, sample_size(p)) if isinstance(self.data.X, LazySamples) else n

    @property
    def epochs(self) -> int | None:
        """The number of epochs to train for; None for the net's own choice."""
        return None if self.embedder.max_iter == "auto" else self.embedder.max_iter

    def set_aside(self, n_valid: int) -> None:
        """Set n_valid samples aside for early stopping, and train on the others.

        Raises
        ------
        ValueError
            If fewer than two samples remain.
        """
        if n_valid == 0:
            self.samples = self._samples(self.data)
            return
        n, task = len(self.data), self.embedder.task_
        if n - n_valid < 2:
            raise ValueError(
                "early_stopping with "
                f"validation_fraction={self.embedder.validation_fraction} leaves "
                f"{n - n_valid} of n_samples={n} to train on: at least 2 are needed"
            )
        codes = task.encode(self.data.y) if isinstance(task, Classification) else None
        train, self.valid = split(n, n_valid, codes, self.net.draw_seed())
        self.samples = self._samples(self.data.take(train))
        self.valid_samples = self.net.resample(self._samples(self.data.take(self.valid)))

    def train(self, epochs: int | None, n_rows: float | None = None) -> bool:
        """Train for some epochs; return whether the stopping rule ended training.

        Parameters
        ----------
        epochs : int or None
            As for `EmbedderNet.train`.
        n_rows : float, default=None
            Size of the data set that batches are drawn from, for the regularizer; by default
            the number of training samples.

        Raises
        ------
        ValueError
            If the training loss or the criterion becomes infinite or nan.
        """
        n_rows = len(self.samples) if n_rows is None else n_rows
        with self._training(self.net.draw_seed):
            end = self.net.train(self.samples, self.valid_samples, epochs, n_rows=n_rows)
        self.interrupt = end if isinstance(end, KeyboardInterrupt) else None
        return isinstance(end, StopTraining)

    def train_until(self, part: int) -> Any:
        """Train until 1 / `part` of the periods; return the embedder as if training ended there.

        The next call continues, until a call with a part of 1 ends the training.
        """
        net, data = self.net, (self.samples, self.valid_samples)
        n_periods, _ = net.schedule(self.samples, self.epochs)
        # A pause must not draw from the net's generator: it would change the later batches.
        draw_seed = (lambda: net.seed) if self.begun else net.draw_seed
        with self._training(draw_seed):
            if not self.begun:
                net.begin(*data, n_rows=len(self.samples))
                self.begun = True
            more = min(n_periods, max(1, n_periods // part)) - len(net.history)
            if more > 0 and not net.patience.done_:
                end = net.advance(*data, more)
                if isinstance(end, KeyboardInterrupt):
                    raise end
            if part == 1:
                net.end(*data)
        fit = self if part == 1 else self._as_if_ended()
        fit.finish()
        return fit.embedder

    def _as_if_ended(self) -> Fit:
        fit = copy.copy(self)
        fit.embedder, fit.net = copy.copy(self.embedder), self.net.as_if_ended()
        return fit

    @contextmanager
    def _training(self, draw_seed: Callable[[], int]) -> Iterator[None]:
        """Isolate training from the caller's random state, and explain infinite losses."""
        try:
            with _isolated(self.embedder, draw_seed, self.net.device):
                yield
        except (NonFiniteLossError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "without overflow" not in str(error):
                raise
            data = "X" if self.data.y is None else "X and y"
            raise ValueError(
                f"{error}. Lower learning_rate_init={self.embedder.learning_rate_init} or "
                f"reg_weight={self.embedder.reg_weight}, or check {data} for extreme values."
            ) from error

    # End

    def finish(self) -> None:
        """Fit the calibration, and set the fitted attributes of the embedder."""
        # A later `partial_fit` keeps this calibration.
        vars(self.embedder).pop("_reservoir", None)
        data, held_out = self.data, self.valid
        index = data.sample(CALIBRATION, self.net.seed, also=held_out)
        if index is not None:
            data = data.take(index)
            held_out = None if held_out is None else np.searchsorted(index, held_out)
        self._finish(self._standardized(data), data.sample_weight, held_out)

    def finish_batch(self) -> None:
        """Set the fitted attributes; if no `fit` came before, calibrate on the kept samples."""
        embedder = self.embedder
        past: Any = copy.deepcopy(getattr(embedder, "_reservoir", None))
        if not hasattr(embedder, "_model"):
            past = Reservoir(RESERVOIR, check_random_state(self.net.draw_seed()))
        if past is None:
            self._finish()
            return
        # Every call embeds the kept samples again: float32 halves memory and time.
        past.add(self._standardized(self.data, np.float32), self.data.sample_weight)
        embedder._reservoir = past
        self._finish(past.samples, past.weight)

    def _finish(
        self,
        x: NDArray | LazySamples | None = None,
        weight: NDArray | None = None,
        held_out: NDArray | None = None,
    ) -> None:
        """Finish with standardized samples x; without x, keep the calibration.

        `held_out` are the indices of the samples set aside, or None.
        """
        embedder, net = self.embedder, self.net
        before: Model | None = getattr(embedder, "_model", None)
        embedder.net_ = net
        embedder._model = model = Model(embedder._start, embedder._target, net.uncompiled)
        n_before = getattr(embedder, "_n_calibrated", 0)
        # A few samples must not replace the calibration that more samples gave.
        if x is None or len(x) < min(10 * embedder.n_components_, n_before):
            assert before is not None
            model.calibration, model.prior = before.calibration, before.prior
            model.noise_variance = before.noise_variance
        else:
            embedder._n_calibrated = len(x)
            mean, log_var = model.encode_standardized(x)
            if log_var is not None:
                self._count_active(mean, weight)
            if embedder.calibration == "affine":
                model.calibration = AffineCalibration().fit(mean, weight)
            elif embedder.calibration == "gaussianize" and log_var is None:
                model.calibration = Gaussianization(net.draw_seed()).fit(mean, weight)
            elif embedder.calibration == "gaussianize" and log_var is not None:
                draws, weights = _draws(mean, log_var, weight, net.draw_seed())
                model.prior = Gaussianization(net.draw_seed()).fit(draws, weights)
                model.calibration = AffineCalibration().fit(model.prior.transform(mean), weight)
            if isinstance(embedder.task_, Reconstruction):
                embedder.noise_variance_ = model.noise_variance = model.residual_variance(
                    x, mean, weight, held_out, embedder.task_.noise == "diagonal"
                )
        self._set_curves()

    def _count_active(self, mean: NDArray, weight: NDArray | None) -> None:
        center = np.average(mean, axis=0, weights=weight)
        variances = np.average((mean - center) ** 2, axis=0, weights=weight)
        self.embedder.n_active_components_ = int((variances > ACTIVE_VARIANCE).sum())
        if self.embedder.n_active_components_ == 0:
            warn(
                "posterior collapse: no component of the embedding varies with X. Lower "
                f"reg_weight={self.embedder.reg_weight}.",
            )

    def _set_curves(self) -> None:
        embedder: Any = self.embedder
        net: Any = self.net
        embedder.interrupted_ = self.interrupt is not None
        embedder.n_iter_ = net.history[-1, "n_iter"] if net.history else 0
        embedder.loss_curve_ = [period["train_loss"] for period in net.history]
        embedder.task_loss_curve_ = [period["task_loss"] for period in net.history]
        embedder.regularizer_curve_ = [period["regularizer"] for period in net.history]
        embedder.loss_ = embedder.loss_curve_[-1] if embedder.loss_curve_ else None
        if isinstance(embedder.regularizer_, Adversarial):
            embedder.critic_ = net.critic_.module
            embedder.critic_loss_curve_ = [period["critic_loss"] for period in net.history]
            samples = self.valid_samples or self._in_memory()
            if len(samples) > 1:  # one draw has no standard deviation
                embedder.critic_gap_ = net.critic_gap(samples)
        scores = net.patience.scores_
        missing = [np.nan] * (len(net.history) + 1 - len(scores))
        embedder.validation_scores_ = scores + missing if scores else None
        best = min(embedder.loss_curve_, default=None)
        embedder.best_loss_ = best if self.valid is None else None

    def report_end(self, stopped: bool) -> None:
        """Raise the user's interrupt, or warn if training reached the maximum of epochs.

        Parameters
        ----------
        stopped : bool
            What `train` returned.
        """
        embedder = self.embedder
        kept = "the last weights; early_stopping=True keeps the best weights"
        if self.valid is not None:
            kept = "the weights with the best validation score"
            if not (embedder.warm_start or np.nanargmax(embedder.validation_scores_)):
                kept += ", which are those before the first epoch"
        if self.interrupt is not None:
            self.interrupt.add_note(
                f"fit was interrupted in epoch {embedder.n_iter_}. The {type(embedder).__name__} "
                f"is fitted, and interrupted_ is True. The embedding uses {kept}."
            )
            raise self.interrupt
        waited = self.net.patience.wait_ > embedder.n_iter_no_change
        if not (stopped or waited or embedder.max_iter in (0, "auto")):
            warn(
                f"Stochastic Optimizer: Maximum iterations ({embedder.max_iter}) reached and the "
                f"optimization hasn't converged yet. The embedding uses {kept}. Increase max_iter "
                f"to train longer, or increase tol (now {embedder.tol}) to stop earlier.",
                ConvergenceWarning,
            )

    def mean_loss(self) -> float:
        """Return the mean loss of the data for the task; without a task, the criterion.

        The task is given the calibrated embedding.
        """
        embedder, net, model = self.embedder, self.net, self.embedder._model
        with default_modes(), _isolated(embedder, lambda: net.seed, net.device):
            if embedder.task_ is None:
                return float(net.losses_on(net.resample(self._in_memory()))[0])
            losses = []
            for data in self.data.blocks():
                u = model.encode(data.X)[0]
                output = None if net.uncompiled.decoder is None else model.decode(u)
                losses.append(net.task_losses(self._samples(data), model.calibrate(u), output))
        return float(np.average(np.concatenate(losses), weights=self.data.sample_weight))

    def _samples(self, data: Data) -> Any:
        task = self.embedder.task_
        y = None if data.y is None or task is None else task.encode(data.y)
        return self.net.samples(self._standardized(data), y, data.sample_weight)

    def _in_memory(self) -> Any:
        """Return all samples; of large or sparse data, as many as the networks can be given."""
        return self._samples(self.data.in_memory(self._n_in_memory, self.net.seed))

    def _standardized(self, data: Data, dtype: Any = None) -> Any:
        def standardize(X: NDArray) -> NDArray:
            x = self.embedder._start.standardize(X)
            return x if dtype is None else x.astype(dtype)

        return data.X.map(standardize) if isinstance(data.X, LazySamples) else standardize(data.X)


def processes_of(embedder: Any) -> Processes | None:
    """Return the processes that train together with this one, if there are any."""
    return Processes.of(accelerate_state()) if embedder.device == "accelerate" else None


def fit_start(
    data: Data, n_components: int | float, random_state: np.random.RandomState
) -> tuple[PCAStart, Data]:
    """Return the start of training, and data that fit in memory and represent all data.

    Large dense data start at the principal components of this sample, sparse data at those of
    all samples.
    """
    sample = data.in_memory(sample_size(data.X.shape[1]), random_state)
    X, weight = sample.X, sample.sample_weight
    if len(sample) < len(data) and isinstance(data.X, LazySamples) and data.X.sparse is not None:
        X, weight = data.X.sparse, data.sample_weight
    return PCAStart.fit(X, weight, n_components, random_state), sample


def _warn_of_dominant_value(embedder: Any, start: PCAStart, sample: Data, complete: bool) -> None:
    """Warn if one sample determines a component; name its index if the sample is complete."""
    if (found := start.dominant_value(sample.X, sample.sample_weight)) is None:
        return
    index, feature, component, share = found
    name = getattr(embedder, "feature_names_in_", range(start.mean.size))[feature]
    warn(
        f"{f'X[{index}]' if complete else 'One sample'} causes {share:.1%} of the variance of "
        f"principal component {component}, mainly by its value {sample.X[index, feature]:.6g} of "
        f"feature {name!r}. The other samples differ little in this component. Correct the "
        "value, remove the sample, or transform the feature, for example by a logarithm.",
    )


def _set_target(embedder: Any) -> None:
    target = Target.from_params(embedder.target_mean, embedder.target_cov, embedder.n_components_)
    embedder._target = target
    embedder.target_mean_, embedder.target_cov_ = target.mean, target.cov


def _set_task(embedder: Any, sample: Data, labels: ArrayLike | None) -> None:
    """Learn the task's units from a sample, and its classes from all labels."""
    embedder.task_ = task = resolve_task(embedder.task)
    if task is None:
        return
    y: Any = sample.y
    classifies = isinstance(task, Classification)
    if classifies:
        # Classification uses only the labels of y here.
        check_classes(labels)
        y = np.asarray(labels)
    start = embedder._start
    x = start.standardize(sample.X)
    if isinstance(task, Reconstruction):
        task.mean_, task.scale_ = start.mean, start.scale
    task.fit(x, y, x @ start.encoder_skip.T, start.noise_variance, sample.sample_weight)
    if classifies:
        embedder.classes_ = task.classes_


def _fixed(embedder: Any) -> dict[str, Any]:
    """Return the parameters that cannot change when a fit resumes."""
    regularizer = embedder.regularizer_
    net_params = dict(embedder.net_params or {})
    net_params["callbacks"] = copy.copy(net_params.get("callbacks")) or []
    widths = None
    if isinstance(regularizer, Adversarial):
        widths = resolve_hidden_layer_sizes(regularizer.critic_hidden_layer_sizes)
    return {
        "n_components": embedder.n_components,
        "hidden_layer_sizes": resolve_hidden_layer_sizes(embedder.hidden_layer_sizes),
        "activation": embedder.activation,
        "encoder": embedder.encoder,
        "decoder": embedder.decoder,
        "init": embedder.init,
        "device": str(embedder.device),
        "net_params": net_params,
        "task": type(embedder.task_).__name__,
        "a stochastic encoder": is_stochastic(regularizer),
        "regularizer=Adversarial(joint=...)": getattr(regularizer, "joint", None),
        # `task_` and `regularizer_` hold copies of the user's objects.
        "error of Reconstruction": getattr(embedder.task, "error", "squared"),
        "critic": getattr(embedder.regularizer, "critic", None),
        "critic_hidden_layer_sizes": widths,
    }


def _build_net(embedder: Any, seed: int, net_seed: int, n: int) -> EmbedderNet:
    device = resolve_device(embedder.device)
    with _isolated(embedder, lambda: seed, device):
        generator = torch.Generator().manual_seed(seed)
        return _initialize_net(embedder, *_build_networks(embedder, generator), net_seed, n)


def _build_networks(
    embedder: Any, generator: torch.Generator
) -> tuple[Autoencoder, torch.nn.Module | None]:
    """Return the encoder and decoder, and the critic if there is one."""
    start, regularizer, task = embedder._start, embedder.regularizer_, embedder.task_
    from_pca = embedder.init == "pca"
    architecture = Architecture(
        n_features=embedder.n_features_in_,
        n_components=embedder.n_components_,
        out_features=None if task is None else task.out_features_,
        hidden_layer_sizes=embedder._fixed["hidden_layer_sizes"],
        activation=embedder.activation,
        encoder=embedder.encoder,
        decoder=embedder.decoder,
    )
    reconstructs = is_task(task, "reconstruction")
    log_var = start.log_var if from_pca else np.zeros(embedder.n_components_)
    module = architecture.build(
        generator,
        encoder_skip=start.encoder_skip if from_pca else None,
        decoder_skip=start.decoder_skip if from_pca and reconstructs else None,
        log_var=log_var if is_stochastic(regularizer) else None,
    )
    critic = None
    if isinstance(regularizer, Adversarial):
        critic = build_critic(
            regularizer, embedder.n_features_in_, embedder.n_components_, generator
        )
    return module, critic


def _initialize_net(
    embedder: Any, module: Autoencoder, critic: torch.nn.Module | None, seed: int, n: int
) -> EmbedderNet:
    return EmbedderNet(
        module,
        _objective(embedder),
        critic,
        seed=seed,
        patience=Patience(embedder.tol, embedder.n_iter_no_change),
        lr=embedder.learning_rate_init,
        batch_size=_batch_size(embedder, n),
        device=resolve_device(embedder.device),
        verbose=embedder.verbose,
        **resolve_net_params(embedder.net_params),
    ).initialize()


def restore_net(embedder: Any, state: dict[str, Any]) -> EmbedderNet:
    """Return a fitted embedder's net from the state that `EmbedderNet.to_arrays` returned.

    Memory is allocated for the arrays of the state only, whatever sizes the embedder claims.

    Raises
    ------
    ValueError
        If the state does not belong to the embedder.
    """
    fitted, fixed = copy.copy(embedder), embedder._fixed
    params = {name: fixed[name] for name in fixed.keys() & vars(embedder).keys()} | {
        "task": embedder.task_,
        "regularizer": embedder.regularizer_,
        "reg_weight": state["reg_weight"],
        "learning_rate_init": state["settings"]["lr"],
    }
    vars(fitted).update(params)  # the parameters may have changed since the fit
    kinds = embedder._parameter_constraints
    validate_parameter_constraints(kinds, params, caller_name=type(embedder).__name__)
    resolve_regularizer(fitted.regularizer)
    resolve_task(fitted.task)
    layers = ("module", "hidden_layer_sizes"), ("critic", "critic_hidden_layer_sizes")
    if _fixed(fitted) != fixed or any(
        len(fixed[sizes] or ()) > len(state.get(name, ())) for name, sizes in layers
    ):
        raise ValueError("the fitted attributes contradict each other")
    if fitted.device == "accelerate":
        fitted.device = "auto"  # whoever loads an embedder need not be one of several processes
    try:
        resolve_device(fitted.device)
    except ValueError:
        warn(f"device={fitted.device!r} is not available, so the networks are on the CPU")
        fitted.device = "cpu"
    with default_modes():
        with torch.device("meta"):
            networks = _build_networks(fitted, torch.Generator())
        for network, name in zip(networks, ("module", "critic"), strict=True):
            if network is not None:
                set_weights(network, state[name])
        net = _initialize_net(fitted, *networks, state["seed"], n=1)
        net.from_arrays(state)
    return net


def _batch_size(embedder: Any, n: int) -> int:
    if embedder.batch_size == "auto":
        return max(min(max(128, n // 4), 512), 4 * embedder.n_components_)
    return embedder.batch_size


def _objective(embedder: Any) -> Objective:
    start, target = embedder._start, embedder._target
    return Objective(
        embedder.task_,
        embedder.regularizer_,
        embedder.reg_weight,
        mean=start.mean,
        scale=start.scale,
        target_mean=target.mean,
        target_factor=target.factor,
    )


def _draws(
    mean: NDArray, log_var: NDArray, weight: NDArray | None, seed: int
) -> tuple[NDArray, NDArray | None]:
    """Return draws of a stochastic encoder, several for each sample of small data."""
    n_draws = min(max(ENOUGH_DRAWS // len(mean), 1), MOST_DRAWS)
    noise = np.random.default_rng(seed).standard_normal((n_draws, *mean.shape))
    draws = mean + np.exp(0.5 * log_var) * noise.astype(mean.dtype)
    return np.concatenate(draws), None if weight is None else np.tile(weight, n_draws)


def _isolated(embedder: Any, draw_seed: Any, device: torch.device) -> AbstractContextManager[None]:
    """Seed torch's global generators if any code of the user's runs in the block."""
    ours = (
        embedder.encoder is None
        and embedder.decoder is None
        and is_ours(embedder.task_)
        and is_ours(embedder.regularizer_)
    )
    return nullcontext() if ours else seeded(draw_seed(), device)
