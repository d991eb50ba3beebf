"""GaussianEmbedder: what it promises of the embedding."""

import copy
import pickle
import warnings
from functools import partial
from typing import ClassVar

import numpy as np
import pytest
import torch
from common import absolute
from scipy.linalg import subspace_angles
from sklearn.base import clone, is_regressor
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, r2_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale
from sklearn.utils import get_tags
from skorch.callbacks import Callback

from sklatent import GaussianEmbedder
from sklatent._fit import _draws
from sklatent.calibration import AffineCalibration, Gaussianization
from sklatent.metrics import epps_pulley_test
from sklatent.regularizers import (
    REGULARIZERS,
    Adversarial,
    KLDivergence,
    MomentMatching,
    Regularizer,
    SlicedEppsPulley,
)
from sklatent.tasks import Classification, Reconstruction, Regression, Task

pytestmark = pytest.mark.filterwarnings(
    "ignore:Stochastic Optimizer:sklearn.exceptions.ConvergenceWarning"
)

WIDE = np.random.default_rng(0).normal(size=(60, 500)) @ np.diag(np.linspace(3, 0.1, 500))
DATA = {
    "digits": load_digits().data,
    "breast_cancer": load_breast_cancer().data,
    "wine": load_wine().data,
    "diabetes": load_diabetes().data,
    "wide": WIDE,
}


@pytest.fixture(scope="module")
def digits():
    """Samples in [0, 1] and labels, split 70/30."""
    X, y = load_digits(return_X_y=True)
    return train_test_split(X / 16, y, test_size=0.3, stratify=y, random_state=0)


class PlainTensor(torch.nn.Linear):
    """A network whose tensor does not become float64 with it."""

    def __init__(self, p, k):
        super().__init__(p, k)
        self.turn = torch.eye(k)

    def forward(self, x):
        return super().forward(x) @ self.turn


def r2_of(embedder, X):
    restored = embedder.inverse_transform(embedder.transform(X))
    return r2_score(X, restored, multioutput="variance_weighted")


# The start


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize(
    ("dtype", "regularizer"), [(np.float64, "moment"), (np.float32, "moment"), (np.float64, "kl")]
)
def test_no_iterations_is_whitened_pca(name, dtype, regularizer):
    X = DATA[name]
    pca = PCA(4, whiten=True, random_state=0).fit(X)
    embedder = GaussianEmbedder(4, regularizer=regularizer, max_iter=0, random_state=0)
    Z = embedder.fit(X.astype(dtype)).transform(X.astype(dtype))
    expected = pca.transform(X)
    assert Z.dtype == dtype
    assert np.abs(Z - expected).max() <= 1e-5 * np.abs(expected).max()
    restored, expected = embedder.inverse_transform(Z), pca.inverse_transform(expected)
    assert restored.dtype == dtype
    assert np.abs(restored - expected).max() <= 1e-5 * np.abs(expected).max()


def test_where_pca_whitens_only_nearly_calibration_does_the_rest():
    X = np.random.default_rng(0).normal(size=(600, 520))
    pca = PCA(4, whiten=True, random_state=0).fit(X)  # the randomized solver
    raw = GaussianEmbedder(4, calibration=None, max_iter=0, random_state=0).fit(X)
    np.testing.assert_allclose(raw.transform(X), pca.transform(X), atol=1e-9)
    Z = raw.set_params(calibration="affine").fit_transform(X)
    np.testing.assert_allclose(np.cov(Z.T), np.eye(4), atol=1e-10)
    assert np.abs(np.cov(pca.transform(X).T) - np.eye(4)).max() > 1e-4


def test_the_users_target_is_copied():
    mean = np.zeros(2)
    embedder = GaussianEmbedder(2, target_mean=mean, max_iter=0).fit(DATA["wine"])
    before = embedder.transform(DATA["wine"])
    mean += 5
    np.testing.assert_array_equal(embedder.transform(DATA["wine"]), before)


def test_a_constant_feature_far_from_zero_is_no_obstacle():
    X = DATA["wine"].astype(np.float32)
    far = np.column_stack([np.full(len(X), 1.7e9, dtype=np.float32), X])
    embedder = GaussianEmbedder(2, max_iter=0)
    np.testing.assert_allclose(embedder.fit_transform(far), embedder.fit_transform(X), atol=1e-4)


def test_a_new_fit_forgets_the_last_task():
    X, y = load_wine(return_X_y=True)
    embedder = GaussianEmbedder(2, regularizer="kl", task="classification", max_iter=1).fit(X, y)
    embedder.set_params(task="reconstruction").fit(X)
    assert not hasattr(embedder, "classes_")
    embedder.set_params(task="regression", regularizer="moment").fit(X, y)
    assert not hasattr(embedder, "noise_variance_")
    assert not hasattr(embedder, "n_active_components_")


def test_share_of_variance_chooses_the_components_of_pca():
    X = DATA["digits"]
    pca = PCA(0.8).fit(X)
    embedder = GaussianEmbedder(0.8, max_iter=0).fit(X)
    assert embedder.n_components_ == pca.n_components_
    assert embedder.transform(X[:3]).shape == (3, pca.n_components_)


def test_fitting_fewer_rows_than_features_up_to_their_rank():
    Z = GaussianEmbedder(59, max_iter=0).fit_transform(WIDE)
    np.testing.assert_allclose(np.cov(Z.T), np.eye(59), atol=1e-8)
    with pytest.raises(ValueError, match="n_components=60 exceeds the rank of X: only 59"):
        GaussianEmbedder(60, max_iter=0).fit(WIDE)


# Training


def test_digits_bend_further_than_pca(digits):
    train, test, y_train, y_test = digits
    embedder = GaussianEmbedder(8, random_state=0).fit(train)
    pca = PCA(8, whiten=True).fit(train)
    assert r2_of(embedder, test) >= 0.78
    # In nats: a likelihood ratio per row of e^15.
    assert embedder.score(test) > pca.score(test) + 15
    Z = embedder.transform(test)
    assert np.abs(np.cov(Z.T) - np.eye(8)).max() <= 0.2
    neighbours = KNeighborsClassifier(5)
    of_pca = neighbours.fit(pca.transform(train), y_train).score(pca.transform(test), y_test)
    assert neighbours.fit(embedder.transform(train), y_train).score(Z, y_test) >= of_pca


@pytest.mark.parametrize(("k", "textbook"), [(8, 0.930), (64, 0.658)])
@pytest.mark.parametrize("unbiased", [True, False])
def test_moments_are_recovered_from_minibatches(k, textbook, unbiased):
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(k, k + 16))
    X = rng.normal(size=(15000, k)) @ mixing + 0.1 * rng.normal(size=(15000, k + 16))
    with pytest.warns(UserWarning, match="task=None trains for the regularizer alone"):
        embedder = GaussianEmbedder(
            k,
            task=None,
            regularizer=MomentMatching(unbiased=unbiased),
            calibration=None,
            hidden_layer_sizes=(64,),
            learning_rate_init=3e-3,
            batch_size=128,
            early_stopping=False,
            max_iter=10,
            random_state=0,
        ).fit(X[:10000])
    variance = embedder.transform(X[10000:]).var(axis=0, ddof=1).mean()
    # The mean variance of 5000 rows has standard error sqrt(2 / 5000 / k) <= 0.007.
    assert variance == pytest.approx(1.0 if unbiased else textbook, rel=0.03)


def test_linear_kl_is_probabilistic_pca():
    # Lucas et al. 2019 (Don't blame the ELBO): the optimum of a linear variational autoencoder
    # is probabilistic PCA, whose posterior variances are sigma^2 / lambda_j.
    X = scale(load_breast_cancer().data)
    beta = 0.5
    embedder = GaussianEmbedder(
        3,
        regularizer="kl",
        reg_weight=beta,
        hidden_layer_sizes=(),
        calibration=None,
        learning_rate_init=0.01,
        batch_size=len(X),
        max_iter=300,
        tol=0,
        n_iter_no_change=1000,
        early_stopping=False,
        random_state=0,
    )
    pca = PCA(3).fit(X)
    lines = embedder.set_params(init="random").fit(X).inverse_transform(np.eye(3)) - pca.mean_
    assert embedder.n_active_components_ == 3
    assert np.rad2deg(subspace_angles(lines.T, pca.components_.T).max()) < 2
    # Axes within the subspace turn slowly: variances are compared from the start at PCA.
    variance = embedder.set_params(init="pca").fit(X).posterior(X).std ** 2
    expected = beta * pca.noise_variance_ / pca.explained_variance_
    np.testing.assert_allclose(variance.mean(axis=0), expected, rtol=0.1)


