"""Evaluates our encoders with NumPy: for one sample, calls of torch take longer than arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtr
from torch import nn

from .networks import MLP, Encoder, Linear


def _silu(x: NDArray) -> NDArray:
    return x * expit(x)


def _relu(x: NDArray) -> NDArray:
    return np.maximum(x, 0)


def _gelu(x: NDArray) -> NDArray:
    return x * ndtr(x)


ACTIVATIONS: dict[type[nn.Module], Callable[[NDArray], NDArray]] = {
    nn.SiLU: _silu,
    nn.ReLU: _relu,
    nn.GELU: _gelu,
    nn.Tanh: np.tanh,
}


class ArrayEncoder:
    """An `Encoder` as arrays, which share the memory of its parameters.

    Parameters
    ----------
    layers : list
        Affine maps as pairs of arrays (weight, bias), and functions.
    skip : ndarray of shape (p, k) or None
    log_var : ndarray of shape (k,) or None
        As in `Encoder`.
    """

    def __init__(self, layers: list, skip: NDArray | None, log_var: NDArray | None) -> None:
        self.layers = layers
        self.skip = skip
        self.log_var = log_var

    @classmethod
    def of(cls, encoder: Encoder) -> Self | None:
        """Return an encoder as arrays; None for a user's own network, and outside the CPU."""
        network: Any = encoder.network
        # A user's own network can be a subclass of MLP, or an MLP with other layers.
        ours = type(network) is MLP and {type(each) for each in network} <= {Linear, *ACTIVATIONS}
        if not (ours and next(encoder.parameters()).is_cpu):
            return None
        layers = [
            (layer.weight.detach().numpy().T, layer.bias.detach().numpy())
            if isinstance(layer, Linear)
            else ACTIVATIONS[type(layer)]
            for layer in network
        ]
        skip, log_var = encoder.skip, encoder.log_var
        return cls(
            layers,
            None if skip is None else skip.numpy().T,
            None if log_var is None else log_var.numpy(),
        )

    def __call__(self, x: NDArray) -> tuple[NDArray, NDArray | None]:
        """Return mean and log-variance (or None) of standardized samples."""
        mean, log_var = x, None
        for layer in self.layers:
            if isinstance(layer, tuple):
                mean = mean @ layer[0]
                mean += layer[1]
            else:
                mean = layer(mean)
        if self.log_var is not None:
            mean, log_var = np.split(mean, 2, axis=1)
            log_var = log_var + self.log_var
        if self.skip is not None:
            mean += x @ self.skip
        return mean, log_var
