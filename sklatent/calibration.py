"""Invertible maps fitted after training that bring the training embedding to N(0, I)."""

import warnings
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr
from scipy.special import ndtr, ndtri
from scipy.stats import chi2

#: Variance below which a direction of the embedding counts as collapsed.
VARIANCE_FLOOR = 1e-6


class AffineCalibration:
    r"""The affine map that makes an embedding's mean zero and its covariance the identity.

    .. math:: u \mapsto S^{-1/2} (u - m)

    with the mean m and the covariance S (divisor n - 1) of the training embedding. Of all
    matrices that whiten, the symmetric root changes the embedding least (Kessy, Lewin &
    Strimmer 2018): signs and order of the components survive.

    Attributes
    ----------
    mean_ : ndarray of shape (k,)
    root_ : ndarray of shape (k, k)
        S^(1/2), its eigenvalues floored.
    inverse_root_ : ndarray of shape (k, k)

    Examples
    --------
    >>> import numpy as np
    >>> from sklatent.calibration import AffineCalibration
    >>> u = np.random.default_rng(0).exponential(size=(100, 2))
    >>> z = AffineCalibration().fit(u).transform(u)
    >>> bool(np.allclose(np.cov(z.T), np.eye(2)))
    True
    """

    def fit(self, u: NDArray, weight: NDArray | None = None) -> Self:
        """Learn the map from rows u of shape (n, k).

        Directions with a variance below 1e-6 are treated as if they had that variance, with a
        warning: to stretch them to one would show rounding errors.
        """
        n = len(u)
        u = u.astype(np.float64)
        self.mean_ = np.average(u, axis=0, weights=weight)
        centered = u - self.mean_
        share = 1.0 if weight is None else (weight * (n / weight.sum()))[:, None]
        variances, axes = np.linalg.eigh((share * centered).T @ centered / (n - 1))
        if collapsed := int((variances < VARIANCE_FLOOR).sum()):
            warnings.warn(
                f"{collapsed} of {u.shape[1]} directions of the embedding have collapsed "
                f"(variance below {VARIANCE_FLOOR:g}); the calibrated embedding has no variance "
                "there either. Lower n_components or reg_weight.",
                UserWarning,
                stacklevel=2,
            )
        scales = np.sqrt(np.maximum(variances, VARIANCE_FLOOR))
        self.root_ = (axes * scales) @ axes.T
        self.inverse_root_ = (axes / scales) @ axes.T
        return self

    def transform(self, u: NDArray) -> NDArray:
        """Return the calibrated rows, in the type of u."""
        return ((u - self.mean_) @ self.inverse_root_).astype(u.dtype, copy=False)

    def inverse_transform(self, u: NDArray) -> NDArray:
        """Undo `transform`."""
        return (u @ self.root_ + self.mean_).astype(u.dtype, copy=False)


# Gaussianization

#: Knots and weights of the Epps-Pulley integral over t, by the trapezoidal rule on [-3, 3].
FREQUENCIES = np.linspace(0, 3, 17)
EPPS_PULLEY = np.exp(-(FREQUENCIES**2) / 2) * np.r_[1, np.full(15, 2), 1] * 3 / 16
NORMAL_CF = np.exp(-(FREQUENCIES**2) / 2)

#: Projections are seen through histograms: 1/32 is far below any bandwidth.
BINS = np.linspace(-8, 8, 513)
BIN_CF = np.exp(1j * np.outer(FREQUENCIES, BINS))

KNOTS = np.linspace(-4, 4, 33)  # of the splines
STEP = KNOTS[1] - KNOTS[0]

MAX_ROUNDS = 64
DIRECTIONS = 128  # looked at in each round
SEARCH_ROWS = 16384  # that they are looked at on
LEVEL = 0.05  # of the test that no direction of a round is non-Gaussian
BANDWIDTH = 2.5  # times n^(-1/5), in standard deviations
PATIENCE = 8  # rounds in which the mean statistic must fall by a tenth
EXTREMES = 2  # rows beyond the range on which a marginal map is estimated, on either side


