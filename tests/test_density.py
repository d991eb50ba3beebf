"""The log-likelihood of the fitted model: closed forms, quadrature, invariances."""

import pickle
import tracemalloc
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from scipy.stats import f, multivariate_normal, multivariate_t
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.decomposition import PCA, FactorAnalysis

from sklatent import GaussianEmbedder, _density, _lazy
from sklatent._density import N_DRAWS, log_likelihood, standard_draws
from sklatent.tasks import Reconstruction

pytestmark = pytest.mark.filterwarnings(
    "ignore:Stochastic Optimizer:sklearn.exceptions.ConvergenceWarning"
)

WINE = load_wine().data[:, :6]
DATA = {
    "digits": load_digits().data,
    "breast_cancer": load_breast_cancer().data,
    "diabetes": load_diabetes().data,
    "wine": load_wine().data,
}
LINEAR = {"hidden_layer_sizes": (), "max_iter": 20, "random_state": 0}
BENT = {
    "hidden_layer_sizes": (16,),
    "learning_rate_init": 0.02,
    "reg_weight": 0.1,
    "max_iter": 60,
    "random_state": 0,
}


def curved(n, p, seed=0):
    """Samples near a bent sheet, unevenly spread over it."""
    rng = np.random.default_rng(seed)
    t = np.concatenate([rng.normal(-1, 0.3, n // 3), rng.normal(0.7, 0.5, n - n // 3)])
    s = rng.normal(0, 0.7, n)
    features = [t, t**2 + 0.3 * s, np.sin(2 * t) + s, t * s, s, np.cos(t)]
    return np.column_stack(features)[:, :p] * 3 + 5 + rng.normal(0, 0.4, (n, p))


def decoded(embedder, u):
    """Decode u ~ N(0, I) as `sample` does."""
    if embedder.regularizer == "kl":
        prior = embedder._model.prior
        u = u if prior is None else prior.inverse_transform(u)
        return embedder._start.unstandardize(embedder._model.decode(u))
    return embedder.inverse_transform(embedder._target.to_user(u))


def by_quadrature(embedder, X, n_points):
    """Integrate over a grid on [-7, 7]^k, evenly spaced: exact for what is smooth and decays."""
    line = np.linspace(-7, 7, n_points)
    k, p = embedder.n_components_, X.shape[1]
    grid = np.stack(np.meshgrid(*[line] * k), axis=-1).reshape(-1, k)
    noise = embedder.noise_variance_
    log_prior = -0.5 * np.square(grid).sum(axis=1) - 0.5 * k * np.log(2 * np.pi)
    log_prior += k * np.log(line[1] - line[0])
    decoded_grid = decoded(embedder, grid)
    return (
        np.array(
            [
                logsumexp(log_prior - 0.5 * (np.square(x - decoded_grid) / noise).sum(axis=1))
                for x in X
            ]
        )
        - 0.5 * np.log(2 * np.pi * np.broadcast_to(noise, p)).sum()
    )


# Linear decoders: x ~ N(m, V V^T + sigma^2 I) (Tipping & Bishop 1999)


@pytest.mark.parametrize("regularizer", ["moment", "kl"])
@pytest.mark.parametrize("calibration", ["affine", None])
@pytest.mark.parametrize("name", ["wine", "digits"])
def test_linear_decoder_is_gaussian(regularizer, calibration, name):
    X = DATA[name]
    target = {} if regularizer == "kl" else {"target_mean": [3, 0, 1], "target_cov": [4, 1, 9]}
    embedder = GaussianEmbedder(
        3, regularizer=regularizer, calibration=calibration, **target, **LINEAR
    ).fit(X)
    mean = decoded(embedder, np.zeros((1, 3)))
    directions = decoded(embedder, np.eye(3)) - mean
    cov = directions.T @ directions + embedder.noise_variance_ * np.eye(X.shape[1])
    value, effective = embedder.score_samples(X, return_effective_sample_size=True)
    np.testing.assert_allclose(value, multivariate_normal(mean[0], cov).logpdf(X), atol=1e-5)
    # A quarter of the draws is not from the posterior, and counts for a little.
    assert (effective > 0.75 * N_DRAWS).all()
    assert embedder.score(X) == pytest.approx(value.mean())


def test_no_iterations_is_probabilistic_pca():
    # The start decodes to V u with V V^T the variances that PCA explains. Probabilistic PCA takes
    # the noise out of those first: its model with the noise added again is the same.
    X = DATA["digits"][:500]
    embedder = GaussianEmbedder(8, task=Reconstruction(noise="isotropic"), max_iter=0).fit(X)
    pca = PCA(8).fit(X)
    pca.noise_variance_ = embedder.noise_variance_
    pca.explained_variance_ = pca.explained_variance_ + embedder.noise_variance_
    np.testing.assert_allclose(embedder.score_samples(X), pca.score_samples(X), atol=1e-5)


@pytest.mark.parametrize("error", ["squared", "weighted"])
def test_linear_decoder_is_factor_analysis(error):
    X = DATA["wine"]
    embedder = GaussianEmbedder(3, task=Reconstruction(error), **LINEAR).fit(X)
    mean = decoded(embedder, np.zeros((1, 3)))
    factors = FactorAnalysis(3).fit(X)
    factors.mean_, factors.components_ = mean[0], decoded(embedder, np.eye(3)) - mean
    factors.noise_variance_ = embedder.noise_variance_
    np.testing.assert_allclose(embedder.score_samples(X), factors.score_samples(X), atol=1e-5)


def test_weighted_errors_of_a_linear_model_are_factor_analysis():
    # The noisiest features hide the factors from principal component analysis.
    rng = np.random.default_rng(0)
    noise = np.tile([0.1, 0.2, 0.4, 2.0], 3)
    X = rng.standard_normal((2000, 2)) @ rng.standard_normal((2, 12))
    X += noise * rng.standard_normal(X.shape)
    train, test = X[:1000], X[1000:]
    linear = LINEAR | {"learning_rate_init": 0.01, "max_iter": 100}
    tasks = Reconstruction(noise="isotropic"), Reconstruction(), Reconstruction("weighted")
    models = [GaussianEmbedder(2, task=task, **linear).fit(train) for task in tasks]
    nats = [model.score(test) for model in models]
    factors = FactorAnalysis(2).fit(train).score(test)
    assert nats[0] + 1 < nats[1] < nats[2]
    assert nats[2] == pytest.approx(factors, abs=0.15)


@pytest.mark.parametrize("error", ["squared", "weighted"])
def test_a_constant_feature_can_vary_later(error):
    X = DATA["wine"] * 1.0
    X[:, 3] = 7
    embedder = GaussianEmbedder(3, task=Reconstruction(error), **LINEAR).fit(X)
    least, level = embedder.noise_variance_[3], embedder.noise_variance_.mean()
    # One sample more has residuals that are all equal to the mean.
    assert least == pytest.approx(level / (len(X) + 1), rel=1e-4)
    X[0, 3] += np.sqrt(level)
    nats = embedder.score_samples(X)
    assert np.isfinite(nats).all()
    assert nats[0] < nats[1:].min()


def test_as_many_components_as_features():
    X = DATA["diabetes"]
    embedder = GaussianEmbedder(10, max_iter=0).fit(X)
    # All is explained: what remains is the floor of the noise, a millionth of the variance.
    expected = multivariate_normal(X.mean(axis=0), np.cov(X.T)).logpdf(X)
    np.testing.assert_allclose(embedder.score_samples(X), expected, atol=0.02)


# Others


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize(
    ("regularizer", "calibration"),
    [
        ("moment", "affine"),
        ("moment", "gaussianize"),
        ("moment", None),
        ("kl", "affine"),
        ("kl", "gaussianize"),
    ],
)
def test_quadrature_agrees(k, regularizer, calibration):
    X = curved(600, 6)
    embedder = GaussianEmbedder(k, regularizer=regularizer, calibration=calibration, **BENT)
    embedder.fit(X)
    if calibration == "gaussianize":
        assert embedder._model._density_calibration.n_rounds_ >= 1
    X = X[::6]
    value = embedder.score_samples(X)
    expected = by_quadrature(embedder, X, 4001 if k == 1 else 161)
    # It is not linear: the decoder's tangent at the mode would not do.
    np.testing.assert_allclose(value, expected, atol=0.25)
    assert np.sqrt(np.square(value - expected).mean()) < 0.04
    assert value.mean() == pytest.approx(expected.mean(), abs=0.02)


@pytest.mark.parametrize("calibration", ["affine", "gaussianize"])
@pytest.mark.parametrize("regularizer", ["moment", "kl"])
@pytest.mark.filterwarnings("ignore:The log-likelihood of")
def test_density_integrates_to_one_and_samples_follow_it(regularizer, calibration):
    X = curved(600, 2)
    embedder = GaussianEmbedder(1, regularizer=regularizer, calibration=calibration, **BENT).fit(X)
    lines = [
        np.linspace(low - 4, high + 4, 64) for low, high in zip(X.min(0), X.max(0), strict=True)
    ]
    cell = np.prod([line[1] - line[0] for line in lines])
    log_p = embedder.score_samples(np.stack(np.meshgrid(*lines), axis=-1).reshape(-1, 2))
    p = np.exp(log_p) * cell
    assert p.sum() == pytest.approx(1, abs=0.005)
    entropy = -(p * log_p).sum()
    value = embedder.score_samples(embedder.sample(4000, random_state=0))
    assert value.mean() == pytest.approx(-entropy, abs=4 * value.std() / np.sqrt(len(value)))


@pytest.mark.parametrize("name", DATA)
def test_nothing_to_warn_of_in_ordinary_use(name):
    X = DATA[name]
    embedder = GaussianEmbedder(4, max_iter=40, random_state=0).fit(X[::2])
    value, effective = embedder.score_samples(X[1::2][:200], return_effective_sample_size=True)
    assert value.shape == effective.shape == (min(200, len(X) // 2),)
    assert (effective >= 1).all()
    # A good model of these is far from the mean's spherical Gaussian.
    scale2 = X[::2].var()
    sphere = multivariate_normal(X[::2].mean(axis=0), scale2 * np.eye(X.shape[1]))
    assert value.mean() > sphere.logpdf(X[1::2][:200]).mean()


@pytest.fixture(scope="module")
def bent():
    X = curved(400, 6)
    return GaussianEmbedder(2, **BENT).fit(X), X


@pytest.mark.parametrize(
    ("a", "b", "max_iter"), [(1e-3, 0, 0), (-50.0, 7.0, 0), (1e-3, 0, 5), (50.0, 7.0, 5)]
)
def test_units_add_their_logarithm(a, b, max_iter):
    params = BENT | {"max_iter": max_iter}
    X = curved(400, 6)
    value, other = (GaussianEmbedder(2, **params).fit(x).score_samples(x) for x in (X, a * X + b))
    # Training is in float32.
    np.testing.assert_allclose(other, value - 6 * np.log(abs(a)), atol=1e-2 if max_iter else 1e-6)


def test_always_the_same(bent):
    embedder, X = bent
    value = embedder.score_samples(X)
    state = torch.get_rng_state()
    assert value.dtype == np.float64
    np.testing.assert_array_equal(embedder.score_samples(X), value)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(embedder)).score_samples(X), value)
    np.testing.assert_array_equal(clone(embedder).fit(X).score_samples(X), value)
    assert torch.equal(torch.get_rng_state(), state)


def test_each_row_is_scored_on_its_own(bent):
    embedder, X = bent
    value = embedder.score_samples(X)
    np.testing.assert_allclose(embedder.score_samples(X[5:8]), value[5:8], atol=1e-8)
    np.testing.assert_allclose(embedder.score_samples(X[::-1])[::-1], value, atol=1e-8)


def test_nothing_of_the_estimator_changes(bent):
    embedder, X = bent
    before = pickle.dumps(embedder.net_.module_.state_dict())
    Z = embedder.transform(X)
    embedder.score_samples(X)
    assert pickle.dumps(embedder.net_.module_.state_dict()) == before
    assert not embedder.net_.module_.training
    np.testing.assert_array_equal(embedder.transform(X), Z)
    assert all(
        p.grad is None or not p.grad.any() for p in embedder._model._module(np.float64).parameters()
    )


def test_float32_rows_are_scored_in_float64(bent):
    embedder, X = bent
    value = embedder.score_samples(X.astype(np.float32))
    assert value.dtype == np.float64
    np.testing.assert_array_equal(
        value, embedder.score_samples(X.astype(np.float32).astype(np.float64))
    )


def test_score_is_the_weighted_mean(bent):
    embedder, X = bent
    value, weight = embedder.score_samples(X), np.arange(len(X))
    assert isinstance(embedder.score(X), float)
    assert embedder.score(X) == pytest.approx(value.mean())
    assert embedder.score(X, sample_weight=weight) == pytest.approx(
        np.average(value, weights=weight)
    )
    with pytest.raises(ValueError, match="sample_weight"):
        embedder.score(X, sample_weight=weight[1:])


def test_rows_far_from_anything_are_finitely_unlikely_and_warned_of(bent):
    embedder, X = bent
    for distance in (1e2, 1e6, 1e12, 1e100):
        far = X + distance * np.random.default_rng(0).standard_normal(X.shape)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            value, effective = embedder.score_samples(far, return_effective_sample_size=True)
        assert np.isfinite(value).all()
        assert value.max() < embedder.score_samples(X).min()
        assert (effective >= 1).all()
    with pytest.warns(UserWarning, match=r"The log-likelihood of \d+% of the samples is a rough"):
        embedder.score_samples(far)


@pytest.mark.parametrize(("n_far", "warns"), [(20, False), (80, True)])
def test_more_than_a_tenth_of_rough_estimates_are_warned_of(bent, n_far, warns):
    embedder, X = bent
    mixed = X.copy()
    mixed[:n_far] += 1e12 * np.random.default_rng(0).standard_normal((n_far, X.shape[1]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _, effective = embedder.score_samples(mixed, return_effective_sample_size=True)
    assert (effective < 5).sum() == pytest.approx(n_far, abs=4)
    assert len(caught) == warns


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("calibration", ["affine", "gaussianize"])
@pytest.mark.parametrize("regularizer", ["moment", "kl"])
def test_extreme_samples_have_no_density_and_change_no_other_sample(
    regularizer, calibration, dtype
):
    params = BENT | {"regularizer": regularizer, "calibration": calibration}
    embedder = GaussianEmbedder(2, **params).fit(WINE)
    rows, largest = WINE[:60].astype(dtype), np.finfo(dtype).max
    extreme, others = rows.copy(), np.r_[0, 6:60]
    extreme[1, 0], extreme[2, 3], extreme[3], extreme[4] = (
        np.sqrt(largest),
        -largest,
        largest,
        -largest,
    )
    extreme[5, ::2], extreme[5, 1::2] = largest, -largest
    # A warning about rough estimates is for more than a tenth of the samples.
    value = embedder.score_samples(extreme)
    assert_allclose(value[others], embedder.score_samples(rows)[others], rtol=1e-9)
    # The log-densities are about the squares, which are finite in float64 for a float32.
    if dtype == np.float64:
        assert_array_equal(value[1:6], -np.inf)
        assert_array_equal(embedder.score_samples(extreme[1:2]), -np.inf)
    else:
        assert ((-np.inf < value[1:6]) & (value[1:6] < -largest / 1e4)).all()
    Z = embedder.transform(extreme)
    assert np.isfinite(Z).all()
    assert np.isfinite(embedder.transform(extreme[3:4])).all()
    assert_array_equal(Z[others], embedder.transform(rows)[others])
    for each in (Z, np.full((1, 2), largest), np.array([[-largest, largest]])):
        assert np.isfinite(embedder.inverse_transform(each)).all()
    if regularizer == "kl":
        assert all(np.isfinite(part).all() for part in embedder.posterior(extreme))


def test_only_reconstruction_has_a_likelihood():
    for task in ("classification", "regression", None):
        assert not hasattr(GaussianEmbedder(task=task), "score_samples")
    assert hasattr(GaussianEmbedder(), "score_samples")


def test_a_stream_has_a_likelihood_too(bent):
    _, X = bent
    embedder = GaussianEmbedder(2, **BENT).partial_fit(X[:200]).partial_fit(X[200:])
    assert np.isfinite(embedder.score(X))


# Decoders of the user's own


class Rounded(torch.autograd.Function):
    """Works in float32, and has no derivative of its own."""

    @staticmethod
    def forward(ctx, x):
        return x.float().tanh().to(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        return grad


class Own(torch.nn.Module):
    def __init__(self, k, p):
        super().__init__()
        self.first, self.last = torch.nn.Linear(k, 8), torch.nn.Linear(8, p)
        self.norm, self.dropout = torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.2)

    def forward(self, u):
        return self.last(self.dropout(Rounded.apply(self.norm(self.first(u)))))


def test_any_decoder_will_do():
    X = curved(400, 6)
    embedder = GaussianEmbedder(1, decoder=Own, **BENT).fit(X)
    value = embedder.score_samples(X[::8])
    np.testing.assert_allclose(value, by_quadrature(embedder, X[::8], 4001), atol=0.2)


# The core


def test_blocks_of_rows_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    weights, x, start = (
        torch.from_numpy(rng.standard_normal(shape)) for shape in [(5, 4), (50, 5), (50, 4)]
    )

    def score():
        return log_likelihood(3 * x, start, lambda u: 3 * torch.sin(u @ weights.mT))

    monkeypatch.setattr(_density, "ENOUGH", 20)  # for some of the rows, and not for all
    whole = score()
    monkeypatch.setattr(_density, "MAX_POINTS", 1)
    torch.testing.assert_close(score(), whole, atol=1e-8, rtol=1e-8)


def test_blocks_of_samples_need_little_memory(bent, monkeypatch):
    embedder, _ = bent
    X = embedder.sample(100_000, random_state=0)
    Z = embedder.transform(X)
    monkeypatch.setattr(_lazy, "CHUNK", 1000)
    calls = [
        lambda: embedder.sample(100_000, random_state=0),  # also holds the draws of u
        lambda: embedder.inverse_transform(Z),
        lambda: embedder.transform(X),
    ]
    for call in calls:
        tracemalloc.start()
        output = call()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 1.5 * output.nbytes
    assert_allclose(calls[0](), X, rtol=1e-12)


def test_rows_of_small_effective_sample_size_get_more_draws(monkeypatch):
    rng = np.random.default_rng(0)
    weights = torch.from_numpy(rng.standard_normal((5, 3)))

    def decode(u):
        return 3 * torch.sin(u @ weights.mT)

    x = decode(torch.from_numpy(rng.standard_normal((100, 3))))

    def score():
        return log_likelihood(x, torch.zeros(100, 3).to(x), decode)

    value, _ = score()
    monkeypatch.setattr(_density, "ENOUGH", 0)
    few, effective_of_few = score()
    low = effective_of_few < 16
    assert 0 < low.sum() < 100
    torch.testing.assert_close(value[~low], few[~low])
    monkeypatch.setattr(_density, "N_DRAWS", 2**15)
    many, _ = score()
    assert (value - many).abs().mean() < (few - many).abs().mean()


def test_a_posterior_with_two_modes_is_seen_whole():
    # x = u^2 + noise: u and -u are alike, and Gauss-Newton finds one of them. The prior's draws
    # find the other, unless it is too narrow for them.
    line = torch.linspace(-9, 9, 20001, dtype=torch.float64)
    x = torch.linspace(0.5, 4, 30, dtype=torch.float64)[:, None]
    log_p = -0.5 * (x - line**2) ** 2 - 0.5 * line**2 - np.log(2 * np.pi)
    expected = torch.logsumexp(log_p, dim=-1) + np.log(18 / 20000)
    value, _ = log_likelihood(x, x.sqrt(), torch.square)
    # Without the other, log 2 = 0.69 would be missing.
    torch.testing.assert_close(value, expected, atol=0.3, rtol=0)


def test_many_draws_find_a_posterior_with_tails_that_are_not_gaussian(monkeypatch):
    # The decoder is steep at the mode and flat elsewhere: all parts of the mixture count.
    monkeypatch.setattr(_density, "N_DRAWS", 2**14)

    def decode(u):
        return 500 * u / (1 + 100 * u.abs())

    line = torch.linspace(-9, 9, 180_001, dtype=torch.float64)
    x = torch.linspace(-5, 5, 11, dtype=torch.float64)[:, None]
    log_p = -0.5 * (x - decode(line)) ** 2 - 0.5 * line**2
    expected = torch.logsumexp(log_p, dim=-1) + np.log(1e-4 / (2 * np.pi))
    value, _ = log_likelihood(x, torch.zeros_like(x), decode)
    # Weights of a coefficient of variation of 3 would give a standard error of 0.023.
    torch.testing.assert_close(value, expected, atol=0.02, rtol=0)


def test_a_decoder_can_be_undefined_at_the_embedding():
    def decode(u):
        return 3 * torch.sqrt(6 - u)  # nan above 6

    x = decode(torch.linspace(-2, 2, 5, dtype=torch.float64)[:, None])
    defined, undefined = (
        log_likelihood(x, torch.full_like(x, start), decode)[0] for start in (0.0, 8.0)
    )
    torch.testing.assert_close(undefined, defined)


def test_a_line_is_exact():
    # The draws' share of the Gaussian's integral is divided out, whatever the draws.
    x = torch.linspace(-5, 5, 11, dtype=torch.float64)[:, None]
    value, _ = log_likelihood(x, torch.zeros_like(x), lambda u: 2 * u + 1)
    expected = multivariate_normal(1, 5).logpdf(x.numpy())
    np.testing.assert_allclose(value, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("k", [1, 8, 64])
def test_draws_fill_their_space(k):
    around, prior = standard_draws(1024, k)
    assert around.shape == (896, k)
    assert prior.shape == (128, k)
    normal = around[:768]
    # Of independent draws the mean would have the standard error 1 / sqrt(768) = 0.036.
    assert normal.mean(dim=0).abs().max() < 0.036
    np.testing.assert_allclose(normal.std(dim=0), 1, atol=0.05)
    assert torch.equal(around, standard_draws(1024, k).around)


@pytest.mark.parametrize("k", [1, 3])
def test_density_of_the_wide_draws(k):
    points = np.random.default_rng(0).standard_normal((10, k)) * 3
    squares = torch.from_numpy(np.square(points).sum(axis=1))
    shape = _density.T_SCALE**2 * np.eye(k)
    expected = multivariate_t(shape=shape, df=_density.T_DF).logpdf(points)
    np.testing.assert_allclose(_density._log_t(squares, k), expected, rtol=1e-12)
    draws = standard_draws(2**14, k).around[12288:].numpy()
    assert len(draws) == 2048
    median = np.median(np.square(draws).sum(axis=1) / k / _density.T_SCALE**2)
    assert median == pytest.approx(f.median(k, _density.T_DF), rel=0.05)