@pytest.mark.parametrize(("a", "b"), [(1e-6, 0), (1e6, 1e9), (1, 1e3)])
@pytest.mark.parametrize("regularizer", ["moment", "kl"])
def test_units_of_the_features_do_not_matter(a, b, regularizer):
    X = DATA["digits"][:600]
    embedder = GaussianEmbedder(4, regularizer=regularizer, max_iter=10, random_state=0)
    # float32 training carries a difference of 6e-8 through some 40 steps.
    np.testing.assert_allclose(
        embedder.fit_transform(a * X + b), embedder.fit_transform(X), rtol=0, atol=1e-3
    )


class Sizes(Regularizer):
    """Records the number of samples that batches are drawn from."""

    seen: ClassVar[set] = set()

    def __call__(self, embedding, n_rows=np.inf, generator=None):
        self.seen.add(float(n_rows))
        return embedding.sample.square().mean()


@pytest.mark.parametrize(
    ("method", "early_stopping", "sizes"),
    # The criterion evaluates new samples, as a stream does.
    [("fit", True, {160, np.inf}), ("fit", False, {178}), ("partial_fit", False, {np.inf})],
)
def test_a_regularizer_receives_the_number_of_training_samples(method, early_stopping, sizes):
    Sizes.seen.clear()
    embedder = GaussianEmbedder(regularizer=Sizes(), max_iter=1, early_stopping=early_stopping)
    getattr(embedder, method)(DATA["wine"])
    assert Sizes.seen == sizes


def test_losses_add_up(digits):
    embedder = GaussianEmbedder(4, reg_weight=0.3, max_iter=3, random_state=0).fit(digits[0])
    np.testing.assert_allclose(
        embedder.loss_curve_,
        np.add(embedder.task_loss_curve_, 0.3 * np.array(embedder.regularizer_curve_)),
        rtol=1e-5,
    )
    assert embedder.n_iter_ == len(embedder.loss_curve_) == 3
    assert embedder.loss_ == embedder.loss_curve_[-1]


# The target and the calibration


@pytest.mark.parametrize("regularizer", ["moment", "kl"])
def test_calibration_gives_training_rows_the_targets_moments(digits, regularizer):
    rng = np.random.default_rng(0)
    factor = np.diag([1e-4, 1.0, 1e4]) @ rng.normal(size=(3, 3))
    mean, cov = np.array([1e-4, -2.0, 3e4]), factor @ factor.T
    embedder = GaussianEmbedder(
        3, regularizer=regularizer, target_mean=mean, target_cov=cov, max_iter=10, random_state=0
    )
    Z = embedder.fit_transform(digits[0])
    sd = np.sqrt(cov.diagonal())
    np.testing.assert_allclose((Z.mean(axis=0) - mean) / sd, 0, atol=1e-5)
    np.testing.assert_allclose((np.cov(Z.T) - cov) / np.outer(sd, sd), 0, atol=1e-5)
    # Held out, to within sampling error: four standard errors of a covariance of 540 rows,
    # and as much again for what 1257 training rows do not tell.
    Z = embedder.transform(digits[1])
    assert np.abs((np.cov(Z.T) - cov) / np.outer(sd, sd)).max() < 8 * np.sqrt(2 / 540)


def test_inverse_transform_undoes_target_and_calibration(digits):
    train, test = digits[:2]
    cov = [[4.0, 1.0], [1.0, 9.0]]
    free = GaussianEmbedder(2, calibration=None, max_iter=5, random_state=0).fit(train)
    bound = GaussianEmbedder(2, target_mean=[5, 6], target_cov=cov, max_iter=5, random_state=0)
    bound.fit(train)
    np.testing.assert_allclose(
        bound.inverse_transform(bound.transform(test)),
        free.inverse_transform(free.transform(test)),
        atol=1e-9,
    )
    assert not np.allclose(np.cov(free.transform(train).T), np.eye(2), atol=1e-6)


def test_variances_may_stand_for_the_covariance():
    Z = GaussianEmbedder(2, target_cov=[4, 9], max_iter=1).fit_transform(DATA["wine"])
    np.testing.assert_allclose(np.cov(Z.T), np.diag([4, 9]), atol=1e-6)


def test_samples_look_like_rows(digits):
    for regularizer, max_iter in (("moment", 50), ("kl", 200)):
        embedder = GaussianEmbedder(8, regularizer=regularizer, max_iter=max_iter, random_state=0)
        embedder.fit(digits[0])
        drawn = embedder.sample(2000, random_state=0)
        np.testing.assert_array_equal(drawn, embedder.sample(2000, random_state=0))
        assert drawn.shape == (2000, 64)
        decoded = embedder.sample(2000, random_state=0, noise=False)
        # Decoded rows lack what the components leave unexplained, not more.
        share = decoded.var(axis=0).sum() / digits[0].var(axis=0).sum()
        assert 0.6 < share < 1.1
        noise = (drawn - decoded).std(axis=0) / np.sqrt(embedder.noise_variance_)
        np.testing.assert_allclose(noise, 1, atol=4.5 / np.sqrt(2 * 2000))


def test_samples_are_decoded_draws_from_the_target():
    X = scale(DATA["wine"])
    make = {"target_mean": [5, 6], "max_iter": 5, "early_stopping": False, "random_state": 0}
    make |= {"hidden_layer_sizes": (16,), "learning_rate_init": 0.01}
    cov = np.array([[4.0, 1.0], [1.0, 9.0]])
    draws = np.random.RandomState(3).standard_normal((50, 2))
    for calibration in ("affine", "gaussianize"):
        embedder = GaussianEmbedder(2, calibration=calibration, target_cov=cov, **make).fit(X)
        z = [5, 6] + draws @ np.linalg.cholesky(cov).T
        np.testing.assert_allclose(
            embedder.sample(50, random_state=3, noise=False),
            embedder.inverse_transform(z),
            rtol=1e-6,
        )
    # The draws of a stochastic encoder stand before the calibration of its means.
    calibrated, raw = (
        GaussianEmbedder(2, regularizer="kl", calibration=calibration, **make).fit(X)
        for calibration in ("affine", None)
    )
    np.testing.assert_array_equal(
        calibrated.sample(50, random_state=3, noise=False),
        raw.sample(50, random_state=3, noise=False),
    )
    assert not np.allclose(calibrated.transform(X), raw.transform(X), atol=1e-3)


def test_posterior_is_in_the_targets_coordinates(digits):
    train, test = digits[:2]
    make = {"regularizer": "kl", "max_iter": 5, "random_state": 0}
    plain = GaussianEmbedder(2, calibration=None, **make).fit(train).posterior(test)
    assert plain.cov is None
    wide = GaussianEmbedder(2, calibration=None, target_cov=[4, 9], **make).fit(train)
    np.testing.assert_allclose(wide.posterior(test).std, plain.std * [2, 3], rtol=1e-6)
    full = GaussianEmbedder(2, target_cov=[[4, 1], [1, 9]], **make).fit(train)
    mean, std, cov = full.posterior(test)
    np.testing.assert_array_equal(mean, full.transform(test))
    np.testing.assert_allclose(np.sqrt(np.diagonal(cov, axis1=1, axis2=2)), std, rtol=1e-6)
    # Target and calibration are an affine map z = M u + b, and Cov(M u) = M Cov(u) M^T.
    design = np.column_stack([plain.mean, np.ones(len(test))])
    matrix = np.linalg.lstsq(design, mean, rcond=None)[0][:2].T
    pushed = np.einsum("ij,nj,kj->nik", matrix, plain.std**2, matrix)
    np.testing.assert_allclose(cov, pushed, rtol=1e-6, atol=1e-9)
    with pytest.raises(AttributeError):
        GaussianEmbedder(regularizer="moment").posterior  # noqa: B018 (attribute access is the test)


