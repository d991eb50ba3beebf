"""Sample weights: how often a row is drawn."""

import numpy as np
import pytest
import sklearn
import torch
from common import LABELS as y
from common import WINE as X
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline

from sklatent import GaussianEmbedder
from sklatent.regularizers import Regularizer
from sklatent.tasks import Task

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")

TASKS = ["reconstruction", "classification", "regression"]


def follow(x, z, output, y):
    return (z[..., 0] - y).square()


def embedder(**params):
    # With one batch per epoch, the start could be best.
    return GaussianEmbedder(3, **{"max_iter": 5, "batch_size": 16, "random_state": 0} | params)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("regularizer", ["moment", "kl"])
def test_equal_weights_are_none(task, regularizer):
    make = {"task": task, "regularizer": regularizer}
    plain = embedder(**make).fit(X, y).transform(X)
    for weight in (np.ones(len(X)), np.full(len(X), 0.1)):
        weighted = embedder(**make).fit(X, y, sample_weight=weight)
        np.testing.assert_array_equal(weighted.transform(X), plain)


@pytest.mark.parametrize("task", TASKS)
def test_rows_of_weight_zero_do_not_exist(task):
    rng = np.random.default_rng(0)
    weight = rng.integers(0, 3, size=len(X)).astype(float)
    kept = weight > 0
    less = embedder(task=task).fit(X[kept], y[kept], sample_weight=weight[kept])
    spoiled = np.where(kept[:, None], X, 1e9)
    more = embedder(task=task).fit(spoiled, y, sample_weight=weight)
    np.testing.assert_array_equal(more.transform(X), less.transform(X))


def test_scaling_the_weights_changes_nothing():
    weight = np.random.default_rng(0).exponential(size=len(X))

    def embedding(weight):
        return embedder(task="regression").fit(X, y, sample_weight=weight).transform(X)

    first = embedding(weight)
    # Powers of two scale without rounding.
    np.testing.assert_array_equal(embedding(4 * weight), first)
    for factor in (2.0**-1000, 2.0**1020):  # the sum of the latter is infinite
        np.testing.assert_array_equal(embedding(factor * weight), first)
    np.testing.assert_allclose(embedding(weight / 3), first, atol=1e-4)


def test_the_criterion_is_weighted():
    # Before the first epoch, the loss is computed for the samples set aside.
    heavy, seen = np.arange(len(X)) % 2, []

    def record(x, z, output, y):
        seen.append(y.numpy())
        return 0 * z.sum(-1)

    embedder(task=record, max_iter=0).fit(X, heavy, sample_weight=np.where(heavy, 1.0, 1e-9))
    assert len(seen[0]) == 18
    assert seen[0].all()


def test_the_start_and_the_calibration_are_weighted():
    weight = np.random.default_rng(0).exponential(size=len(X))
    fitted = embedder(max_iter=0).fit(X, sample_weight=weight)
    Z = fitted.transform(X)
    np.testing.assert_allclose(np.average(Z, axis=0, weights=weight), 0, atol=1e-10)
    n = len(X)
    # Weights that sum to n, and n - 1 for a divisor, as without weights.
    np.testing.assert_allclose(
        np.cov(Z.T, aweights=weight, ddof=0) * n / (n - 1), np.eye(3), atol=1e-8
    )


@pytest.mark.parametrize("calibration", ["affine", "gaussianize"])
@pytest.mark.parametrize("regularizer", ["moment", "kl"])
def test_every_calibration_is_weighted(regularizer, calibration):
    weight = np.where(y == 0, 10.0, 1.0)
    fitted = embedder(regularizer=regularizer, calibration=calibration, target_mean=[1, 2, 3])
    Z = fitted.fit(X, sample_weight=weight).transform(X)
    np.testing.assert_allclose(np.average(Z, axis=0, weights=weight), [1, 2, 3], atol=1e-5)


def test_the_prior_of_a_stochastic_encoder_is_weighted():
    # Decoded draws from the prior have the weighted mean of the samples.
    weight = np.where(y == 0, 20.0, 1.0)
    params = {"regularizer": "kl", "calibration": "gaussianize", "max_iter": 0}
    fitted = embedder(**params).fit(X, sample_weight=weight)
    mean = fitted.sample(20_000, random_state=0, noise=False).mean(axis=0)
    expected = np.average(X, axis=0, weights=weight)
    assert np.abs(X.mean(axis=0) - expected).max() > 0.5
    np.testing.assert_allclose(mean, expected, atol=0.1)


