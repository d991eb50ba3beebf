"""A random subset of bounded size of the samples of a stream."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Reservoir:
    """A uniform random subset, without replacement, of all samples of a stream.

    Parameters
    ----------
    size : int
        Largest number of samples in the subset.
    random_state : RandomState

    References
    ----------
    Vitter (1985). `Random sampling with a reservoir <https://doi.org/10.1145/3147.3165>`_,
    algorithm R. ACM Transactions on Mathematical Software 11.
    """

    def __init__(self, size: int, random_state: np.random.RandomState) -> None:
        self.size = size
        self.random_state = random_state
        self.n_seen = 0
        self.samples: NDArray = np.empty((0, 0))
        self.weight: NDArray = np.empty(0)

    def add(self, samples: Any, weight: NDArray | None) -> None:
        """Add samples of shape (n, p), with their weights.

        Only the samples that are kept are read: samples[index] is an ndarray.
        """
        weight = np.ones(len(samples)) if weight is None else weight
        if self.n_seen == 0:
            self.samples = samples[:0]
        room = self.size - len(self.samples)
        self.samples = np.concatenate([self.samples, samples[:room]])
        self.weight = np.concatenate([self.weight, weight[:room]])
        self.n_seen += min(room, len(samples))
        n_late = len(samples) - room
        if n_late > 0:
            # The i-th sample draws one of i places. The reservoir keeps the first `size` places.
            ordinal = self.n_seen + np.arange(1, n_late + 1)
            place = self.random_state.randint(0, ordinal)
            late = np.flatnonzero(place < self.size)
            self.samples[place[late]] = samples[room + late]
            self.weight[place[late]] = weight[room + late]
            self.n_seen += n_late
