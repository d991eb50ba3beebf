"""Minibatches as slices of tensors, drawn by sample weight."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

#: Maximum number of steps between two evaluations of the criterion.
PERIOD = 50


class Samples(Dataset):
    """The samples that a net trains or validates on.

    Parameters
    ----------
    x : Tensor or Drawn of shape (n, p)
    y : Tensor of shape (n, ...) or None
    weight : Tensor of shape (n,) or None
        Positive sample weights, on the CPU.
    """

    def __init__(self, x: Any, y: Tensor | None = None, weight: Tensor | None = None) -> None:
        self.x = x
        self.y = y
        self.weight = weight

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: Tensor | slice) -> tuple[Tensor, Tensor | None]:
        y = None if self.y is None else self.y[index]
        return self.x[index], y


class Drawn:
    """Samples that become a tensor when they are drawn.

    Parameters
    ----------
    rows : array-like of shape (n, p)
        ``rows[index]`` is an ndarray.
    target : str or torch.device
        Device of the tensors.
    """

    device = torch.device("cpu")  # of the indices

    def __init__(self, rows: Any, target: Any) -> None:
        self.rows = rows
        self.target = target

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        rows = self.rows[index.numpy() if isinstance(index, Tensor) else index]
        return torch.tensor(rows, dtype=torch.float32, device=self.target)


class Batches:
    """Iterates over the samples in batches; each iteration is one period.

    A period is an epoch, or an equal part of an epoch of more than `PERIOD` steps.

    An epoch of n samples is n draws in random order. The draws are split evenly into batches of
    at least ``batch_size`` samples (fewer only if n is smaller), so no batch is much smaller than
    the others. Without weights, each sample is drawn once. With weights, systematic resampling
    (Kitagawa 1996) draws sample i floor(n w_i / sum(w)) times or once more, anew in each epoch.

    Parameters
    ----------
    samples : Samples
    batch_size : int
    generator : torch.Generator or None
        Source of the order, on the CPU. None keeps the samples in order and ignores weights.

    Attributes
    ----------
    n_steps, n_periods : int
        Number of steps, and of periods, in an epoch.
    """

    def __init__(
        self, samples: Samples, batch_size: int, generator: torch.Generator | None = None
    ) -> None:
        self.samples = samples
        self.generator = generator
        self.n_steps = max(1, len(samples) // batch_size)
        self.n_periods = math.ceil(self.n_steps / PERIOD)
        self._rest: list[Any] = []  # periods that remain in the epoch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        if not self._rest:
            steps = self._draw().to(self.samples.x.device).tensor_split(self.n_steps)
            edges = [i * self.n_steps // self.n_periods for i in range(self.n_periods + 1)]
            self._rest = [steps[begin:end] for begin, end in pairwise(edges)]
        yield from (self.samples[index] for index in self._rest.pop(0))

    def _draw(self) -> Tensor:
        """Draw the order of the next epoch: indices of samples, of shape (n,)."""
        n = len(self.samples)
        if self.generator is None:
            return torch.arange(n)
        order = torch.randperm(n, generator=self.generator)
        if self.samples.weight is None:
            return order
        return systematic_resample(self.samples.weight, self.generator)[order]


def systematic_resample(weight: Tensor, generator: torch.Generator) -> Tensor:
    """Draw n indices such that each appears n w / sum(w) times, rounded down or up.

    Parameters
    ----------
    weight : Tensor of shape (n,)
        Nonnegative, in float64.
    generator : torch.Generator

    Returns
    -------
    Tensor of shape (n,)
        Indices in ascending order.
    """
    n = len(weight)
    offset = torch.rand((), generator=generator, dtype=weight.dtype)
    edges = weight.cumsum(0) * (n / weight.sum())
    points = torch.arange(n, dtype=weight.dtype) + offset
    return torch.searchsorted(edges, points, right=True).clamp_(max=n - 1)
