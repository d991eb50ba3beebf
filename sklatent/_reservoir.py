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
        self.rows: NDArray | None = None
        self.weight: NDArray | None = None

    def add(self, rows: NDArray, weight: NDArray | None) -> None:
        """See some rows of shape (n, p), with their weights."""
        weight = np.ones(len(rows)) if weight is None else weight
        if self.rows is None or self.weight is None:
            self.rows, self.weight = rows[:0], weight[:0]
        room = self.size - len(self.rows)
        self.rows = np.concatenate([self.rows, rows[:room]])
        self.weight = np.concatenate([self.weight, weight[:room]])
        self.n_seen += min(room, len(rows))
        for row, w in zip(rows[room:], weight[room:], strict=True):
            self.n_seen += 1
            if (place := self.random_state.randint(self.n_seen)) < self.size:
                self.rows[place], self.weight[place] = row, w
