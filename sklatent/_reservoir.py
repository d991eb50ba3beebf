"""A random subset of bounded size of the samples of a stream."""

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

    def add(self, samples: NDArray, weight: NDArray | None) -> None:
        """Add samples of shape (n, p), with their weights."""
        weight = np.ones(len(samples)) if weight is None else weight
        if self.n_seen == 0:
            self.samples = samples[:0]
        room = self.size - len(self.samples)
        self.samples = np.concatenate([self.samples, samples[:room]])
        self.weight = np.concatenate([self.weight, weight[:room]])
        self.n_seen += len(samples[:room])
        late, late_weight = samples[room:], weight[room:]
        if len(late):
            # The i-th sample draws one of i places. The reservoir keeps the first `size` places.
            ordinal = self.n_seen + np.arange(1, len(late) + 1)
            place = self.random_state.randint(0, ordinal)
            kept = place < self.size
            self.samples[place[kept]] = late[kept]
            self.weight[place[kept]] = late_weight[kept]
            self.n_seen += len(late)
