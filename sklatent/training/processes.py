"""Trains one net in several processes, with Hugging Face accelerate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..networks import Embedding


class Processes:
    """The processes of a job that train one net together.

    All processes have the same samples, weights and generators, so they draw the same batches. Each
    process computes the networks' outputs for its share of a batch and receives the outputs for
    the other shares. Each process then evaluates the loss of the whole batch. So tasks and
    regularizers compute the same statistics of a batch as in one process.

    Parameters
    ----------
    size : int
        Number of processes.
    rank : int
        Number of this process, from 0.
    """

    def __init__(self, size: int, rank: int) -> None:
        self.size = size
        self.rank = rank

    @classmethod
    def of(cls, state: Any) -> Self | None:
        """Return the processes of accelerate's state; None if this process is alone."""
        return cls(state.num_processes, state.process_index) if state.num_processes > 1 else None

    def of_main(self, value: Any) -> Any:
        """Return the value of process 0: a tensor, or an object that can be pickled."""
        from accelerate.utils import broadcast, broadcast_object_list

        return broadcast(value) if isinstance(value, Tensor) else broadcast_object_list([value])[0]

    def check_same(self, arrays: list[NDArray | None]) -> None:
        """Raise in all processes if the arrays differ between processes."""
        from accelerate.utils import gather_object

        first, *others = gather_object([arrays])
        for i, other in enumerate(others, start=1):
            if not all(np.array_equal(*pair) for pair in zip(first, other, strict=True)):
                raise ValueError(
                    "device='accelerate' needs the same X, y and sample_weight in every process, "
                    f"got other samples in process {i} than in process 0"
                )

    # Training

    def equalize(self, module: nn.Module) -> None:
        """Copy a module's weights and buffers from process 0 to all processes."""
        from accelerate.utils import broadcast

        broadcast(list(module.state_dict().values()))

    def apply(
        self, module: nn.Module, x: Tensor, noise: Tensor | None
    ) -> tuple[Embedding, Tensor | None]:
        """Return a module's outputs for a batch, computed in shares.

        Parameters
        ----------
        module : Autoencoder
        x : Tensor of shape (n, p)
        noise : Tensor of shape (n, k) or None
        """
        n = len(x)
        most = -(-n // self.size)
        # The last shares repeat the last sample, so that all shares have equally many.
        index = torch.arange(self.rank * most, (self.rank + 1) * most, device=x.device)
        index = index.clamp_(max=n - 1)
        embedding, output = module(x[index], None if noise is None else noise[index])

        def gathered(share: Tensor | None) -> Any:
            return None if share is None else _Gather.apply(share, n, self.rank)

        mean = gathered(embedding.mean)
        sample = mean
        if embedding.sample is not embedding.mean:
            sample = gathered(embedding.sample)
        return Embedding(mean, gathered(embedding.log_var), sample), gathered(output)

    def sum_gradients(self, parameters: Iterable[nn.Parameter], losses: Tensor) -> Tensor:
        """Replace the gradients of the shares by their sum; return the mean of the losses.

        The processes' losses differ by rounding. All processes must stop after the same step.
        """
        from accelerate.utils import reduce

        gradients = [each.grad for each in parameters if each.grad is not None]
        values = [*gradients, losses / self.size]
        flat = torch.cat([value.flatten() for value in values])
        *sums, mean = reduce(flat, "sum").split([value.numel() for value in values])
        for gradient, total in zip(gradients, sums, strict=True):
            gradient.copy_(total.view_as(gradient))
        return mean.view_as(losses)


class _Gather(torch.autograd.Function):
    """The outputs for a whole batch, from the outputs for a share of it.

    Every process evaluates the loss of the whole batch, and so has the gradient for all shares.
    The backward pass selects the gradient of the process's own share, without communication.
    """

    @staticmethod
    def forward(ctx: Any, share: Tensor, n: int, rank: int) -> Tensor:
        from accelerate.utils import gather

        ctx.most, ctx.begin = len(share), rank * len(share)
        return gather(share)[:n]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]  # torch: *grads
        own = gradient[ctx.begin : ctx.begin + ctx.most]
        # The gradient of the samples that the last shares repeat is 0.
        return F.pad(own, (0, 0, 0, ctx.most - len(own))), None, None
