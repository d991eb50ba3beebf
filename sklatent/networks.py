"""Encoder, decoder and their layers, without data or loss."""

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
    """The output of an encoder for a batch, in standard coordinates.

    Attributes
    ----------
    mean : Tensor of shape (n, k)
        The embedding's mean given x.
    log_var : Tensor of shape (n, k) or None
        Logarithm of the embedding's variance given x. None for a deterministic encoder.
    sample : Tensor of shape (n, k)
        One draw for each sample. For a deterministic encoder, the mean.

    Examples
    --------
    >>> import torch
    >>> from sklatent.networks import Embedding
    >>> from sklatent.regularizers import MomentMatching
    >>> u = torch.randn(512, 2, generator=torch.Generator().manual_seed(0))
    >>> bool(MomentMatching()(Embedding(mean=u, log_var=None, sample=u)) < 0.1)
    True
    """

    mean: Tensor
    log_var: Tensor | None
    sample: Tensor


class Linear(nn.Module):
    """Affine map.

    Weights and biases are drawn from U(-1/sqrt(in), 1/sqrt(in)), as in `torch.nn.Linear`.

    Parameters
    ----------
    in_features, out_features : int
    generator : torch.Generator, default=None
        Generator of the initial weights. If None, use torch's global generator.
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
        """Return x weight^T + bias, of shape (n, out_features)."""
        return F.linear(x, self.weight, self.bias)


class MLP(nn.Sequential):
    """Multilayer perceptron.

    Parameters
    ----------
    in_features, out_features : int
    hidden_layer_sizes : sequence of int, default=()
        Widths of the hidden layers. Without hidden layers, the network is one affine map.
    activation : {"silu", "relu", "gelu", "tanh"}, default="silu"
    generator : torch.Generator, default=None
        As in `Linear`.
    zero_last : bool, default=False
        Whether the last layer, and therefore the output, starts at zero.

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
    """A module times a gain for each output feature, where the gains start at zero.

    With the gains, the output of any module starts at zero, as the output of an `MLP` with a zero
    last layer does.

    Parameters
    ----------
    module : torch.nn.Module
    out_features : int

    References
    ----------
    Bachlechner et al. (2021). `ReZero is all you need: fast convergence at large depth
    <https://arxiv.org/abs/2003.04887>`_. UAI.
    """

    def __init__(self, module: nn.Module, out_features: int) -> None:
        super().__init__()
        self.module = module
        self.gain = nn.Parameter(torch.zeros(out_features, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x) * self.gain


class WithSkip(nn.Module):
    """The sum of a network and a fixed linear map.

    The module keeps the linear map in float64 and rounds this copy to the module's type. Therefore
    a conversion to float32 for training and back to float64 for prediction loses no precision.

    Parameters
    ----------
    network : torch.nn.Module
    skip : Tensor of shape (out, in) or None
        The linear map. If None, use the network alone.
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
        return y if self.skip is None else torch.addmm(y, x, self.skip.T)


class Encoder(WithSkip):
    """Map standardized samples to their embedding in standard coordinates.

    A deterministic encoder is u = W x + f(x). A stochastic encoder is
    u ~ N(W x + f_1(x), diag exp(l + f_2(x))), with f = (f_1, f_2) of 2k outputs. Its draws use the
    reparametrization of Kingma & Welling (2014).

    Parameters
    ----------
    network : torch.nn.Module
        f, with k outputs, or 2k for a stochastic encoder.
    skip : Tensor of shape (k, p) or None
        W. If None, there is no linear map.
    log_var : Tensor of shape (k,) or None
        l. If None, the encoder is deterministic.

    References
    ----------
    Kingma & Welling (2014). `Auto-encoding variational Bayes
    <https://arxiv.org/abs/1312.6114>`_. ICLR.
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
        x : Tensor of shape (n, p)
        noise : Tensor of shape (n, k) or None
            Standard normal draws. If None, the mean takes the place of the draw.
        """
        mean, log_var = self.network(x), None
        if self.log_var is not None:
            mean, log_var = mean.chunk(2, dim=-1)
            log_var = log_var + self.log_var
        mean = self.through_skip(x, mean)
        if log_var is None or noise is None:
            return Embedding(mean, log_var, mean)
        return Embedding(mean, log_var, mean + torch.exp(0.5 * log_var) * noise)


class Decoder(WithSkip):
    """Map standard coordinates to the task's output: V u + g(u), or g(u) without V.

    Parameters
    ----------
    network : torch.nn.Module
        g.
    skip : Tensor of shape (out, k) or None
        V. If None, there is no linear map.
    """

    def forward(self, u: Tensor) -> Tensor:
        return self.through_skip(u, self.network(u))


class Autoencoder(nn.Module):
    """An encoder and, if the task has one, a decoder.

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
        """Embed a batch, and decode the draw of each sample."""
        embedding = self.encoder(x, noise)
        return embedding, None if self.decoder is None else self.decoder(embedding.sample)
