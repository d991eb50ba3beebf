"""Builds the encoder and decoder from the start and the user's networks."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..networks import MLP, Autoencoder, Decoder, Encoder, Gated, Linear
from ..regularizers import Adversarial

#: Size of the first layer's weights for whitened components, relative to its weights for
#: features. Of the values from 0 to 4, 2 to 4 gave the most Gaussian embeddings at equal R^2.
COMPONENTS_GAIN = 3.0

Network = nn.Module | Callable[[int, int | None], nn.Module] | None


@dataclass(frozen=True)
class Architecture:
    """The user's choice of networks.

    Attributes
    ----------
    n_features, n_components : int
    out_features : int or None
        Width of the decoder's output; None if the user's decoder determines it.
    hidden_layer_sizes : tuple of int
    activation : str
    encoder, decoder : Module, callable or None
        The user's own networks.
    """

    n_features: int
    n_components: int
    out_features: int | None
    hidden_layer_sizes: tuple[int, ...]
    activation: str
    encoder: Network
    decoder: Network

    def build(
        self,
        generator: torch.Generator,
        encoder_skip: NDArray | None,
        decoder_skip: NDArray | None,
        log_var: NDArray | None,
    ) -> Autoencoder:
        """Make the modules.

        Parameters
        ----------
        generator : torch.Generator
            Source of the default networks' weights.
        encoder_skip : ndarray of shape (k, p) or None
        decoder_skip : ndarray of shape (p, k) or None
            Linear maps added to the networks. The networks' output then starts at zero.
        log_var : ndarray of shape (k,) or None
            Initial log-variances of a stochastic encoder; None for a deterministic encoder.
        """
        p, k = self.n_features, self.n_components
        width = k if log_var is None else 2 * k
        from_start = encoder_skip is not None
        network = self._network("encoder", p, width, generator, from_start, gated=from_start)
        if from_start and self.encoder is None and self.hidden_layer_sizes:
            _notice_components(network, cast(NDArray, encoder_skip), generator)
        encoder = Encoder(network, _tensor(encoder_skip), _tensor(log_var))
        if self.decoder is None and self.out_features is None:
            return Autoencoder(encoder, None)
        network = self._network(
            "decoder", k, self.out_features, generator, from_start, decoder_skip is not None
        )
        return Autoencoder(encoder, Decoder(network, _tensor(decoder_skip)))

    def _network(
        self,
        name: Literal["encoder", "decoder"],
        in_features: int,
        out_features: int | None,
        generator: torch.Generator,
        zero_last: bool,
        gated: bool,
    ) -> nn.Module:
        given = self.encoder if name == "encoder" else self.decoder
        if given is None:
            assert out_features is not None
            return MLP(
                in_features,
                out_features,
                self.hidden_layer_sizes[:: 1 if name == "encoder" else -1],
                self.activation,
                generator=generator,
                zero_last=zero_last,
            )
        # Training is in float32; transform computes in the type of X, and likelihoods in float64.
        types = torch.float32, torch.float64
        module = own_module(name, given, in_features, out_features, types)
        return Gated(module, out_features) if gated and out_features is not None else module


def _notice_components(network: nn.Module, skip: NDArray, generator: torch.Generator) -> None:
    """Initialize a network as if its inputs included the whitened components W x~ of a sample x~.

    Components of small variance hardly change x~, but all components have equal variance in the
    embedding. A network with default weights learns nonlinear maps of the small ones slowly. The
    first layer's weight A becomes A + B W, with entries of B from U(-b, b),
    b = COMPONENTS_GAIN / sqrt(p).
    """
    weight = cast(Linear, cast(MLP, network)[0]).weight
    width, p = weight.shape
    bound = COMPONENTS_GAIN / math.sqrt(p)
    noticed = torch.empty(width, len(skip), dtype=torch.float32)
    noticed.uniform_(-bound, bound, generator=generator)
    with torch.no_grad():
        weight.add_(noticed @ torch.from_numpy(skip).to(noticed))


def own_module(
    name: str,
    given: nn.Module | Callable,
    in_features: int,
    out_features: int | None,
    dtypes: tuple[torch.dtype, ...],
) -> nn.Module:
    """Return a copy of a user's own network in float32; raise if it does not fit in some type."""
    module = given
    if not isinstance(given, nn.Module):
        try:
            module = given(in_features, out_features)
        except Exception as error:
            raise ValueError(
                f"{name}({in_features}, {out_features}) must return a torch.nn.Module; it failed "
                f"with: {error}"
            ) from error
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"{name} must be a torch.nn.Module or a callable (in_features, out_features) that "
            f"returns one, got a callable that returned {type(module).__name__}"
        )
    module = copy.deepcopy(module).cpu()
    for dtype in dtypes:
        _check_module(name, module.to(dtype), in_features, out_features, dtype)
    return module.float()


def build_critic(
    regularizer: Adversarial, n_features: int, n_components: int, generator: torch.Generator
) -> nn.Module:
    """Make the critic of embeddings, or of pairs of samples and embeddings."""
    width = n_components + (n_features if regularizer.joint else 0)
    if regularizer.critic is not None:
        return own_module("critic", regularizer.critic, width, 1, (torch.float32,))
    return MLP(width, 1, tuple(regularizer.critic_hidden_layer_sizes), generator=generator)


def _check_module(
    name: str, module: nn.Module, in_features: int, out_features: int | None, dtype: torch.dtype
) -> None:
    """Raise if a user's network fails in the given dtype or returns a wrong shape."""
    expected = f"a tensor of shape (n, {in_features}) to one of shape (n, {out_features or 'any'})"
    mode = module.training
    try:
        with torch.no_grad():
            output = module.eval()(torch.zeros(2, in_features, dtype=dtype))
    except Exception as error:
        hint = ""
        if "dtype" in str(error):
            hint = (
                f". {name} must work in float32 and, for samples in float64, after "
                f"{name}.double(): register tensors that are not parameters with register_buffer"
            )
        raise ValueError(f"{name} must map {expected}; it failed with: {error}{hint}") from error
    finally:
        module.train(mode)
    wanted = (2, out_features) if out_features else None
    if not isinstance(output, Tensor) or wanted not in (None, tuple(output.shape)):
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(f"{name} must map {expected}; for n = 2 it returned {got}")


def _tensor(array: NDArray | None) -> Tensor | None:
    return None if array is None else torch.from_numpy(array)
