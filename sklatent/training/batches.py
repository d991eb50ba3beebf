"""Minibatches as slices of tensors, drawn by sample weight."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset


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
    """Iterates over the samples in batches; each iteration is one epoch.

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
        self.samples = samples
        self.batch_size = batch_size
        self.generator = generator

    def __len__(self) -> int:
        return max(1, len(self.samples) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        for index in self.draw().to(self.samples.x.device).tensor_split(len(self)):
            yield self.samples[index]

    def draw(self) -> Tensor:
        """Draw the order of the next epoch: indices of samples, of shape (n,)."""
        n = len(self.samples)
        if self.generator is None:
            return torch.arange(n)
        order = torch.randperm(n, generator=self.generator)
        if self.samples.weight is None:
            return order
        return systematic_resample(self.samples.weight, self.generator)[order]


class FoldBatches:
    """Iterates over the samples of several folds at once; each iteration is one epoch.

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
        self.n_steps = max(1, largest // batch_size)
        self.n_rows = largest // self.n_steps
        self.rounds = [
            Batches(samples, self.n_rows, source)
            for samples, source in zip(folds, generators, strict=True)
        ]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        orders = [self._epoch(each).split(self.n_rows) for each in self.rounds]
        for step in zip(*orders, strict=True):
            yield stack_samples(
                [each.samples[index] for each, index in zip(self.rounds, step, strict=True)]
            )

    def _epoch(self, fold: Batches) -> Tensor:
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
