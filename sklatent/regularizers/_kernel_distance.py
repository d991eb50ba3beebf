"""The maximum mean discrepancy of a batch from N(0, I), in closed form and in a common unit."""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from ._slicing import sliced_scale

#: Memory holds the distances between this many samples and as many others at a time. The criterion
#: may be evaluated on any number of samples, and all pairs at once could exceed the memory.
BLOCK = 1024

# (distances r, variance v, n_components k) -> E K(|x - sqrt(v) Y|), |x| = r, Y ~ N(0, I_k).
SmoothedKernel = Callable[[Tensor, float, int], Tensor]


def kernel_distance(u: Tensor, kernel: SmoothedKernel) -> Tensor:
    r"""Squared maximum mean discrepancy of a batch from N(0, I), unbiased, in units of s.

    With :math:`K_v(r)` the kernel's mean at distance r from the center of a Gaussian of variance v,
    the distance is

    .. math::
        \frac1s\Bigl[\frac{2}{n(n-1)} \sum_{i<j} K_0(|u_i - u_j|)
        - \frac2n \sum_i K_1(|u_i|) + K_2(0)\Bigr],
        \quad s = \frac{3}{k+2} \frac{\partial^2 K_v(0)}{\partial v^2}\Bigl|_{v=2},

    so that no draws from N(0, I) are needed. A Gaussian of variance v has the expectation
    :math:`(K_{2v}(0) - 2 K_{1+v}(0) + K_2(0))/s`. The derivative in s is the curvature of the
    numerator at v = 1. If one component has the variance v and the others are N(0, 1), the
    distance is (v - 1)^2 / k near v = 1.

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
    within = _mean_over_pairs(u, kernel)
    across = kernel(torch.linalg.vector_norm(u, dim=-1), 1.0, k).mean(-1)
    target, scale = _constants(kernel, k)
    return (within - 2 * across + target) / scale


def _mean_over_pairs(u: Tensor, kernel: SmoothedKernel) -> Tensor:
    """Mean of the kernel over all pairs of samples, (..., n, k) -> (...)."""
    n, k = u.shape[-2:]
    blocks = u.split(BLOCK, dim=-2)
    sums = []
    for i, block in enumerate(blocks):
        sums.append(kernel(_pair_distances(block), 0.0, k).sum(-1))
        for other in blocks[i + 1 :]:
            r = torch.cdist(block, other, compute_mode="donot_use_mm_for_euclid_dist")
            sums.append(kernel(r, 0.0, k).sum((-2, -1)))
    # torch sums a tensor pairwise, which has smaller rounding errors than a running sum.
    return torch.stack(sums).sum(0) / (n * (n - 1) / 2)


def _pair_distances(u: Tensor) -> Tensor:
    """Distances between the samples, (..., n, k) -> (..., n (n - 1) / 2)."""
    # pdist takes each pair once, from exact differences, and has the gradient 0 at distance 0.
    # pdist does not accept leading axes.
    if u.ndim == 2:
        return torch.pdist(u)
    return torch.stack([torch.pdist(one) for one in u.flatten(0, -3)]).unflatten(0, u.shape[:-2])


@lru_cache
def _constants(kernel: SmoothedKernel, n_components: int) -> tuple[float, float]:
    """Return K_2(0) and s."""
    origin, h = torch.zeros((), dtype=torch.float64, device="cpu"), 1e-3
    low, target, high = (kernel(origin, v, n_components).item() for v in (2 - h, 2.0, 2 + h))
    return target, sliced_scale((high - 2 * target + low) / h**2, n_components)
