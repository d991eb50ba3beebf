"""What the estimator's parameters stand for, and what is said of those that stand for nothing."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from skorch.callbacks import EarlyStopping

from .regularizers import REGULARIZERS, Regularizer
from .tasks import TASKS, FunctionTask, Task

REGISTRIES: dict[str, Mapping[str, type]] = {"regularizer": REGULARIZERS, "task": TASKS}

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
} | dict.fromkeys(
    ("iterator_train", "iterator_valid", "dataset", "seed", "patience", "predict_nonlinearity"),
    "the estimator sets it",
)


def is_task(task: Any, kind: str) -> bool:
    """Say whether a task, as given to the estimator, is of a built-in kind."""
    return task == kind if isinstance(task, str) else isinstance(task, TASKS[kind])


def is_stochastic(regularizer: Regularizer | str | None) -> bool:
    """Say whether a regularizer asks for a stochastic encoder."""
    kind = REGULARIZERS.get(regularizer) if isinstance(regularizer, str) else regularizer
    return getattr(kind, "stochastic", False)


def check_nested(name: str, value: Any, params: Mapping[str, Any]) -> None:
    """Raise where ``params`` sets a parameter of ``value``, and that has none."""
    nested = [key for key in params if key.startswith(f"{name}__")]
    if not nested or hasattr(value, "set_params"):
        return
    known = isinstance(value, str) and value in REGISTRIES[name]
    instead = f"{REGISTRIES[name][value].__name__}(...)" if known else "an instance of a class"
    raise ValueError(
        f"cannot set {nested[0]!r}: {name}={value!r} has no parameters of its own. "
        f"Pass {name}={instead} from sklatent.{name}s instead."
    )


def resolve_regularizer(value: Regularizer | str | None) -> Regularizer | None:
    """Return the regularizer to train with."""
    if value is None:
        return None
    regularizer = REGULARIZERS[value]() if isinstance(value, str) else clone(value)
    for name, weight in regularizer.get_params().items():
        if name.endswith("weight") and not weight >= 0:
            raise ValueError(f"regularizer__{name} must be at least 0, got {weight!r}")
    return regularizer


def resolve_task(value: Task | Callable | str | None) -> Task | None:
    """Return the task to train for."""
    if value is None:
        return None
    if isinstance(value, str):
        return TASKS[value]()
    return clone(value) if isinstance(value, Task) else FunctionTask(value)


def resolve_hidden_layer_sizes(value: Any) -> tuple[int, ...]:
    """Return the widths of the hidden layers."""
    sizes = tuple(np.asarray(value, dtype=object).ravel().tolist())
    if not all(isinstance(size, int | np.integer) and size >= 1 for size in sizes):
        raise ValueError(f"hidden_layer_sizes must be integers of at least 1, got {value!r}")
    return sizes


def resolve_device(value: str | torch.device) -> torch.device:
    """Return the device to train on."""
    if value == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        return torch.device(value)
    except RuntimeError as error:
        raise ValueError(f"device must be a torch device or 'auto', got {value!r}") from error


def resolve_net_params(value: dict[str, Any] | None) -> dict[str, Any]:
    """Return the further parameters of the skorch net."""
    params = value or {}
    if owned := sorted(params.keys() & OWNED_NET_PARAMS.keys()):
        name = owned[0]
        raise ValueError(f"net_params must not hold {name!r}: {OWNED_NET_PARAMS[name]}")
    for callback in params.get("callbacks") or []:
        callback = callback[1] if isinstance(callback, tuple) else callback
        if EarlyStopping in (callback, type(callback)):
            raise ValueError(
                "net_params must not hold skorch's EarlyStopping among its callbacks: pass "
                "early_stopping to the estimator"
            )
    return params
