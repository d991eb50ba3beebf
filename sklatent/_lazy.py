"""Samples that stay in a large or sparse array until some of them are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

#: Number of entries above which a dense array is not copied as a whole: 256 MiB in float32.
LARGE = 2**26
#: Most samples in memory at a time, because of the hidden layers of a network.
CHUNK = 8192
#: Most entries in a block that is read at a time, if it has more than LEAST_BLOCK samples.
BLOCK_ENTRIES, LEAST_BLOCK = 2**22, 256
#: The same for a sample that represents all data.
SAMPLE_ENTRIES, LEAST_SAMPLE = 2**24, 1024


class LazySamples:
    """Samples of a large or sparse array, which ``rows[index]`` reads as a dense array.

    Parameters
    ----------
    array : ndarray or CSR matrix of shape (m, p)
    index : ndarray of shape (n,) or None
        Indices of the samples; None for all.
    function : callable or None
        Applied to all samples that are read.
    """

    def __init__(
        self,
        array: Any,
        index: NDArray | None = None,
        function: Callable[[NDArray], NDArray] | None = None,
    ) -> None:
        self.array = array
        self.index = index
        self.function = function

    @property
    def shape(self) -> tuple[int, int]:
        """Number of samples and of features."""
        return len(self), self.array.shape[1]

    def __len__(self) -> int:
        return self.array.shape[0] if self.index is None else len(self.index)

    def __getitem__(self, index: Any) -> NDArray:
        rows = self.array[index if self.index is None else self.index[index]]
        if issparse(rows):
            rows = rows.toarray()
        return rows if self.function is None else self.function(rows)

    def take(self, index: NDArray) -> Self:
        """Return some of the samples, without reading them."""
        if self.index is not None:
            index = self.index[index]
        elif index.dtype == bool:
            index = np.flatnonzero(index)
        return type(self)(self.array, index, self.function)

    def map(self, function: Callable[[NDArray], NDArray]) -> Self:
        """Return the values of a function of each sample, without reading the samples."""
        return type(self)(self.array, self.index, function)

    @property
    def sparse(self) -> Any:
        """The samples as a CSR matrix; None for a dense array."""
        if not issparse(self.array):
            return None
        return self.array if self.index is None else self.array[self.index]


def as_samples(X: Any) -> NDArray | LazySamples:
    """Return `LazySamples` for a large or sparse array, and other arrays as they are."""
    return LazySamples(X) if issparse(X) or X.size > LARGE else X


def chunks(X: NDArray | LazySamples) -> Iterator[slice]:
    """Return slices of samples that a network can embed at a time."""
    size = CHUNK
    if isinstance(X, LazySamples):
        size = min(CHUNK, max(LEAST_BLOCK, BLOCK_ENTRIES // X.shape[1]))
    # Not `gen_batches`, whose validation takes longer than a single sample.
    return (slice(start, start + size) for start in range(0, len(X), size))


def blocks(X: NDArray | LazySamples) -> Iterator[slice]:
    """Return slices of samples that can be read at a time: all samples of an array in memory."""
    return chunks(X) if isinstance(X, LazySamples) else iter([slice(0, len(X))])


def by_block(function: Callable[[NDArray], NDArray], X: NDArray | LazySamples) -> NDArray:
    """Return the values of a function that maps each sample independently, block by block."""
    values: Any = None
    for some in chunks(X):
        part = function(X[some])
        if values is None:
            values = np.empty((len(X), *part.shape[1:]), part.dtype)
        values[some] = part
    return values


def sample_size(n_features: int) -> int:
    """Return the number of samples that may represent all data in memory."""
    return max(LEAST_SAMPLE, SAMPLE_ENTRIES // n_features)