def test_weights_are_worth_repetitions():
    # In place of scikit-learn's check for equality, which random batches cannot pass. A linear
    # autoencoder that starts at random ends at the principal subspace (Baldi & Hornik 1989) of
    # the weighted rows: over seeds it explains as much of the repeated rows, to 1 %, as one
    # fitted to those, and far more than one fitted without weights.
    X, y = load_digits(return_X_y=True)
    X, y = X[:400] / 16, y[:400]
    weight = np.where(y < 3, 9, 1)
    repeated = np.repeat(X, weight, axis=0)

    def r2(rows, weight, seed):
        fitted = embedder(
            init="random",
            regularizer=None,
            hidden_layer_sizes=(),
            learning_rate_init=3e-3,
            batch_size=len(rows) // 4,
            max_iter=150,
            tol=0,
            n_iter_no_change=1000,
            early_stopping=False,
            random_state=seed,
        ).fit(rows, sample_weight=weight)
        restored = fitted.inverse_transform(fitted.transform(repeated))
        return r2_score(repeated, restored, multioutput="variance_weighted")

    runs = ((X, weight), (repeated, None), (X, None))
    scores = [r2(rows, w, seed) for seed in range(3) for rows, w in runs]
    weighted, repetitions, unweighted = np.reshape(scores, (3, 3)).mean(axis=0)
    assert weighted == pytest.approx(repetitions, abs=0.01)
    assert unweighted < repetitions - 0.05


def test_a_heavy_row_is_learned():
    # One row of noise among digits, worth as much as all others together, is reconstructed.
    X, _ = load_digits(return_X_y=True)
    X = X[:200] / 16
    X[0] = np.random.default_rng(0).uniform(size=64)
    weight = np.ones(len(X))
    weight[0] = len(X)
    errors = [
        np.square(fitted.inverse_transform(fitted.transform(X[:1])) - X[:1]).sum()
        for fitted in (
            embedder(max_iter=50, early_stopping=False).fit(X, sample_weight=w)
            for w in (weight, None)
        )
    ]
    assert errors[0] < 0.1 * errors[1]


def test_weights_are_routed():
    weight = np.random.default_rng(0).exponential(size=len(X))
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(
            embedder().set_fit_request(sample_weight=True),
            LogisticRegression().set_fit_request(sample_weight=False),
        ).fit(X, y, sample_weight=weight)
    expected = embedder().fit(X, sample_weight=weight).transform(X)
    np.testing.assert_array_equal(pipeline[0].transform(X), expected)


def label(x, z, output, y):
    return y + 0 * z.sum(-1)


class Label(Task):
    def loss(self, x, z, output, y):
        return label(x, z, output, y)


@pytest.mark.parametrize("task", [label, Label()])
def test_own_losses_are_averaged_with_weights(task):
    fitted = embedder(task=task, max_iter=0).fit(X, y)
    means = {(1, 3): 7.5, (0.25, 0.75): 7.5, (0, 1): 10, (7, 0): 0, (2, 2): 5}
    for weight, mean in means.items():
        assert fitted.score(X[:2], [0, 10], sample_weight=weight) == -mean
    assert fitted.score(X[:2], [0, 10]) == -5


