"""Tasks of the embedding: a loss for each sample, without networks or input validation."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import StrOptions
from torch import Tensor

from ._weights import unit_weights

__all__ = ["Classification", "FunctionTask", "Reconstruction", "Regression", "Task"]

#: Share of a variance below which the residual variance of a linear fit counts as rounding error.
NOISE_FLOOR = 1e-6

#: Share of the mean variance per feature that is added to the noise variance of each feature in
#: weighted errors. A feature that is nearly constant would otherwise have an unlimited weight.
FEATURE_NOISE_FLOOR = 1e-3

#: The beta of the beta-VAE at ``reg_weight=1``, for all tasks but reconstruction. The data
#: processing inequality gives I(z; x) >= I(z; y). With a beta of 1 the divergence therefore costs
#: at least as much as the embedding gains, and a constant embedding is optimal. The dependence of y
#: on x may be weak, so the default beta is small.
LABEL_BETA = 0.02


def __dir__() -> list[str]:
    return __all__


class Task(ABC, BaseEstimator):
    """Base class of the tasks.

    A task holds parameters only. ``GaussianEmbedder.fit`` clones the task and calls `fit` on the
    clone. To write your own task, derive from this class, take parameters in ``__init__`` as
    scikit-learn estimators do, and define `loss`.

    Attributes
    ----------
    supervised : bool
        Whether ``GaussianEmbedder.fit`` needs y.
    standardized : bool
        The coordinates of the arguments x and z of `loss`. If False (the default), x has the units
        of X, and z the coordinates of the target. If True, x is standardized, (x - mean) / scale,
        and z is in standard coordinates, where the target is N(0, I).
    out_features_ : int or None
        Number of outputs of the default decoder. None (the default) means no decoder.
    nats_ : float
        Nats per unit of the loss. The default of 1 is right for a negative log-likelihood.
    beta : float
        The beta of the beta-VAE at ``reg_weight=1``: the weight of `regularizers.KLDivergence`
        relative to the loss, both in nats. `Reconstruction` has the beta 1. The default is 0.02,
        because a beta of 1 makes a constant embedding optimal for a task that predicts labels.

    Examples
    --------
    >>> from sklatent.tasks import Task
    >>> class NearFirstFeature(Task):
    ...     def __init__(self, power=2.0):
    ...         self.power = power
    ...     def loss(self, x, z, output, y):
    ...         return (z[..., 0] - x[..., 0]).abs() ** self.power
    """

    supervised = False
    standardized = False
    out_features_: int | None = None
    nats_: float = 1.0
    beta = LABEL_BETA

    def fit(
        self,
        x: NDArray,
        y: NDArray | None,
        u: NDArray,
        noise_variance: float,
        weight: NDArray | None,
    ) -> "Task":
        """Learn the task's units from the training samples.

        Parameters
        ----------
        x : ndarray of shape (n, p)
            Standardized samples: mean 0, mean variance per feature 1.
        y : ndarray of shape (n,) or (n, q), or None
        u : ndarray of shape (n, k)
            The whitened principal components of x.
        noise_variance : float
            Variance per feature of x that u does not explain.
        weight : ndarray of shape (n,) or None
            Sample weights, all positive.
        """
        return self

    def encode(self, y: NDArray | None) -> NDArray | None:
        """Return y as the numbers that are passed to `loss`."""
        return y

    @abstractmethod
    def loss(self, x: Tensor, z: Tensor, output: Tensor | None, y: Tensor | None) -> Tensor:
        """Return the loss of each sample.

        Parameters
        ----------
        x : Tensor of shape (..., n, p)
        z : Tensor of shape (..., n, k)
            The embedding: one draw for each sample if the encoder is stochastic.
        output : Tensor of shape (..., n, q) or None
            The output of the decoder. None without a decoder.
        y : Tensor of shape (..., n) or (..., n, q), or None

        Returns
        -------
        Tensor of shape (..., n)
        """


class Reconstruction(Task):
    r"""Reconstruct x, with squared errors, weighted errors or an error of your own.

    Parameters
    ----------
    error : {"squared", "weighted"} or callable, default="squared"
        The loss of a sample.

        - "squared": :math:`|x - \hat x|^2 / \sum_j \mathrm{Var}(x_j)`, with the variances of the n
          training samples (divisor n - 1). The mean loss of the training samples is 1 - R^2,
          times (n - 1)/n.
        - "weighted": squared errors in units of each feature's noise, which training learns:
          :math:`\frac{1}{2p} \sum_j (\log \sigma_j^2 + (x_j - \hat x_j)^2 / \sigma_j^2)`, the
          negative log-likelihood of Gaussian noise per feature, up to a constant. Features are
          divided by one scale, so that their mean variance is 1, and :math:`\sigma_j^2` is 0.001
          plus the mean squared error of the minibatch, the best noise variance [1]_.
        - callable: ``error(x_hat, x)`` returns an error for each sample or for each entry. Both
          arguments are tensors of shape (..., n_features) in the units of X. The errors of a
          sample are added up, and divided by the mean error of the training samples if x_hat is
          the mean of the features. This mean error must be positive.

    noise : {"diagonal", "isotropic"}, default="diagonal"
        The model of x given the embedding, for `score_samples` and `sample`. It does not change
        the embedding.

        - "diagonal": each feature has its own noise variance, as in factor analysis.
        - "isotropic": the noise has one variance for all features, as in PCA.

    Attributes
    ----------
    nats_ : float
        Nats per unit of the loss, for `KLDivergence`: p for "weighted" errors, else (p - k) / 2
        divided by the loss of principal component analysis with the same number of components
        k. For squared errors this is :math:`p / (2 \sigma^2)` with the noise variance
        :math:`\sigma^2` per feature of probabilistic PCA [2]_, relative to the mean variance per
        feature.
    constant_error_ : float
        Only with a callable: its mean for the training samples if x_hat is their mean.

    Notes
    -----
    With a callable, `score` is minus the mean loss. `score_samples` and `sample` still add
    Gaussian noise to x_hat. If the callable is a negative log-likelihood, the beta of the
    beta-VAE is ``reg_weight * constant_error_ / nats_``.

    References
    ----------
    .. [1] Rybkin, Daniilidis & Levine (2021). `Simple and effective VAE training with calibrated
       decoders <https://arxiv.org/abs/2006.13202>`_. ICML.
    .. [2] Tipping & Bishop (1999). `Probabilistic principal component analysis
       <https://doi.org/10.1111/1467-9868.00196>`_. Journal of the Royal Statistical Society B 61,
       eq. 8.

    Examples
    --------
    >>> import torch
    >>> from sklatent.tasks import Reconstruction
    >>> Reconstruction().loss(torch.ones(2, 3), None, torch.zeros(2, 3), None)
    tensor([1., 1.])

    Errors that are robust to outliers:

    >>> from torch.nn.functional import huber_loss
    >>> robust = Reconstruction(error=lambda x_hat, x: huber_loss(x_hat, x, reduction="none"))
    """

    standardized = True
    beta = 1.0
    #: For subclasses without these parameters.
    error: str | Callable[..., Tensor] = "squared"
    noise: str = "diagonal"
    #: Units of X: ``x = mean_ + scale_ * x~`` for standardized samples x~. The estimator sets them.
    mean_: float | NDArray = 0.0
    scale_: float | NDArray = 1.0
    _parameter_constraints: ClassVar[dict] = {
        "error": [StrOptions({"squared", "weighted"}), callable],
        "noise": [StrOptions({"diagonal", "isotropic"})],
    }

    def __init__(
        self, error: str | Callable[..., Tensor] = "squared", noise: str = "diagonal"
    ) -> None:
        self.error = error
        self.noise = noise

    def fit(self, x, y, u, noise_variance, weight):
        """Set the number of outputs of the decoder and the nats per unit of the loss."""
        p, k = x.shape[1], u.shape[1]
        self.out_features_ = p
        if self.error == "weighted":
            self.nats_ = float(p)
            return self
        if callable(self.error):
            x = x.astype(np.float64, copy=False)
            constant, linear = (
                float(np.average(self._errors(*map(torch.from_numpy, pair)), weights=weight))
                for pair in ((np.zeros_like(x), x), (_least_squares(x, u, weight), x))
            )
            if not 0 < constant < math.inf:
                raise ValueError(
                    "error of Reconstruction must have a positive mean if x_hat is the mean of "
                    f"the features, got {constant}"
                )
            self.constant_error_ = constant
            noise_variance = linear / constant * p / (p - k) if k < p else 0.0
        self.nats_ = p / (2 * max(noise_variance, NOISE_FLOOR))
        return self

    def encode(self, y):
        """Return None, because the task ignores y."""
        return

    def loss(self, x, z, output, y):
        """Return the error of each sample."""
        if callable(self.error):
            return self._errors(output, x) / self.constant_error_
        squares = (x - output).square()
        if self.error == "weighted":
            noise = squares.detach().mean(dim=-2, keepdim=True) + FEATURE_NOISE_FLOOR
            squares = 0.5 * (noise.log() + squares / noise)
        return squares.mean(dim=-1)

    def _errors(self, output: Tensor, x: Tensor) -> Tensor:
        """Return the user's error of each sample, from standardized arguments."""
        mean, scale = (torch.as_tensor(unit).to(x) for unit in (self.mean_, self.scale_))
        assert callable(self.error)
        tensors = {"x_hat": mean + scale * output, "x": mean + scale * x}
        errors = call("error", self.error, self.error, **tensors)
        shape = torch.broadcast_shapes(output.shape, x.shape)
        if isinstance(errors, Tensor) and errors.shape == shape:
            return errors.sum(dim=-1)
        if isinstance(errors, Tensor) and errors.shape == shape[:-1]:
            return errors
        got = tuple(errors.shape) if isinstance(errors, Tensor) else type(errors).__name__
        raise ValueError(
            "error of Reconstruction must return a tensor with an error for each sample, of shape "
            f"{tuple(shape[:-1])}, or for each entry, of shape {tuple(shape)}, got {got}"
        )


