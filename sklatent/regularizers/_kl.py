"""The Kullback-Leibler divergence of a stochastic encoder from N(0, I)."""

import math

import torch
from torch import Tensor

from ..networks import Embedding
from ._base import Regularizer


class KLDivergence(Regularizer):
    r"""Mean KL divergence of the encoder's distributions from the target.

    The encoder is stochastic, u ~ N(m(x), diag exp(l(x))), and the penalty is the batch mean of

    .. math:: \mathrm{KL} = \tfrac12 \sum_{j=1}^{k} \bigl(e^{l_j} + m_j^2 - 1 - l_j\bigr)

    in nats (Kingma & Welling 2014, appendix B). The divergence is divided by the task's nats per
    unit of loss and multiplied by the task's `beta`. For a reconstruction, ``reg_weight`` is then
    the beta of the beta-VAE (Higgins et al. 2017). For all other tasks except
    None this beta is ``0.02 * reg_weight`` (Alemi et al. 2017).

    Notes
    -----
    The penalty is zero only if the encoder ignores x (posterior collapse). An embedding with the
    distribution N(0, I) does not make the penalty zero.

    For labels y, a beta of 1 would make a constant embedding optimal for any data: by the data
    processing inequality, the embedding has at least as much information on x, which the divergence
    penalizes, as on y. Therefore the other tasks use a smaller beta.

    ``transform`` returns the *means* of the embedding. Even if the embedding's draws are N(0, I),
    the covariance of the means is smaller: the identity minus the mean posterior covariance. The
    parameter ``calibration="affine"`` gives the means the target's covariance. ``posterior``
    returns means and variances.

    References
    ----------
    - Alemi, Fischer, Dillon & Murphy (2017). `Deep variational information bottleneck
      <https://arxiv.org/abs/1612.00410>`_. ICLR.
    - Higgins et al. (2017). `beta-VAE: learning basic visual concepts with a constrained
      variational framework <https://openreview.net/forum?id=Sy2fzU9gl>`_. ICLR.
    - Kingma & Welling (2014). `Auto-encoding variational Bayes
      <https://arxiv.org/abs/1312.6114>`_. ICLR.

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