def test_a_random_start_has_variances_about_one():
    # A linear encoder's mean log-variance is its bias, from U(-b, b) with b = 1 / sqrt(13).
    X = scale(DATA["wine"])
    make = {"regularizer": "kl", "calibration": None, "hidden_layer_sizes": (), "max_iter": 0}
    start = GaussianEmbedder(3, init="random", random_state=0, **make).fit(X).posterior(X).std
    assert np.abs(2 * np.log(start).mean(axis=0)).max() < 1 / np.sqrt(13)
    # That of PCA has the variances of its probabilistic form, which are far smaller.
    start = GaussianEmbedder(3, random_state=0, **make).fit(X).posterior(X).std
    pca = PCA(3).fit(X)
    expected = np.sqrt(pca.noise_variance_ / pca.explained_variance_)
    np.testing.assert_allclose(start, np.broadcast_to(expected, start.shape), rtol=1e-5)


def test_a_random_start_depends_on_the_random_state():
    X = DATA["wine"]
    first, again, other = (
        GaussianEmbedder(2, init="random", max_iter=0, random_state=seed).fit(X).transform(X)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


def test_collapse_of_the_posterior_is_reported(digits):
    embedder = GaussianEmbedder(
        2, regularizer="kl", reg_weight=1e3, learning_rate_init=0.01, max_iter=30, random_state=0
    )
    with pytest.warns(UserWarning, match="posterior collapse"):
        embedder.set_params(calibration=None).fit(digits[0])
    assert embedder.n_active_components_ == 0


def test_noise_variance_starts_at_that_of_pca():
    X = DATA["wine"]
    embedder = GaussianEmbedder(3, max_iter=0, early_stopping=False).fit(X)
    expected = PCA(3).fit(X).noise_variance_ * (len(X) - 1) / len(X)
    assert embedder.noise_variance_.mean() == pytest.approx(expected, rel=1e-6)
    isotropic = clone(embedder).set_params(task=Reconstruction(noise="isotropic")).fit(X)
    assert isotropic.noise_variance_ == pytest.approx(expected, rel=1e-6)


class SetAside(Callback):
    """Keeps the samples set aside."""

    def on_train_begin(self, net, X, **kwargs):
        self.x = X[1].x.numpy()


def test_noise_variance_is_that_of_the_samples_set_aside():
    embedder = GaussianEmbedder(3, max_iter=0, validation_fraction=0.2, random_state=0)
    embedder.set_params(net_params={"callbacks": [("set_aside", SetAside())]}).fit(DATA["wine"])
    x = dict(embedder.net_.callbacks_)["set_aside"].x.astype(float)
    rows = embedder._start.unstandardize(x)
    assert rows.shape == (36, 13)
    squares = np.square(rows - embedder.inverse_transform(embedder.transform(rows))).sum()
    assert embedder.noise_variance_.mean() == pytest.approx(squares / 36 / (13 - 3), rel=1e-5)
    # The ratios of the features are those of all samples, and of one more with equal residuals.
    X = DATA["wine"]
    shares = np.square(X - embedder.inverse_transform(embedder.transform(X))).mean(axis=0)
    expected = (178 * shares / shares.mean() + 1) / 179
    noise = embedder.noise_variance_ / embedder.noise_variance_.mean()
    np.testing.assert_allclose(noise, expected, rtol=1e-4)


# Tasks


def test_classification_keeps_class_names(digits):
    train, test, y_train, y_test = digits
    names = np.array([f"digit {i}" for i in range(10)])
    embedder = GaussianEmbedder(
        8, task="classification", reg_weight=0.1, max_iter=50, random_state=0
    )
    embedder.fit(train, names[y_train])
    np.testing.assert_array_equal(embedder.classes_, names)
    proba = embedder.predict_proba(test)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(embedder.predict(test), names[proba.argmax(axis=1)])
    assert embedder.score(test, names[y_test]) > 0.95
    assert log_loss(names[y_test], proba) < 0.3
    for name in ("inverse_transform", "sample", "posterior"):
        assert not hasattr(embedder, name)


@pytest.mark.parametrize("n_outputs", [None, 2])
def test_regression_in_the_units_of_y(n_outputs):
    X, y = load_diabetes(return_X_y=True)
    y = y if n_outputs is None else np.column_stack([1e6 * y, 5 - y])
    embedder = GaussianEmbedder(3, task="regression", reg_weight=0.01, random_state=0).fit(X, y)
    assert embedder.predict(X).shape == y.shape
    assert embedder.score(X, y) == pytest.approx(r2_score(y, embedder.predict(X)))
    # Linear regression reaches 0.52.
    assert embedder.score(X, y) > 0.4
    assert not hasattr(embedder, "predict_proba")


@pytest.mark.parametrize("unit", [1e-200, 1e200])
def test_regression_and_its_score_have_no_units(unit):
    X, y = load_diabetes(return_X_y=True)
    make = {"task": "regression", "hidden_layer_sizes": (8,), "max_iter": 5, "random_state": 0}
    embedder, other = (GaussianEmbedder(3, **make).fit(X, a * y) for a in (1, unit))
    assert other.score(X, unit * y) == pytest.approx(embedder.score(X, y), rel=1e-5)
    np.testing.assert_allclose(other.predict(X), unit * embedder.predict(X), rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float16, np.longdouble])
@pytest.mark.parametrize("task", ["regression", lambda x, z, output, y: (z[..., 0] - y).abs()])
def test_targets_may_have_any_float_type(dtype, task):
    X, y = load_diabetes(return_X_y=True)
    y = (100 * y).astype(np.float16)  # its squares are outside the range of float16
    make = {"task": task, "hidden_layer_sizes": (8,), "max_iter": 5, "random_state": 0}
    embedder, other = (
        GaussianEmbedder(3, **make).fit(X, y.astype(each)) for each in (np.float64, dtype)
    )
    np.testing.assert_array_equal(other.transform(X), embedder.transform(X))
    assert other.score(X, y.astype(dtype)) == embedder.score(X, y.astype(np.float64))
    assert embedder.score(X, y.astype(dtype)) == embedder.score(X, y.astype(np.float64))


@pytest.mark.parametrize(
    ("task", "several"),
    [
        ("reconstruction", False),
        ("classification", False),
        ("regression", True),
        (None, False),
        (lambda x, z, output, y: z[..., 0], True),
    ],
)
def test_tags_tell_which_tasks_take_several_outputs(task, several):
    assert get_tags(GaussianEmbedder(task=task)).target_tags.multi_output == several


def test_one_sample_can_be_scored(digits):
    X, y = digits[0], digits[2]
    classifier = GaussianEmbedder(2, task="classification", max_iter=0).fit(X, y)
    assert classifier.score(X[:1], classifier.predict(X[:1])) == 1
    embedder = GaussianEmbedder(2, max_iter=0).fit(X)
    assert embedder.score(X[:1]) == pytest.approx(embedder.score_samples(X[:1])[0])


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32, object])
def test_numbers_of_any_type_are_learned(dtype):
    X, y = load_diabetes(return_X_y=True)
    y = np.where(y > 140, 1.0, 0.0)
    plain, typed = (
        GaussianEmbedder(2, task="regression", max_iter=2, random_state=0)
        .fit(X, numbers)
        .predict(X)
        for numbers in (y, y.astype(dtype))
    )
    np.testing.assert_array_equal(plain, typed)


