"""A uniform sample of the rows of a stream, of bounded size."""

import numpy as np
from numpy.typing import NDArray


class Reservoir:
    """Keeps a uniform sample without replacement of all rows seen (Vitter 1985, algorithm R).

    Parameters
    ----------
    size : int
        Largest number of rows kept.
    random_state : RandomState
    """

    def __init__(self, size: int, random_state: np.random.RandomState) -> None:
        self.size = size
        self.random_state = random_state
        self.n_seen = 0
        self.rows: NDArray = np.empty((0, 0))
        self.weight: NDArray = np.empty(0)

    def add(self, rows: NDArray, weight: NDArray | None) -> None:
        """See some rows of shape (n, p), with their weights."""
        weight = np.ones(len(rows)) if weight is None else weight
        if self.n_seen == 0:
            self.rows = rows[:0]
        room = self.size - len(self.rows)
        self.rows = np.concatenate([self.rows, rows[:room]])
        self.weight = np.concatenate([self.weight, weight[:room]])
        self.n_seen += len(rows[:room])
        late, late_weight = rows[room:], weight[room:]
        if len(late):
            # The i-th row of the stream takes a place drawn from i, if that is in the reservoir.
            ordinal = self.n_seen + np.arange(1, len(late) + 1)
            place = self.random_state.randint(0, ordinal)
            kept = place < self.size
            self.rows[place[kept]] = late[kept]
            self.weight[place[kept]] = late_weight[kept]
            self.n_seen += len(late)
