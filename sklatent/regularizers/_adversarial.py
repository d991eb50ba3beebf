"""Adversarial: a critic learns to tell embeddings from Gaussian draws."""

import math
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..networks import Embedding
from ._base import Regularizer
from ._epps_pulley import SlicedEppsPulley


class Settings(NamedTuple):
    """How a critic is trained."""

    n_critic: int
    critic_learning_rate: float
    betas: tuple[float, float]
    gradient_penalty: float


#: What each loss is trained with where nothing else is given; "wgan-gp" as in the paper.
DEFAULTS = {
    "gan": Settings(2, 1e-3, (0.5, 0.9), 0.3),
    "lsgan": Settings(2, 1e-3, (0.5, 0.9), 0.3),
    "wgan": Settings(2, 1e-3, (0.5, 0.9), 0.3),
    "wgan-gp": Settings(5, 1e-4, (0.0, 0.9), 10.0),
}


class Adversarial(Regularizer):
    r"""The opinion of a critic that is trained to tell embeddings from Gaussian draws.

    With critic C, draws v ~ N(0, I) and embeddings u = E(x), critic and encoder minimise in
    turn (Makhzani et al. 2015, adversarial autoencoder)

    - "gan" (Goodfellow et al. 2014, non-saturating): critic
      :math:`E\,\mathrm{sp}(-C(v)) + E\,\mathrm{sp}(C(u)) + P`, sp(a) = log(1 + exp(a)); encoder
      :math:`E\,\mathrm{sp}(-C(u)) / \log 2 - 1`;
    - "lsgan" (Mao et al. 2017): critic :math:`\frac12 E (C(v) - 1)^2 + \frac12 E\,C(u)^2 + P`;
      encoder :math:`\frac43 E (C(u) - 1)^2 - \frac13`;
    - "wgan" (Wasserstein, Arjovsky et al. 2017): critic :math:`E\,C(u) - E\,C(v) + P`; encoder
      :math:`2 \lambda (E\,C(v) - E\,C(u)) / k`, which for the best critic is the squared
      Wasserstein-2 distance over k, where the two are near each other (Peyre 2018);
    - "wgan-gp" (Gulrajani et al. 2017): critic
      :math:`E\,C(u) - E\,C(v) + \lambda E (|\nabla C(w)| - 1)^2` at points w = s v + (1 - s) u, s
      from U(0, 1) for each pair; encoder :math:`E\,C(v) - E\,C(u)`, which for the best critic is
      near the Wasserstein-1 distance, in standard deviations of the target. Its force on the
      embedding does not fade as the embedding becomes Gaussian.

    The gradient penalty of the first three is centered at zero,
    :math:`P = \frac{\lambda}{2} (E|\nabla C(v)|^2 + E|\nabla C(u)|^2)`. It is zero for a critic at
    chance, and lets encoder and critic settle (Mescheder et al. 2018). "gan" and "lsgan" take
    the penalty at the last of `n_critic` steps only, `n_critic` times (lazily, Karras et al. 2020).
    With no penalty, and with that of "wgan-gp", encoder and critic circle each other. A moving
    average of the encoder's and the decoder's weights, over about a hundred steps, reduces the
    circling; early stopping evaluates this average, and `fit` returns it.

    Each encoder's loss is zero where the critic is at chance; that of "lsgan" is one where the
    critic is certain. There is no closed form for the scale in between. With as many components
    as features, where bending costs the reconstruction little, a ``reg_weight`` of 10 reaches
    further. The benchmarks compare the losses.

    Critics of different epochs cannot be compared. The criterion of early stopping, and this
    object called by itself, is therefore `SlicedEppsPulley`. A critic can make the embedding less
    Gaussian at first, so early stopping waits for a thousand steps. A critic detects gaps between
    clusters, and holes, late if at all; with ``joint=True`` the start is slow.

    Parameters
    ----------
    loss : {"gan", "lsgan", "wgan", "wgan-gp"}, default="gan"
        What critic and encoder minimise. It determines how the critic is trained where the
        parameters below are None. For "wgan-gp" these are the values of the paper, whose encoder
        learns at 1e-4 too: pass ``learning_rate_init=1e-4`` to the estimator to follow it.

        ==========  ========  ====================  ================  ==========
        loss        n_critic  critic_learning_rate  gradient_penalty  Adam betas
        ==========  ========  ====================  ================  ==========
        "gan"       2         1e-3                  0.3               0.5, 0.9
        "lsgan"     2         1e-3                  0.3               0.5, 0.9
        "wgan"      2         1e-3                  0.3               0.5, 0.9
        "wgan-gp"   5         1e-4                  10                0, 0.9
        ==========  ========  ====================  ================  ==========

    joint : bool, default=False
        Whether the critic sees pairs, (x, E(x)) against (D(v), v), and encoder and decoder are
        trained against it: adversarially learned inference (Dumoulin et al. 2017; Donahue et
        al. 2017). Needs reconstruction as a task.
    critic : torch.nn.Module or callable, default=None
        Network in place of the default one, or a function ``(in_features, 1)`` that returns
        it. Without batch normalisation, which the gradient penalty does not allow.
    critic_hidden_layer_sizes : tuple of int, default=(128, 128)
        Widths of the default critic's hidden layers.
    n_critic : int, default=None
        Steps of the critic for each step of the encoder. None: see `loss`.
    critic_learning_rate : float, default=None
        Learning rate of the critic's own optimizer (Adam). None: see `loss`.
    gradient_penalty : float, default=None
        lambda. None: see `loss`. Not zero for "wgan" and "wgan-gp", whose critics nothing else
        bounds.

    Examples
    --------
    >>> from sklatent import GaussianEmbedder
    >>> from sklatent.regularizers import Adversarial
    >>> embedder = GaussianEmbedder(2, regularizer=Adversarial(loss="wgan"))
    """

    def __init__(
        self,
        loss: Literal["gan", "lsgan", "wgan", "wgan-gp"] = "gan",
        joint: bool = False,
        critic: Any = None,
        critic_hidden_layer_sizes: tuple[int, ...] = (128, 128),
        n_critic: int | None = None,
        critic_learning_rate: float | None = None,
        gradient_penalty: float | None = None,
    ) -> None:
        self.loss = loss
        self.joint = joint
        self.critic = critic
        self.critic_hidden_layer_sizes = critic_hidden_layer_sizes
        self.n_critic = n_critic
        self.critic_learning_rate = critic_learning_rate
        self.gradient_penalty = gradient_penalty

    @property
    def settings(self) -> Settings:
        """How the critic is trained: the parameters, and the loss's own values for None."""
        names = ("n_critic", "critic_learning_rate", "gradient_penalty")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return DEFAULTS[self.loss]._replace(**given)

    def __call__(
        self,
        embedding: Embedding,
        n_rows: float = math.inf,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the sliced Epps-Pulley distance of a batch, per model: (...)."""
        return SlicedEppsPulley()(embedding, n_rows, generator)

    def critic_loss(
        self,
        critic: nn.Module,
        prior: Tensor,
        encoded: Tensor,
        penalty_share: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return what the critic minimises.

        Parameters
        ----------
        critic : Module
        prior, encoded : Tensor of shape (..., n, q)
            Draws and embeddings, or the pairs of joint inference; no gradient goes back.
        penalty_share : float, default=1.0
            What the gradient penalty is multiplied by.
        generator : torch.Generator, default=None
            Source of the points between draws and embeddings ("wgan-gp"), on the CPU.

        Returns
        -------
        Tensor of shape (...)
        """
        penalty = self.settings.gradient_penalty * penalty_share
        # One pass for both: the penalty's second derivative is what a fit with a critic costs.
        points = torch.cat([prior, encoded], dim=-2).detach()
        at, between = points, self.loss == "wgan-gp"
        if between:
            shape = (*prior.shape[:-1], 1)
            share = torch.rand(shape, generator=generator, dtype=torch.float32).to(prior)
            at = torch.lerp(encoded.detach(), prior, share)
        at.requires_grad_(penalty > 0)
        values = critic(points).squeeze(-1)
        real, fake = values.chunk(2, dim=-1)
        if self.loss == "lsgan":
            loss = 0.5 * ((real - 1).square().mean(dim=-1) + fake.square().mean(dim=-1))
        elif self.loss == "gan":
            loss = F.softplus(-real).mean(dim=-1) + F.softplus(fake).mean(dim=-1)
        else:
            loss = fake.mean(dim=-1) - real.mean(dim=-1)
        if not penalty:
            return loss
        outputs = critic(at) if between else values
        (slopes,) = torch.autograd.grad(outputs.sum(), at, create_graph=True)
        if between:
            # vector_norm has the derivative 0 at 0, where that of a square root is infinite.
            excess = torch.linalg.vector_norm(slopes, dim=-1) - 1
            return loss + penalty * excess.square().mean(dim=-1)
        return loss + penalty * slopes.square().sum(dim=-1).mean(dim=-1)

    def encoder_loss(self, critic: nn.Module, prior: Tensor, encoded: Tensor) -> Tensor:
        """Return what the encoder (and in joint inference the decoder) minimises; see above."""
        fake = critic(encoded).squeeze(-1)
        if self.loss in ("wgan", "wgan-gp"):
            difference = (critic(prior).squeeze(-1) - fake).mean(dim=-1)
            if self.loss == "wgan-gp":
                return difference
            return 2 * self.settings.gradient_penalty / prior.shape[-1] * difference
        real = critic(prior).squeeze(-1) if self.joint else None
        if self.loss == "lsgan":
            losses = [(fake - 1).square()] + ([real.square()] if real is not None else [])
            return (4 * torch.stack(losses).mean(dim=(0, -1)) - 1) / 3
        losses = [F.softplus(-fake)] + ([F.softplus(real)] if real is not None else [])
        return torch.stack(losses).mean(dim=(0, -1)) / math.log(2) - 1
