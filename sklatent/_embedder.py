"""GaussianEmbedder: parameters, validation, fit and transform; no tensor arithmetic."""

from __future__ import annotations  # help() shows "ArrayLike", not its definition

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.callback import CallbackSupportMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import ClassifierTags, RegressorTags, Tags, check_random_state
from sklearn.utils._param_validation import Interval, RealNotInt, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from ._data import Data, check_X, check_Z
from ._density import LEAST_EFFECTIVE
from ._fit import Fit, restore_net
from ._isolation import default_modes
from ._lazy import as_samples, blocks, by_block
from ._model import Posterior
from ._params import check_nested, is_stochastic, is_task, needs_y, predicts, uses_y
from ._persistence import Storable
from ._warn import warn
from .networks import ACTIVATIONS
from .regularizers import REGULARIZERS, Regularizer
from .tasks import TASKS, Classification, Reconstruction, Regression, Task, magnitude


def _for_task(*kinds: str) -> Callable[[GaussianEmbedder], bool]:
    """Return a check for `available_if` that raises for all other tasks."""

    def check(self: GaussianEmbedder) -> bool:
        if any(is_task(self._current_task, kind) for kind in kinds):
            return True
        needed = " or ".join(map(repr, kinds))
        raise AttributeError(f"available only with task={needed}, got task={self._current_task!r}")

    return check


def _stochastic(self: GaussianEmbedder) -> bool:
    """Check for `available_if`: raise if the encoder is not stochastic."""
    regularizer = self._current_regularizer
    if is_stochastic(regularizer):
        return True
    raise AttributeError(
        "available only with a stochastic encoder, for example with regularizer='kl', got "
        f"regularizer={regularizer!r}"
    )


