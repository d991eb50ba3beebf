"""Log-likelihood of samples under a decoder of a Gaussian variable, without an estimator."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import gammaincinv, ndtri
from torch import Tensor

from .calibration import AffineCalibration, Gaussianization

Function = Callable[[Tensor], Tensor]

#: Draws for each sample, and draws for samples whose effective sample size is then below ENOUGH.
N_DRAWS, MORE_DRAWS, ENOUGH = 128, 1024, 16
LEAST_EFFECTIVE = 5  # effective sample size below which an estimate is rough
#: Shares of the draws from a Gaussian around the mode, a t around the mode, and the prior.
NORMAL_SHARE, T_SHARE, PRIOR_SHARE = 0.75, 0.125, 0.125
T_SCALE, T_DF = 1.5, 4.0
STEPS = 4  # of Gauss-Newton; more steps hardly increase the effective sample size
DAMPING = (1.0, 0.5, 0.25, 0.0625, 0.0156, 0.0)  # candidates for the length of a step
DIFFERENCE = 1e-4  # for the Jacobian: above the rounding errors of a float32 decoder
MAX_POINTS = 1024  # per block of the decoder: the system must map larger blocks anew each time
MAX_NUMBERS = 2**22  # per block of the decoder's output
LOG_2PI = math.log(2 * math.pi)


class Draws(NamedTuple):
    """Standard draws, the same for every sample.

    Attributes
    ----------
    around : Tensor of shape (m, k)
        Draws around a sample's mode: from N(0, I) and from a wider t.
    prior : Tensor of shape (m', k)
        Draws from the prior N(0, I).
    """

    around: Tensor
    prior: Tensor


def standard_draws(n_draws: int, k: int) -> Draws:
    """Return evenly distributed draws from a scrambled Sobol sequence with a fixed seed."""
    sobol = torch.quasirandom.SobolEngine(k + 1, scramble=True, seed=0)
    uniform = sobol.draw(n_draws, dtype=torch.float64).numpy()
    uniform = np.clip(uniform[uniform[:, 0].argsort()], 2.0**-31, 1 - 2.0**-31)
    normal = ndtri(uniform[:, 1:])
    # The first coordinate determines the part of each draw, and the radius of the t draws.
    n_normal, n_around = (
        round(share * n_draws) for share in (NORMAL_SHARE, NORMAL_SHARE + T_SHARE)
    )
    level = np.clip((uniform[n_normal:n_around, :1] - NORMAL_SHARE) / T_SHARE, 1e-9, 1 - 1e-9)
    chi2 = 2 * gammaincinv(T_DF / 2, level)
    normal[n_normal:n_around] *= T_SCALE * np.sqrt(T_DF / chi2)
    return Draws(torch.from_numpy(normal[:n_around]), torch.from_numpy(normal[n_around:]))


def _log_normal(squares: Tensor, k: int) -> Tensor:
    return -0.5 * (squares + k * LOG_2PI)


def _log_t(squares: Tensor, k: int) -> Tensor:
    """Return the log-density of the wide t from squared distances."""
    constant = math.lgamma((T_DF + k) / 2) - math.lgamma(T_DF / 2)
    constant -= 0.5 * k * math.log(math.pi * T_DF) + k * math.log(T_SCALE)
    return constant - (T_DF + k) / 2 * torch.log1p(squares / (T_SCALE**2 * T_DF))


class GaussianDecoder(NamedTuple):
    """The model u ~ N(0, I), x | u ~ N(decode(u), I), or with a similar prior.

    Attributes
    ----------
    decode : callable
        Maps (n, k) to (n, p), each sample independently.
    log_prior : callable or None
        Maps (n, k) to log-densities (n,). None means the prior N(0, I).
    """

    decode: Function
    log_prior: Function | None

    def at(self, points: Tensor) -> Tensor:
        """Decode points of shape (n, m, k)."""
        return self.decode(points.flatten(0, 1)).unflatten(0, points.shape[:2])

    def log_prior_at(self, points: Tensor) -> Tensor:
        """Return the prior's log-density at points of shape (n, m, k)."""
        if self.log_prior is None:
            return _log_normal(points.square().sum(dim=-1), points.shape[-1])
        return self.log_prior(points.flatten(0, 1)).unflatten(0, points.shape[:2])

    def log_noise(self, x: Tensor, decoded: Tensor) -> Tensor:
        """Return log p(x | u) of samples (n, p), where decoded (n, m, p) is the decoder at u."""
        return _log_normal((x[:, None] - decoded).square().sum(dim=-1), x.shape[1])

    def mode(self, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return the approximate mode of the posterior of u, and a factor L of its precision.

        Damped Gauss-Newton steps from u minimize |x - D(u)|^2 + |u|^2. The precision L L^T of the
        Gaussian around the mode is I + J^T J. J consists of finite differences, so that any decoder
        works. The estimate does not need an exact J.
        """
        eye = torch.eye(u.shape[1]).to(u)
        shares = u.new_tensor(DAMPING)[:, None]  # (s, 1)
        u, decoded = self._best(x, torch.stack([u, torch.zeros_like(u)], dim=1))
        for step in range(STEPS + 1):
            h = DIFFERENCE * u.abs().clamp(min=1)  # (n, k)
            shifted = self.at(u[:, None] + torch.diag_embed(h))
            jacobian = (shifted - decoded[:, None]) / h[..., None]  # (n, k, p)
            jacobian = jacobian.nan_to_num(0.0, 0.0, 0.0)
            precision = eye + jacobian @ jacobian.mT
            factor = torch.linalg.cholesky_ex(precision).L
            if step == STEPS:
                break
            pull = (jacobian @ (x - decoded)[..., None])[..., 0]
            direction = torch.cholesky_solve((pull - u)[..., None], factor).mT  # (n, 1, k)
            direction = direction.nan_to_num(0.0, 0.0, 0.0)
            u, decoded = self._best(x, u[:, None] + shares * direction)
        return u, factor

    def _best(self, x: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the most likely of the points (n, m, k) for each sample, and its output."""
        decoded = self.at(points)
        squares = (x[:, None] - decoded).square().sum(dim=-1)
        energy = squares + points.square().sum(dim=-1)
        best = energy.nan_to_num(math.inf).argmin(dim=1)
        row = torch.arange(len(x), device=x.device)
        return points[row, best], decoded[row, best]

    def estimate(
        self, x: Tensor, mode: Tensor, factor: Tensor, draws: Draws
    ) -> tuple[Tensor, Tensor]:
        """Return log p(x) and the effective sample size of each sample, by importance sampling."""
        n, k = mode.shape
        around = torch.linalg.solve_triangular(factor.mT, draws.around.mT, upper=True).mT
        points = torch.cat([mode[:, None] + around, draws.prior.expand(n, -1, k)], dim=1)

        volume = factor.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1, keepdim=True)
        squares = ((points - mode[:, None]) @ factor).square().sum(dim=-1)  # (n, m)
        log_normal = _log_normal(squares, k) + volume
        parts = [
            log_normal + math.log(NORMAL_SHARE),
            _log_t(squares, k) + volume + math.log(T_SHARE),
            _log_normal(points.square().sum(dim=-1), k) + math.log(PRIOR_SHARE),
        ]
        log_proposal = torch.stack(parts).logsumexp(dim=0)
        log_weight = self.log_noise(x, self.at(points)) + self.log_prior_at(points) - log_proposal
        log_weight = log_weight.nan_to_num(-math.inf, neginf=-math.inf)
        total = log_weight.logsumexp(dim=-1)
        # The same draws estimate the integral of the Gaussian, whose exact value is one. Division
        # by this estimate makes linear decoders exact, and nearly linear decoders less noisy.
        known = (log_normal - log_proposal).logsumexp(dim=-1)
        effective = torch.exp(2 * total - (2 * log_weight).logsumexp(dim=-1)).nan_to_num(0.0)
        return total - known, effective.clamp(max=points.shape[1])


def gaussian_coordinates(
    decoder: Function, calibration: AffineCalibration | Gaussianization | None
) -> tuple[Callable[[NDArray], NDArray], Function, Function | None]:
    r"""Return the maps between the decoder's coordinates v and coordinates u with a simple prior.

    The model draws from N(0, I), and the inverse of the calibration C maps the draws to v. For an
    affine C, u = C(v) has the prior N(0, I). For Gaussianization, u = A(v) with its affine map A,
    because the Jacobian of its rounds would be too expensive. The prior of u is then near N(0, I),
    with the density :math:`N(C(v); 0, I)\, |\det C'(v)| / |\det A'|`.

    Parameters
    ----------
    decoder : callable
        Maps tensors v to samples of X.
    calibration : AffineCalibration, Gaussianization or None

    Returns
    -------
    encode, decode, log_prior
        Functions from arrays v to u, from tensors u to samples of X, and from tensors u to
        log-densities (None means N(0, I)).
    """
    if calibration is None:
        return (lambda v: v), decoder, None
    affine = calibration.affine if isinstance(calibration, Gaussianization) else calibration
    mean, root = torch.from_numpy(affine.mean_), torch.from_numpy(affine.root_)

    def decode(u: Tensor) -> Tensor:
        return decoder(u @ root.to(u) + mean.to(u))

    if not isinstance(calibration, Gaussianization):
        return affine.transform, decode, None

    def log_prior(u: Tensor) -> Tensor:
        v = affine.inverse_transform(u.cpu().numpy())
        return torch.from_numpy(calibration.log_density(v) - affine.log_slope).to(u)

    return affine.transform, decode, log_prior


@torch.inference_mode()
def log_likelihood(
    x: Tensor,
    start: Tensor,
    decode: Function,
    log_prior: Function | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Return the log-likelihood of each sample, in nats, and its effective sample size.

    .. math:: \log p(x) = \log \int N(x; D(u), I)\, N(u; 0, I)\, du

    Samples x and decoder D are in units of the noise, whose variance is then 1. The integral is
    estimated by importance sampling from a defensive mixture (Hesterberg 1995) of three
    distributions: the Gaussian :math:`N(u^*, (I + J^T J)^{-1})` around the mode :math:`u^*` of the
    posterior, with the Jacobian J of D at the mode; a wider t with the same center, for heavy
    tails; and the prior, for other modes. The mean of the weights is divided by the estimate of the
    Gaussian's integral from the same draws, as with a control variate (Owen & Zhou 2000). For a
    linear D the result is exact. The draws are the same for every sample and in every call.

    Parameters
    ----------
    x : Tensor of shape (n, p)
    start : Tensor of shape (n, k)
        Start of the search for the mode: the embedding of x.
    decode : callable
        D, from tensors of shape (m, k) to (m, p), each sample independently.
    log_prior : callable or None
        The log-density of u, (m, k) to (m,), if the prior is near N(0, I) but different.

    Returns
    -------
    log_likelihood, effective_sample_size : Tensor of shape (n,)
        The effective sample size is (sum of weights)^2 / (sum of squared weights), at most the
        number of draws. Samples have N_DRAWS draws. If the effective sample size is then below
        ENOUGH, they have MORE_DRAWS draws.

    References
    ----------
    - Hesterberg (1995). `Weighted average importance sampling and defensive mixture distributions
      <https://doi.org/10.1080/00401706.1995.10484303>`_. Technometrics 37.
    - Owen & Zhou (2000). `Safe and effective importance sampling
      <https://doi.org/10.1080/01621459.2000.10473909>`_. Journal of the American Statistical
      Association 95.
    """
    k = start.shape[1]
    model = GaussianDecoder(decode, log_prior)
    most = min(MAX_POINTS, MAX_NUMBERS // x.shape[1])

    def by_rows(function: Callable, n_points: int, rows: tuple[Tensor, ...]) -> list[Tensor]:
        size = max(1, most // n_points)
        parts = zip(*(tensor.split(size) for tensor in rows), strict=True)
        results = zip(*(function(*part) for part in parts), strict=True)
        return [torch.cat(result) for result in results]

    mode, factor = by_rows(model.mode, max(k, len(DAMPING)), (x, start))
    rows = (x, mode, factor)

    def estimate(n_draws: int, rows: tuple[Tensor, ...]) -> list[Tensor]:
        draws = Draws(*(part.to(x) for part in standard_draws(n_draws, k)))
        return by_rows(partial(model.estimate, draws=draws), n_draws, rows)

    value, effective = estimate(N_DRAWS, rows)
    low = effective < ENOUGH
    if low.any():
        value[low], effective[low] = estimate(MORE_DRAWS, tuple(part[low] for part in rows))
    return value, effective