class Classification(Task):
    r"""Predict classes: cross-entropy divided by the logarithm of the number of classes.

    A uniform guess has the loss 1. One unit of the loss is log(n_classes) nats.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)

    Examples
    --------
    >>> import torch
    >>> from sklatent.tasks import Classification
    >>> Classification().loss(None, None, torch.zeros(1, 3), torch.tensor([2]))
    tensor([1.])
    """

    supervised = True
    standardized = True

    def fit(self, x, y, u, noise_variance, weight):
        """Learn the classes, the number of outputs and the nats per unit of the loss."""
        self.classes_ = np.unique(y)
        self.out_features_ = len(self.classes_)
        self.nats_ = math.log(len(self.classes_))
        return self

    def encode(self, y):
        """Return the labels as indices into ``classes_``. Unknown labels raise a ValueError."""
        codes = np.searchsorted(self.classes_, y).clip(max=len(self.classes_) - 1)
        unknown = np.unique(y[self.classes_[codes] != y])
        if len(unknown):
            raise ValueError(
                f"y has labels {unknown.tolist()} that are not among the classes "
                f"{self.classes_.tolist()}"
            )
        return codes

    def loss(self, x, z, output, y):
        """Return the cross-entropy of each sample, divided by log(n_classes)."""
        log_proba = output.log_softmax(dim=-1)
        index = y.expand(output.shape[:-1]).unsqueeze(-1)
        return -log_proba.gather(-1, index).squeeze(-1) / math.log(output.shape[-1])

    def predict_proba(self, output: NDArray) -> NDArray:
        """Return the probability of each class given the decoder's output."""
        return softmax(output, axis=-1)

    def predict(self, output: NDArray) -> NDArray:
        """Return the most probable class given the decoder's output."""
        return self.classes_[output.argmax(axis=-1)]


