"""Weights of samples: with the mean one, and in means."""

import numpy as np
from numpy.typing import NDArray


def unit_weights(weight: NDArray | None, n: int) -> NDArray:
    """Return the weights of n samples with the mean one. No weights are ones."""
    return np.ones(n) if weight is None else weight * (n / weight.sum())


def center(x: NDArray, weight: NDArray | None) -> NDArray:
    """Subtract the means of the features from samples x, (n, p), in place, and return the means.

    The rounding errors of a mean grow with the offset of x. The second pass corrects them.
    """
    mean = np.zeros(x.shape[1])
    for _ in range(2):
        correction = np.average(x, axis=0, weights=weight)
        x -= correction
        mean += correction
    return mean
