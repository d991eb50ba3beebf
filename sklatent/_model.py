"""The fitted model: maps between samples, their embedding and the task's output."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from sklearn.utils import gen_batches
from torch import nn

from ._array_encoder import ArrayEncoder
from ._density import gaussian_coordinates, log_likelihood
from ._isolation import no_overrides
from ._lazy import CHUNK, LazySamples, blocks, chunks
from ._start import PCAStart
from ._target import Target
from ._units import farthest, is_far
from ._weights import unit_weights
from .calibration import AffineCalibration, Gaussianization
from .networks import Autoencoder
from .tasks import NOISE_FLOOR


class Posterior(NamedTuple):
    """Distribution of the embedding of each sample, given the sample.

    Attributes
    ----------
    mean : ndarray of shape (n_samples, n_components)
    std : ndarray of shape (n_samples, n_components)
        Standard deviation of each component.
    cov : ndarray of shape (n_samples, n_components, n_components) or None
        Covariance; None if the components are uncorrelated given the sample. Then `std`
        determines the distribution.
    """

    mean: NDArray
    std: NDArray
    cov: NDArray | None


@dataclass
class Model:
    """The networks with the units of X, the target and the calibration.

    Every method computes in the type of its input, float32 or float64.

    Attributes
    ----------
    start : PCAStart
        Units of X: the networks' inputs are standardized samples x~ = (x - mean) / scale.
    target : Target
    autoencoder : Autoencoder
        In float32 and evaluation mode.
    calibration : AffineCalibration, Gaussianization or None
    prior : Gaussianization or None
        Map before the calibration, only for a stochastic encoder: takes the draws of the encoder
        to N(0, I).
    noise_variance : float, ndarray of shape (p,) or None
        Residual variance of all features or of each feature, in the units of X.
    """

    start: PCAStart
    target: Target
    autoencoder: Autoencoder
    calibration: AffineCalibration | Gaussianization | None = None
    prior: Gaussianization | None = None
    noise_variance: float | NDArray | None = None
    _float64: Autoencoder | None = field(default=None, init=False, repr=False)
    _arrays: dict[Any, ArrayEncoder | None] = field(default_factory=dict, init=False, repr=False)

    @property
    def stochastic(self) -> bool:
        """Whether the encoder returns a distribution."""
        return self.autoencoder.encoder.log_var is not None

    # Standard coordinates

    def encode(self, X: NDArray | LazySamples) -> tuple[NDArray, NDArray | None]:
        """Return mean and log-variance (or None) of each sample in standard coordinates."""
        return _joined(self._encode(self.start.standardize(rows)) for rows in _chunks(X))

    def encode_standardized(self, x: NDArray | LazySamples) -> tuple[NDArray, NDArray | None]:
        """Return mean and log-variance (or None) of each standardized sample."""
        return _joined(self._encode(rows) for rows in _chunks(x))

    def _encode(self, x: NDArray) -> tuple[NDArray, NDArray | None]:
        if len(x) == 1:
            if x.dtype not in self._arrays:
                self._arrays[x.dtype] = ArrayEncoder.of(self._module(x.dtype).encoder)
            if (encoder := self._arrays[x.dtype]) is not None:
                return encoder(x)
        module = self._module(x.dtype)
        with no_overrides(), torch.inference_mode():
            mean, log_var, _ = module.encoder(_tensor(x, module))
        return mean.cpu().numpy(), None if log_var is None else log_var.cpu().numpy()

    def decode(self, u: NDArray) -> NDArray:
        """Return the decoder's output for standard coordinates before calibration."""
        module = self._module(u.dtype)
        assert module.decoder is not None
        with no_overrides(), torch.inference_mode():
            parts = [module.decoder(_tensor(rows, module)).cpu().numpy() for rows in _chunks(u)]
        return np.concatenate(parts)

    def _module(self, dtype: np.dtype | type) -> Autoencoder:
        if dtype == np.float32:
            return self.autoencoder
        if self._float64 is None:
            module = copy.deepcopy(self.autoencoder)
            if next(module.parameters()).device.type == "mps":  # MPS has no float64
                module = module.cpu()
            self._float64 = module.double().eval()
        return self._float64

    def calibrate(self, u: NDArray) -> NDArray:
        """Return calibrated standard coordinates."""
        u = u if self.prior is None else self.prior.transform(u)
        return u if self.calibration is None else self.calibration.transform(u)

    # Units of the user

    def to_user(self, u: NDArray) -> NDArray:
        """Return the embedding z for standard coordinates before calibration."""
        return self.target.to_user(self.calibrate(u))

    def posterior(self, X: NDArray | LazySamples) -> Posterior:
        """Return the distribution of the embedding of each sample; see the estimator."""
        mean, log_var = self.encode(X)
        assert log_var is not None
        log_var = np.minimum(log_var, 2 * math.log(farthest(mean.dtype)))
        if self.prior is not None:
            return self._pushed_forward(mean, np.exp(0.5 * log_var))
        scale = self.target.factor
        if isinstance(self.calibration, AffineCalibration):
            scale = scale @ self.calibration.inverse_root_
        var = np.exp(log_var)
        std = np.sqrt(var @ np.square(scale).T).astype(mean.dtype)
        if np.array_equal(scale, np.diag(scale.diagonal())):
            return Posterior(self.to_user(mean), std, None)
        cov = np.einsum("ij,nj,kj->nik", scale, var, scale, optimize=True).astype(mean.dtype)
        return Posterior(self.to_user(mean), std, cov)

    def _pushed_forward(self, mean: NDArray, std: NDArray) -> Posterior:
        """Return mean and covariance of the embedding of fixed draws from N(mean, std^2)."""
        k = mean.shape[1]
        draws = _moment_matched_draws(k)  # (m, k)
        means, covs = [], []
        for some in gen_batches(len(mean), max(1, CHUNK // len(draws))):
            u = mean[some, None] + std[some, None] * draws.astype(mean.dtype)  # (n, m, k)
            z = self.to_user(u.reshape(-1, k)).reshape(u.shape)
            means.append(z.mean(axis=1))
            centered = z - means[-1][:, None]
            covs.append(np.einsum("nmi,nmj->nij", centered, centered) / (len(draws) - 1))
        cov = np.concatenate(covs)
        return Posterior(
            np.concatenate(means), np.sqrt(np.diagonal(cov, axis1=1, axis2=2)).copy(), cov
        )

    def reconstruct(self, z: NDArray) -> NDArray:
        """Decode embeddings z to samples."""
        reach = farthest(z.dtype) * np.sqrt(self.target.cov.diagonal())
        near = np.clip(z, self.target.mean - reach, self.target.mean + reach)
        u = self.target.to_standard(near.astype(z.dtype, copy=False))
        if self.calibration is not None:
            u = self.calibration.inverse_transform(u)
        if self.prior is not None:
            u = self.prior.inverse_transform(u)
        return self.start.unstandardize(self.decode(u))

    def generate(self, u: NDArray, noise: NDArray | None = None) -> NDArray:
        """Decode draws u from N(0, I) to samples, and add noise, given as draws from N(0, I)."""
        if self._density_calibration is not None:
            u = self._density_calibration.inverse_transform(u)
        mean = self.start.unstandardize(self.decode(u))
        if noise is None:
            return mean
        assert self.noise_variance is not None
        return mean + np.sqrt(self.noise_variance) * noise

    @property
    def _density_calibration(self) -> AffineCalibration | Gaussianization | None:
        # With a stochastic encoder, training makes the encoder's draws N(0, I), not the means.
        return self.prior if self.stochastic else self.calibration

    @no_overrides()
    def log_likelihood(self, X: NDArray) -> tuple[NDArray, NDArray]:
        """Return the log-likelihood of each sample, and its effective sample size."""
        assert self.noise_variance is not None
        x = self.start.standardize(X.astype(np.float64, copy=False))
        module = self._module(np.float64)
        assert module.decoder is not None
        encode, decode, log_prior = gaussian_coordinates(module.decoder, self._density_calibration)
        device = next(module.parameters()).device
        # In units of each feature's noise, the noise of all features has the variance 1.
        noise = np.sqrt(np.broadcast_to(self.noise_variance, x.shape[1:]))
        scale = self.start.scale / noise
        scaled, start, ratio = (
            torch.from_numpy(array).to(device)
            for array in (x * scale, encode(self.encode_standardized(x)[0]), scale)
        )
        value, effective = log_likelihood(scaled, start, lambda u: ratio * decode(u), log_prior)
        density = value.cpu().numpy() - np.log(noise).sum()
        return np.where(is_far(x), -np.inf, density), effective.cpu().numpy()

    def residual_variance(
        self,
        x: NDArray | LazySamples,
        u: NDArray,
        weight: NDArray | None,
        held_out: NDArray | None,
        diagonal: bool,
    ) -> float | NDArray:
        """Return the residual variances of standardized samples embedded at u, in the units of X.

        Their level is estimated on the samples `held_out`, if there are any. If `diagonal`, their
        ratios are estimated on all samples and one more, whose squared residuals are all equal to
        the mean variance. So no variance is zero, although a feature can be constant.
        """
        n, p = x.shape
        sums, ratios = np.empty(n), np.zeros(p)
        share = unit_weights(weight, n)
        for some in blocks(x):
            squares = np.square(x[some] - self.decode(u[some]))  # (n, p)
            sums[some] = squares.sum(axis=1, dtype=np.float64)
            if diagonal:
                ratios += share[some] @ squares.astype(np.float64) / n
        index = slice(None) if held_out is None else held_out
        mean = np.average(sums[index], weights=share[index])
        variance = max(mean / max(1, p - u.shape[1]), NOISE_FLOOR) * self.start.scale**2
        if not diagonal:
            return variance
        variances = variance * (ratios / ratios.mean() if ratios.any() else np.ones(p))
        return (n * variances + variances.mean()) / (n + 1)


@no_overrides()
def _moment_matched_draws(k: int) -> NDArray:
    """Return fixed draws with mean zero and covariance I, so that linear maps are exact."""
    m = max(128, 4 * 2 ** (k - 1).bit_length())
    uniform = torch.quasirandom.SobolEngine(k, scramble=True, seed=0).draw(m, dtype=torch.float64)
    draws = ndtri(uniform.clamp(2.0**-31, 1 - 2.0**-31).numpy())
    return AffineCalibration().fit(draws).transform(draws)


def _joined(
    parts: Iterable[tuple[NDArray, NDArray | None]],
) -> tuple[NDArray, NDArray | None]:
    means, log_vars = zip(*parts, strict=True)
    if len(means) == 1:
        return means[0], log_vars[0]
    return np.concatenate(means), None if log_vars[0] is None else np.concatenate(log_vars)


def _chunks(rows: NDArray | LazySamples) -> Iterator[NDArray]:
    return (rows[some] for some in chunks(rows))


def _tensor(array: NDArray, module: nn.Module) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(next(module.parameters()).device)
