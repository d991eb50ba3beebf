"""The distance from N(0, I) that a kernel defines, in closed form and on one scale."""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from ._slicing import sliced_scale

# (distances r, variance v, n_components k) -> E K(|x - sqrt(v) Y|), |x| = r, Y ~ N(0, I_k).
SmoothedKernel = Callable[[Tensor, float, int], Tensor]


def kernel_distance(u: Tensor, kernel: SmoothedKernel) -> Tensor:
    r"""Squared maximum mean discrepancy of a batch from N(0, I), unbiased, in units of s.

    With :math:`K_v(r)` the kernel's mean at distance r from a Gaussian of variance v,

    .. math::
        \frac1s\Big[\frac{2}{n(n-1)} \sum_{i<j} K_0(|u_i - u_j|)
        - \frac2n \sum_i K_1(|u_i|) + K_2(0)\Big],
        \quad s = \frac{3}{k+2} \frac{\partial^2 K_v(0)}{\partial v^2}\Big|_{v=2},

    so that nothing is drawn from N(0, I). A Gaussian of variance v has the expectation
    :math:`(K_{2v}(0) - 2 K_{1+v}(0) + K_2(0))/s`, whose curvature at v = 1 the derivative is;
    s makes one component of variance v, the others being right, score (v - 1)^2 / k near v = 1.

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
    target, scale = _constants(kernel, k)
    return (within - 2 * across + target) / scale


def _pair_distances(u: Tensor) -> Tensor:
    """Distances between the rows, (..., n, k) -> (..., n (n - 1) / 2)."""
    # Each pair once, exact differences and a gradient of 0 at distance 0. It knows no batches.
    if u.ndim == 2:
        return torch.pdist(u)
    return torch.stack([torch.pdist(one) for one in u.flatten(0, -3)]).unflatten(0, u.shape[:-2])


@lru_cache
def _constants(kernel: SmoothedKernel, n_components: int) -> tuple[float, float]:
    """Return K_2(0) and s."""
    origin, h = torch.zeros((), dtype=torch.float64), 1e-3
    low, target, high = (kernel(origin, v, n_components).item() for v in (2 - h, 2.0, 2 + h))
    return target, sliced_scale((high - 2 * target + low) / h**2, n_components)
