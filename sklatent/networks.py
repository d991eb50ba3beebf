"""Encoder, decoder and the layers they are made of; they know no data and no loss.

Every layer can hold a stack of models, of which `training.stack` makes one: its parameters then
carry leading axes ``models``, and inputs of shape (*models, n, in) give outputs of shape
(*models, n, out). The plain case is the computation of `torch.nn.Linear`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "silu": nn.SiLU,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
}


class Embedding(NamedTuple):
    """What an encoder says of a batch, in standard coordinates.

    Attributes
    ----------
    mean : Tensor of shape (..., n, k)
        The embedding's mean given x.
    log_var : Tensor of shape (..., n, k) or None
        Logarithm of the embedding's variance given x; None for a deterministic encoder.
    sample : Tensor of shape (..., n, k)
        One draw per row; the mean itself for a deterministic encoder.
    """

    mean: Tensor
    log_var: Tensor | None
    sample: Tensor


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """X weight^T + bias, for one model or a stack of them.

    Parameters
    ----------
    x : Tensor of shape (..., n, in)
    weight : Tensor of shape (*models, out, in)
    bias : Tensor of shape (*models, out) or None

    Returns
    -------
    Tensor of shape (..., n, out), with the models' axes leading.
    """
    if weight.ndim == 2:
        return F.linear(x, weight, bias)
    if weight.ndim == x.ndim == 3 and bias is not None:  # the usual stack, in one pass
        return torch.baddbmm(bias.unsqueeze(-2), x, weight.mT)
    y = x @ weight.mT
    return y if bias is None else y + bias.unsqueeze(-2)


class Linear(nn.Module):
    """An affine map.

    Weights and biases are drawn from U(-1/sqrt(in), 1/sqrt(in)), as in `torch.nn.Linear`.

    Parameters
    ----------
    in_features, out_features : int
    generator : torch.Generator, default=None
        Source of the initial weights; torch's global one if None.
    zero : bool, default=False
        Whether weights and biases start at zero instead.

    Examples
    --------
    >>> import torch
    >>> from sklatent.networks import Linear
    >>> Linear(3, 2)(torch.ones(4, 3)).shape
    torch.Size([4, 2])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        generator: torch.Generator | None = None,
        zero: bool = False,
    ) -> None:
        super().__init__()
        bound = 0.0 if zero else 1.0 / math.sqrt(max(1, in_features))
        weight = torch.empty(out_features, in_features, dtype=torch.float32)
        bias = torch.empty(out_features, dtype=torch.float32)
        self.weight = nn.Parameter(weight.uniform_(-bound, bound, generator=generator))
        self.bias = nn.Parameter(bias.uniform_(-bound, bound, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class MLP(nn.Sequential):
    """A multilayer perceptron.

    Parameters
    ----------
    in_features, out_features : int
    hidden_layer_sizes : sequence of int, default=()
        Widths of the hidden layers; none makes it one affine map.
    activation : {"silu", "relu", "gelu", "tanh"}, default="silu"
    generator : torch.Generator, default=None
        As in `Linear`.
    zero_last : bool, default=False
        Whether the last layer starts at zero, and with it the output.

    Examples
    --------
    >>> import torch
    >>> from sklatent.networks import MLP
    >>> MLP(3, 2, (16,))(torch.ones(4, 3)).shape
    torch.Size([4, 2])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        hidden_layer_sizes: tuple[int, ...] = (),
        activation: str = "silu",
        *,
        generator: torch.Generator | None = None,
        zero_last: bool = False,
    ) -> None:
        layers: list[nn.Module] = []
        width = in_features
        for size in hidden_layer_sizes:
            layers += [Linear(width, size, generator=generator), ACTIVATIONS[activation]()]
            width = size
        layers.append(Linear(width, out_features, generator=generator, zero=zero_last))
        super().__init__(*layers)


class Gated(nn.Module):
    """A module times a gain per output feature that starts at zero.

    This starts any module at zero, as a zero last layer starts `MLP` (Bachlechner et al.
    2021, ReZero).

    Parameters
    ----------
    module : torch.nn.Module
    out_features : int
    """

    def __init__(self, module: nn.Module, out_features: int) -> None:
        super().__init__()
        self.module = module
        self.gain = nn.Parameter(torch.zeros(out_features, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x) * self.gain


class WithSkip(nn.Module):
    """A network beside a fixed linear map.

    The linear map is kept in float64 and rounded to the module's type from there, so that
    converting the module to float32 for training and to float64 for prediction loses nothing.

    Parameters
    ----------
    network : torch.nn.Module
    skip : Tensor of shape (*models, out, in) or None
        The linear map; None for the network alone.
    """

    exact_skip: Tensor | None
    skip: Tensor | None

    def __init__(self, network: nn.Module, skip: Tensor | None = None) -> None:
        super().__init__()
        self.network = network
        self.exact_skip = skip
        self.register_buffer("skip", None if skip is None else skip.float(), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        super()._apply(fn, recurse)
        if self.exact_skip is not None and self.skip is not None:
            self.skip = self.exact_skip.to(self.skip)
        return self

    def through_skip(self, x: Tensor, y: Tensor) -> Tensor:
        """Add the linear map of x to y."""
        if self.skip is None:
            return y
        if self.skip.ndim == y.ndim == 2:
            return torch.addmm(y, x, self.skip.T)
        return y + linear(x, self.skip)


class Encoder(WithSkip):
    """Standardised rows to their embedding in standard coordinates.

    Deterministic: u = W x + f(x). Stochastic: u ~ N(W x + f_1(x), diag exp(l + f_2(x))), with
    f = (f_1, f_2) of 2k outputs, reparametrised (Kingma & Welling 2014).

    Parameters
    ----------
    network : torch.nn.Module
        f, with k outputs, or 2k for a stochastic encoder.
    skip : Tensor of shape (*models, k, p) or None
        W; None leaves it out.
    log_var : Tensor of shape (*models, k) or None
        l; None makes the encoder deterministic.
    """

    log_var: Tensor | None

    def __init__(
        self, network: nn.Module, skip: Tensor | None = None, log_var: Tensor | None = None
    ) -> None:
        super().__init__(network, skip)
        log_var = None if log_var is None else log_var.float()
        self.register_buffer("log_var", log_var, persistent=False)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Embedding:
        """Embed a batch.

        Parameters
        ----------
        x : Tensor of shape (..., n, p)
        noise : Tensor of shape (..., n, k) or None
            Standard normal draws for the sample; None takes the mean for the sample.
        """
        mean, log_var = self.network(x), None
        if self.log_var is not None:
            mean, log_var = mean.chunk(2, dim=-1)
            log_var = log_var + self.log_var.unsqueeze(-2)
        mean = self.through_skip(x, mean)
        if log_var is None or noise is None:
            return Embedding(mean, log_var, mean)
        return Embedding(mean, log_var, mean + torch.exp(0.5 * log_var) * noise)


class Decoder(WithSkip):
    """Standard coordinates to the task's output: V u + g(u), or g(u) without a skip.

    Parameters
    ----------
    network : torch.nn.Module
        g.
    skip : Tensor of shape (*models, out, k) or None
        V; None leaves it out.
    """

    def forward(self, u: Tensor) -> Tensor:
        return self.through_skip(u, self.network(u))


class Autoencoder(nn.Module):
    """An encoder and, where the task has one, a decoder.

    Parameters
    ----------
    encoder : Encoder
    decoder : Decoder or None
    """

    def __init__(self, encoder: Encoder, decoder: Decoder | None) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, x: Tensor, noise: Tensor | None = None) -> tuple[Embedding, Tensor | None]:
        """Embed a batch and decode the embedding's sample."""
        embedding = self.encoder(x, noise)
        return embedding, None if self.decoder is None else self.decoder(embedding.sample)