@pytest.mark.parametrize("task", [*TASKS, follow])
def test_a_weight_scores_as_repetitions_do(task):
    fitted = embedder(task=task, max_iter=0).fit(X, y)
    weight = np.random.default_rng(0).integers(0, 4, size=len(X))
    repeated = fitted.score(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    assert fitted.score(X, y, sample_weight=weight) == pytest.approx(repeated, rel=1e-6)


class SecondMoment(Regularizer):
    def __call__(self, embedding, n_rows=float("inf"), generator=None):
        return embedding.sample[..., 0].square().mean(-1)


@pytest.mark.filterwarnings("ignore:task=None trains")
def test_without_a_task_samples_are_repeated_in_proportion_to_their_weights():
    fitted = embedder(task=None, regularizer=SecondMoment(), calibration=None, max_iter=0).fit(X)
    value = np.square(fitted.transform(X)[:, 0])
    kept = value > np.quantile(value, 0.8)
    weight = np.where(kept, 9.0, 1.0)
    score = fitted.score(X, sample_weight=weight)
    assert fitted.score(X, sample_weight=5 * weight) == score
    share = weight / weight.mean()
    low, high = ((rounded(share) * value).mean() for rounded in (np.floor, np.ceil))
    assert value.mean() < low <= -score <= high
    assert fitted.score(X, sample_weight=kept) == fitted.score(X[kept])


def test_the_noise_variance_is_weighted():
    weight = np.random.default_rng(0).integers(1, 5, size=len(X))
    make = {"max_iter": 0, "early_stopping": False}
    repeated = embedder(**make).fit(np.repeat(X, weight, axis=0))
    weighted = embedder(**make).fit(X, sample_weight=weight)
    noise, expected = weighted.noise_variance_, repeated.noise_variance_
    assert noise.mean() == pytest.approx(expected.mean(), rel=1e-6)
    # The mean stands for one sample more of each.
    np.testing.assert_allclose(noise, expected, rtol=0, atol=2 * expected.mean() / len(X))
    # On the samples set aside too: those off a plane of 3 dimensions have a millionth of the rest.
    weight = np.where(np.arange(len(X)) % 2, 1.0, 1e-6)
    pca = PCA(3).fit(X)
    rows = np.where(weight[:, None] == 1, pca.inverse_transform(pca.transform(X)), X)
    plain, weighted = (embedder(max_iter=0).fit(rows, sample_weight=w) for w in (None, weight))
    assert weighted.noise_variance_.mean() < 1e-5 * plain.noise_variance_.mean()


def test_an_untrained_regression_predicts_the_weighted_mean():
    weight = np.random.default_rng(0).exponential(size=len(X))
    fitted = embedder(task="regression", max_iter=0).fit(X, X[:, 0] + y, sample_weight=weight)
    np.testing.assert_allclose(fitted.predict(X), np.average(X[:, 0] + y, weights=weight))


def in_place(in_features, out_features):
    """Return an encoder whose means are the standardized features; its variances are one."""
    encoder = torch.nn.Linear(in_features, out_features)
    torch.nn.init.eye_(encoder.weight)
    torch.nn.init.zeros_(encoder.bias)
    return encoder


def test_active_components_are_counted_with_weights():
    # The first feature takes two values. Half of the samples have one, and almost no weight.
    rows = np.random.default_rng(0).normal(size=(200, 2))
    rows[:, 0] = np.arange(200) % 2
    weight = np.where(rows[:, 0] == 1, 1e-4, 1)
    make = {"regularizer": "kl", "max_iter": 0, "init": "random", "encoder": in_place}
    counts = [
        GaussianEmbedder(2, **make).fit(rows, sample_weight=w).n_active_components_
        for w in (None, weight)
    ]
    assert counts == [2, 1]


def test_the_calibration_of_a_stream_is_weighted():
    weight = np.random.default_rng(0).exponential(size=len(X))
    streamed = embedder()
    for part in np.array_split(np.arange(len(X)), 2):
        streamed.partial_fit(X[part], sample_weight=weight[part])
        weight[part] /= weight[part].mean()  # relative to the others of a call
    Z = streamed.transform(X)
    # What is kept of a stream is in single precision.
    np.testing.assert_allclose(np.average(Z, axis=0, weights=weight), 0, atol=1e-5)
    cov = np.cov(Z.T, aweights=weight, ddof=0) * len(X) / (len(X) - 1)
    np.testing.assert_allclose(cov, np.eye(3), atol=1e-5)


def test_weights_of_a_stream():
    weight = np.random.default_rng(0).exponential(size=len(X))
    first = embedder().partial_fit(X, sample_weight=weight)
    again = embedder().partial_fit(X, sample_weight=2 * weight)
    np.testing.assert_array_equal(first.transform(X), again.transform(X))
    with pytest.raises(ValueError, match="ample weights"):
        first.partial_fit(X, sample_weight=np.zeros(len(X)))