class Regression(Task):
    r"""Predict numbers: the share of variance that is not explained, averaged over the outputs.

    The loss of a sample is the mean over outputs of
    :math:`(y_j - \hat y_j)^2 / \mathrm{Var}(y_j)`, with the variances of the training samples. The
    mean loss of the training samples is 1 - R^2. With q outputs, one unit of the loss is
    :math:`q / (2 \sigma^2)` nats, where :math:`\sigma^2` is the share of variance that a linear
    regression on the principal components does not explain.

    Examples
    --------
    >>> import torch
    >>> from sklatent.tasks import Regression
    >>> Regression().loss(None, None, torch.zeros(2, 1), torch.ones(2, 1))
    tensor([1., 1.])
    """

    supervised = True
    standardized = True

    def fit(self, x, y, u, noise_variance, weight):
        """Learn mean and scale of y, the number of outputs and the nats per unit of the loss."""
        self.shape_ = y.shape[1:]
        y = y.reshape(len(y), -1)
        unit = magnitude(y)
        y = y / unit
        mean = np.average(y, axis=0, weights=weight)
        scale = np.sqrt(np.average((y - mean) ** 2, axis=0, weights=weight))
        # Rounding errors of a constant output, and of its mean, are no scale.
        rounding = 4 * np.finfo(np.float64).eps * np.abs(y).max(axis=0)
        scale = np.where(np.ptp(y, axis=0) > rounding, scale, 1.0)
        self.mean_, self.scale_ = unit * mean, unit * scale
        self.out_features_ = y.shape[1]
        standard = (y - mean) / scale
        errors = standard - _least_squares(standard, u, weight)
        share = np.average(errors**2, axis=0, weights=weight).mean()
        self.nats_ = y.shape[1] / (2 * max(share, NOISE_FLOOR))
        return self

    def encode(self, y):
        """Return y with mean 0 and variance 1 per output, of shape (n, q)."""
        if y.shape[1:] != self.shape_:
            raise ValueError(
                f"y must have shape {('n_samples', *self.shape_)}, as in fit, got {y.shape}"
            )
        return (y.reshape(len(y), -1) - self.mean_) / self.scale_

    def loss(self, x, z, output, y):
        """Return the mean over outputs of the squared error of each sample, in standard units."""
        return (y - output).square().mean(dim=-1)

    def predict(self, output: NDArray) -> NDArray:
        """Return the decoder's output in the units and shape of y."""
        return (self.mean_ + self.scale_ * output).reshape(len(output), *self.shape_)


