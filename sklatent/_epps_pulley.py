"""The sliced statistic of Epps and Pulley: knots, weights, unit and directions."""

import numpy as np
from numpy.typing import NDArray

#: The trapezoidal rule on [-3, 3]. As the integrand is symmetric, only t >= 0 is computed.
T_MAX = 3.0
N_KNOTS = 17
STEP = T_MAX / (N_KNOTS - 1)
KNOTS = STEP * np.arange(N_KNOTS)
NORMAL = np.exp(-(KNOTS**2) / 2)  # the characteristic function of N(0, 1), and the weight function
#: Weights of both signs of t.
WEIGHTS = 2 * STEP * NORMAL * np.r_[0.5, np.ones(N_KNOTS - 2), 0.5]

#: Of the integral for N(0, v) at v = 1: 1/4 times the integral of t^4 exp(-3 t^2 / 2).
CURVATURE = float(np.sqrt(2 * np.pi) / (12 * np.sqrt(3)))


def random_directions(k: int, n_slices: int, seed: int | np.random.Generator) -> NDArray:
    """Return directions that are uniform on the sphere, (k, n_slices)."""
    directions = np.random.default_rng(seed).standard_normal((k, n_slices))
    return directions / np.linalg.norm(directions, axis=0)
