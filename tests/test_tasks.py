import numpy as np
import pytest
import torch
from common import LABELS, WINE
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_linnerud
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression
from sklearn.metrics import log_loss, r2_score
from torch.testing import assert_close

from sklatent._start import PCAStart
from sklatent.tasks import Classification, FunctionTask, Reconstruction, Regression

N, P = WINE.shape


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def fitted(task, x=WINE, y=None, k=3, weight=None):
    pca = PCA(k, whiten=True).fit(x)
    return clone(task).fit(x, y, pca.transform(x), float(pca.noise_variance_), weight)


def mean_loss(task, output, y=None, weight=None, x=WINE):
    code = task.encode(y)
    y = None if code is None else torch.from_numpy(code)
    losses = task.loss(torch.from_numpy(x), None, torch.from_numpy(output), y)
    return np.average(losses.numpy(), weights=weight)


def distance(x, z, output, y):
    return (x[..., 0] - z[..., 0]).abs() + (output[..., 0] - y[..., 0]).square()


# Leading axes


@pytest.mark.parametrize(
    ("task", "y", "width"),
    [
        (Reconstruction(), None, P),
        (Reconstruction("weighted"), None, P),
        (Reconstruction(lambda x_hat, x: (x_hat - x).abs()), None, P),
        (Classification(), LABELS, 3),
        (Regression(), WINE[:, 0], 1),
        (Regression(), WINE[:, :2], 2),
        (FunctionTask(distance), WINE[:, :2], 2),
    ],
)
@pytest.mark.parametrize("models", [(3,), (2, 3)])
@pytest.mark.parametrize("shared", [True, False])
def test_leading_axes_equal_a_loop_over_models(task, y, width, models, shared):
    task = fitted(task, y=y)
    x = torch.from_numpy(WINE)
    y = None if y is None else torch.from_numpy(task.encode(y))
    if not shared:  # every model has rows of its own
        order = torch.from_numpy(
            np.random.default_rng(0).permuted(np.broadcast_to(np.arange(N), (*models, N)), axis=-1)
        )
        x, y = x[order], None if y is None else y[order]
    z = torch.from_numpy(normal(*models, N, 4)).requires_grad_()
    output = torch.from_numpy(normal(*models, N, width)).requires_grad_()
    losses = task.loss(x, z, output, y)
    assert losses.shape == (*models, N)
    losses.sin().sum().backward()

    for i in np.ndindex(models):
        z_i, output_i = (t.detach()[i].requires_grad_() for t in (z, output))
        rows = (x, y) if shared else (x[i], None if y is None else y[i])
        expected = task.loss(rows[0], z_i, output_i, rows[1])
        expected.sin().sum().backward()
        assert_close(losses[i], expected)
        assert_close(output.grad[i], output_i.grad)
        if z_i.grad is not None:
            assert_close(z.grad[i], z_i.grad)


# Reconstruction


def test_reconstruction_is_unexplained_share_of_variance():
    pca = PCA(3).fit(WINE)
    restored = pca.inverse_transform(pca.transform(WINE))
    r2 = r2_score(WINE, restored, multioutput="variance_weighted")
    assert mean_loss(fitted(Reconstruction()), restored) == pytest.approx(1 - r2, rel=1e-12)
    # The mean explains nothing.
    assert mean_loss(fitted(Reconstruction()), np.zeros((N, P))) == pytest.approx(1.0, rel=1e-12)


def test_reconstruction_in_nats_is_gaussian_with_the_residual_variance_of_pca():
    task, output = fitted(Reconstruction()), normal(N, P)
    sigma2 = PCA(3).fit(WINE).noise_variance_
    nats = np.square(WINE - output).sum(axis=1) / (2 * sigma2)
    assert mean_loss(task, output) * task.nats_ == pytest.approx(nats.mean(), rel=1e-10)


def squared(x_hat, x):
    return (x_hat - x).square()


@pytest.mark.parametrize("weight", [None, np.arange(1.0, N + 1)])
def test_squared_errors_of_ones_own_are_the_default(weight):
    x = WINE - np.average(WINE, axis=0, weights=weight)
    x /= np.sqrt(np.average(x**2, axis=0, weights=weight).mean())
    root = np.ones(N) if weight is None else np.sqrt(weight / weight.mean())
    _, _, axes = np.linalg.svd(root[:, None] * x, full_matrices=False)
    u = x @ axes[:3].T
    u /= np.sqrt(np.average(u**2, axis=0, weights=weight))
    share = 1 - np.linalg.norm((root[:, None] * u).T @ (root[:, None] * x) / N) ** 2 / P
    default = Reconstruction().fit(x, None, u, share * P / (P - 3), weight)
    task = Reconstruction(squared).fit(x, None, u, np.nan, weight)
    assert task.nats_ == pytest.approx(default.nats_, rel=1e-9)
    losses = [
        each.loss(torch.from_numpy(x), None, torch.from_numpy(normal(N, P)), None)
        for each in (task, default)
    ]
    assert_close(*losses)


