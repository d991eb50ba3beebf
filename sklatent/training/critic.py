"""The critic of an adversarial regularizer: its training and its output for an embedding."""

from typing import cast

import torch
from torch import Tensor, nn

from ..networks import Autoencoder, Decoder
from ..regularizers import Adversarial


class Critic:
    """A critic with its optimizer.

    Parameters
    ----------
    module : Module
        Maps (n, q) to (n, 1).
    regularizer : Adversarial

    Attributes
    ----------
    optimizer : torch.optim.Adam
    paused : tuple of two state_dicts, or None
        The last and the averaged weights of encoder and decoder at the end of training.
    """

    def __init__(self, module: nn.Module, regularizer: Adversarial) -> None:
        self.module = module
        self.regularizer = regularizer
        self.optimizer = torch.optim.Adam(
            module.parameters(), lr=regularizer.critic_learning_rate, betas=(0.5, 0.9), fused=True
        )
        self.paused: tuple[dict[str, Tensor], dict[str, Tensor]] | None = None

    def set_regularizer(self, regularizer: Adversarial) -> None:
        """Change the settings of further training."""
        self.regularizer = regularizer
        for group in self.optimizer.param_groups:
            group["lr"] = regularizer.critic_learning_rate

    # Steps

    def train(
        self, autoencoder: Autoencoder, x: Tensor, u: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Take the critic's steps for one step of the encoder; return its mean loss.

        Parameters
        ----------
        autoencoder : Autoencoder
            Its decoder computes the pairs of joint inference.
        x, u : Tensor of shapes (n, p), (n, k)
            A batch and its embedding.
        generator : torch.Generator
        """
        self.module.requires_grad_(True)
        n_steps = self.regularizer.settings.n_critic
        # Apply the penalty at the last step only, with the weight of all steps (Karras et al. 2020,
        # appendix B). The Wasserstein losses need it at each step, to bound the critic.
        lazy = self.regularizer.loss in ("gan", "lsgan")
        shares = [0] * (n_steps - 1) + [n_steps] if lazy else [1] * n_steps
        losses = [self._step(autoencoder, x, u, share, generator) for share in shares]
        self.module.requires_grad_(False)
        return torch.stack(losses).mean()

    def _step(
        self,
        autoencoder: Autoencoder,
        x: Tensor,
        u: Tensor,
        penalty_share: float,
        generator: torch.Generator,
    ) -> Tensor:
        with torch.no_grad():
            prior, encoded = self._pairs(autoencoder, x, u, generator)
        self.optimizer.zero_grad()
        loss = self.regularizer.critic_loss(self.module, prior, encoded, penalty_share, generator)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def encoder_loss(
        self, autoencoder: Autoencoder, x: Tensor, u: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return the critic's term of the encoder's loss, in place of a regularizer."""
        pairs = self._pairs(autoencoder, x, u, generator)
        return self.regularizer.encoder_loss(self.module, *pairs)

    def gap(
        self, autoencoder: Autoencoder, x: Tensor, u: Tensor, generator: torch.Generator
    ) -> float:
        """Return the difference of the mean outputs for Gaussian draws and for embeddings.

        The unit is the standard deviation of the outputs for the draws.
        """
        with torch.no_grad():
            prior, encoded = map(self.module, self._pairs(autoencoder, x, u, generator))
        return float((prior.mean() - encoded.mean()) / prior.std())

    def _pairs(
        self, autoencoder: Autoencoder, x: Tensor, u: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return the critic's two inputs: Gaussian draws and embeddings, or pairs with samples."""
        v = torch.randn(u.shape, generator=generator, dtype=torch.float32).to(u)
        if not self.regularizer.joint:
            return v, u
        decoded = cast(Decoder, autoencoder.decoder)(v)
        return torch.cat([decoded, v], dim=-1), torch.cat([x, u], dim=-1)