def _histogram(p: NDArray, weight: NDArray | None) -> NDArray:
    """Share of the rows of p, (n, m), in each bin: (bins, m)."""
    n, m = p.shape
    nearest = np.rint((np.clip(p, BINS[0], BINS[-1]) - BINS[0]) / (BINS[1] - BINS[0]))
    index = nearest.astype(np.intp) * m + np.arange(m)
    weights = None if weight is None else np.repeat(weight / weight.sum(), m)
    counts = np.bincount(index.ravel(), weights, len(BINS) * m).reshape(len(BINS), m)
    return counts / n if weight is None else counts


def _epps_pulley(histogram: NDArray) -> NDArray:
    """Weighted squared distance of each column's characteristic function from N(0, 1)'s."""
    return EPPS_PULLEY @ np.abs(BIN_CF @ histogram - NORMAL_CF[:, None]) ** 2


def _null_eigenvalues() -> NDArray:
    """Eigenvalues of n times the statistic's limit law, a sum of scaled chi-squares.

    That is for rows that are Gaussian, and standardised: what the mean and the variance
    explain is taken out of the covariance of the empirical characteristic function.
    """
    t, s = FREQUENCIES[:, None], FREQUENCIES
    near, far = np.exp(-((t - s) ** 2) / 2), np.exp(-((t + s) ** 2) / 2)
    scale = np.sqrt(EPPS_PULLEY[:, None] * EPPS_PULLEY)
    product = np.outer(NORMAL_CF, NORMAL_CF)
    real = (near + far) / 2 - product * (1 + (t * s) ** 2 / 2)
    imaginary = (near - far) / 2 - product * t * s
    values = np.concatenate([np.linalg.eigvalsh(scale * part) for part in (real, imaginary)])
    return np.sort(values[values > 1e-10])[::-1]


NULL_EIGENVALUES = _null_eigenvalues()
NULL_MEAN = NULL_EIGENVALUES.sum()
#: Exceeded by the largest of all directions' statistics with probability LEVEL or less
#: (Bonferroni; the tail of the limit law after Zolotarev 1961).
CRITICAL = NULL_EIGENVALUES[0] * chi2.isf(
    LEVEL / DIRECTIONS * np.sqrt(np.prod(1 - NULL_EIGENVALUES[1:] / NULL_EIGENVALUES[0])), 1
)


class _Splines:
    """Monotone rational quadratic splines, one per column, linear outside the knots.

    Parameters
    ----------
    values, slopes : ndarray of shape (knots, k)
        At KNOTS; increasing, positive (Gregory & Delbourgo 1982).
    """

    def __init__(self, values: NDArray, slopes: NDArray) -> None:
        self.values, self.slopes = values, slopes

    @classmethod
    def toward_gaussian(cls, histogram: NDArray, n: float, strength: NDArray) -> Self:
        """Go from the identity (strength 0) to the map of each column to N(0, 1) (strength 1)."""
        h = BANDWIDTH * n**-0.2
        share = np.cumsum(histogram, axis=0)
        low = np.minimum(BINS[(share >= EXTREMES / n).argmax(axis=0)], -1)
        high = np.maximum(BINS[(share >= 1 - EXTREMES / n).argmax(axis=0)], 1)
        x = np.clip(KNOTS[:, None], low, high)
        distance = (x[:, None] - BINS[:, None]) / h  # (knots, bins, k)
        cdf = np.einsum("ibj,bj->ij", ndtr(distance), histogram)
        bumps = np.exp(-np.square(distance) / 2)
        scale = np.sqrt(1 + h * h)
        quantile = ndtri(np.clip(cdf, 1e-12, 1 - 1e-12))
        density_ratio = np.einsum("ibj,bj->ij", bumps, histogram) / np.exp(-(quantile**2) / 2)
        # Outside [low, high] the map is a shift: there is no evidence for more.
        values = scale * quantile + (KNOTS[:, None] - x)
        slopes = np.where(x == KNOTS[:, None], scale / h * density_ratio, 1.0)
        slopes[[0, -1]] = 1.0
        return cls(
            KNOTS[:, None] + strength * (values - KNOTS[:, None]), 1 + strength * (slopes - 1)
        )

    def _piece(self, index):
        column = np.arange(self.values.shape[1])
        start, left = self.values[index, column], self.slopes[index, column]
        rise, right = self.values[index + 1, column] - start, self.slopes[index + 1, column]
        return start, rise, left, right, rise / STEP

    def __call__(self, x: NDArray) -> NDArray:
        inside = np.clip(x, KNOTS[0], KNOTS[-1])
        index = np.minimum(((inside - KNOTS[0]) / STEP).astype(np.intp), len(KNOTS) - 2)
        start, rise, left, right, chord = self._piece(index)
        share = (inside - KNOTS[index]) / STEP
        mixed = share * (1 - share)
        bent = rise * (chord * share**2 + left * mixed)
        y = start + bent / (chord + (left + right - 2 * chord) * mixed)
        return y + np.where(x < 0, self.slopes[0], self.slopes[-1]) * (x - inside)

    def inverse(self, y: NDArray) -> NDArray:
        inside = np.clip(y, self.values[0], self.values[-1])
        index = np.empty(y.shape, dtype=np.intp)
        for column, values in enumerate(self.values.T):
            index[:, column] = np.searchsorted(values, inside[:, column], side="right") - 1
        index = np.minimum(index, len(KNOTS) - 2)
        start, rise, left, right, chord = self._piece(index)
        # The root in [0, 1] of a share^2 + b share + c, in the form that does not cancel.
        excess = (inside - start) * (left + right - 2 * chord)
        a, b = rise * (chord - left) + excess, rise * left - excess
        c = -chord * (inside - start)
        share = -2 * c / (b + np.sqrt(np.maximum(b * b - 4 * a * c, 0)))
        x = KNOTS[index] + share * STEP
        return x + (y - inside) / np.where(y < inside, self.slopes[0], self.slopes[-1])