def test_a_function_is_a_task_in_the_users_coordinates(digits):
    X, y = digits[0] * 1000 + 5, digits[2]
    seen = {}

    def loss(x, z, output, y):
        seen.update(x=x, z=z.detach(), output=output, y=y)
        return (z - 3).square().sum(dim=-1)

    embedder = GaussianEmbedder(
        2, task=loss, target_mean=[3, 3], target_cov=[4, 1], max_iter=1, early_stopping=False,
        batch_size=len(X), random_state=0,
    )  # fmt: skip
    embedder.fit(X, y)
    order = np.lexsort(X.T)
    x = seen["x"].numpy()
    np.testing.assert_allclose(x[np.lexsort(x.T)].sum(axis=1), X[order].sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(seen["z"].numpy().mean(axis=0), [3, 3], atol=1e-4)
    np.testing.assert_allclose(seen["z"].numpy().var(axis=0, ddof=1), [4, 1], rtol=1e-3)
    assert seen["output"] is None
    assert sorted(seen["y"].tolist()) == sorted(y.tolist())
    assert embedder.score(X, y) < 0
    embedder.fit(X)
    assert seen["y"] is None


def test_a_function_is_given_what_the_users_decoder_returns(digits):
    def margin(x, z, output, y):
        return torch.nn.functional.softplus(-output[:, 0] * y)

    X, y = digits[0], np.where(digits[2] < 5, -1.0, 1.0)
    embedder = GaussianEmbedder(
        4, task=margin, decoder=torch.nn.Linear(4, 1), max_iter=120, random_state=0
    ).fit(X, y)
    assert -embedder.score(X, y) < 0.5 * np.log(2)


def follow(x, z, output, y):
    return (z[..., 0] - y).square()


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"regularizer": "kl", "target_mean": [3, 4], "target_cov": [[4, 1], [1, 9]]},
        {"calibration": "gaussianize"},
    ],
)
def test_a_function_is_scored_on_what_transform_returns(params):
    X, y = load_diabetes(return_X_y=True)
    y = scale(y)
    embedder = GaussianEmbedder(
        2, task=follow, hidden_layer_sizes=(8,), max_iter=3, random_state=0, **params
    ).fit(X, y)
    for rows, target in ((X, y), (X[:1], y[:1])):
        loss = np.square(embedder.transform(rows)[:, 0] - target).mean()
        assert embedder.score(rows, target) == pytest.approx(-loss, rel=1e-5)  # of float32


@pytest.mark.parametrize("regularizer", ["moment", "kl"])
def test_a_function_is_scored_on_the_decoder_of_the_uncalibrated_mean(regularizer):
    # The decoder learns from the embedding before calibration, as that of a built-in task does.
    def minus_log_logistic(x, z, output, y):
        return torch.nn.functional.softplus(-output[:, 0])

    X = scale(DATA["wine"])
    make = {"regularizer": regularizer, "decoder": torch.nn.Linear(2, 1), "random_state": 0}
    make |= {"task": minus_log_logistic, "hidden_layer_sizes": (8,), "max_iter": 3}
    raw = GaussianEmbedder(2, calibration=None, **make).fit(X)
    network = raw.net_.module_.decoder.network
    weight, bias = (value.detach().numpy() for value in (network.weight, network.bias))
    output = raw.transform(X) @ weight[0] + bias
    expected = -np.logaddexp(0, -output).mean()
    for fitted in (raw, GaussianEmbedder(2, target_mean=[5, 6], **make).fit(X)):
        assert fitted.score(X) == pytest.approx(expected, rel=1e-5)


def noisy(x, z, output, y):
    return torch.rand(len(z)) + 0 * z.sum(-1)


def test_a_function_that_draws_is_scored_alike_each_time():
    embedder = GaussianEmbedder(2, task=noisy, max_iter=0, random_state=0).fit(DATA["wine"])
    before = torch.get_rng_state()
    first = embedder.score(DATA["wine"])
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert embedder.score(DATA["wine"]) == first


def test_a_fitted_task_decides_over_the_parameter():
    X, y = load_diabetes(return_X_y=True)
    regressor = GaussianEmbedder(2, task="regression", max_iter=0).fit(X, y)
    predicted, score = regressor.predict(X), regressor.score(X, y)
    regressor.set_params(task="reconstruction", regularizer="kl")
    np.testing.assert_array_equal(regressor.predict(X), predicted)
    assert regressor.score(X, y) == score
    assert is_regressor(regressor)
    assert get_tags(regressor).target_tags.required
    assert not hasattr(regressor, "inverse_transform")
    assert not hasattr(regressor, "posterior")
    regressor.fit(X).inverse_transform(regressor.transform(X))
    regressor.set_params(task="regression", regularizer="moment")
    assert not hasattr(regressor, "predict")
    assert not is_regressor(regressor)
    assert not get_tags(regressor).target_tags.required
    assert regressor.posterior(X).std.shape == (len(X), 2)
    assert regressor.score(X) == pytest.approx(regressor.score_samples(X).mean())
    # A fit that fails leaves the fitted task.
    with pytest.raises(ValueError, match="contains NaN"):
        regressor.fit(np.full_like(X, np.nan), y)
    assert not hasattr(regressor, "predict")
    assert hasattr(regressor, "posterior")


def test_methods_that_are_absent_say_which_task_or_regularizer_has_them():
    needed = {
        "predict": "task='classification' or 'regression', got task='reconstruction'",
        "predict_proba": "task='classification', got task='reconstruction'",
        "posterior": "regularizer='kl', got regularizer='moment'",
    }
    for name, message in needed.items():
        with pytest.raises(AttributeError, match=f"no attribute '{name}'") as error:
            getattr(GaussianEmbedder(), name)
        assert message in str(error.value.__cause__)
    for name in ("inverse_transform", "sample", "score_samples"):
        with pytest.raises(AttributeError, match=f"no attribute '{name}'") as error:
            getattr(GaussianEmbedder(task=None), name)
        assert "task='reconstruction', got task=None" in str(error.value.__cause__)


class Distance(Task):
    """The distance of an embedding from a point."""

    def __init__(self, point=0.0):
        self.point = point

    def loss(self, x, z, output, y):
        return (z - self.point).square().sum(dim=-1)


def test_a_tasks_parameters_can_be_searched():
    X = DATA["wine"]
    embedder = GaussianEmbedder(2, task=Distance(), max_iter=2, random_state=0)
    search = GridSearchCV(embedder, {"task__point": [0.0, 100.0]}, cv=2).fit(X)
    assert search.best_params_ == {"task__point": 0.0}


# Networks of the user's own


def test_own_networks_start_at_pca_too(digits):
    encoder = torch.nn.Sequential(
        torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Dropout(0.2), torch.nn.Linear(32, 4)
    )

    def decoder(k, p):
        return torch.nn.Sequential(torch.nn.Linear(k, 64), torch.nn.Tanh(), torch.nn.Linear(64, p))

    make = {"encoder": encoder, "decoder": decoder, "random_state": 0}
    embedder = GaussianEmbedder(4, max_iter=0, **make).fit(digits[0])
    expected = PCA(4, whiten=True).fit(digits[0]).transform(digits[1])
    np.testing.assert_allclose(embedder.transform(digits[1]), expected, atol=1e-6)
    before = torch.get_rng_state()
    weights = encoder[0].weight.clone()
    first, second = (
        GaussianEmbedder(4, max_iter=40, learning_rate_init=0.01, **make).fit(digits[0])
        for _ in range(2)
    )
    np.testing.assert_array_equal(first.transform(digits[1]), second.transform(digits[1]))
    assert r2_of(first, digits[1]) > r2_of(embedder, digits[1]) + 0.02
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(encoder[0].weight, weights)


class Moded(torch.nn.Linear):
    """Notes whether it is in training mode in the steps of training."""

    seen: ClassVar[list] = []

    def forward(self, x):
        if torch.is_grad_enabled():
            self.seen.append(self.training)
        return super().forward(x)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_own_networks_train_in_training_mode(early_stopping):
    Moded.seen.clear()
    make = {"max_iter": 2, "early_stopping": early_stopping}
    GaussianEmbedder(2, encoder=Moded(13, 2), decoder=Moded(2, 13), **make).fit(DATA["wine"])
    assert len(Moded.seen) >= 4
    assert all(Moded.seen)


