"""Cramer-Wold distance: a Gaussian kernel along all directions."""

import math

import torch
from torch import Tensor

from ..networks import Embedding
from ._base import Regularizer
from ._kernel_distance import kernel_distance
from ._kummer import kummer


class CramerWold(Regularizer):
    r"""Squared distance of smoothed densities, averaged over all directions in closed form.

    For a unit direction a, take the density of the projections a'u and the density of N(0, 1).
    Smooth both with a Gaussian of variance 1/2, and take their squared L2 distance. The average
    over all directions has a closed form (Knop et al. 2020). With :math:`\varphi(x) =
    {}_1F_1(\tfrac12; \tfrac k2; -x)`, the mean of :math:`\exp(-x a_1^2)`, and the unbiased sum over
    pairs, the penalty is

    .. math::
        \frac1s\Bigl[\frac{1}{n(n-1)} \sum_{i \ne j} \varphi\bigl(\tfrac12 |u_i - u_j|^2\bigr)
        - \frac{\sqrt2}{n} \sum_i \varphi\bigl(\tfrac14 |u_i|^2\bigr) + \frac{1}{\sqrt3}\Bigr],
        \quad s = \frac{1}{4 \sqrt3\, (k + 2)} .

    The penalty is zero in expectation for N(0, I), has its minimum over the scale at one, and can
    be negative. In the unit s, one component of variance v scores (v - 1)^2 / k near N(0, I), as
    with `MomentMatching`.

    Notes
    -----
    With the variance 1/2, the penalty is `SlicedEppsPulley` with infinitely many slices and knots.
    The integral over directions has no noise from slicing, and its cost is quadratic in the batch
    size. The paper uses Silverman's rule for the variance, which would make the scale and the
    minimum of the penalty depend on n. The function 1F1 is evaluated to 1e-8 for every k. The
    paper's asymptotic form has an error of up to 0.2 at k = 2.

    Each component contributes only a small share of a random projection. In the unit s, an error of
    a single component counts as with `MomentMatching`. An error that all components have in common,
    such as a wrong scale, counts (k + 2)/3 times as much as with `MomentMatching`.

    References
    ----------
    Knop et al. (2020). `Cramer-Wold auto-encoder <https://arxiv.org/abs/1805.09235>`_. Journal of
    Machine Learning Research 21.

    Examples
    --------
    >>> import torch
    >>> from sklatent.networks import Embedding
    >>> from sklatent.regularizers import CramerWold
    >>> u = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    >>> ring = 2**0.5 * u / u.norm(dim=1, keepdim=True)
    >>> gaussian, ring = (float(CramerWold()(Embedding(v, None, v))) for v in (u, ring))
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
        return kernel_distance(embedding.sample, cramer_wold)


def cramer_wold(r: Tensor, variance: float, n_components: int) -> Tensor:
    """Mean over directions of a unit Gaussian kernel's mean at distance r from N(0, variance I)."""
    h = 1 + variance
    return kummer(0.5, n_components / 2, r.square() / (2 * h)) / math.sqrt(h)