@pytest.mark.parametrize("weight", [None, np.arange(1.0, 41.0)])
def test_squared_errors_of_ones_own_are_the_default_where_pca_explains_nearly_all(weight):
    # The whitened components have unit variance with the divisor n - 1.
    X = normal(40, 3) @ normal(3, 10, seed=1) + 1e-2 * normal(40, 10, seed=2)
    start = PCAStart.fit(X, weight, 3, None)
    x = start.standardize(X)
    u = x @ start.encoder_skip.T
    default, own = (
        task.fit(x, None, u, start.noise_variance, weight)
        for task in (Reconstruction(), Reconstruction(squared))
    )
    assert own.nats_ > 1e4
    assert own.nats_ == pytest.approx(default.nats_, rel=1e-6)


def test_weighted_errors_are_gaussian_with_the_best_noise_variance_of_each_feature():
    task, x = fitted(Reconstruction("weighted")), torch.from_numpy(WINE)
    output = torch.from_numpy(normal(N, P) * np.linspace(0.1, 2, P)).requires_grad_()
    loss = task.loss(x, None, output, None).mean()
    squares = (x - output).square().mean(dim=0)
    sigma = (squares + 1e-3).sqrt().detach()
    nats = -torch.distributions.Normal(output, sigma).log_prob(x).sum(dim=-1).mean()
    assert_close(loss * task.nats_ + P / 2 * np.log(2 * np.pi), nats)
    # The noise variance is at its minimum: its gradient adds nothing.
    best = 0.5 * (squares + 1e-3).log().mean()
    assert_close(*(torch.autograd.grad(value, output)[0] for value in (loss, best)))


def test_own_errors_are_in_the_units_of_X_and_the_mean_scores_one():
    seen = []

    def first(x_hat, x):
        seen.append((x_hat, x))
        return (x_hat - x)[..., 0].abs()

    task = Reconstruction(first)
    task.mean_, task.scale_ = np.arange(P), 2.0 + np.arange(P)
    task = task.fit(WINE, None, PCA(3, whiten=True).fit_transform(WINE), np.nan, None)
    output = torch.from_numpy(normal(2, N, P))
    losses = task.loss(torch.from_numpy(WINE), None, output, None)
    assert losses.shape == (2, N)
    x_hat, x = seen[-1]
    np.testing.assert_allclose(x, np.arange(P) + (2 + np.arange(P)) * WINE)
    np.testing.assert_allclose(x_hat, np.arange(P) + (2 + np.arange(P)) * output.numpy())
    assert mean_loss(task, np.zeros((N, P))) == pytest.approx(1)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (lambda x_hat, x: 0 * x, "positive mean if x_hat is the mean"),
        (lambda x_hat, x: x.mean(), r"of shape \(178,\), or .* \(178, 13\), got \(\)"),
        (lambda x_hat, x: 3.0, "got float"),
    ],
)
def test_an_error_that_is_none(error, message):
    with pytest.raises(ValueError, match=f"^error of Reconstruction must .*{message}"):
        fitted(Reconstruction(error))


def test_reconstruction_ignores_y():
    assert Reconstruction().encode(LABELS) is None


@pytest.mark.parametrize("noise_variance", [0.0, 1e-30])
def test_nats_are_finite_where_components_explain_everything(noise_variance):
    task = Reconstruction().fit(WINE, None, WINE, noise_variance, None)
    assert 0 < task.nats_ < np.inf


# Classification


@pytest.mark.parametrize("names", [None, ["barolo", "grignolino", "barbera"], [-7, 100, 3]])
def test_classification_is_log_loss_over_log_n_classes(names):
    y = LABELS if names is None else np.array(names)[LABELS]
    task, logits = fitted(Classification(), y=y), normal(N, 3)
    proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert list(task.classes_) == sorted(set(y.tolist()))
    assert task.out_features_ == 3
    assert task.nats_ == pytest.approx(np.log(3))
    expected = log_loss(y, proba, labels=task.classes_)
    assert mean_loss(task, logits, y) == pytest.approx(expected / np.log(3), rel=1e-12)
    np.testing.assert_allclose(task.predict_proba(logits), proba)
    np.testing.assert_array_equal(task.predict(logits), task.classes_[logits.argmax(axis=1)])


