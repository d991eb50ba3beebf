"""Validate and resolve constructor parameters."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils._param_validation import (
    validate_parameter_constraints,
)
from skorch.callbacks import EarlyStopping
from skorch.callbacks.scoring import ScoringBase

from .regularizers import REGULARIZERS, Adversarial, Regularizer, Sum, Weighted
from .tasks import TASKS, FunctionTask, Reconstruction, Task

REGISTRIES: dict[str, Mapping[str, type]] = {"regularizer": REGULARIZERS, "task": TASKS}

#: Regularizers and tasks that run no user code.
OURS = {*REGULARIZERS.values(), *TASKS.values(), Sum, Weighted}

OWNED_NET_PARAMS = {
    "module": "pass encoder and decoder",
    "criterion": "pass task and regularizer",
    "lr": "pass learning_rate_init",
    "max_epochs": "pass max_iter",
    "batch_size": "pass batch_size to the estimator",
    "train_split": "pass early_stopping and validation_fraction",
    "device": "pass device to the estimator",
    "verbose": "pass verbose to the estimator",
    "warm_start": "pass warm_start to the estimator",
    "optimizer__lr": "pass learning_rate_init",
    "callbacks__patience": "pass tol and n_iter_no_change",
} | dict.fromkeys(
    (
        "iterator_train",
        "iterator_valid",
        "dataset",
        "critic",
        "seed",
        "patience",
        "processes",
        "history",
        "predict_nonlinearity",
        "callbacks__loss_curves",
    ),
    "the estimator sets it",
)


def is_task(task: Any, kind: str) -> bool:
    """Return whether the estimator's task parameter is of a built-in kind."""
    return task == kind if isinstance(task, str) else isinstance(task, TASKS[kind])


def predicts(task: Any) -> bool:
    """Return whether the estimator with this task has the method predict."""
    return is_task(task, "classification") or is_task(task, "regression")


def needs_y(task: Any) -> bool:
    """Return whether `fit` needs y for the estimator's task parameter."""
    return predicts(task) or (isinstance(task, Task) and task.supervised)


def uses_y(task: Any) -> bool:
    """Return whether `fit` uses the y that it receives, for the estimator's task parameter."""
    return needs_y(task) or not (task is None or is_task(task, "reconstruction"))


def is_stochastic(regularizer: Regularizer | str | None) -> bool:
    """Return whether a regularizer needs a stochastic encoder."""
    kind = REGULARIZERS.get(regularizer) if isinstance(regularizer, str) else regularizer
    return getattr(kind, "stochastic", False)


def is_ours(part: Regularizer | Task | None) -> bool:
    """Return whether a task, or a regularizer with its terms and critic, has no user code."""
    if part is None:
        return True
    params = part.get_params(deep=False)
    terms = [value for value in params.values() if isinstance(value, Regularizer)]
    theirs = params.get("critic") is not None or callable(params.get("error"))
    return type(part) in OURS and not theirs and all(map(is_ours, terms))


def check_nested(name: str, value: Any, params: Mapping[str, Any]) -> None:
    """Raise if ``params`` sets a nested parameter but ``value`` has no parameters."""
    nested = [key for key in params if key.startswith(f"{name}__")]
    if not nested or hasattr(value, "set_params"):
        return
    known = isinstance(value, str) and value in REGISTRIES[name]
    instead = f"{REGISTRIES[name][value].__name__}(...)" if known else "an instance of a class"
    raise ValueError(
        f"cannot set {nested[0]!r}: {name}={value!r} has no parameters of its own. "
        f"Pass {name}={instead} from sklatent.{name}s instead."
    )


def check_n_components(value: Any, n: int, p: int) -> None:
    """Raise if n_components is an integer that is too large for n samples of p features."""
    if isinstance(value, int | np.integer) and value > min(n, p):
        raise ValueError(
            f"n_components={value} must be between 1 and min(n_samples, "
            f"n_features)={min(n, p)}, got X with n_samples={n}, n_features={p}"
        )


def resolve_regularizer(value: Regularizer | str | None) -> Regularizer | None:
    """Return the regularizer to train with."""
    if value is None:
        return None
    regularizer = REGULARIZERS[value]() if isinstance(value, str) else clone(value)
    _check_regularizer(regularizer)
    # A grid over an array gives NumPy scalars, and torch rejects some of them.
    scalars = regularizer.get_params().items()
    return regularizer.set_params(
        **{name: value.item() for name, value in scalars if isinstance(value, np.generic)}
    )


