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


class Periods:
    """Iterates over batches; each iteration is one period.

    A period is an epoch, or an equal part of an epoch of more than `PERIOD` steps.

    Parameters
    ----------
    n_steps : int
        Number of steps in an epoch.

    Attributes
    ----------
    n_periods : int
        Number of periods in an epoch.
    """

    def __init__(self, n_steps: int) -> None:
        self.n_steps = n_steps
        self.n_periods = math.ceil(n_steps / PERIOD)
        self._rest: list[Any] = []  # periods that remain in the epoch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        if not self._rest:
            steps = self._epoch()
            edges = [i * self.n_steps // self.n_periods for i in range(self.n_periods + 1)]
            self._rest = [steps[begin:end] for begin, end in pairwise(edges)]
        yield from map(self._batch, self._rest.pop(0))

    def _epoch(self) -> Any:
        """Draw the order of an epoch: a sequence with an item for each step."""
        raise NotImplementedError

    def _batch(self, step: Any) -> tuple[Tensor, Tensor | None]:
        raise NotImplementedError


class Batches(Periods):
    """Iterates over the samples in batches; each iteration is one period.

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
    """

    def __init__(
        self, samples: Samples, batch_size: int, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(max(1, len(samples) // batch_size))
        self.samples = samples
        self.generator = generator

    def _epoch(self) -> tuple[Tensor, ...]:
        return self.draw().to(self.samples.x.device).tensor_split(self.n_steps)

    def _batch(self, step: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.samples[step]

    def draw(self) -> Tensor:
        """Draw the order of the next epoch: indices of samples, of shape (n,)."""
        n = len(self.samples)
        if self.generator is None:
            return torch.arange(n)
        order = torch.randperm(n, generator=self.generator)
        if self.samples.weight is None:
            return order
        return systematic_resample(self.samples.weight, self.generator)[order]


class FoldBatches(Periods):
    """Iterates over the samples of several folds at once; each iteration is one period.

    Batches have shape (folds, n, ...). An epoch has the number of steps of the largest fold. It
    omits, at random, the samples that do not fill a step. A smaller fold repeats its samples in a
    new order.

    Parameters
    ----------
    folds : list of Samples
    batch_size : int
    generators : list of torch.Generator
        Sources of each fold's order.
    """

    def __init__(
        self, folds: list[Samples], batch_size: int, generators: list[torch.Generator]
    ) -> None:
        largest = max(len(samples) for samples in folds)
        super().__init__(max(1, largest // batch_size))
        self.n_rows = largest // self.n_steps
        self.rounds = [
            Batches(samples, self.n_rows, source)
            for samples, source in zip(folds, generators, strict=True)
        ]

    def _epoch(self) -> list[tuple[Tensor, ...]]:
        return list(
            zip(*(self._order(each).split(self.n_rows) for each in self.rounds), strict=True)
        )

    def _batch(self, step: tuple[Tensor, ...]) -> tuple[Tensor, Tensor | None]:
        return stack_samples(
            [each.samples[index] for each, index in zip(self.rounds, step, strict=True)]
        )

    def _order(self, fold: Batches) -> Tensor:
        n = self.n_steps * self.n_rows
        order = torch.cat([fold.draw() for _ in range(0, n, len(fold.samples))])
        return order[:n].to(fold.samples.x.device)


def stack_samples(folds: list[tuple[Tensor, Tensor | None]]) -> tuple[Tensor, Tensor | None]:
    """Stack equally many samples of each fold along a leading axis."""
    x, y = zip(*folds, strict=True)
    return torch.stack(x), None if y[0] is None else torch.stack(y)


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
