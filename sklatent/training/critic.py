"""The critic of an adversarial regularizer: how it is trained, and what it says of an embedding."""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..networks import Autoencoder, Decoder
from ..regularizers import Adversarial

#: Share of the moving average of the weights that a step leaves.
AVERAGE_DECAY = 0.99


class Critic:
    """A critic with its optimizer, and the average of the weights that are trained against it.

    Training against a critic circles, so that a fit keeps a moving average of the weights of
    encoder and decoder rather than the last ones.

    Parameters
    ----------
    module : Module
        Maps (..., n, q) to (..., n, 1).
    regularizer : Adversarial

    Attributes
    ----------
    optimizer : torch.optim.Adam
    average : AveragedModel or None
        Of encoder and decoder; None while nothing trains.
    paused : tuple of two state_dicts, or None
        The last and the averaged weights when training ended, with which `begin` can go on.
    """

    def __init__(self, module: nn.Module, regularizer: Adversarial) -> None:
        self.module = module
        self.regularizer = regularizer
        self.optimizer = torch.optim.Adam(module.parameters(), **self._rates(), fused=True)
        self.average: AveragedModel | None = None
        self.paused: tuple[dict[str, Tensor], dict[str, Tensor]] | None = None

    def _rates(self) -> dict[str, Any]:
        settings = self.regularizer.settings
        return {"lr": settings.critic_learning_rate, "betas": settings.betas}

    def set_regularizer(self, regularizer: Adversarial) -> None:
        """Train with other settings from now on."""
        self.regularizer = regularizer
        for group in self.optimizer.param_groups:
            group.update(self._rates())

    # Steps

    def train(
        self, autoencoder: Autoencoder, x: Tensor, u: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Take the critic's steps for one step of the encoder; return its mean loss per model.

        Parameters
        ----------
        autoencoder : Autoencoder
            Its decoder makes the pairs of joint inference.
        x, u : Tensor of shapes (..., n, p), (..., n, k)
            A batch and its embedding.
        generator : torch.Generator
        """
        self.module.requires_grad_(True)
        n_steps = self.regularizer.settings.n_critic
        # The penalty at the last step alone, at the weight of all (Karras et al. 2020, appendix B);
        # at each step where nothing else bounds the critic.
        lazy = self.regularizer.loss in ("gan", "lsgan")
        shares = [0] * (n_steps - 1) + [n_steps] if lazy else [1] * n_steps
        losses = [self._step(autoencoder, x, u, share, generator) for share in shares]
        self.module.requires_grad_(False)
        return torch.stack(losses).mean(dim=0)

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
        loss.sum().backward()
        self.optimizer.step()
        return loss.detach()

    def encoder_loss(
        self, autoencoder: Autoencoder, x: Tensor, u: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return what stands in the regularizer's place in the encoder's loss, per model."""
        pairs = self._pairs(autoencoder, x, u, generator)
        return self.regularizer.encoder_loss(self.module, *pairs)

    def gap(
        self, autoencoder: Autoencoder, x: Tensor, u: Tensor, generator: torch.Generator
    ) -> float:
        """Return the difference of the mean outputs for Gaussian draws and for embeddings.

        In standard deviations of the output for the draws.
        """
        with torch.no_grad():
            prior, encoded = map(self.module, self._pairs(autoencoder, x, u, generator))
        return float((prior.mean() - encoded.mean()) / prior.std())

    def _pairs(
        self, autoencoder: Autoencoder, x: Tensor, u: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return what the critic compares: Gaussian draws and embeddings, or pairs with samples."""
        v = torch.randn(u.shape, generator=generator, dtype=torch.float32).to(u)
        if not self.regularizer.joint:
            return v, u
        decoded = cast(Decoder, autoencoder.decoder)(v)
        return torch.cat([decoded, v], dim=-1), torch.cat([x.expand_as(decoded), u], dim=-1)

    # The average of the weights

    def begin(self, module: nn.Module, resume: bool) -> None:
        """Begin an average of a module's weights, or go on with that of the training before."""
        decay = get_ema_multi_avg_fn(AVERAGE_DECAY)
        self.average = AveragedModel(module, multi_avg_fn=decay, use_buffers=True)
        if resume and self.paused is not None:
            moved, averaged = self.paused
            module.load_state_dict(moved)
            self.average.load_state_dict(averaged)

    def end(self, module: nn.Module) -> None:
        """Leave the average in the module."""
        average = cast(AveragedModel, self.average)
        moved = {name: value.clone() for name, value in module.state_dict().items()}
        self.paused = moved, average.state_dict()
        module.load_state_dict(average.module.state_dict())