def test_hidden_layers_of_the_decoder_are_in_reverse_order():
    fitted = GaussianEmbedder(2, hidden_layer_sizes=(32, 8), max_iter=0).fit(DATA["wine"])
    module = fitted.net_.module_
    widths = [
        [tuple(weight.shape) for weight in part.parameters() if weight.ndim == 2]
        for part in (module.encoder, module.decoder)
    ]
    assert widths == [[(32, 13), (8, 32), (2, 8)], [(8, 2), (32, 8), (13, 32)]]


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (
            torch.nn.Linear(64, 3),
            r"encoder must map .* \(n, 64\) to one of shape \(n, 2\); .*\(2, 3\)",
        ),
        (
            PlainTensor,
            r"float32 and, for samples in float64, .*: register tensors .* register_buffer",
        ),
        (torch.nn.Linear(5, 2), "encoder must map .* it failed with"),
        (lambda p, k: None, "encoder must be a torch.nn.Module or a callable .* NoneType"),
    ],
)
def test_own_networks_of_a_wrong_shape(digits, encoder, message):
    with pytest.raises((ValueError, TypeError), match=message):
        GaussianEmbedder(2, encoder=encoder).fit(digits[0])


# scikit-learn around it


def test_pipeline_grid_search():
    X, y = load_wine(return_X_y=True)
    pipeline = make_pipeline(
        StandardScaler(), GaussianEmbedder(3, max_iter=5, random_state=0), LogisticRegression()
    )
    grid = {
        "gaussianembedder__reg_weight": [0.1, 1.0],
        "gaussianembedder__regularizer": ["moment", "kl", MomentMatching(cov_weight=2)],
    }
    search = GridSearchCV(pipeline, grid, cv=3, error_score="raise").fit(X, y)
    assert search.best_score_ > 0.9


def test_a_regularizers_parameters_need_an_instance():
    embedder = GaussianEmbedder(regularizer=MomentMatching())
    assert embedder.set_params(regularizer__cov_weight=3).regularizer.cov_weight == 3
    with pytest.raises(ValueError, match=r"Pass regularizer=MomentMatching\(...\)"):
        GaussianEmbedder().set_params(regularizer__cov_weight=3)
    with pytest.raises(ValueError, match=r"an instance of a class from sklatent\.tasks"):
        GaussianEmbedder(task=None).set_params(task__point=3)
    GaussianEmbedder().set_params(regularizer=MomentMatching(), regularizer__cov_weight=3)


NUMBERS = {
    "n_components": np.int64(2),
    "regularizer": np.str_("moment"),
    "reg_weight": np.float32(0.5),
    "hidden_layer_sizes": np.array([8]),
    "task": np.str_("classification"),
    "activation": np.str_("relu"),
    "calibration": np.str_("gaussianize"),
    "learning_rate_init": np.float32(0.5),
    "batch_size": np.uint8(50),
    "max_iter": np.uint8(3),
    "tol": np.float32(0.5),
    "n_iter_no_change": np.uint8(1),
    "validation_fraction": np.float32(0.25),
    "device": np.str_("cpu"),
    "random_state": np.int64(1),
    "warm_start": np.False_,
}
CRITIC = {
    "loss": np.str_("lsgan"),
    "joint": np.False_,
    "n_critic": np.uint8(2),
    "critic_learning_rate": np.float32(0.5),
    "gradient_penalty": np.float32(0.5),
    "critic_hidden_layer_sizes": np.array([8]),
}


@pytest.mark.parametrize(
    ("params", "regularizer"),
    [
        ({"early_stopping": np.False_}, None),
        ({"early_stopping": np.True_}, None),
        ({"early_stopping": np.str_("auto"), "init": np.str_("random")}, None),
        ({}, (Adversarial, CRITIC)),
        ({}, (SlicedEppsPulley, {"n_slices": np.uint8(8)})),
        ({}, (MomentMatching, {"unbiased": np.False_, "cov_weight": np.float32(0.5)})),
    ],
)
def test_parameters_from_an_array_are_those_of_python(params, regularizer):
    # A grid over an array, np.array([True, False]), holds NumPy's scalars.
    def embedding(make):
        values = {name: make(value) for name, value in (NUMBERS | params).items()}
        if regularizer is not None:
            kind, own = regularizer
            values["regularizer"] = kind(**{name: make(value) for name, value in own.items()})
        return GaussianEmbedder(**values).fit_transform(*load_wine(return_X_y=True))

    np.testing.assert_array_equal(
        embedding(lambda value: value), embedding(lambda value: value.tolist())
    )


# Stopping


def test_early_stopping_returns_the_best_weights_seen(digits):
    embedder = GaussianEmbedder(8, learning_rate_init=0.02, random_state=0).fit(digits[0])
    scores = embedder.validation_scores_
    assert len(scores) == embedder.n_iter_ + 1
    best = int(np.argmax(scores))
    # 1131 rows make 3 batches of 377: 300 steps without improvement are 100 epochs.
    assert best == embedder.n_iter_ - 100
    assert embedder.best_loss_ is None
    shorter = embedder.set_params(max_iter=best).fit(digits[0])
    np.testing.assert_allclose(shorter.validation_scores_, scores[: best + 1])


def test_the_start_may_be_best():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(60, 500))
    embedder = GaussianEmbedder(3, random_state=0).fit(noise)
    expected = PCA(3, whiten=True, random_state=0).fit(noise).transform(noise)
    np.testing.assert_allclose(embedder.transform(noise), expected, atol=1e-6)
    assert np.argmax(embedder.validation_scores_) == 0


def test_training_loss_stops_training_otherwise():
    embedder = GaussianEmbedder(2, early_stopping=False, tol=10, batch_size=5, random_state=0).fit(
        DATA["wine"]
    )
    assert embedder.n_iter_ == 12  # 35 batches each
    assert embedder.validation_scores_ is None
    assert embedder.best_loss_ == min(embedder.loss_curve_)


class Watched(Callback):
    """Counts the labels of the samples to train on and of those set aside."""

    def on_train_begin(self, net, X, **kwargs):
        self.counts = [np.bincount(rows.y).tolist() for rows in X]


@pytest.mark.parametrize("seed", range(3))
def test_samples_are_set_aside_by_class_where_the_counts_allow_it(seed):
    def counts(y):
        rows = np.random.default_rng(0).normal(size=(200, 3))
        embedder = GaussianEmbedder(2, task="classification", max_iter=0, random_state=seed)
        embedder.set_params(net_params={"callbacks": [("watched", Watched())]})
        return dict(embedder.fit(rows, y).net_.callbacks_)["watched"].counts

    assert counts(np.repeat([0, 1, 2], [140, 40, 20])) == [[126, 36, 18], [14, 4, 2]]
    # A class of one sample cannot be in both parts.
    assert sum(map(sum, counts(np.repeat([0, 1], [199, 1])))) == 200


@pytest.mark.parametrize("validation_fraction", [0.1, 0.9])
def test_there_may_be_more_classes_than_samples_of_a_part(validation_fraction):
    rows, y = np.random.default_rng(0).normal(size=(30, 3)), np.repeat(np.arange(5), 6)
    embedder = GaussianEmbedder(2, task="classification", max_iter=0, random_state=0)
    embedder.set_params(validation_fraction=validation_fraction).fit(rows, y)
    assert len(embedder.validation_scores_) == 1


def test_a_class_can_be_absent_from_a_further_fit():
    rows = np.random.default_rng(0).normal(size=(200, 3))
    embedder = GaussianEmbedder(2, task="classification", max_iter=0, warm_start=True)
    embedder.set_params(net_params={"callbacks": [("watched", Watched())]}, random_state=0)
    embedder.fit(rows, np.arange(200) % 3)
    watched = dict(embedder.fit(rows, np.repeat([0, 2], [180, 20])).net_.callbacks_)["watched"]
    assert watched.counts == [[162, 0, 18], [18, 0, 2]]


@pytest.mark.parametrize(
    ("n", "k", "size"), [(100, 2, 128), (600, 2, 150), (4000, 2, 512), (1000, 200, 800)]
)
def test_automatic_batches(n, k, size):
    rows = np.random.default_rng(0).normal(size=(n, k + 1))
    embedder = GaussianEmbedder(k, init="random", hidden_layer_sizes=(), max_iter=0)
    embedder.set_params(early_stopping=False, calibration=None)
    assert embedder.fit(rows).net_.batch_size == size


