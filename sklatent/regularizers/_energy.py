"""Energy distance: mean distances between rows, and from rows to N(0, I)."""

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
        \frac1s\Big[\frac{2 \sqrt2 c}{n} \sum_i
        {}_1F_1\big(-\tfrac12; \tfrac k2; -\tfrac12 |u_i|^2\big)
        - 2 c - \frac{1}{n(n-1)} \sum_{i \ne j} |u_i - u_j|\Big],
        \quad s = \frac{3 c}{8 (k + 2)},

    that is 2 E|u - Y| - E|Y - Y'| - E|u - u'| for Y, Y' from N(0, I) (Szekely & Rizzo 2013),
    the second and in part the first expectation in closed form, the third by the unbiased sum
    over pairs. It is zero in expectation for N(0, I), least at unit scale, and can be negative.

    In the unit s, one component of variance v scores (v - 1)^2 / k near N(0, I), as with
    `MomentMatching`.

    Notes
    -----
    It has no bandwidth, and far points feel a pull that does not fade with distance.

    Distances between rows know a direction only by its share of them. On the scale where a
    single component counts as with `MomentMatching`, what all components have in common, such
    as their scale, counts (k + 2)/3 times as much as there.

    Cost is quadratic in the batch size.

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