class GaussianEmbedder(
    Storable, CallbackSupportMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    r"""Nonlinear embedding that is approximately Gaussian.

    `fit` learns an encoder E (and a decoder D, if the task has one) that minimize

    .. math:: L(x, z, D(u), y) + \mathrm{reg\_weight} \cdot R(u), \qquad z = \mu + \Lambda u,

    over minibatches. L is the loss of the task, and R is a distance of the embedding u = E(x)
    from N(0, I). `transform` returns z, which is approximately N(mu, Sigma) with
    :math:`\Sigma = \Lambda \Lambda^T`. Training starts from principal component analysis:
    ``max_iter=0`` is ``PCA(whiten=True)``. (For wide data, PCA's randomized solver whitens only
    approximately, and calibration corrects the difference.)

    Losses have no units. The loss of reconstruction and regression is 1 - R^2 on the training
    samples. The loss of classification is the cross-entropy divided by log(n_classes). The user
    guide gives the exact objective.

    Parameters
    ----------
    n_components : int or float in (0, 1), default=2
        Dimension of the embedding, at most min(n_samples, n_features) and the rank of X. A
        float is the share of variance that the principal components must explain, as in
        `sklearn.decomposition.PCA`.

    regularizer : str, Regularizer or None, default="moment"
        Distance from the target.

        - "moment": `regularizers.MomentMatching` compares the batch's mean and covariance.
        - "adversarial": `regularizers.Adversarial` trains a critic to distinguish embeddings
          from Gaussian draws.
        - "mmd", "sliced", "sliced_wasserstein": `regularizers.MaximumMeanDiscrepancy`,
          `SlicedEppsPulley`, `SlicedWasserstein` compare the whole distribution.
        - "kl": `regularizers.KLDivergence` with a stochastic encoder. With reconstruction, the
          model is a variational autoencoder [1]_ and `reg_weight` is its beta. With a
          callable, classification or regression, the beta of the information bottleneck is
          ``0.02 * reg_weight``; a callable that is a likelihood of X needs ``reg_weight=50``.
        - an instance of a class in `sklatent.regularizers`, or of your own class: its parameters
          can be set and searched, for example ``regularizer__cov_weight``.
        - None: no regularizer.

    reg_weight : float, default=1.0
        Weight of the regularizer relative to the task.

    task : {"reconstruction", "classification", "regression"}, Task, callable or None
        Purpose of the embedding, by default "reconstruction". Classification and regression
        need y. An instance of `tasks.Reconstruction` has other errors and another model of the
        noise. A callable ``loss(x, z, output, y)`` returns the loss of each sample, a tensor of
        shape (n,). Its arguments are tensors in the units of X, of the embedding and of y:
        samples x, their embedding z, the output of `decoder` (None without a decoder) and their
        targets y (None if `fit` is called without y). None trains with the regularizer only.

    target_mean : array-like of shape (n_components,), default=None
        The mean mu; zeros if None.

    target_cov : array-like of shape (n_components, n_components) or (n_components,), default=None
        The covariance Sigma, or its diagonal; the identity if None.

    hidden_layer_sizes : sequence of int, default=(256, 256)
        Widths of the encoder's hidden layers. The decoder has the same widths in reverse order.
        () makes both linear.

    activation : {"silu", "relu", "gelu", "tanh"}, default="silu"
        Activation function of the hidden layers.

    encoder : torch.nn.Module or callable, default=None
        Network that replaces the default one, or a function ``(in_features, out_features)`` that
        returns the network. The network maps (X - mean) / scale, with one scale for all features,
        to n_components outputs (twice as many for a stochastic encoder: means, then
        log-variances). With ``init="pca"``, the embedding is the principal components plus the
        network's output times a gain. The gain starts at zero. The network must work in float32,
        for training, and in float64, for `transform` of float64 samples and for likelihoods.

    decoder : torch.nn.Module or callable, default=None
        The same for the decoder. The network maps u, in standard coordinates, to the
        reconstruction of (X - mean) / scale, the logits, the standardized y, or the output that a
        callable task needs. With ``init="pca"``, its reconstruction is added to PCA's.

    init : {"pca", "random"}, default="pca"
        Start of training: whitened principal components or random weights.

    calibration : {"affine", "gaussianize"} or None, default="affine"
        Invertible map fitted after training to the embedding of the training samples.

        - "affine": `calibration.AffineCalibration` gives the training embedding exactly the
          target's mean and covariance.
        - "gaussianize": `calibration.Gaussianization` also removes the remaining clusters,
          skewness and heavy tails, in all directions. For a stochastic encoder, this map is
          fitted to draws of the encoder, and an affine map follows. It is then also the prior
          of `sample` and `score_samples` [3]_.

    learning_rate_init : float, default=1e-3
        Learning rate of the optimizer (Adam).

    batch_size : int or "auto", default="auto"
        Minimum number of samples in a minibatch. "auto" is a quarter of the samples, limited to
        the range from 128 to 512, and at least 4 * n_components. A minibatch holds all samples
        if there are fewer.

    max_iter : int or "auto", default="auto"
        Maximum number of epochs. With 0, the embedding stays at its start. "auto" is 200 epochs,
        but at most 20,000 steps. `fit` warns if it reaches an integer `max_iter`.

    tol : float, default=1e-4
        Training stops when the training loss (with early stopping, the validation criterion)
        has not improved by at least `tol` for `n_iter_no_change` consecutive epochs and for 300
        steps. The number of steps matters for small data, where an epoch has few steps. With a
        critic, the number is 1000, and only early stopping can stop training: the training loss
        contains the critic's output, which is not comparable between epochs.

    n_iter_no_change : int, default=10
        Number of epochs without improvement before training stops; see `tol`. An epoch of more
        than 100 steps counts as at most 100 steps.

    early_stopping : bool or "auto", default="auto"
        Whether to set aside samples and keep the weights with the lowest criterion on the samples
        set aside. The criterion is task loss + reg_weight * regularizer, evaluated at the start
        and after each period (see Notes); a negative estimate of the regularizer counts as zero.
        "auto" is True if there are at least 10 samples.

    validation_fraction : float in (0, 1), default=0.1
        Share of the samples that early stopping sets aside, at most 5,000 samples.

    warm_start : bool, default=False
        Whether `fit` continues from the last fit's weights, units, optimizer and random state. If
        X has fewer than ten samples per component, and fewer than the last calibration was fitted
        to, `fit` keeps the calibration, `noise_variance_` and `n_active_components_`.

    device : str or torch.device, default="cpu"
        Device to train on. "auto" is the first of "cuda", "xpu" and "mps" that is available, else
        the CPU. "accelerate" trains in all processes that `accelerate launch` has started: see
        "Several processes and machines" in the user guide.

    random_state : int, RandomState instance or None, default=None
        Determines the initial weights, minibatches, draws and samples set aside.

    verbose : int, default=0
        0 prints nothing, 1 prints a line with the losses for at least 100 steps, and 2 prints a
        line for each epoch.

    net_params : dict, default=None
        Further parameters of `skorch.NeuralNet`, such as ``callbacks``, ``optimizer``,
        ``optimizer__weight_decay`` or ``compile``. Parameters that this class sets itself raise an
        error.

    Attributes
    ----------
    net_ : EmbedderNet
        The skorch net. Its ``module_`` holds the encoder and the decoder.
    regularizer_ : Regularizer or None
    task_ : Task or None
    target_mean_ : ndarray of shape (n_components,)
    target_cov_ : ndarray of shape (n_components, n_components)
    n_components_ : int
    n_iter_ : int
        Number of epochs run. The last one may be incomplete.
    interrupted_ : bool
        Whether a KeyboardInterrupt ended the last fit; see Notes.
    loss_ : float or None
        Training loss in the last period; None before the first.
    best_loss_ : float or None
        Lowest training loss; None if the last call to `fit` used early stopping.
    loss_curve_, task_loss_curve_, regularizer_curve_ : list of shape (n_periods,)
        Training loss in each period and its two parts: loss = task loss + reg_weight *
        regularizer.
    validation_scores_ : list of shape (n_periods + 1,) or None
        Minus the criterion on the samples set aside, at the start and after each period. The
        value is nan for periods of `partial_fit` and of a fit without early stopping. None if no
        fit used early stopping.
    noise_variance_ : ndarray of shape (n_features,) or float
        Reconstruction only: residual variance of each feature, or of all features with
        ``Reconstruction(noise="isotropic")``. The mean over the features is the residual sum of
        squares divided by n (n_features - n_components), on the samples set aside if there are
        any. All samples, and one more with equal residuals in all features, determine the ratios
        of the features' variances.
    classes_ : ndarray of shape (n_classes,)
        Classification only.
    critic_ : Module
    critic_loss_curve_ : list of shape (n_periods,)
    critic_gap_ : float
        `Adversarial` only: the critic, its training loss, and its ability to distinguish the
        embedding of the samples set aside (of the training samples, without early stopping) from
        Gaussian draws. ``critic_gap_`` is the difference of the critic's mean outputs, divided by
        the standard deviation of its outputs for the draws. A value near zero means that the
        critic cannot distinguish the two.
    n_active_components_ : int
        Stochastic encoders only: number of components whose mean varies with x, with a variance
        above 0.01 [2]_.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features,)

    See Also
    --------
    sklearn.decomposition.PCA : The linear embedding at which training starts.

    Notes
    -----
    The regularizer compares the whole embedding with one Gaussian. Single classes need not be
    Gaussian, so the assumption of linear and quadratic discriminant analysis need not hold.

    X can be a memmap that is larger than memory, or sparse. If X has more than 2^26 entries or is
    sparse, some results come from random samples: see "Large and sparse data" in the user guide.

    A period is an epoch, or an equal part of an epoch of more than 50 steps. With the default
    batch size, these are epochs of more than about 26,000 training samples. The network's weights
    after a period are then a moving average over the steps, which is less noisy than the last
    weights. For callbacks of skorch, each period is an epoch.

    `set_callbacks` accepts callbacks of scikit-learn, such as `sklearn.callback.ProgressBar`. The
    tasks of a fit are its epochs (or periods); see "Progress and callbacks" in the user guide.

    If `fit` or `partial_fit` fails, the estimator keeps its previous state. A KeyboardInterrupt
    (Ctrl-C) is an exception to this rule: if `fit` has trained for at least one period, the
    estimator is fitted with the best weights so far, ``interrupted_`` is True, and `fit` raises
    the KeyboardInterrupt. A KeyboardInterrupt after training restores the previous state.

    References
    ----------
    .. [1] Kingma, D. P. and Welling, M. (2014). `Auto-encoding variational Bayes
       <https://arxiv.org/abs/1312.6114>`_. ICLR.
    .. [2] Burda, Y., Grosse, R. and Salakhutdinov, R. (2016). `Importance weighted autoencoders
       <https://arxiv.org/abs/1509.00519>`_. ICLR.
    .. [3] Dai, B. and Wipf, D. (2019). `Diagnosing and enhancing VAE models
       <https://arxiv.org/abs/1903.05789>`_. ICLR.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklatent import GaussianEmbedder
    >>> X = load_digits().data[:500]
    >>> embedder = GaussianEmbedder(8, hidden_layer_sizes=(64,), tol=0.01, random_state=0)
    >>> Z = embedder.fit_transform(X)
    >>> np.allclose(np.cov(Z.T), np.eye(8), atol=1e-5)
    True
    >>> embedder.inverse_transform(Z).shape
    (500, 64)
    >>> embedder.score(X) > PCA(8).fit(X).score(X)  # log-likelihoods
    True
    """

    _parameter_constraints: ClassVar[dict] = {
        "n_components": [
            Interval(Integral, 1, None, closed="left"),
            Interval(RealNotInt, 0, 1, closed="neither"),
        ],
        "regularizer": [StrOptions(set(REGULARIZERS)), Regularizer, None],
        "reg_weight": [Interval(Real, 0, None, closed="left")],
        "task": [StrOptions(set(TASKS)), Task, callable, None],
        "target_mean": ["array-like", None],
        "target_cov": ["array-like", None],
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "encoder": [torch.nn.Module, callable, None],
        "decoder": [torch.nn.Module, callable, None],
        "init": [StrOptions({"pca", "random"})],
        "calibration": [StrOptions({"affine", "gaussianize"}), None],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 2, None, closed="left")],
        "max_iter": [StrOptions({"auto"}), Interval(Integral, 0, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "early_stopping": [StrOptions({"auto"}), "boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "warm_start": ["boolean"],
        "device": [str, torch.device],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
        "net_params": [dict, None],
    }

    def __init__(
        self,
        n_components=2,
        *,
        regularizer="moment",
        reg_weight=1.0,
        task="reconstruction",
        target_mean=None,
        target_cov=None,
        hidden_layer_sizes=(256, 256),
        activation="silu",
        encoder=None,
        decoder=None,
        init="pca",
        calibration="affine",
        learning_rate_init=1e-3,
        batch_size="auto",
        max_iter="auto",
        tol=1e-4,
        n_iter_no_change=10,
        early_stopping="auto",
        validation_fraction=0.1,
        warm_start=False,
        device="cpu",
        random_state=None,
        verbose=0,
        net_params=None,
    ):
        self.n_components = n_components
        self.regularizer = regularizer
        self.reg_weight = reg_weight
        self.task = task
        self.target_mean = target_mean
        self.target_cov = target_cov
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.encoder = encoder
        self.decoder = decoder
        self.init = init
        self.calibration = calibration
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.device = device
        self.random_state = random_state
        self.verbose = verbose
        self.net_params = net_params

    # Parameters and tags

    def set_params(self, **params: Any) -> Self:
        """Set parameters, also of a regularizer or task instance.

        Raises
        ------
        ValueError
            For ``regularizer__<name>`` or ``task__<name>`` if the parameter is a string. Pass
            an instance instead.
        """
        for name in ("regularizer", "task"):
            check_nested(name, params.get(name, getattr(self, name)), params)
        return super().set_params(**params)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.input_tags.sparse = True
        if is_task(self._current_task, "classification"):
            tags.estimator_type = "classifier"
            tags.classifier_tags = ClassifierTags()
        elif is_task(self._current_task, "regression"):
            tags.estimator_type = "regressor"
            tags.regressor_tags = RegressorTags()
        classifies = tags.estimator_type == "classifier"
        tags.target_tags.required = needs_y(self._current_task)
        tags.target_tags.multi_output = uses_y(self._current_task) and not classifies
        return tags

    @property
    def _current_task(self):
        """The fitted task, or the parameter before the fit."""
        return self.task_ if hasattr(self, "net_") else self.task

    @property
    def _current_regularizer(self):
        """The fitted regularizer, or the parameter before the fit."""
        return self.regularizer_ if hasattr(self, "net_") else self.regularizer

    def _pack(self) -> dict[str, Any]:
        state = super()._pack()
        if "net_" in state:  # these attributes are in others too
            model = state["_model"]
            state["_model"] = replace(model, start=None, target=None, autoencoder=None)
            state.pop("critic_", None)
        return state

    def _unpack(self) -> None:
        net: Any = vars(self).get("net_")
        if net is None:
            return
        if isinstance(net, dict):
            net = self.net_ = restore_net(self, net)
        model = self._model
        model.start, model.target, model.autoencoder = self._start, self._target, net.uncompiled
        if net.critic_ is not None:
            self.critic_ = net.critic_.module

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "net_")

    @property
    def _n_features_out(self) -> int:
        return self.n_components_

    # Fitting

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: ArrayLike, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Learn the embedding of X.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Labels or numbers for a supervised task; the argument y of a callable task.
        sample_weight : array-like of shape (n_samples,), default=None
            How often each sample is drawn, relative to the others. Samples of weight zero are
            dropped. The principal components, the calibration and `noise_variance_` are weighted
            too.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For invalid data or parameters, or if the training loss or the criterion of early
            stopping becomes infinite or nan.
        KeyboardInterrupt
            If the user interrupts `fit`. The estimator may be fitted: see Notes of the class.
        """
        with self._as_it_was_on_failure():
            if not self.warm_start:
                self.__dict__.pop("net_", None)
            fit = Fit.start(self, X, y, sample_weight)
            stopped = fit.fit()
        fit.report_end(stopped)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train for one epoch on a batch of samples from a stream.

        The first call fixes the start (principal components), the units and the classes, and needs
        at least two samples. A stream that begins with `partial_fit` keeps a uniform random subset
        of all samples so far, and every call fits the calibration and `noise_variance_` again on
        this subset. After `fit`, also with ``warm_start=True``, `partial_fit` only trains: the
        calibration, `noise_variance_` and `n_active_components_` stay as `fit` set them.

        A single sample has no distribution, so a call with one sample trains for the task alone,
        except with the regularizers "kl" and "adversarial".

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
        classes : array-like of shape (n_classes,), default=None
            All classes that will occur; by default the classes in the first call's y.
        sample_weight : array-like of shape (n_samples,), default=None
            How often each sample is drawn, relative to the others of this call.

        Returns
        -------
        self
        """
        if self.early_stopping and self.early_stopping != "auto":
            raise ValueError(
                "partial_fit does not support early_stopping=True: pass early_stopping=False or "
                "'auto'"
            )
        with self._as_it_was_on_failure():
            Fit.start(self, X, y, sample_weight, classes).fit_batch()
        return self

    @contextmanager
    def _as_it_was_on_failure(self):
        before = self.__dict__.copy()
        checkpoint = self.net_.checkpoint() if "net_" in before else None
        try:
            with default_modes():
                yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            if checkpoint is not None:
                self.net_.restore(checkpoint)
            raise

    # Use of the fitted embedding

    def transform(self, X: ArrayLike) -> NDArray:
        """Embed X.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            In the type of X, float32 or float64. For a stochastic encoder, the means.
        """
        rows = self._check_X(X)
        return by_block(lambda some: self._model.to_user(self._model.encode(some)[0]), rows)

    @available_if(_stochastic)
    def posterior(self, X: ArrayLike) -> Posterior:
        """Return the distribution of the embedding of each sample; stochastic encoders only.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        Posterior
            ``mean`` (the output of `transform`), ``std``, and ``cov`` if the components are
            correlated given the sample: after calibration, or with a full `target_cov`. ``cov``
            has n_samples * n_components^2 entries. With ``calibration="gaussianize"``, the
            distribution is not Gaussian. Its mean and covariance are computed from at least 128
            fixed draws for each sample, which takes much longer than `transform`, and its mean
            differs from the output of `transform`.
        """
        return self._model.posterior(self._check_X(X))

    @available_if(_for_task("reconstruction"))
    def inverse_transform(self, Z: ArrayLike) -> NDArray:
        """Decode an embedding.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_components)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Reconstructed samples, in the type of Z, float32 or float64.
        """
        check_is_fitted(self)
        return by_block(self._model.reconstruct, check_Z(self, Z, self.n_components_))

    @available_if(_for_task("reconstruction"))
    def sample(self, n_samples: int = 1, random_state: Any = None, noise: bool = True) -> NDArray:
        """Draw from the model that `score_samples` evaluates: decoded Gaussian draws plus noise.

        For a stochastic encoder, the affine calibration is not used, because it corrects the
        encoder's means only. With ``calibration="gaussianize"`` the nonlinear map is used: the
        decoder receives draws with the same distribution as the encoder's draws (a two-stage
        variational autoencoder; reference 3 of the class).

        Parameters
        ----------
        n_samples : int, default=1
        random_state : int, RandomState instance or None, default=None
        noise : bool, default=True
            Whether to add noise with the variances `noise_variance_`. Without noise, all draws
            lie on the n_components-dimensional surface of reconstructions.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        if not isinstance(n_samples, Integral) or n_samples < 1:
            raise ValueError(f"n_samples must be an integer of at least 1, got {n_samples!r}")
        if not isinstance(noise, bool | np.bool_):
            raise ValueError(f"noise must be True or False, got {noise!r}")
        normal = check_random_state(random_state).standard_normal
        u = normal((n_samples, self.n_components_))

        def generate(u: NDArray) -> NDArray:
            shape = (len(u), self.n_features_in_)
            return self._model.generate(u, normal(shape) if noise else None)

        return by_block(generate, u)

    @available_if(_for_task("reconstruction"))
    def score_samples(
        self, X: ArrayLike, return_effective_sample_size: bool = False
    ) -> NDArray | tuple[NDArray, NDArray]:
        r"""Return the log-likelihood of each sample, in nats (natural logarithm).

        `sample` draws from the same model: u ~ N(0, I), then x ~ N(D(u), diag(`noise_variance_`)),
        or N(D(u), `noise_variance_` I) with isotropic noise. The likelihood is a density in the
        units of X, comparable with `sklearn.decomposition.PCA.score_samples` and
        `FactorAnalysis.score_samples`.
        Importance sampling with fixed draws estimates the integral over u. For a linear decoder,
        the integral is exact. The log-likelihood is -inf if a value is more than 3e123 standard
        deviations from the mean.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        return_effective_sample_size : bool, default=False
            Whether to return the effective sample size of each sample too.

        Returns
        -------
        log_likelihood : ndarray of shape (n_samples,)
        effective_sample_size : ndarray of shape (n_samples,)
            Number of independent draws from the posterior of u that would give an equally
            accurate estimate. Below about 5, the estimate is rough and usually too low. Only
            with ``return_effective_sample_size=True``.

        Warns
        -----
        UserWarning
            If the effective sample size is below 5 for more than a tenth of the samples.
        """
        rows = self._check_X(X)
        parts = [self._model.log_likelihood(rows[some]) for some in blocks(rows)]
        log_likelihood, effective = map(np.concatenate, zip(*parts, strict=True))
        low = np.mean((effective < LEAST_EFFECTIVE) & np.isfinite(log_likelihood))
        if low > 0.1:
            warn(
                f"The log-likelihood of {low:.0%} of the samples is a rough estimate and usually "
                f"too low: its effective sample size is below {LEAST_EFFECTIVE}. "
                "score_samples(X, return_effective_sample_size=True) shows which samples. A larger "
                "reg_weight or fewer components make the decoder smoother and the estimate better.",
            )
        return (log_likelihood, effective) if return_effective_sample_size else log_likelihood

    @available_if(_for_task("classification", "regression"))
    def predict(self, X: ArrayLike) -> NDArray:
        """Predict y from the embedding of X with the decoder.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        output = self._output(X)  # raises if not fitted
        return cast(Classification | Regression, self.task_).predict(output)

    @available_if(_for_task("classification"))
    def predict_proba(self, X: ArrayLike) -> NDArray:
        """Return the decoder's probability of each class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``.
        """
        output = self._output(X)
        return cast(Classification, self.task_).predict_proba(output)

    def score(
        self, X: ArrayLike, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return a score of the embedding for its task; higher is better.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        float
            Reconstruction: the mean of `score_samples`, the log-likelihood in nats per sample.
            Classification: accuracy. Regression: R^2. A callable, a task of your own or a
            reconstruction error of your own: minus the mean of its loss for the output of
            `transform` and the decoder's output. No task: minus the criterion, reg_weight *
            regularizer. A regularizer cannot weight single samples, so `score` resamples n_samples
            of them instead: each sample is repeated in proportion to its weight, rounded up or
            down. For large or sparse X, `score` uses at most 8192 samples then.
        """
        check_is_fitted(self)
        if isinstance(self.task_, Reconstruction) and not callable(self.task_.error):
            value = self.score_samples(X)
            weight = _check_sample_weight(sample_weight, value, dtype=np.float64)
            return float(np.average(value, weights=weight))
        if predicts(self.task_):
            y = cast(NDArray, Data.check(self, self.task_, X, y, reset=False, least=1).y)
            predicted = self.predict(X)
            if is_task(self.task_, "classification"):
                return accuracy_score(y, predicted, sample_weight=sample_weight)
            unit = magnitude(y)
            return r2_score(y / unit, predicted / unit, sample_weight=sample_weight)
        least = 2 if self.task_ is None else 1  # a regularizer needs two samples
        data = Data.check(self, self.task_, X, y, sample_weight, reset=False, least=least)
        return -Fit(self, data, self.net_).mean_loss()

    def _output(self, X):
        rows = self._check_X(X)
        return by_block(lambda some: self._model.decode(self._model.encode(some)[0]), rows)

    def _check_X(self, X):
        check_is_fitted(self)
        return as_samples(check_X(self, X, reset=False, sparse=True))
