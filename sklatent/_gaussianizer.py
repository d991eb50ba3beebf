"""Gaussianizer: the invertible map to N(0, I) as a transformer of its own."""

from __future__ import annotations  # help() shows "ArrayLike", not its definition

from collections.abc import Iterator
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin, _fit_context
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import Tags, check_random_state, gen_batches
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from ._callbacks import Tasks
from ._data import Data, check_X, check_Z, set_fitted
from ._persistence import Storable
from ._start import CONSTANT
from ._units import as_type, farthest
from ._whitening import Whitening, without_outliers
from .calibration import Gaussianization

#: Number of samples that the nonlinear part of the map is learned from, at most.
SUBSAMPLE = 100_000
#: Number of values that are mapped at once: the arrays of a spline stay in the processor's cache.
CHUNK = 2**16


class Gaussianizer(
    Storable, CallbackSupportMixin, OneToOneFeatureMixin, TransformerMixin, BaseEstimator
):
    r"""Transform all features together, invertibly, to approximately N(0, I).

    `sklearn.preprocessing.PowerTransformer` and `QuantileTransformer` make each feature Gaussian
    on its own. Dependent features are then Gaussian one by one, but not jointly: a ring remains
    a ring. This transformer makes the features Gaussian jointly, so that they are also
    independent. The map z = T(x) is invertible, and its derivative is known. So the map is also a
    model of the density of X,

    .. math:: \log p(x) = \log N(T(x); 0, I) + \log |\det T'(x)|,

    which `score_samples` evaluates, and which `sample` draws from.

    `fit` standardizes and whitens the features. A flow then brings clusters together. Then `fit`
    repeats three steps: find the directions in which the samples are least Gaussian, transform the
    coordinate along each direction by an increasing function, and whiten again (iterative
    Gaussianization [1]_, [2]_). Held-out samples choose the number of repetitions. Gaussian data
    and small data are whitened only.
    See `calibration.Gaussianization` for the formulas.

    Parameters
    ----------
    random_state : int, RandomState instance or None, default=None
        Determines the directions, and the subsample if there are more than 100,000 samples.

    Attributes
    ----------
    n_rounds_ : int
        Number of nonlinear maps: the flow, if used, and the rounds. With 0, the map is affine.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features,)

    See Also
    --------
    sklearn.preprocessing.PowerTransformer : Makes each feature Gaussian, by a power.
    sklearn.preprocessing.QuantileTransformer : Makes each feature Gaussian, by its ranks.
    GaussianEmbedder : Reduces the dimension; ``calibration="gaussianize"`` ends with this map.

    Notes
    -----
    **Components and features.** The whitening is the symmetric root of the correlation matrix,
    and each round rotates back at its end. So each component corresponds to one feature, and
    `get_feature_names_out` returns the names of the features.

    **Units.** The map standardizes the features first. So shifts and positive changes of scale of
    single features do not change the output of `transform`, up to rounding, and change
    `score_samples` by the logarithm of the scales. Other linear maps of X, such as rotations,
    negative scales and permutations of the features, change the random directions too. The two
    densities then are different estimates of the same quality.

    **Degenerate data.** A constant feature becomes zero, as in `StandardScaler`. If features are
    linearly dependent (for example with fewer samples than features), the training samples are in
    a subspace of dimension r. The map Gaussianizes the coordinates in the subspace, and keeps the
    part of a new sample that is outside the subspace. So `inverse_transform` is exact for all
    samples, but the output has covariance I in r dimensions only. `score_samples` is then the
    log-density in the subspace, and -inf outside, like `scipy.stats.multivariate_normal` with
    ``allow_singular=True``.

    **Outliers.** `fit` leaves out samples that alone cause much of the variance along a direction
    and are at least ten times as far from the mean as all others, for example samples with a
    mistyped value. Such samples are transformed and scored like any other. `fit` keeps heavy tails,
    in which distances increase gradually.

    **Accuracy.** In float64, `inverse_transform` recovers a sample to within 1e-10 standard
    deviations or better. In float32 the error is some hundredths of a standard deviation in the
    worst case, if the data have clusters far apart.

    **Extreme values.** A value that is more than 3e123 standard deviations from the mean counts as
    this far, and the sample has the log-density -inf. So the output of `transform` and of
    `inverse_transform` is always finite.

    **Weights.** Samples of weight zero are dropped. Other weights act like repetitions on the
    means, the covariances and the distribution functions. But repetitions also increase
    the number of samples, so `fit` may use more rounds.

    **Many features.** From some tens of features on, the map fits chance deviations of the training
    samples. New samples can then be less Gaussian along single directions than after whitening
    alone, although their log-density is higher. Reduce the dimension first.

    **Cost.** `fit` takes some ten seconds for a million samples with ten features, and up to a
    minute for 100,000 samples with 64 features. `transform` and `score_samples` of all samples take
    longer than `fit`, and `inverse_transform` several times as long. If there are more than 100,000
    samples, a random subsample of 100,000 determines the nonlinear part of the map; all samples
    determine the whitening. The time of a round is proportional to min(n_samples, 100,000) *
    n_features^2. `fit` needs the memory of two copies of X in float64, or of about twenty copies of
    the subsample. The other methods work in chunks and need little memory beyond their output.

    References
    ----------
    .. [1] Chen, S. S. and Gopinath, R. A. (2000). Gaussianization. NeurIPS 13.
    .. [2] Laparra, V., Camps-Valls, G. and Malo, J. (2011). `Iterative Gaussianization: from ICA
       to random rotations <https://arxiv.org/abs/1602.00229>`_. IEEE Transactions on Neural
       Networks 22.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import make_moons
    >>> from sklatent import Gaussianizer
    >>> X, _ = make_moons(1000, noise=0.1, random_state=0)
    >>> gaussianizer = Gaussianizer(random_state=0).fit(X)
    >>> Z = gaussianizer.transform(X)
    >>> bool(np.allclose(gaussianizer.inverse_transform(Z), X))
    True
    >>> inside, outside = gaussianizer.score_samples([[0.0, 1.0], [0.0, -1.0]])
    >>> bool(inside > outside)
    True
    >>> gaussianizer.sample(5, random_state=0).shape
    (5, 2)
    """

    _parameter_constraints: ClassVar[dict] = {"random_state": ["random_state"]}

    def __init__(self, *, random_state=None):
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "n_rounds_")

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: ArrayLike, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Learn the map.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            At least two samples.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Relative weight of each sample.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If all features are constant.
        """
        data = Data.check(self, None, X, None, sample_weight, reset=True)
        fitted: dict[str, Any] = {}
        tasks = Tasks(self, X, y, sample_weight)
        with tasks.task(self._init_callback_context(), attributes=fitted):
            fitted.update(data.features | self._fit(data))
        set_fitted(self, fitted)
        return self

    def _fit(self, data):
        """Return the fitted attributes except the features."""
        random_state = check_random_state(self.random_state)
        data = data.take(without_outliers(data.X, data.sample_weight))
        whitening = Whitening().fit(data.X, data.sample_weight)
        if not whitening.axes_.size:
            raise ValueError(CONSTANT)
        if len(data) > SUBSAMPLE:
            data = data.take(random_state.choice(len(data), SUBSAMPLE, replace=False))
        u, _ = whitening.transform(data.X)
        gaussianization = Gaussianization(random_state.randint(2**31)).fit(u, data.sample_weight)
        return {
            "_whitening": whitening,
            "_gaussianization": gaussianization,
            "n_rounds_": gaussianization.n_rounds_,
        }

    def transform(self, X: ArrayLike) -> NDArray:
        """Map samples to approximately N(0, I).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            In the type of X, float32 or float64. The arithmetic is in float64.
        """
        rows = self._check_X(X)
        Z = np.empty_like(rows)
        for some in _chunks(rows):
            u, outside = self._whitening.transform(rows[some])
            z = self._whitening.join(self._gaussianization.transform(u), outside)
            Z[some] = as_type(z, Z.dtype)
        return Z

    def inverse_transform(self, Z: ArrayLike) -> NDArray:
        """Undo `transform`.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Samples in the units of X, in the type of Z, float32 or float64.
        """
        check_is_fitted(self)
        rows = check_Z(self, Z, self.n_features_in_)
        X, limit = np.empty_like(rows), farthest(np.float64)
        for some in _chunks(rows):
            near = np.clip(rows[some].astype(np.float64), -limit, limit)
            u, outside = self._whitening.split(near)
            u = self._gaussianization.inverse_transform(u)
            X[some] = self._whitening.inverse_transform(u, outside, X.dtype)
        return X

    def score_samples(self, X: ArrayLike) -> NDArray:
        """Return the log-density of each sample, in nats (natural logarithm).

        `sample` draws from this density, which is in the units of X. The value is comparable with
        the log-likelihoods of `sklearn.mixture.GaussianMixture` and
        `sklearn.neighbors.KernelDensity`. Its error is that of a numerical integration: below 0.001
        nats for nearly all samples within 10 standard deviations from the mean, and below 0.01 nats
        within 30. With linearly dependent features, see the notes of the class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        rows = self._check_X(X)
        log_density = np.empty(len(rows))
        for some in _chunks(rows):
            u, outside = self._whitening.transform(rows[some])
            value = self._gaussianization.log_density(u) + self._whitening.log_slope_
            contained = self._whitening.contains(rows[some], outside)
            contained &= ~self._whitening.is_far(rows[some])
            log_density[some] = np.where(contained, value, -np.inf)
        return log_density

    def score(
        self, X: ArrayLike, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return the mean of `score_samples`: the log-likelihood per sample, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        float
        """
        value = self.score_samples(X)
        weight = _check_sample_weight(sample_weight, value, dtype=np.float64)
        return float(np.average(value, weights=weight))

    def sample(self, n_samples: int = 1, random_state: Any = None) -> NDArray:
        """Draw samples: draws from N(0, I), mapped back by `inverse_transform`.

        Parameters
        ----------
        n_samples : int, default=1
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        if not isinstance(n_samples, Integral) or n_samples < 1:
            raise ValueError(f"n_samples must be an integer of at least 1, got {n_samples!r}")
        random_state = check_random_state(random_state)
        X = np.empty((n_samples, self.n_features_in_))
        for some in _chunks(X):
            shape = (some.stop - some.start, self._whitening.axes_.shape[1])
            u = self._gaussianization.inverse_transform(random_state.standard_normal(shape))
            X[some] = self._whitening.inverse_transform(u)
        return X

    def _check_X(self, X):
        check_is_fitted(self)
        return check_X(self, X, reset=False)


def _chunks(rows: NDArray) -> Iterator[slice]:
    """Return slices of the samples that need little memory."""
    return gen_batches(len(rows), max(1, CHUNK // rows.shape[1]))