class FunctionTask(Task):
    """A task whose loss is a user's function, as ``task=function`` creates it.

    Parameters
    ----------
    function : callable
        ``function(x, z, output, y)`` returns the loss of each sample, as in `Task.loss`.
    """

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self.function = function

    def loss(self, x, z, output, y):
        """Return the function's value. A missing `output` or `y` raises a ValueError."""
        try:
            return self.function(x, z, output, y)
        except (AttributeError, RuntimeError, TypeError) as error:
            absent = [
                f"{name} is None: pass {argument} if the function uses {name}."
                for name, value, argument in (("y", y, "y"), ("output", output, "a decoder"))
                if value is None
            ]
            if "NoneType" not in str(error) or not absent:
                raise
            raise ValueError(
                f"task={self.function!r} failed with: {error}. Its argument {' '.join(absent)}"
            ) from error


def call(name: str, value: Any, function: Callable[..., Any], **arguments: Tensor | None) -> Any:
    """Call the function of a parameter; errors of torch name the parameter and the shapes."""
    try:
        return function(*arguments.values())
    except (IndexError, RuntimeError) as error:
        if type(error) not in (IndexError, RuntimeError):  # such as a lack of memory
            raise
        shapes = ", ".join(
            f"{key} {None if each is None else tuple(each.shape)}"
            for key, each in arguments.items()
        )
        raise ValueError(f"{name}={value!r} failed for the shapes {shapes}: {error}") from error


def magnitude(y: NDArray) -> NDArray:
    """Return a power of two near the largest absolute value of each output.

    ``y / magnitude(y)`` has the digits of y, and its squares stay in the range of float64.
    """
    return np.ldexp(1.0, np.frexp(np.abs(y).max(axis=0))[1] - 1)


def _least_squares(target: NDArray, u: NDArray, weight: NDArray | None) -> NDArray:
    """Return the prediction of targets (n, q) by a weighted linear regression on u."""
    design = np.column_stack([np.ones(len(u)), u])
    root = np.sqrt(unit_weights(weight, len(u)))[:, None]
    # Without rcond, NumPy 1 warns.
    return design @ np.linalg.lstsq(root * design, root * target, rcond=None)[0]


TASKS: dict[str, type[Task]] = {
    "reconstruction": Reconstruction,
    "classification": Classification,
    "regression": Regression,
}