class _Round(NamedTuple):
    """Whiten, rotate, bend each coordinate, rotate back."""

    affine: AffineCalibration
    rotation: NDArray
    splines: _Splines

    def transform(self, u: NDArray) -> NDArray:
        return self.splines(self.affine.transform(u) @ self.rotation) @ self.rotation.T

    def inverse_transform(self, u: NDArray) -> NDArray:
        bent = self.splines.inverse(u @ self.rotation)
        return self.affine.inverse_transform(bent @ self.rotation.T)


class Gaussianization:
    r"""An invertible map that makes an embedding look like N(0, I) in every direction.

    .. math:: u \mapsto A \circ T_R \circ \dots \circ T_1(u), \qquad
        T_r(u) = Q_r\, t_r(Q_r^T A_r(u)),

    with affine maps A, A_r (`AffineCalibration`), rotations Q_r, and increasing functions t_r of
    one coordinate each (Chen & Gopinath 2000; Laparra et al. 2011). The rotation turns the most
    non-Gaussian of 128 random directions into coordinates, by their Epps-Pulley statistics
    (Epps & Pulley 1983), and is undone after bending, so that the components keep
    their meaning. A coordinate is bent by

    .. math:: x \mapsto x + \lambda \big(\sqrt{1 + h^2}\, \Phi^{-1}(F_h(x)) - x\big),

    F_h the distribution function of the training rows plus Gaussian noise of standard deviation
    h = 2.5 n^(-1/5): smooth at any h, and the identity where the rows are Gaussian. It is
    applied only where the statistic S exceeds what the largest of 128 reaches by chance, and then
    with :math:`\lambda = 1 - \mathrm{E}_0 S / S`, the expectation under normality over S. The
    rounds end when no direction does, when they no longer pay, or after 64. So an embedding
    that is Gaussian, or has few rows, gets the affine map alone.

    Beyond the training rows the map is linear along each coordinate. It is exactly invertible.

    Parameters
    ----------
    random_state : int or numpy.random.Generator, default=0
        Determines the directions looked at.

    Attributes
    ----------
    n_rounds_ : int

    References
    ----------
    - Chen & Gopinath (2000), Gaussianization. NeurIPS 13.
    - Epps & Pulley (1983), A test for normality based on the empirical characteristic function.
      Biometrika 70.
    - Gregory & Delbourgo (1982), Piecewise rational quadratic interpolation to monotonic data.
      IMA Journal of Numerical Analysis 2.
    - Laparra, Camps-Valls & Malo (2011), Iterative Gaussianization: from ICA to random
      rotations. IEEE Transactions on Neural Networks 22.

    Examples
    --------
    >>> import numpy as np
    >>> from sklatent.calibration import Gaussianization
    >>> rng = np.random.default_rng(0)
    >>> angle = rng.uniform(0, 2 * np.pi, size=1000)
    >>> ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    >>> ring *= rng.normal(1, 0.1, size=(1000, 1))
    >>> gaussianization = Gaussianization().fit(ring)
    >>> z = gaussianization.transform(ring)
    >>> bool(np.allclose(np.cov(z.T), np.eye(2)))
    True
    >>> bool(np.allclose(gaussianization.inverse_transform(z), ring))
    True
    """

    def __init__(self, random_state: int | np.random.Generator = 0) -> None:
        self.random_state = random_state

    def fit(self, u: NDArray, weight: NDArray | None = None) -> Self:
        """Learn the map from rows u of shape (n, k).

        Directions in which the rows have collapsed get the affine map alone, with its warning.
        """
        rng = np.random.default_rng(self.random_state)
        self._first = AffineCalibration().fit(u, weight)
        u = self._first.transform(u.astype(np.float64))
        variances, axes = np.linalg.eigh(np.atleast_2d(np.cov(u.T, aweights=weight)))
        alive = variances > 0.5  # of those that have not collapsed it is 1
        self._axes = np.eye(len(axes)) if alive.all() else axes[:, alive]
        self._rounds: list[_Round] = []
        self._last = AffineCalibration()
        if alive.any():
            self._fit_rounds(u @ self._axes, weight, rng)
        self.n_rounds_ = len(self._rounds)
        return self

    def _fit_rounds(self, u, weight, rng):
        n = len(u) if weight is None else weight.sum() ** 2 / np.square(weight).sum()  # Kish
        means: list[float] = []
        while True:
            affine = AffineCalibration().fit(u, weight)
            white = affine.transform(u)
            rotation, mean = self._search(white, weight, rng)
            means.append(mean)
            pays = len(means) <= PATIENCE or mean < 0.9 * means[-1 - PATIENCE]
            histogram = _histogram(white @ rotation, weight)
            statistic = n * _epps_pulley(histogram)
            strength = np.where(statistic > CRITICAL, 1 - NULL_MEAN / statistic, 0.0)
            if not (pays and strength.any()) or len(self._rounds) == MAX_ROUNDS:
                break
            splines = _Splines.toward_gaussian(histogram, n, strength)
            self._rounds.append(_Round(affine, rotation, splines))
            u = splines(white @ rotation) @ rotation.T
        self._last = affine

    @staticmethod
    def _search(u, weight, rng):
        """Return an orthogonal matrix of non-Gaussian directions, and the mean statistic."""
        if len(u) > SEARCH_ROWS:
            rows = rng.choice(len(u), SEARCH_ROWS, replace=False)
            u, weight = u[rows], None if weight is None else weight[rows]
        directions = rng.standard_normal((u.shape[1], DIRECTIONS))
        directions /= np.linalg.norm(directions, axis=0)
        statistic = _epps_pulley(_histogram(u @ directions, weight))
        # Pivoting takes the direction with the largest statistic, then the one that has the
        # largest left in what the first leaves free, and so on.
        return qr(directions * statistic, mode="economic", pivoting=True)[0], statistic.mean()

    def transform(self, u: NDArray) -> NDArray:
        """Return the Gaussianized rows, in the type of u."""
        z = self._first.transform(u.astype(np.float64))
        if self._axes.size:
            bent = flat = z @ self._axes
            for layer in self._rounds:
                bent = layer.transform(bent)
            z = z + (self._last.transform(bent) - flat) @ self._axes.T
        return z.astype(u.dtype, copy=False)

    def inverse_transform(self, u: NDArray) -> NDArray:
        """Undo `transform`."""
        z = u.astype(np.float64)
        if self._axes.size:
            bent = z @ self._axes
            flat = self._last.inverse_transform(bent)
            for layer in reversed(self._rounds):
                flat = layer.inverse_transform(flat)
            z = z + (flat - bent) @ self._axes.T
        return self._first.inverse_transform(z).astype(u.dtype, copy=False)
