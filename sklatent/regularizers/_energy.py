"""Energy distance: mean distances between samples, and from samples to N(0, I)."""

import math

import torch
from torch import Tensor

from ..networks import Embedding
from ._base import Regularizer
from ._kernel_distance import kernel_distance
from ._kummer import kummer


class EnergyDistance(Regularizer):
    r"""Energy distance of the batch from N(0, I).

    With :math:`c = \Gamma(\frac{k+1}2) / \Gamma(\frac k2)`, the penalty is

    .. math::
        \frac1s\Bigl[\frac{2 \sqrt2 c}{n} \sum_i
        {}_1F_1\bigl(-\tfrac12; \tfrac k2; -\tfrac12 |u_i|^2\bigr)
        - 2 c - \frac{1}{n(n-1)} \sum_{i \ne j} |u_i - u_j|\Bigr],
        \quad s = \frac{3 c}{8 (k + 2)}.

    The bracket estimates 2 E|u - Y| - E|Y - Y'| - E|u - u'| for Y, Y' from N(0, I) (Szekely & Rizzo
    2013). The expectations over Y and Y' are in closed form. The expectation over u and u' is the
    unbiased sum over pairs. The penalty is zero in expectation for N(0, I), has its minimum over
    the scale at one, and can be negative.

    In the unit s, one component of variance v scores (v - 1)^2 / k near N(0, I), as with
    `MomentMatching`.

    Notes
    -----
    The energy distance has no bandwidth. Its gradient for a distant sample does not decrease with
    the distance.

    Each component contributes only a small share of the distance between two samples. In the unit
    s, an error of a single component counts as with `MomentMatching`. An error that all components
    have in common, such as a wrong scale, counts (k + 2)/3 times as much as with `MomentMatching`.

    Cost is quadratic in the batch size.

    References
    ----------
    Szekely & Rizzo (2013). `Energy statistics: a class of statistics based on distances
    <https://doi.org/10.1016/j.jspi.2013.03.018>`_. Journal of Statistical Planning and Inference
    143.

    Examples
    --------
    >>> import torch
    >>> from sklatent.networks import Embedding
    >>> from sklatent.regularizers import EnergyDistance
    >>> u = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    >>> ring = 2**0.5 * u / u.norm(dim=1, keepdim=True)
    >>> gaussian, ring = (float(EnergyDistance()(Embedding(v, None, v))) for v in (u, ring))
    >>> abs(gaussian) < 0.01 < ring
    True
    """

    def __call__(
        self,
        embedding: Embedding,
        n_rows: float = math.inf,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the penalty of a batch of shape (..., n, k), n >= 2, per model: (...)."""
        return kernel_distance(embedding.sample, negative_distance)


def negative_distance(r: Tensor, variance: float, n_components: int) -> Tensor:
    """Minus the mean distance from a point at r to draws from N(0, variance I)."""
    if variance == 0:
        return -r
    k = n_components
    mean_norm = math.sqrt(2 * variance) * math.exp(math.lgamma((k + 1) / 2) - math.lgamma(k / 2))
    return -mean_norm * kummer(-0.5, k / 2, r.square() / (2 * variance))