@pytest.mark.filterwarnings("default:Stochastic Optimizer")
def test_unfinished_training_warns_as_in_mlps():
    message = r"Maximum iterations \(1\) reached .* {}.* Increase max_iter .* tol \(now 0.0001\)"
    kept = [
        (r"the weights with the best validation score\.", {}),
        ("best validation score, which are those before the first epoch", {"tol": 0, "rate": 1.0}),
        ("the last weights; early_stopping=True", {"early_stopping": False}),
    ]
    X = DATA["digits"]
    for weights, params in kept:
        rate = params.pop("rate", 1e-3)  # at a rate of 1 the first epoch is a step back
        embedder = GaussianEmbedder(
            2, max_iter=1, learning_rate_init=rate, random_state=0, **params
        )
        tol = str(embedder.tol)
        with pytest.warns(ConvergenceWarning, match=message.format(weights).replace("0.0001", tol)):
            embedder.fit(X)


@pytest.mark.filterwarnings("default:Stochastic Optimizer")
def test_a_warm_start_is_not_called_the_first_epoch():
    embedder = GaussianEmbedder(2, max_iter=1, learning_rate_init=1.0, warm_start=True)
    with pytest.warns(ConvergenceWarning, match=r"best validation score\."):
        embedder.fit(DATA["digits"])
    assert np.argmax(embedder.validation_scores_) == 0


def test_epochs_without_progress_are_no_reason_to_warn_though_their_steps_are_few():
    make = {"n_iter_no_change": 3, "early_stopping": False, "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GaussianEmbedder(2, tol=10, max_iter=5, **make).fit(DATA["wine"])
    with pytest.warns(ConvergenceWarning):
        GaussianEmbedder(2, tol=10, max_iter=4, **make).fit(DATA["wine"])


@pytest.mark.parametrize("n", [9, 10])
def test_ten_samples_are_enough_to_set_some_aside(n):
    embedder = GaussianEmbedder(2, max_iter=0, random_state=0).fit(scale(DATA["wine"])[:n])
    assert (embedder.validation_scores_ is None) == (n < 10)


def test_scores_and_losses_of_a_mixed_history():
    # One score at the start and one after each epoch, where samples were set aside.
    X = DATA["wine"]
    embedder = GaussianEmbedder(2, hidden_layer_sizes=(8,), warm_start=True, random_state=0)

    def scored():
        assert len(embedder.loss_curve_) == embedder.n_iter_
        return np.isfinite(embedder.validation_scores_).tolist()

    embedder.set_params(early_stopping=False, max_iter=2).fit(X).partial_fit(X)
    assert embedder.validation_scores_ is None
    assert embedder.best_loss_ == min(embedder.loss_curve_)
    embedder.set_params(early_stopping=True, max_iter=1).fit(X)
    assert scored() == 3 * [False] + 2 * [True]
    assert embedder.best_loss_ is None
    before = embedder.validation_scores_
    embedder.fit(X)
    assert scored() == 3 * [False] + 3 * [True]
    np.testing.assert_array_equal(embedder.validation_scores_[:5], before)
    embedder.set_params(early_stopping="auto").partial_fit(X)
    assert scored() == 3 * [False] + 3 * [True] + [False]
    assert embedder.best_loss_ == min(embedder.loss_curve_)
    embedder.fit(X)
    assert scored() == 3 * [False] + 5 * [True]
    embedder.set_params(early_stopping=False, max_iter=2).fit(X)
    assert scored() == 3 * [False] + 5 * [True] + 2 * [False]
    assert embedder.best_loss_ == min(embedder.loss_curve_)
    embedder.set_params(warm_start=False).fit(X)
    assert embedder.validation_scores_ is None


# What comes after a fit


def test_warm_start_goes_on(digits):
    X = digits[0]
    make = {"early_stopping": False, "random_state": 0, "warm_start": True}
    make |= {"hidden_layer_sizes": (16,)}
    once = GaussianEmbedder(2, max_iter=6, **make).fit(X)
    twice = GaussianEmbedder(2, max_iter=3, **make).fit(X).fit(X)
    assert twice.n_iter_ == 6
    np.testing.assert_array_equal(twice.loss_curve_, once.loss_curve_)
    np.testing.assert_array_equal(twice.transform(X), once.transform(X))
    twice.set_params(reg_weight=0).fit(X)
    assert twice.loss_ == twice.task_loss_curve_[-1]
    # No loss improves by 10; the first of a fit counts as an improvement.
    n_iter = twice.n_iter_
    patience = {"tol": 10, "n_iter_no_change": 14, "batch_size": 50, "max_iter": 50}
    assert twice.set_params(**patience).fit(X).n_iter_ == n_iter + 1 + 15
    still = twice.transform(X)
    twice.set_params(learning_rate_init=1e-30, max_iter=3).fit(X)
    np.testing.assert_allclose(twice.transform(X), still, atol=1e-6)


def test_warm_start_takes_up_a_changed_task():
    X = DATA["wine"]
    embedder = GaussianEmbedder(
        2, task=Distance(0.0), max_iter=1, warm_start=True, early_stopping=False, random_state=0
    ).fit(X)
    embedder.set_params(task__point=100.0).fit(X)
    assert embedder.loss_ > 1e3 * embedder.loss_curve_[0]


@pytest.mark.parametrize(
    "params",
    [
        {"n_components": 3},
        {"hidden_layer_sizes": (5,)},
        {"regularizer": "kl"},
        {"init": "random"},
        {"net_params": {"optimizer__weight_decay": 1.0}},
    ],
)
def test_warm_start_keeps_its_shapes(params):
    embedder = GaussianEmbedder(2, max_iter=1, warm_start=True).fit(DATA["wine"])
    with pytest.raises(ValueError, match="cannot change between fits that resume one another"):
        embedder.set_params(**params).fit(DATA["wine"])


@pytest.mark.parametrize(
    ("params", "same"),
    [
        ({}, {"net_params": {}}),
        ({}, {"net_params": {"callbacks": None}}),
        ({}, {"net_params": {"callbacks": []}}),
        ({}, {"task": Reconstruction()}),
        ({"task": Reconstruction()}, {"task": "reconstruction"}),
        ({"task": "regression"}, {"task": Regression()}),
        ({"task": "classification"}, {"task": Classification()}),
        ({"task": Distance(0.0).loss}, {"task": partial(Distance(0.0).loss)}),
        ({}, {"regularizer": MomentMatching()}),
        ({"regularizer": "kl"}, {"regularizer": KLDivergence()}),
        ({"regularizer": "adversarial"}, {"regularizer": Adversarial()}),
        (
            {"regularizer": Adversarial(critic_hidden_layer_sizes=(8,))},
            {"regularizer": Adversarial(critic_hidden_layer_sizes=np.array([8]))},
        ),
        ({"hidden_layer_sizes": (8,)}, {"hidden_layer_sizes": [8]}),
        ({"hidden_layer_sizes": [8]}, {"hidden_layer_sizes": np.int64(8)}),
        ({}, {"n_components": np.int64(2)}),
        ({}, {"activation": np.str_("silu")}),
        ({}, {"device": torch.device("cpu")}),
    ],
    ids=str,
)
def test_the_same_in_other_words_is_no_change(params, same):
    X, y = DATA["wine"], load_wine().target
    make = {"max_iter": 1, "warm_start": True, "early_stopping": False, "random_state": 0}
    first, second = (GaussianEmbedder(2, **make).set_params(**params).fit(X, y) for _ in range(2))
    expected = first.fit(X, y).partial_fit(X, y).transform(X)
    again = second.set_params(**same).fit(X, y).partial_fit(X, y)
    np.testing.assert_array_equal(again.transform(X), expected)


def test_a_change_inside_net_params_is_a_change():
    for net_params, change in (
        ({}, lambda given: given.update(optimizer__weight_decay=1.0)),
        ({"callbacks": []}, lambda given: given["callbacks"].append(Callback())),
    ):
        embedder = GaussianEmbedder(2, max_iter=1, warm_start=True, net_params=net_params)
        embedder.fit(DATA["wine"])
        change(embedder.net_params)
        with pytest.raises(ValueError, match="net_params cannot change"):
            embedder.fit(DATA["wine"])


def test_partial_fit_learns_from_a_stream(digits):
    train, test = digits[:2]
    rng = np.random.default_rng(0)
    embedder = GaussianEmbedder(8, random_state=0)
    for _ in range(20):
        for chunk in np.array_split(rng.permutation(train), 3):
            embedder.partial_fit(chunk)
    assert embedder.n_iter_ == 60
    assert r2_of(embedder, test) > 0.72  # PCA: 0.668
    Z = embedder.transform(test)
    assert np.abs(np.cov(Z.T) - np.eye(8)).max() < 0.25


def test_partial_fit_knows_the_classes_to_come(digits):
    train, _, y, _ = digits
    embedder = GaussianEmbedder(4, task="classification", random_state=0)
    embedder.partial_fit(train[y < 5], y[y < 5], classes=np.arange(10))
    embedder.partial_fit(train[y >= 5], y[y >= 5])
    assert embedder.predict_proba(train).shape == (len(train), 10)
    fewer = GaussianEmbedder(4, task="classification").partial_fit(train[y < 5], y[y < 5])
    with pytest.raises(
        ValueError, match=r"labels \[5, 6, 7, 8, 9\] that are not among the classes"
    ):
        fewer.partial_fit(train, y)


def test_partial_fit_keeps_the_calibration_of_fit():
    X = scale(DATA["wine"])
    still = {"learning_rate_init": 1e-30}  # the encoder stays as it is
    embedder = GaussianEmbedder(2, early_stopping=False, max_iter=1, warm_start=True, **still)
    for fit in (embedder.fit, embedder.partial_fit(X[:50]).fit):
        noise = fit(X).noise_variance_
        embedder.partial_fit(X[:25]).partial_fit(X[25:75])
        np.testing.assert_allclose(np.cov(embedder.transform(X).T), np.eye(2), atol=1e-5)
        np.testing.assert_array_equal(embedder.noise_variance_, noise)


def test_a_warm_started_fit_of_few_samples_keeps_the_calibration():
    X = scale(DATA["wine"])
    make = {"early_stopping": False, "max_iter": 5, "warm_start": True, "random_state": 0}
    embedder = GaussianEmbedder(2, learning_rate_init=1e-30, **make).fit(X)
    before, noise = embedder.transform(X), embedder.noise_variance_
    for n in (1, 2, 19):  # ten for each component would be 20
        np.testing.assert_allclose(embedder.fit(X[:n]).transform(X), before, atol=1e-5)
        np.testing.assert_array_equal(embedder.noise_variance_, noise)
    np.testing.assert_allclose(np.cov(embedder.fit_transform(X[:20]).T), np.eye(2), atol=1e-5)
    # Few samples are enough if the last calibration had no more.
    embedder = GaussianEmbedder(2, **make).fit(X[:8])
    for n in (8, 8, 9):
        np.testing.assert_allclose(np.cov(embedder.fit_transform(X[:n]).T), np.eye(2), atol=1e-5)


@pytest.mark.parametrize(
    "params",
    [
        *({"regularizer": name} for name in REGULARIZERS),
        {"regularizer": MomentMatching() + KLDivergence()},
        {"task": Reconstruction("weighted")},
        {"task": "classification"},
        {"task": "regression"},
        {"task": lambda x, z, output, y: (z[:, 0] - y).square()},
        {"task": None},
        {"task": None, "regularizer": "sliced"},
    ],
)
@pytest.mark.filterwarnings("ignore:task=None")
def test_a_stream_can_end_with_a_single_sample(params):
    X, y = scale(DATA["wine"]), load_wine().target
    embedder = GaussianEmbedder(2, hidden_layer_sizes=(8,), max_iter=1, random_state=0, **params)
    classes = [0, 1, 2] if params.get("task") == "classification" else None
    streamed = copy.deepcopy(embedder).partial_fit(X[:100], y[:100], classes)
    for each in (streamed, embedder.fit(X, y)):
        before = [value.clone() for value in each.net_.module_.parameters()]
        each.partial_fit(X[-1:], y[-1:])
        moved = zip(before, each.net_.module_.parameters(), strict=True)
        assert not all(map(torch.equal, *zip(*moved, strict=True)))
        assert np.isfinite(each.transform(X)).all()
        assert np.isfinite([*each.loss_curve_, *each.regularizer_curve_]).all()
        assert np.isfinite(getattr(each, "critic_gap_", 0))
        assert getattr(each, "n_active_components_", 2) > 0
    Z = streamed.transform(X[[*range(100), -1]])  # calibrated with the last sample
    np.testing.assert_allclose(np.cov(Z.T), np.eye(2), atol=1e-4)


def test_a_stream_cannot_begin_with_a_single_sample():
    X = DATA["wine"]
    with pytest.raises(ValueError, match=r"1 sample\(s\) .* while a minimum of 2 is required"):
        GaussianEmbedder(2).partial_fit(X[:1])
    with pytest.raises(ValueError, match="positive for at least 2 samples, got 1"):
        GaussianEmbedder(2).partial_fit(X[:3], sample_weight=[0, 1, 0])


# Gaussianizing calibration


def test_gaussianized_embedding_is_inverted_and_more_gaussian(digits):
    train, test, *_ = digits
    params = {"max_iter": 5, "random_state": 0, "target_mean": np.full(4, 3.0)}
    affine = GaussianEmbedder(4, **params).fit(train)
    bent = GaussianEmbedder(4, calibration="gaussianize", **params).fit(train)
    Z = bent.transform(train)
    np.testing.assert_allclose(Z.mean(axis=0), 3, atol=1e-6)
    np.testing.assert_allclose(np.cov(Z.T), np.eye(4), atol=1e-6)
    # Calibration comes after training: reconstructions are the same, the embedding is not.
    Z, before = bent.transform(test), affine.transform(test)
    np.testing.assert_allclose(
        bent.inverse_transform(Z), affine.inverse_transform(before), atol=1e-5
    )
    kurtosis = [np.abs((scale(z) ** 4).mean(axis=0) - 3).mean() for z in (Z, before)]
    # Of 540 Gaussian rows it would be 0.17.
    assert kurtosis[0] <= 0.7 * kurtosis[1]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(bent)).transform(test), Z)
    np.testing.assert_array_equal(clone(bent).fit(train).transform(test), Z)
    assert bent.sample(3, random_state=0).shape == (3, 64)
    bent.partial_fit(train)
    assert np.isfinite(bent.transform(test)).all()


