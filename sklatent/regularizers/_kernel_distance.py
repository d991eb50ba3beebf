"""The distance from N(0, I) that a kernel defines, in closed form and on one scale."""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

# (distances r, variance v, n_components k) -> E K(|x - sqrt(v) Y|), |x| = r, Y ~ N(0, I_k).
SmoothedKernel = Callable[[Tensor, float, int], Tensor]


def kernel_distance(u: Tensor, kernel: SmoothedKernel) -> Tensor:
    r"""Squared maximum mean discrepancy of a batch from N(0, I), unbiased, in units of s.

    With :math:`K_v(r)` the kernel's mean at distance r from a Gaussian of variance v,

    .. math::
        \frac1s\Big[\frac{2}{n(n-1)} \sum_{i<j} K_0(|u_i - u_j|)
        - \frac2n \sum_i K_1(|u_i|) + K_2(0)\Big],
        \quad s = K_0(0) - 2 K_1(0) + K_2(0),

    so that nothing is drawn from N(0, I), and that a batch collapsed to the origin scores 1.

    Parameters
    ----------
    u : Tensor of shape (..., n, k)
        n >= 2.
    kernel : callable
        (r, v, k) -> :math:`K_v(r)`, a module-level function.

    Returns
    -------
    Tensor of shape (...)
    """
    k = u.shape[-1]
    within = kernel(_pair_distances(u), 0.0, k).mean(-1)
    across = kernel(torch.linalg.vector_norm(u, dim=-1), 1.0, k).mean(-1)
    point, point_to_target, target = (_at_origin(kernel, v, k) for v in (0.0, 1.0, 2.0))
    return (within - 2 * across + target) / (point - 2 * point_to_target + target)


def _pair_distances(u: Tensor) -> Tensor:
    """Distances between the rows, (..., n, k) -> (..., n (n - 1) / 2)."""
    # Each pair once, exact differences and a gradient of 0 at distance 0. It knows no batches.
    if u.ndim == 2:
        return torch.pdist(u)
    return torch.stack([torch.pdist(one) for one in u.flatten(0, -3)]).unflatten(0, u.shape[:-2])


@lru_cache
def _at_origin(kernel: SmoothedKernel, variance: float, n_components: int) -> float:
    return kernel(torch.zeros((), dtype=torch.float64), variance, n_components).item()
