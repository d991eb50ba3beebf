"""Adversarial regularizer: a critic is trained to distinguish embeddings from Gaussian draws."""

import math
from numbers import Real
from typing import Any, ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor, nn

from ..networks import Embedding
from ._base import COUNT, WEIGHT, Regularizer
from ._epps_pulley import SlicedEppsPulley


class Settings(NamedTuple):
    """Hyperparameters of the critic's training that depend on the loss."""

    n_critic: int
    gradient_penalty: float


DEFAULTS = {
    "gan": Settings(2, 0.3),
    "lsgan": Settings(2, 0.3),
    "wgan": Settings(2, 0.3),
    "wgan-gp": Settings(5, 0.1),
}


class Adversarial(Regularizer):
    r"""Adversarial regularizer: the encoder is trained against a critic.

    The critic is trained to distinguish embeddings from Gaussian draws. Let C be the critic,
    v ~ N(0, I) the draws and u = E(x) the embeddings. Critic and encoder take turns to minimize
    their losses, as in the adversarial autoencoder (Makhzani et al. 2015):

    - "gan" (Goodfellow et al. 2014, non-saturating): critic
      :math:`E\,\mathrm{sp}(-C(v)) + E\,\mathrm{sp}(C(u)) + P`, sp(a) = log(1 + exp(a)); encoder
      :math:`E\,\mathrm{sp}(-C(u)) / \log 2 - 1`;
    - "lsgan" (Mao et al. 2017): critic :math:`\frac12 E (C(v) - 1)^2 + \frac12 E\,C(u)^2 + P`;
      encoder :math:`\frac43 E (C(u) - 1)^2 - \frac13`;
    - "wgan" (Wasserstein, Arjovsky et al. 2017): critic :math:`E\,C(u) - E\,C(v) + P`; encoder
      :math:`2 \lambda (E\,C(v) - E\,C(u)) / k`. If the two distributions are near each other, the
      best critic makes the encoder's loss the squared Wasserstein-2 distance over k (Peyre 2018);
    - "wgan-gp" (Gulrajani et al. 2017): critic
      :math:`E\,C(u) - E\,C(v) + \lambda E (|\nabla C(w)| - 1)^2` at points w = s v + (1 - s) u,
      with s from U(0, 1) for each pair; encoder :math:`2 \lambda (E\,C(v) - E\,C(u)) / k`. For an
      embedding N(d, I), the best linear critic makes the encoder's loss
      :math:`(|d|^2 + 2 \lambda |d|) / k`. The gradient of this loss does not vanish as the
      embedding becomes Gaussian.

    The gradient penalty of the first three is centered at zero,
    :math:`P = \frac{\lambda}{2} (E|\nabla C(v)|^2 + E|\nabla C(u)|^2)`. The penalty is zero for a
    critic at chance, so that encoder and critic can converge (Mescheder et al. 2018). "gan" and
    "lsgan" compute the penalty at the last of `n_critic` steps only, multiplied by `n_critic`
    (lazy regularization, Karras et al. 2020). Without a penalty, or with the penalty of "wgan-gp",
    encoder and critic oscillate. A moving average of the encoder's and the decoder's weights, over
    about a hundred steps, reduces the oscillation. Early stopping evaluates this average, and `fit`
    returns it.

    The encoder's loss is zero if the critic is at chance. The encoder's loss of "lsgan" is one if
    the critic is certain. The scale in between has no closed form. If there are as many components
    as features, the reconstruction restricts the embedding less, and a ``reg_weight`` of 10 gives
    more Gaussian embeddings. The benchmarks compare the losses.

    Critic losses of different epochs cannot be compared. Therefore early stopping and a direct call
    of this object use `SlicedEppsPulley`. A critic can make the embedding less Gaussian at first,
    so early stopping waits for a thousand steps. A critic detects gaps between clusters, and holes,
    late or never. With ``joint=True`` the first epochs improve slowly.

    Parameters
    ----------
    loss : {"gan", "lsgan", "wgan", "wgan-gp"}, default="gan"
        The losses of critic and encoder. `loss` also sets the defaults of the parameters below that
        are None:

        ==========  ========  ================
        loss        n_critic  gradient_penalty
        ==========  ========  ================
        "gan"       2         0.3
        "lsgan"     2         0.3
        "wgan"      2         0.3
        "wgan-gp"   5         0.1
        ==========  ========  ================

        The paper of "wgan-gp" has a penalty of 10, the learning rate 1e-4 for encoder and critic,
        the Adam betas 0 and 0.9, and no factor :math:`2 \lambda / k`. But with a penalty of 10, a
        curved critic costs more than it gains, because the principal components at the start are
        close to the target. The critic stays linear, and a linear critic compares only the means.
        For data in the plane, the authors' code has a penalty of 0.1 and the Adam betas 0.5 and
        0.9.
    joint : bool, default=False
        Whether to train by adversarially learned inference (Dumoulin et al. 2017; Donahue et al.
        2017): the critic compares the pairs (x, E(x)) with the pairs (D(v), v), and encoder and
        decoder are both trained against the critic. ``joint=True`` needs a reconstruction task.
    critic : torch.nn.Module or callable, default=None
        A network that replaces the default critic, or a function ``(in_features, 1)`` that returns
        one. The network must not contain batch normalization, because the gradient penalty needs
        gradients of each sample alone.
    critic_hidden_layer_sizes : tuple of int, default=(128, 128)
        Widths of the default critic's hidden layers.
    n_critic : int, default=None
        Number of steps of the critic for each step of the encoder. If None, see `loss`.
    critic_learning_rate : float, default=1e-3
        Learning rate of the critic's own optimizer, which is Adam with betas 0.5 and 0.9.
    gradient_penalty : float, default=None
        The weight lambda of the gradient penalty. If None, see `loss`. The weight must be positive
        for "wgan" and "wgan-gp", because only the penalty bounds their critics.

    References
    ----------
    - Arjovsky, Chintala & Bottou (2017). `Wasserstein GAN <https://arxiv.org/abs/1701.07875>`_.
      ICML.
    - Donahue, Krähenbühl & Darrell (2017). `Adversarial feature learning
      <https://arxiv.org/abs/1605.09782>`_. ICLR.
    - Dumoulin et al. (2017). `Adversarially learned inference
      <https://arxiv.org/abs/1606.00704>`_. ICLR.
    - Goodfellow et al. (2014). `Generative adversarial nets
      <https://arxiv.org/abs/1406.2661>`_. NeurIPS 27.
    - Gulrajani et al. (2017). `Improved training of Wasserstein GANs
      <https://arxiv.org/abs/1704.00028>`_. NeurIPS 30.
    - Karras et al. (2020). `Analyzing and improving the image quality of StyleGAN
      <https://arxiv.org/abs/1912.04958>`_. CVPR.
    - Makhzani et al. (2015). `Adversarial autoencoders <https://arxiv.org/abs/1511.05644>`_.
    - Mao et al. (2017). `Least squares generative adversarial networks
      <https://arxiv.org/abs/1611.04076>`_. ICCV.
    - Mescheder, Geiger & Nowozin (2018). `Which training methods for GANs do actually converge?
      <https://arxiv.org/abs/1801.04406>`_ ICML.
    - Peyre (2018). Comparison between W2 distance and H^-1 norm, and localization of Wasserstein
      distance. ESAIM: Control, Optimisation and Calculus of Variations 24.

    Examples
    --------
    >>> from sklatent import GaussianEmbedder
    >>> from sklatent.regularizers import Adversarial
    >>> embedder = GaussianEmbedder(2, regularizer=Adversarial(loss="wgan"))
    """

    _parameter_constraints: ClassVar[dict] = {
        "loss": [StrOptions(set(DEFAULTS))],
        "joint": ["boolean"],
        "critic": [nn.Module, callable, None],
        "critic_hidden_layer_sizes": ["array-like"],
        "n_critic": [*COUNT, None],
        "critic_learning_rate": [Interval(Real, 0, None, closed="neither")],
        "gradient_penalty": [*WEIGHT, None],
    }

    def __init__(
        self,
        loss: Literal["gan", "lsgan", "wgan", "wgan-gp"] = "gan",
        joint: bool = False,
        critic: Any = None,
        critic_hidden_layer_sizes: tuple[int, ...] = (128, 128),
        n_critic: int | None = None,
        critic_learning_rate: float = 1e-3,
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
        """Hyperparameters of the critic, with the loss's default for each that is None."""
        names = Settings._fields
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
        """Return the critic's loss.

        Parameters
        ----------
        critic : Module
        prior, encoded : Tensor of shape (..., n, q)
            Draws and embeddings, or the pairs of joint inference. They receive no gradient.
        penalty_share : float, default=1.0
            Factor of the gradient penalty.
        generator : torch.Generator, default=None
            CPU generator of the points between draws and embeddings ("wgan-gp").

        Returns
        -------
        Tensor of shape (...)
        """
        penalty = self.settings.gradient_penalty * penalty_share
        # One pass for both, because the penalty's second derivative dominates the cost of training.
        points = torch.cat([prior, encoded], dim=-2).detach()
        at, between = points, self.loss == "wgan-gp"
        if between:
            shape = (*prior.shape[:-1], 1)
            share = torch.rand(shape, generator=generator, dtype=torch.float32, device="cpu")
            share = share.to(prior)
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
            # vector_norm has the derivative 0 at 0. A square root has an infinite derivative there.
            excess = torch.linalg.vector_norm(slopes, dim=-1) - 1
            return loss + penalty * excess.square().mean(dim=-1)
        return loss + penalty * slopes.square().sum(dim=-1).mean(dim=-1)

    def encoder_loss(self, critic: nn.Module, prior: Tensor, encoded: Tensor) -> Tensor:
        """Return the loss of the encoder and, with ``joint=True``, of the decoder."""
        fake = critic(encoded).squeeze(-1)
        if self.loss in ("wgan", "wgan-gp"):
            difference = (critic(prior).squeeze(-1) - fake).mean(dim=-1)
            return 2 * self.settings.gradient_penalty / prior.shape[-1] * difference
        real = critic(prior).squeeze(-1) if self.joint else None
        if self.loss == "lsgan":
            losses = [(fake - 1).square()] + ([real.square()] if real is not None else [])
            return (4 * torch.stack(losses).mean(dim=(0, -1)) - 1) / 3
        losses = [F.softplus(-fake)] + ([F.softplus(real)] if real is not None else [])
        return torch.stack(losses).mean(dim=(0, -1)) / math.log(2) - 1
