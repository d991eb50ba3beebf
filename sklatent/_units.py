"""Units of samples: standardization and its inverse, finite for all finite values."""

import numpy as np
from numpy.typing import NDArray

Type = np.dtype | type


def farthest(dtype: Type) -> float:
    """Return the largest standardized value: 3e15 in float32, 3e123 in float64.

    Its square is far below the largest number of the type, so that later arithmetic is finite.
    """
    return float(np.finfo(dtype).max) ** 0.4


def standardize(X: NDArray, mean: NDArray, scale: NDArray | float, dtype: Type) -> NDArray:
    """Return (X - mean) / scale, computed in float64, with values that exceed the limit clipped."""
    with np.errstate(over="ignore"):
        x = X - mean
        x /= scale
    return _clip(x, farthest(dtype)).astype(dtype, copy=False)


def unstandardize(x: NDArray, mean: NDArray, scale: NDArray | float, dtype: Type) -> NDArray:
    """Return x * scale + mean in a type."""
    with np.errstate(over="ignore"):
        return as_type(x * scale + mean, dtype)


def as_type(x: NDArray, dtype: Type) -> NDArray:
    """Convert a new array to a type; values beyond its range become its largest values."""
    return _clip(x, float(np.finfo(dtype).max)).astype(dtype, copy=False)


def is_far(x: NDArray) -> NDArray:
    """Return whether each standardized sample has a clipped value."""
    return (np.abs(x) >= farthest(x.dtype)).any(axis=1)


def _clip(x: NDArray, limit: float) -> NDArray:
    # Faster than `np.clip` for a single sample.
    return np.minimum(np.maximum(x, -limit, out=x), limit, out=x)
