"""The Kullback-Leibler divergence of a stochastic encoder from N(0, I)."""

import math

import torch
from torch import Tensor

from ..networks import Embedding
from ._base import Regularizer


class KLDivergence(Regularizer):
    r"""Mean KL divergence of the encoder's distributions from the target.

    The encoder is stochastic, u ~ N(m(x), diag exp(l(x))), and the penalty is the batch mean of

    .. math:: \mathrm{KL} = \tfrac12 \sum_{j=1}^{k} \big(e^{l_j} + m_j^2 - 1 - l_j\big)

    in nats (Kingma & Welling 2014, appendix B). It is divided by the task's nats per unit of
    loss and multiplied by the task's `beta`. For a reconstruction, ``reg_weight`` is then the
    textbook beta (Higgins et al. 2017); for all other tasks the textbook beta is
    ``0.02 * reg_weight`` (Alemi et al. 2017).

    Notes
    -----
    It is zero only where the encoder ignores x (posterior collapse), not where the
    embedding is N(0, I).

    For labels y a textbook beta of 1 makes the empty embedding optimal, whatever the data: by the
    data processing inequality the embedding has at least as much information on x, which the
    divergence charges for, as on y. Hence the smaller unit.

    Even where the embedding's draws are N(0, I) its *means*, which ``transform`` returns, are
    not: their covariance is the identity minus the mean posterior covariance. Without
    calibration they are under-dispersed; ``calibration="affine"`` gives them the target's
    covariance, and ``posterior`` returns means and variances both.

    Examples
    --------
    >>> import torch
    >>> from sklatent.networks import Embedding
    >>> from sklatent.regularizers import KLDivergence
    >>> mean, log_var = torch.ones(10, 2), torch.zeros(10, 2)
    >>> KLDivergence()(Embedding(mean, log_var, mean))
    tensor(1.)
    """

    stochastic = True
    in_nats = True

    def __call__(
        self,
        embedding: Embedding,
        n_rows: float = math.inf,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the mean divergence of a batch of shape (..., n, k), per model: (...)."""
        mean, log_var, _ = embedding
        assert log_var is not None
        return 0.5 * (log_var.expm1() + mean.square() - log_var).sum(dim=-1).mean(dim=-1)