def _check_regularizer(regularizer: Regularizer) -> None:
    params = regularizer.get_params(deep=False)
    if type(regularizer) in OURS:
        validate_parameter_constraints(
            regularizer._parameter_constraints, params, caller_name=type(regularizer).__name__
        )
    if isinstance(regularizer, Adversarial):
        widths = "critic_hidden_layer_sizes of Adversarial"
        resolve_hidden_layer_sizes(regularizer.critic_hidden_layer_sizes, widths)
        if regularizer.loss in ("wgan", "wgan-gp") and regularizer.gradient_penalty == 0:
            raise ValueError(
                "gradient_penalty of Adversarial must be positive for "
                f"loss={regularizer.loss!r}, got 0"
            )
    for term in params.values():
        if isinstance(term, Adversarial):
            raise ValueError(
                "Adversarial() cannot be a term of a sum and cannot be weighted: pass it alone"
            )
        if isinstance(term, Regularizer):
            _check_regularizer(term)


def resolve_task(value: Task | Callable | str | None) -> Task | None:
    """Return the task to train for."""
    if value is None:
        return None
    if isinstance(value, str):
        return TASKS[value]()
    if isinstance(value, type):
        raise ValueError(f"task must be an instance, got a class: pass {value.__name__}(...)")
    task = clone(value) if isinstance(value, Task) else FunctionTask(value)
    if isinstance(task, Reconstruction):
        validate_parameter_constraints(
            task._parameter_constraints, task.get_params(), caller_name=type(task).__name__
        )
    return task


def resolve_hidden_layer_sizes(value: Any, name: str = "hidden_layer_sizes") -> tuple[int, ...]:
    """Return the widths of the hidden layers."""
    sizes = tuple(np.asarray(value, dtype=object).ravel().tolist())
    if not all(isinstance(n, int | np.integer) and n is not True and n >= 1 for n in sizes):
        raise ValueError(f"{name} must be integers of at least 1, got {value!r}")
    return sizes


def resolve_device(value: str | torch.device) -> torch.device:
    """Return the device to train on."""
    if value == "auto":
        backends = {"cuda": torch.cuda, "xpu": torch.xpu, "mps": torch.backends.mps}
        available = (name for name, backend in backends.items() if backend.is_available())
        return torch.device(next(available, "cpu"))
    if value == "accelerate":
        return accelerate_state().device
    try:
        torch.empty(1, dtype=torch.float32, device=value).item()
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            "device must be 'auto', 'accelerate' or an available torch device, got "
            f"{value!r}: {error}"
        ) from error
    return torch.device(value)


def accelerate_state() -> Any:
    """Join the processes of the job, and return accelerate's state with this process's device."""
    try:
        from accelerate import PartialState
        from accelerate.utils import parse_flag_from_env
    except ImportError as error:
        raise ImportError(
            "device='accelerate' needs the package accelerate: pip install 'sklatent[accelerate]'"
        ) from error
    # Without this argument, accelerate looks for other processes only on machines with a GPU.
    no_gpu = resolve_device("auto").type == "cpu"
    return PartialState(cpu=no_gpu or parse_flag_from_env("ACCELERATE_USE_CPU"))


def resolve_net_params(value: dict[str, Any] | None) -> dict[str, Any]:
    """Return the further parameters of the skorch net."""
    params = dict(value or {})
    for name in params:
        for owned, instead in OWNED_NET_PARAMS.items():
            if f"{name}__".startswith(f"{owned}__"):
                raise ValueError(f"net_params must not hold {name!r}: {instead}")
        if name.endswith("_"):
            raise ValueError(f"net_params must not hold {name!r}: the estimator sets it")
    callbacks = params.get("callbacks") or []
    if not isinstance(callbacks, list):
        raise ValueError(f"net_params['callbacks'] must be a list, got {callbacks!r}")
    # Callbacks keep state, and two fits must not share state. The copies are shallow because the
    # writer of a logger cannot be copied, and belongs to the user.
    params["callbacks"] = [
        (each[0], copy.copy(each[1])) if isinstance(each, tuple) else copy.copy(each)
        for each in callbacks
    ]
    for callback in callbacks:
        callback = callback[1] if isinstance(callback, tuple) else callback
        if EarlyStopping in (callback, type(callback)):
            raise ValueError(
                "net_params must not hold skorch's EarlyStopping among its callbacks: pass "
                "early_stopping to the estimator"
            )
        kind = callback if isinstance(callback, type) else type(callback)
        if issubclass(kind, ScoringBase):
            raise ValueError(
                f"net_params must not hold skorch's {kind.__name__} among its callbacks: pass "
                "sklearn.callback.ScoringMonitor to the estimator's set_callbacks"
            )
    return params
