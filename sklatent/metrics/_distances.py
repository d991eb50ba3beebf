"""Distances of an embedding from its target."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import sqrtm
from scipy.special import ndtri

from .._target import Target
from . import _energy
from ._epps_pulley import check_n_slices, random_directions
from ._null import RandomState, as_seed
from ._samples import check_samples, standard_samples, thin


def _rows_and_target(
    Z: ArrayLike, mean: ArrayLike | None, cov: ArrayLike | None
) -> tuple[NDArray, Target]:
    Z = check_samples(Z)
    return Z, Target.from_params(mean, cov, Z.shape[1], prefix="")


def frechet_distance(
    Z: ArrayLike, mean: ArrayLike | None = None, cov: ArrayLike | None = None
) -> float:
    r"""Return the Frechet distance of the Gaussian with the moments of Z from the target.

    .. math:: \Bigl( |m - \mu|^2 + \mathrm{tr}\bigl( S + \Sigma
        - 2 (\Sigma^{1/2} S\, \Sigma^{1/2})^{1/2} \bigr) \Bigr)^{1/2}

    with m and S the mean and covariance (divisor n - 1) of Z (Dowson & Landau 1982). This is the
    2-Wasserstein distance of the two Gaussians, in the units of Z. The "Frechet inception distance"
    is its square. The distance depends on two moments only. It is larger than zero even for draws
    from the target: for N(0, I), the expectation of its square is near (k + k (k + 1) / 4) / n.

    Parameters
    ----------
    Z : array-like of shape (n_samples, n_components)
    mean : array-like of shape (n_components,), default=None
        Mean of the target. If None, zeros.
    cov : array-like of shape (n_components, n_components) or (n_components,), default=None
        Covariance or variances of the target. If None, the identity.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If an array has the wrong shape or a value that is not finite, or if cov is not positive
        definite.

    References
    ----------
    Dowson & Landau (1982). `The Frechet distance between multivariate normal distributions
    <https://doi.org/10.1016/0047-259X(82)90077-X>`_. Journal of Multivariate Analysis 12.

    Examples
    --------
    >>> from sklatent.metrics import frechet_distance
    >>> Z = [[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]
    >>> round(frechet_distance(Z, mean=[3, 4], cov=[4 / 3, 4 / 3]), 6)
    5.0
    """
    Z, target = _rows_and_target(Z, mean, cov)
    S = np.cov(Z.T).reshape(target.cov.shape)
    root = np.real(sqrtm(target.cov))
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ S @ root), 0)).sum()
    shift = Z.mean(axis=0) - target.mean
    squared = shift @ shift + np.trace(S) + np.trace(target.cov) - 2 * cross
    return float(np.sqrt(max(squared, 0.0)))


def gaussian_kl_divergence(
    Z: ArrayLike, mean: ArrayLike | None = None, cov: ArrayLike | None = None
) -> float:
    r"""Return the KL divergence, in nats, of the Gaussian with the moments of Z from the target.

    .. math:: \tfrac12 \bigl( \mathrm{tr}(\Sigma^{-1} S) + (m - \mu)^T \Sigma^{-1} (m - \mu)
        - k - \log\det(\Sigma^{-1} S) \bigr)

    with m and S the mean and covariance (divisor n - 1) of Z (Kullback & Leibler 1951). The
    divergence depends on two moments only. For draws from the target, its expectation is near
    k (k + 3) / (4 n).

    Parameters
    ----------
    Z : array-like of shape (n_samples, n_components)
    mean : array-like of shape (n_components,), default=None
        Mean of the target. If None, zeros.
    cov : array-like of shape (n_components, n_components) or (n_components,), default=None
        Covariance or variances of the target. If None, the identity.

    Returns
    -------
    float
        Infinite if S is singular, for example with n_samples <= n_components.

    Raises
    ------
    ValueError
        If an array has the wrong shape or a value that is not finite, or if cov is not positive
        definite.

    References
    ----------
    Kullback & Leibler (1951). `On information and sufficiency
    <https://doi.org/10.1214/aoms/1177729694>`_. The Annals of Mathematical Statistics 22.

    Examples
    --------
    >>> from sklatent.metrics import gaussian_kl_divergence
    >>> Z = [[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]
    >>> round(gaussian_kl_divergence(Z, mean=[3, 4], cov=[4 / 3, 4 / 3]), 6)  # 25 / (2 * 4 / 3)
    9.375
    """
    Z, target = _rows_and_target(Z, mean, cov)
    u = target.to_standard(Z)
    k = u.shape[1]
    variances = np.linalg.eigvalsh(np.cov(u.T).reshape(k, k))
    if variances[0] <= k * np.finfo(np.float64).eps * max(variances[-1], 1.0):
        return float("inf")
    shift = u.mean(axis=0)
    return float((variances - 1 - np.log(variances)).sum() / 2 + shift @ shift / 2)


def sliced_wasserstein_distance(
    Z: ArrayLike,
    mean: ArrayLike | None = None,
    cov: ArrayLike | None = None,
    *,
    n_slices: int = 256,
    random_state: RandomState = None,
) -> float:
    r"""Return the sliced 2-Wasserstein distance of Z from the target.

    The distance is the root of the mean, over random directions a, of the squared distance of the
    projections,

    .. math:: \int_0^1 (F_a^{-1}(q) - a^T\mu - \sigma_a \Phi^{-1}(q))^2\, dq, \quad
        \sigma_a^2 = a^T \Sigma a,

    with F_a the empirical distribution function of a'z (Rabin et al. 2012; Bonneel et al. 2015).
    The integral over the Gaussian's quantiles is exact. The distance is in the units of Z. It is
    larger than zero even for draws from the target, where it decreases about like
    (log log n / n)^(1/2).

    Parameters
    ----------
    Z : array-like of shape (n_samples, n_components)
    mean : array-like of shape (n_components,), default=None
        Mean of the target. If None, zeros.
    cov : array-like of shape (n_components, n_components) or (n_components,), default=None
        Covariance or variances of the target. If None, the identity.
    n_slices : int, default=256
        Number of directions.
    random_state : int, RandomState instance or None, default=None
        Determines the directions. If None, the seed is drawn once per process.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If an array has the wrong shape or a value that is not finite, if cov is not positive
        definite, or if `n_slices` is less than one.

    References
    ----------
    - Bonneel, Rabin, Peyre & Pfister (2015). `Sliced and Radon Wasserstein barycenters of measures
      <https://doi.org/10.1007/s10851-014-0506-3>`_. Journal of Mathematical Imaging and Vision 51.
    - Rabin, Peyre, Delon & Bernot (2012). Wasserstein barycenter and its application to texture
      mixing. SSVM 2011.

    Examples
    --------
    >>> from sklatent.metrics import sliced_wasserstein_distance
    >>> round(sliced_wasserstein_distance([[5.0], [5.0]], mean=[2.0], cov=[16.0]), 6)
    5.0
    """
    check_n_slices(n_slices)
    Z, target = _rows_and_target(Z, mean, cov)
    n, k = Z.shape
    directions = random_directions(k, n_slices, as_seed(random_state))
    scale = np.linalg.norm(target.factor.T @ directions, axis=0)
    # Integrals of the normal quantile function over the n steps of an empirical quantile function.
    edge = ndtri(np.arange(n + 1) / n)
    steps = -np.diff(np.exp(-(edge**2) / 2)) / np.sqrt(2 * np.pi)
    squared = np.empty(n_slices)
    for i in range(n_slices):  # one at a time: memory linear in n
        p = np.sort((Z - target.mean) @ directions[:, i]) / scale[i]
        squared[i] = scale[i] ** 2 * ((p @ p) / n - 2 * p @ steps + 1)
    return float(np.sqrt(max(squared.mean(), 0.0)))


def energy_distance(
    Z: ArrayLike,
    mean: ArrayLike | None = None,
    cov: ArrayLike | None = None,
    *,
    random_state: RandomState = None,
) -> float:
    r"""Return an unbiased estimate of the energy distance of Z from the target.

    .. math:: \frac2n \sum_i E|u_i - Y| - E|Y - Y'| - \frac1{n (n - 1)} \sum_{i \ne j} |u_i - u_j|

    with u the samples in standard coordinates, Y and Y' from N(0, I), and the first two terms in
    closed form, as in `energy_test` (Szekely & Rizzo 2013). The estimate is zero in expectation for
    draws from the target, so it can be negative. A common affine map of samples and target does not
    change the estimate.

    Parameters
    ----------
    Z : array-like of shape (n_samples, n_components)
    mean : array-like of shape (n_components,), default=None
        Mean of the target. If None, zeros.
    cov : array-like of shape (n_components, n_components) or (n_components,), default=None
        Covariance or variances of the target. If None, the identity.
    random_state : int, RandomState instance or None, default=None
        Determines the subsample: cost is quadratic in the number of samples, so more than 5000
        samples are replaced by a random subsample of 5000. If None, the seed is drawn once per
        process.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If an array has the wrong shape or a value that is not finite, or if cov is not positive
        definite.

    References
    ----------
    Szekely & Rizzo (2013). `Energy statistics: a class of statistics based on distances
    <https://doi.org/10.1016/j.jspi.2013.03.018>`_. Journal of Statistical Planning and Inference
    143.

    Examples
    --------
    >>> import numpy as np
    >>> from sklatent.metrics import energy_distance
    >>> u = np.random.default_rng(1).standard_normal((500, 3))
    >>> abs(energy_distance(u)) < 0.01 < energy_distance(u + 0.5)
    True
    """
    u = thin(standard_samples(Z, mean, cov, "simple"), as_seed(random_state))
    n, k = u.shape
    outward, pairs = _energy.terms(u)
    return float(2 * outward - 2 * _energy.half_distance(k) - pairs / n / (n - 1))
