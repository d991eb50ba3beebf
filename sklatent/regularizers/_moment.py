"""Moment matching: compare the batch's mean and covariance with zero and the identity."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from ..networks import Embedding
from ._base import WEIGHT, Regularizer


class MomentMatching(Regularizer):
    r"""Squared error of each minibatch's mean and covariance.

    With the batch mean :math:`\hat\mu`, the batch covariance :math:`\hat\Sigma` (divisor n - 1),
    k components, batches of n samples drawn without replacement from N samples, and
    :math:`d = 1/(n-1) - 1/(N-1)`, the penalty is

    .. math::
        \frac{1}{k}\Bigl[\alpha\bigl(|\hat\mu|^2 - (\tfrac1n - \tfrac1N)\,
        \mathrm{tr}\,\hat\Sigma\bigr)
        + \gamma\bigl(\|\hat\Sigma - c I\|_F^2 - E_0\bigr)\Bigr],
        \quad c = 1 + (k+1)\,d, \quad E_0 = k(k+1)\,d\,(1 + (k+1)\,d).

    For new draws from N(0, I) (infinite N), the penalty is zero in expectation. For finite N, the
    penalty compares the mean and the covariance of all N samples with zero and the identity. If
    these moments are exact, the expectation is zero. If the N samples are draws from N(0, I), the
    expectation is :math:`\alpha/N + \gamma (k+1)/(N-1)` at any n. The minimum over the scale of a
    Gaussian is at one.

    The textbook form (``unbiased=False``: c = 1 and no trace term) is biased: the sampling noise of
    the covariance grows with the covariance, so that the minimum is an embedding of variance
    :math:`(1 - \alpha/(2\gamma n)) / (1 + (k+1)/(n-1))` when N is infinite. At n = 128
    this variance is 0.93 for k = 8 and 0.66 for k = 64.

    Division by k makes the penalty the mean over components of the squared error of the
    covariance's eigenvalues. Therefore penalties of different k can be compared: an embedding that
    has collapsed to a point scores about ``cov_weight``.

    Parameters
    ----------
    mean_weight : float, default=1.0
        :math:`\alpha`, the weight of the mean.
    cov_weight : float, default=1.0
        :math:`\gamma`, the weight of the covariance.
    unbiased : bool, default=True
        Whether to correct for the sampling noise of a batch's moments.

    Notes
    -----
    The correction is exact for Gaussian embeddings (with finite N, up to a relative 2/N). For
    others the minimum is at a variance near
    :math:`c / (1 + (\kappa-1)/n + (k+1)/(n(n-1)))` with :math:`\kappa = E|u|^4/k`: 0.98 for
    independent Laplace components and 0.81 for an elliptical t with 5 degrees of freedom,
    at k = 8 and n = 128. ``calibration="affine"`` removes the remaining error.

    With k >= n the batch covariance is singular. The penalty is still correct in expectation
    but very noisy.

    Matching two moments does not make the embedding Gaussian: clusters with the right mean and
    covariance score zero. `SlicedEppsPulley` detects such clusters.

    Examples
    --------
    >>> import torch
    >>> from sklatent.networks import Embedding
    >>> from sklatent.regularizers import MomentMatching
    >>> u = torch.tensor([[1.0], [-1.0]])
    >>> MomentMatching(unbiased=False)(Embedding(u, None, u))  # variance 2: (2 - 1)^2
    tensor(1.)
    """

    _parameter_constraints: ClassVar[dict] = {
        "mean_weight": WEIGHT,
        "cov_weight": WEIGHT,
        "unbiased": ["boolean"],
    }

    def __init__(
        self, mean_weight: float = 1.0, cov_weight: float = 1.0, unbiased: bool = True
    ) -> None:
        self.mean_weight = mean_weight
        self.cov_weight = cov_weight
        self.unbiased = unbiased

    def __call__(
        self,
        embedding: Embedding,
        n_rows: float = math.inf,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the penalty of a batch of shape (..., n, k), n >= 2, per model: (...)."""
        u = embedding.sample
        n, k = u.shape[-2:]
        mu_hat = u.mean(dim=-2, keepdim=True)
        centered = u - mu_hat
        sigma_hat = centered.mT @ centered / (n - 1)
        mean_error = mu_hat.square().sum(dim=(-2, -1))
        d = 1 / (n - 1) - 1 / (n_rows - 1) if self.unbiased else 0.0
        c = torch.as_tensor(1 + (k + 1) * d, dtype=u.dtype, device=u.device)  # (...) as n_rows
        identity = torch.eye(k, dtype=u.dtype, device=u.device)
        cov_error = (sigma_hat - c[..., None, None] * identity).square().sum(dim=(-2, -1))
        if self.unbiased:
            total_var = sigma_hat.diagonal(dim1=-2, dim2=-1).sum(-1)
            mean_error = mean_error - (1 / n - 1 / n_rows) * total_var
            cov_error = cov_error - k * (k + 1) * d * c
        return (self.mean_weight * mean_error + self.cov_weight * cov_error) / k
