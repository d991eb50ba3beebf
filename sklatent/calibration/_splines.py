"""Increasing functions of one coordinate, with their inverses."""

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

KNOTS = np.linspace(-4, 4, 33)
STEP = KNOTS[1] - KNOTS[0]
GRID = np.linspace(KNOTS[0], KNOTS[-1], 8 * (len(KNOTS) - 1) + 1)[:, None]


@dataclass
class Splines:
    r"""Monotone rational quadratic splines, one per column, linear outside [-4, 4].

    Between the knots :math:`x_j` and :math:`x_{j+1}`, with values y, slopes d, chord s and
    :math:`\theta = (x - x_j) / (x_{j+1} - x_j)`,

    .. math:: y_j + (y_{j+1} - y_j) \frac{s \theta^2 + d_j \theta (1 - \theta)}
        {s + (d_j + d_{j+1} - 2 s)\, \theta (1 - \theta)}.

    Parameters
    ----------
    values : ndarray of shape (33, k)
        Increasing down each column.
    slopes : ndarray of shape (33, k)
        Positive.

    References
    ----------
    - Fritsch & Carlson (1980). `Monotone piecewise cubic interpolation
      <https://doi.org/10.1137/0717021>`_. SIAM Journal on Numerical Analysis 17.
    - Gregory & Delbourgo (1982). `Piecewise rational quadratic interpolation to monotonic data
      <https://doi.org/10.1093/imanum/2.2.123>`_. IMA Journal of Numerical Analysis 2.

    Examples
    --------
    >>> import numpy as np
    >>> from sklatent.calibration._splines import KNOTS, Splines
    >>> sinh = Splines(np.sinh(KNOTS)[:, None], np.cosh(KNOTS)[:, None])
    >>> x = np.array([[-5.0], [0.1], [2.0]])
    >>> bool(np.allclose(sinh.inverse(sinh(x)), x))
    True
    """

    values: NDArray
    slopes: NDArray
    _pieces: NDArray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # As a function of the share, a piece is start + share (left + extra share) / (1 + bend
        # share (1 - share)). The first and the last piece are the lines outside the knots.
        rise, ends = np.diff(self.values, axis=0), STEP * self.slopes
        left, right = ends[:-1], ends[1:]
        straight = np.zeros_like(ends[:1])
        pieces = (
            [self.values[:1] - ends[:1], self.values],
            [ends[:1], left, ends[-1:]],
            [straight, rise - left, straight],
            [straight, (left + right) / rise - 2, straight],
        )
        self._pieces = np.stack([np.concatenate(part).ravel() for part in pieces])

    @classmethod
    def steeper_than(cls, floor: float, values: NDArray, slopes: NDArray) -> Self:
        """Return splines with all derivatives at least floor, and the given slopes if possible.

        Let w be the floor and d the larger slope at the ends of a chord s. The condition
        s >= (d + 2 w) / 3 keeps the derivatives between the ends above w. Fritsch & Carlson (1980)
        give this sufficient condition for w = 0, and here it applies to derivatives minus w. If
        a chord is too flat, all values beyond the chord move away from the middle knot.
        """
        slopes = np.maximum(slopes, floor)
        steepest = np.maximum(slopes[1:], slopes[:-1])
        least = (steepest + 2 * floor) / 3 * STEP
        lift = np.cumsum(np.maximum(least - np.diff(values, axis=0), 0), axis=0)
        lift = np.insert(lift, 0, 0, axis=0)
        return cls(values + lift - lift[len(KNOTS) // 2], slopes)

    @property
    def least_slope(self) -> float:
        """The smallest derivative on a fine grid."""
        return float(self.slope(np.broadcast_to(GRID, (len(GRID), self.values.shape[1]))).min())

    def __call__(self, x: NDArray) -> NDArray:
        """Map samples x of shape (n, k)."""
        k = self.values.shape[1]
        position = x / STEP - (KNOTS[0] / STEP - 1)
        index = np.minimum(np.maximum(position, 0), len(KNOTS)).astype(np.intp)
        share = position - index
        index *= k
        index += np.arange(k)
        start, left, extra, bend = self._pieces.take(index, axis=1)
        return start + share * (left + extra * share) / (1 + bend * share * (1 - share))

    def slope(self, x: NDArray) -> NDArray:
        """Return the derivatives at samples x of shape (n, k)."""
        inside = np.clip(x, KNOTS[0], KNOTS[-1])
        index = np.minimum(((inside - KNOTS[0]) / STEP).astype(np.intp), len(KNOTS) - 2)
        _, _, left, right, chord = self._piece(index)
        share = (inside - KNOTS[index]) / STEP
        mixed = share * (1 - share)
        rise = right * share**2 + 2 * chord * mixed + left * (1 - share) ** 2
        return chord**2 * rise / (chord + (left + right - 2 * chord) * mixed) ** 2

    def inverse(self, y: NDArray) -> NDArray:
        """Return the samples whose map is y, of shape (n, k)."""
        inside = np.clip(y, self.values[0], self.values[-1])
        index = np.empty(y.shape, dtype=np.intp)
        for column, values in enumerate(self.values.T):
            index[:, column] = np.searchsorted(values, inside[:, column], side="right") - 1
        index = np.minimum(index, len(KNOTS) - 2)
        start, rise, left, right, chord = self._piece(index)
        # The root in [0, 1] of a share^2 + b share + c, in the form without cancellation.
        excess = (inside - start) * (left + right - 2 * chord)
        a, b = rise * (chord - left) + excess, rise * left - excess
        c = -chord * (inside - start)
        share = -2 * c / (b + np.sqrt(np.maximum(b * b - 4 * a * c, 0)))
        x = KNOTS[index] + share * STEP
        return x + (y - inside) / np.where(y < inside, self.slopes[0], self.slopes[-1])

    def _piece(self, index):
        column = np.arange(self.values.shape[1])
        start, left = self.values[index, column], self.slopes[index, column]
        rise, right = self.values[index + 1, column] - start, self.slopes[index + 1, column]
        return start, rise, left, right, rise / STEP