def test_random_state_determines_the_directions_of_gaussianization(digits):
    first, again, other = (
        GaussianEmbedder(4, calibration="gaussianize", max_iter=0, random_state=seed)
        .fit(digits[0])
        .transform(digits[1])
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


@pytest.fixture(scope="module")
def two_stages(digits):
    """A stochastic encoder with a nonlinear prior, and one with N(0, I)."""
    params = {"regularizer": "kl", "max_iter": 20, "random_state": 0, "target_mean": [1, 2, 3, 4]}
    return [
        GaussianEmbedder(4, calibration=calibration, **params).fit(digits[0])
        for calibration in ("gaussianize", "affine")
    ]


def test_noise_of_samples_is_true_or_false(digits):
    fitted = GaussianEmbedder(2, max_iter=0).fit(digits[0][:50])
    assert np.abs(fitted.sample(5, random_state=0, noise=np.False_)).max() > 0
    with pytest.raises(ValueError, match="noise must be True or False, got 'no'"):
        fitted.sample(noise="no")


def test_the_prior_of_a_stochastic_encoder_fits_its_draws(digits, two_stages):
    train, test, *_ = digits
    bent, affine = two_stages
    assert bent._model.prior.n_rounds_ >= 1
    assert isinstance(bent._model.calibration, AffineCalibration)
    # The means have the target's moments, and the draws are closer to N(0, I) than before.
    Z = bent.transform(train)
    np.testing.assert_allclose(Z.mean(axis=0), [1, 2, 3, 4], atol=1e-5)
    np.testing.assert_allclose(np.cov(Z.T), np.eye(4), atol=1e-5)
    mean, log_var = bent._model.encode(test)
    draws = mean + np.exp(log_var / 2) * np.random.default_rng(0).standard_normal(mean.shape)
    before, after = (
        epps_pulley_test(u, random_state=0).statistic
        for u in (draws, bent._model.prior.transform(draws))
    )
    assert after < 0.5 * before
    assert bent.score(test) > affine.score(test)
    # The networks are the same, and the maps are inverted.
    restored = [each.inverse_transform(each.transform(test)) for each in two_stages]
    np.testing.assert_allclose(*restored, atol=1e-5)


@pytest.mark.parametrize(("n", "n_draws"), [(1000, 4), (10_000, 1)])
def test_draws_of_the_encoder_have_its_mean_and_variance(n, n_draws):
    mean, log_var = np.full((n, 2), [1.0, -3.0]), np.full((n, 2), np.log([4.0, 0.25]))
    weight = np.arange(n) + 1.0
    draws, weights = _draws(mean, log_var, weight, seed=0)
    assert len(draws) == n_draws * n
    np.testing.assert_array_equal(weights, np.tile(weight, n_draws))
    error = 5 / np.sqrt(len(draws))
    np.testing.assert_allclose(draws.mean(axis=0), [1, -3], atol=2 * error)
    np.testing.assert_allclose(draws.std(axis=0), [2, 0.5], rtol=error)


def test_gaussianized_posterior_is_that_of_mapped_draws(digits, two_stages):
    X = digits[1][:5]
    bent, affine = two_stages
    mean, std, cov = bent.posterior(X)
    u, log_var = bent._model.encode(X)
    noise = np.random.default_rng(0).standard_normal((5000, 1, 4))
    z = bent._model.to_user((u + np.exp(log_var / 2) * noise).reshape(-1, 4)).reshape(-1, 5, 4)
    error = 5 * std / np.sqrt(len(z))  # and a tenth of a standard deviation, by the 128 draws
    assert (np.abs(mean - z.mean(axis=0)) < error + 0.1 * std).all()
    np.testing.assert_allclose(std, z.std(axis=0), rtol=0.15)
    np.testing.assert_allclose(std**2, np.diagonal(cov, axis1=1, axis2=2), rtol=1e-6)
    # Linear maps are exact: without rounds, the draws give the Gaussian posterior.
    linear = copy.deepcopy(affine)
    linear._model.prior = Gaussianization()
    linear._model.prior.fit(np.random.default_rng(0).standard_normal((50, 4)))
    assert linear._model.prior.n_rounds_ == 0
    inner = linear._model.prior.affine
    mean, _, drawn = linear.posterior(X)
    linear._model.prior, calibration = None, linear._model.calibration
    joined = AffineCalibration()
    joined.mean_ = inner.mean_ + calibration.mean_ @ inner.root_
    joined.inverse_root_ = inner.inverse_root_ @ calibration.inverse_root_
    root = linear._model.target.factor @ joined.inverse_root_.T
    expected = np.einsum("ij,nj,kj->nik", root, np.exp(log_var), root)
    np.testing.assert_allclose(drawn, expected, rtol=1e-4, atol=1e-8)
    z = linear._model.target.to_user((u - joined.mean_) @ joined.inverse_root_)
    np.testing.assert_allclose(mean, z, atol=1e-5)


def test_the_posterior_of_many_components_has_full_rank():
    X = np.random.default_rng(0).standard_normal((400, 135))
    params = {"regularizer": "kl", "calibration": "gaussianize", "hidden_layer_sizes": ()}
    fitted = GaussianEmbedder(130, max_iter=0, random_state=0, **params).fit(X)
    assert np.linalg.matrix_rank(fitted.posterior(X[:1]).cov) == 130


def test_partial_fit_keeps_the_prior_of_fit(digits):
    X = digits[0]
    fitted = GaussianEmbedder(
        8, regularizer="kl", calibration="gaussianize", max_iter=1, random_state=0
    ).fit(X)
    before = fitted._model.prior
    assert fitted.partial_fit(X[:100])._model.prior is before


# Errors and noise of a reconstruction


# Early stopping could return the start.
FEW = {"hidden_layer_sizes": (16,), "max_iter": 5, "early_stopping": False, "random_state": 0}


def test_an_error_receives_samples_in_the_units_of_X():
    seen = []

    def error(x_hat, x):
        seen.append((x_hat.numpy(), x.numpy()))
        return absolute(x_hat, x)

    X = DATA["wine"]
    GaussianEmbedder(2, task=Reconstruction(error), max_iter=0).fit(X)
    x_hat, x = seen[0]  # of the mean
    np.testing.assert_allclose(x, X)
    np.testing.assert_allclose(x_hat, np.broadcast_to(X.mean(axis=0), X.shape))


def test_noise_does_not_change_the_embedding():
    X = DATA["wine"]
    Z = GaussianEmbedder(2, **FEW).fit_transform(X)
    for noise in ("isotropic", "diagonal"):
        task = Reconstruction(noise=noise)
        np.testing.assert_array_equal(GaussianEmbedder(2, task=task, **FEW).fit_transform(X), Z)


@pytest.mark.parametrize("regularizer", ["moment", "kl"])
@pytest.mark.parametrize("error", ["weighted", absolute])
def test_units_of_X_do_not_matter_to_any_error(error, regularizer):
    X = scale(DATA["wine"])
    make = FEW | {"task": Reconstruction(error), "regularizer": regularizer}
    Z, other = (GaussianEmbedder(2, **make).fit_transform(x) for x in (X, 50 * X - 3))
    np.testing.assert_allclose(other, Z, atol=2e-3)


def test_weighted_errors_start_at_pca():
    X = DATA["wine"]
    Z, expected = (
        GaussianEmbedder(3, task=task, max_iter=0).fit_transform(X)
        for task in (Reconstruction("weighted"), "reconstruction")
    )
    np.testing.assert_array_equal(Z, expected)


def test_absolute_errors_ignore_outliers():
    # In one sample of 20 the last feature follows the factor; in the others it is noise.
    rng = np.random.default_rng(0)
    factor = rng.standard_normal((400, 1))
    X = factor @ [[3.0, 2, 1, 0]] + 0.1 * rng.standard_normal((400, 4))
    outliers = X.copy()
    outliers[::20, 3] += 8 * np.sign(factor[::20, 0])
    make = {"max_iter": 40, "learning_rate_init": 0.02, "hidden_layer_sizes": (), "random_state": 0}
    slopes = []
    for error in ("squared", absolute):
        embedder = GaussianEmbedder(1, task=Reconstruction(error), **make).fit(outliers)
        restored = embedder.inverse_transform(embedder.transform(X))
        slopes.append(np.polyfit(factor[:, 0], restored[:, 3], 1)[0])
    assert slopes[0] > 0.2
    assert abs(slopes[1]) < 0.1


def test_score_of_an_own_error_is_minus_its_mean():
    X, weight = scale(DATA["wine"]), np.arange(178.0)
    embedder = GaussianEmbedder(2, task=Reconstruction(absolute), **FEW).fit(X)
    losses = np.abs(X - embedder.inverse_transform(embedder.transform(X))).sum(axis=1)
    losses /= np.abs(X - X.mean(axis=0)).sum(axis=1).mean()
    assert embedder.score(X) == pytest.approx(-losses.mean(), rel=1e-5)
    expected = -np.average(losses, weights=weight)
    assert embedder.score(X, sample_weight=weight) == pytest.approx(expected, rel=1e-5)
    assert np.isfinite(embedder.score_samples(X)).all()
    again = pickle.loads(pickle.dumps(embedder))
    np.testing.assert_array_equal(again.transform(X), embedder.transform(X))


def test_an_error_cannot_change_between_fits_that_resume():
    X = DATA["wine"]
    embedder = GaussianEmbedder(2, task=Reconstruction(absolute), warm_start=True, **FEW).fit(X)
    embedder.fit(X).set_params(task=Reconstruction())
    with pytest.raises(ValueError, match=r"^error of Reconstruction cannot change"):
        embedder.fit(X)


def test_unknown_error_and_noise():
    for params in ({"error": "huber"}, {"noise": "full"}):
        with pytest.raises(ValueError, match=f"'{next(iter(params))}' parameter of Reconstruction"):
            GaussianEmbedder(2, task=Reconstruction(**params)).fit(DATA["wine"])
