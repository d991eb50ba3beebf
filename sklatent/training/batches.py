"""Minibatches as slices of tensors; the one place that sample weights enter training."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import Dataset


class Rows(Dataset):
    """The rows that a net trains or validates on.

    Parameters
    ----------
    x : Tensor of shape (n, p)
    y : Tensor of shape (n, ...) or None
    weight : Tensor of shape (n,) or None
        Positive sample weights, on the CPU.
    """

    def __init__(self, x: Tensor, y: Tensor | None = None, weight: Tensor | None = None) -> None:
        self.x = x
        self.y = y
        self.weight = weight

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        y = None if self.y is None else self.y[index]
        return self.x[index], y


class Batches:
    """Iterates over the rows in batches; each iteration is one epoch.

    An epoch of n rows is n draws in random order, split evenly into batches of at least
    ``batch_size`` rows each (fewer only where n is smaller), so that no batch is a remnant.
    Without weights each row is drawn once. With weights, row i is drawn floor(n w_i / sum(w))
    or one more times, by systematic resampling (Kitagawa 1996), a fresh one each epoch.

    Parameters
    ----------
    rows : Rows
    batch_size : int
    generator : torch.Generator or None
        Source of the order, on the CPU; None keeps the rows in order and ignores weights.
    """

    def __init__(
        self, rows: Rows, batch_size: int, generator: torch.Generator | None = None
    ) -> None:
        self.rows = rows
        self.batch_size = batch_size
        self.generator = generator

    def __len__(self) -> int:
        return max(1, len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        for index in self.draw().to(self.rows.x.device).tensor_split(len(self)):
            yield self.rows[index]

    def draw(self) -> Tensor:
        """Draw the order of the next epoch: indices of rows, of shape (n,)."""
        n = len(self.rows)
        if self.generator is None:
            return torch.arange(n)
        order = torch.randperm(n, generator=self.generator)
        if self.rows.weight is None:
            return order
        return systematic_resample(self.rows.weight, self.generator)[order]


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
