"""The objective of training: task loss + reg_weight * regularizer."""

import math
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from .._warn import warn
from ..networks import Embedding
from ..regularizers import Regularizer
from ..tasks import Task, call
from .pairs import PairDetector


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
        self.stepped = False  # the first training step detects losses that compare pairs
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
        opinion: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return loss, task loss and regularizer of a batch.

        `opinion` is the critic's output. If it is given, it replaces the regularizer.
        """
        penalty = task_loss = embedding.mean.new_zeros(())
        if self.task is not None:
            task_loss = self.task_losses(x, embedding.sample, output, y).mean()
        if opinion is not None:
            penalty = opinion
        elif self.regularizer is not None:
            nats = 1.0 if self.task is None else self.task.nats_ / self.task.beta
            penalty = self.regularizer.penalty(embedding, nats, n_rows=n_rows, generator=generator)
            _check_loss("regularizer", penalty, torch.Size())
        return task_loss + self.reg_weight * penalty, task_loss, penalty

    def task_losses(self, x: Tensor, u: Tensor, output: Tensor | None, y: Tensor | None) -> Tensor:
        """Return the task's loss of each sample, of shape (n,)."""
        assert self.task is not None
        z = u
        if not self.task.standardized:
            x, z = self.mean + self.scale * x, self.target_mean + F.linear(u, self.target_factor)
        task = getattr(self.task, "function", self.task)
        detector, first = PairDetector(z, output, y), not self.stepped and torch.is_grad_enabled()
        with detector if first else nullcontext():
            losses = call("task", task, self.task.loss, x=x, z=z, output=output, y=y)
        self.stepped |= first
        if detector.found:
            n = len(x)
            warn(
                f"task={task!r} combines tensors of shapes ({n}, 1) and ({n},), and torch computes "
                f"all pairs of predictions and targets, of shape ({n}, {n}). Their mean does not "
                "depend on which target belongs to which sample. Index the tensor of shape "
                f"({n}, 1), as in output[..., 0] or z[..., 0]. For all pairs, add the axis in the "
                "loss, as in y[None, :]."
            )
        _check_loss("task", losses, u.shape[:1])
        return losses


def _check_loss(name: str, value: Any, shape: torch.Size) -> None:
    if isinstance(value, Tensor) and value.shape == shape and value.is_floating_point():
        return
    got = str(value.dtype) if isinstance(value, Tensor) else type(value).__name__
    if hasattr(value, "shape"):
        got += f" of shape {tuple(value.shape)}"
    each = ", one loss for each sample" if name == "task" else ""
    hint = ""
    if each and getattr(value, "shape", None) == (*shape, *shape):
        hint = (
            ". Operations on tensors of shapes (n, 1) and (n,) compute all pairs: index the tensor "
            "of shape (n, 1), as in output[..., 0]"
        )
    raise ValueError(
        f"{name} must return a tensor of floats of shape {tuple(shape)}{each}, got {got}{hint}"
    )