@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_uniform_guess_costs_one(n_classes):
    y = np.arange(N) % n_classes
    logits = np.full((N, n_classes), 5.0)
    assert mean_loss(fitted(Classification(), y=y), logits, y) == pytest.approx(1.0)


def test_extreme_logits_cost_finitely():
    task = fitted(Classification(), y=LABELS)
    logits = 1e4 * np.eye(3)[(LABELS + 1) % 3]  # certain, and wrong
    assert mean_loss(task, logits, LABELS) == pytest.approx(1e4 / np.log(3))


@pytest.mark.parametrize(
    ("known", "unknown"), [(["a", "b"], "zz"), (["b", "c"], "a"), ([1, 3], 2), ([1, 3], 9)]
)
def test_unknown_label_is_named(known, unknown):
    task = fitted(Classification(), x=WINE[:4], y=np.array(known * 2), k=2)
    np.testing.assert_array_equal(task.encode(np.array(known[::-1])), [1, 0])
    with pytest.raises(ValueError, match=f"^y has labels .*{unknown}"):
        task.encode(np.array([known[0], unknown]))


# Regression


@pytest.mark.parametrize("weight", [None, np.arange(1.0, 21.0)])
@pytest.mark.parametrize("columns", [0, [0], [0, 1, 2]])
def test_regression_is_one_minus_r2(columns, weight):
    x, y = load_linnerud(return_X_y=True)
    y = y[:, columns]
    task = fitted(Regression(), x, y, k=2, weight=weight)
    predicted = y + 10 * normal(*y.shape)
    output = task.encode(predicted)
    r2 = r2_score(y, predicted, sample_weight=weight)  # the uniform average of the outputs'
    assert mean_loss(task, output, y, weight, x) == pytest.approx(1 - r2, rel=1e-10)
    assert task.predict(output).shape == y.shape
    np.testing.assert_allclose(task.predict(output), predicted)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("q", [1, 2])
def test_regression_in_nats_is_gaussian_with_the_residual_variance_of_ols(q, weighted):
    x, y = load_diabetes(return_X_y=True)
    y = np.column_stack([y, x[:, 2] ** 2])[:, :q]
    weight = np.arange(1.0, len(y) + 1) if weighted else None
    task = fitted(Regression(), x, y, k=3, weight=weight)
    u = PCA(3, whiten=True).fit_transform(x)
    sigma2 = 1 - LinearRegression().fit(u, y, weight).score(u, y, weight)
    assert task.nats_ == pytest.approx(q / (2 * sigma2), rel=1e-8)


@pytest.mark.parametrize("constant", [7.0, 0.1, 1e9 / 3])
def test_constant_output_costs_nothing_when_met(constant):
    rounded = np.where(np.arange(N) % 2, constant, np.nextafter(constant, np.inf))
    y = np.column_stack([WINE[:, 0], rounded])
    task = fitted(Regression(), y=y)
    assert mean_loss(task, task.encode(y), y) == pytest.approx(0, abs=1e-20)
    np.testing.assert_allclose(task.predict(np.zeros((2, 2)))[:, 1], constant)
    # Half of the outputs' variance is there to explain, and the mean explains none of it.
    assert mean_loss(task, np.zeros((N, 2)), y) == pytest.approx(0.5)


def test_constant_output_is_constant_for_any_number_of_samples():
    # The mean of n equal numbers is rounded n times.
    y = np.column_stack([normal(5000), np.full(5000, 0.1)])
    task = fitted(Regression(), normal(5000, 3), y, k=2)
    assert np.abs(task.encode(y)[:, 1]).max() < 1e-10


@pytest.mark.parametrize("a", [1e-200, 1e-6, 1e6, 1e200])
def test_regression_loss_has_no_units(a):
    y = WINE[:, 0]
    output = normal(N, 1)
    task, scaled = fitted(Regression(), y=y), fitted(Regression(), y=a * (y + 3))
    expected = mean_loss(task, output, y)
    assert mean_loss(scaled, output, a * (y + 3)) == pytest.approx(expected, rel=1e-10)
    assert scaled.nats_ == pytest.approx(task.nats_, rel=1e-10)


# Functions


def test_function_task_is_the_function():
    task = FunctionTask(distance)
    x, z, output, y = (torch.from_numpy(normal(N, 2, seed=i)) for i in range(4))
    assert torch.equal(task.loss(x, z, output, y), distance(x, z, output, y))
    assert task.nats_ == 1
    assert task.out_features_ is None
    assert not task.standardized
    assert clone(task).function is distance


@pytest.mark.parametrize("task", [Classification, Regression])
def test_supervised_tasks_have_no_parameters(task):
    assert task().get_params() == {}
