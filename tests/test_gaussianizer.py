"""Gaussianizer: a density, an invertible map, and a transformer like scikit-learn's."""

import pickle
import tracemalloc

import numpy as np
import polars as pl
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import trapezoid
from scipy.sparse import csr_array
from scipy.stats import ks_2samp, multivariate_normal, norm
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_wine, make_moons
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PowerTransformer, QuantileTransformer

from sklatent import Gaussianizer, OutlierDetector, _gaussianizer
from sklatent.metrics import epps_pulley_test


def moons(n, seed):
    return make_moons(n, noise=0.1, random_state=seed)[0]


def ring(n, seed):
    rng = np.random.default_rng(seed)
    angle, radius = rng.uniform(0, 2 * np.pi, n), rng.normal(1, 0.1, n)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def skewed(n, seed, k=3):
    rng = np.random.default_rng(seed)
    return rng.exponential(size=(n, k)) @ np.random.default_rng(9).standard_normal((k, k))


# Features of unlike units, correlated, not Gaussian.
WINE = load_wine().data[:, :6]


@pytest.fixture(scope="module")
def on_moons():
    return Gaussianizer(random_state=0).fit(moons(2000, 0))


@pytest.fixture(scope="module", params=["moons", "skewed", "wine"])
def fitted(request):
    X = {"moons": moons(1000, 0), "skewed": skewed(1000, 0), "wine": np.tile(WINE, (3, 1))}
    X = X[request.param]
    gaussianizer = Gaussianizer(random_state=0).fit(X)
    assert gaussianizer.n_rounds_ >= 1
    return X, gaussianizer


# The density


@pytest.mark.parametrize("wrong", [(10, 10), (100, 1e4), (0, -1e300)])
@pytest.mark.parametrize("seed", range(3))
def test_one_wrong_sample_does_not_change_the_density(seed, wrong):
    X, test = moons(500, seed), moons(1000, seed + 100)
    expected = Gaussianizer(random_state=seed).fit(X).score(test)
    score = Gaussianizer(random_state=seed).fit([*X, wrong]).score(test)
    assert score == pytest.approx(expected, abs=0.1)


def test_one_held_out_sample_does_not_choose_the_rounds():
    # By the plain mean of the gains, three rounds are best, and the score is 28.9.
    X = load_breast_cancer().data[np.random.default_rng(3).permutation(569)]
    assert Gaussianizer(random_state=3).fit(X[:284]).score(X[284:]) > 31


@pytest.mark.parametrize("factor", [1e170, 1e-170])
def test_units_of_any_size(factor):
    X = moons(500, 0)
    small, large = (Gaussianizer(random_state=0).fit(each) for each in (X, factor * X))
    assert_allclose(large.transform(factor * X), small.transform(X), atol=1e-6)
    shift = -2 * np.log(factor)
    assert_allclose(large.score_samples(factor * X), small.score_samples(X) + shift, atol=1e-6)
    assert_allclose(large.inverse_transform(large.transform(factor * X)) / factor, X, atol=1e-9)


def test_density_is_the_change_of_variables(fitted):
    X, gaussianizer = fitted
    X, p, std = X[:40], X.shape[1], X.std(axis=0)
    steps = 1e-5 * np.diag(std)
    columns = [
        (gaussianizer.transform(X + step) - gaussianizer.transform(X - step)) / (2e-5 * s)
        for step, s in zip(steps, std, strict=True)
    ]
    expected = np.linalg.slogdet(np.stack(columns, axis=-1))[1]
    expected += norm.logpdf(gaussianizer.transform(X)).sum(axis=1)
    assert columns[0].shape == (40, p)
    # The second derivative of the map jumps at knots, so a difference there is off by its step.
    assert_allclose(gaussianizer.score_samples(X), expected, atol=1e-4)


@pytest.fixture(scope="module")
def integrate(on_moons):
    """Integrate a function of the log-density over the plane."""
    x, y = np.linspace(-4, 5, 241), np.linspace(-3.5, 4, 201)
    grid = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1)
    value = on_moons.score_samples(grid.reshape(-1, 2)).reshape(grid.shape[:2])
    return lambda function: trapezoid(trapezoid(function(value), y), x)


def test_density_integrates_to_one(integrate):
    assert integrate(np.exp) == pytest.approx(1, abs=1e-3)


def test_score_is_the_mean_log_density(on_moons):
    X, weight = moons(100, 1), np.random.default_rng(0).exponential(size=100)
    value = on_moons.score_samples(X)
    assert on_moons.score(X) == pytest.approx(value.mean())
    assert on_moons.score(X, sample_weight=weight) == pytest.approx(weight @ value / weight.sum())


def test_gaussian_samples_get_the_density_of_a_gaussian():
    cov = np.array([[4, 1.5], [1.5, 1]])
    X = np.random.default_rng(0).multivariate_normal([3, -2], cov, size=2000)
    gaussianizer = Gaussianizer(random_state=0).fit(X)
    assert gaussianizer.n_rounds_ == 0
    expected = multivariate_normal(X.mean(axis=0), np.cov(X.T)).logpdf(X)
    assert_allclose(gaussianizer.score_samples(X), expected, atol=1e-9)


def test_samples_have_the_fitted_density(on_moons, integrate):
    # E log p over samples of p is minus its entropy, which a grid gives too.
    expected = integrate(lambda value: np.exp(value) * value)
    drawn = on_moons.score_samples(on_moons.sample(10_000, random_state=0))
    assert abs(drawn.mean() - expected) < 4 * drawn.std() / np.sqrt(len(drawn))


def test_samples_resemble_held_out_data(on_moons):
    drawn, held_out = on_moons.sample(5000, random_state=0), moons(5000, 1)
    assert_allclose(drawn.mean(axis=0), held_out.mean(axis=0), atol=0.1)
    assert_allclose(np.cov(drawn.T), np.cov(held_out.T), atol=0.1)
    # Moons are far from Gaussian in the distribution functions along some of these directions.
    directions = np.array([[1, 0, 1, 1], [0, 1, 1, -1]])
    gaussian = np.random.default_rng(0).multivariate_normal(
        held_out.mean(axis=0), np.cov(held_out.T), size=5000
    )
    truth = np.sort(held_out @ directions, axis=0)

    def largest_difference(rows):
        distances = [
            ks_2samp(*pair).statistic for pair in zip((rows @ directions).T, truth.T, strict=True)
        ]
        return max(distances)

    assert largest_difference(drawn) < 0.7 * largest_difference(gaussian)


def test_density_beats_a_gaussian_on_held_out_moons(on_moons):
    train, test = moons(2000, 0), moons(2000, 1)
    gaussian = multivariate_normal(train.mean(axis=0), np.cov(train.T)).logpdf(test).mean()
    assert on_moons.score(test) > gaussian + 0.3


# Units


def test_shifts_and_positive_scales_of_features_change_nothing_but_units():
    X, scales = skewed(1000, 0), np.array([1e-6, 3.0, 1e8])
    first = Gaussianizer(random_state=0).fit(X)
    moved = X * scales + scales * [5, -2, 1]
    second = Gaussianizer(random_state=0).fit(moved)
    assert_allclose(second.transform(moved), first.transform(X), atol=1e-7)
    expected = first.score_samples(X) - np.log(scales).sum()
    assert_allclose(second.score_samples(moved), expected, atol=1e-6)


def test_affine_maps_of_gaussian_samples_change_the_density_by_the_determinant():
    X = np.random.default_rng(0).standard_normal((500, 3))
    matrix = np.array([[0, -2.0, 1], [1, 1, 0], [3, 0, -1]])
    first, second = (Gaussianizer(random_state=0).fit(rows) for rows in (X, X @ matrix))
    assert first.n_rounds_ == second.n_rounds_ == 0
    expected = first.score_samples(X) - np.linalg.slogdet(matrix)[1]
    assert_allclose(second.score_samples(X @ matrix), expected, atol=1e-9)
    # The outputs are rotations of each other.
    assert_allclose(
        *(
            np.linalg.norm(g.transform(rows), axis=1)
            for g, rows in [(first, X), (second, X @ matrix)]
        ),
        atol=1e-9,
    )


def test_rotations_give_another_estimate_of_the_same_density():
    train, test = moons(2000, 0), moons(2000, 1)
    cos, sin = np.cos(0.7), np.sin(0.7)
    rotation = np.array([[cos, -sin], [sin, cos]])
    first = Gaussianizer(random_state=0).fit(train).score(test)
    second = Gaussianizer(random_state=0).fit(train @ rotation).score(test @ rotation)
    assert first != second
    # A Gaussian is lower by 0.3 or more (above).
    assert second == pytest.approx(first, abs=0.1)


def test_components_correspond_to_features():
    X = WINE
    gaussianizer = Gaussianizer(random_state=0).fit(X)
    correlation = np.corrcoef(X.T, gaussianizer.transform(X).T)[:6, 6:]
    assert_array_equal(np.abs(correlation).argmax(axis=0), np.arange(6))
    assert (correlation.diagonal() > 0.7).all()


# The inverse


def test_inverse_transform_undoes_transform(fitted):
    X, gaussianizer = fitted
    far = X.mean(axis=0) + 5 * (X - X.mean(axis=0))
    for rows in (X, far):
        restored = gaussianizer.inverse_transform(gaussianizer.transform(rows))
        assert_allclose((restored - rows) / X.std(axis=0), 0, atol=1e-6)


def test_transform_undoes_inverse_transform(on_moons):
    Z = np.random.default_rng(0).standard_normal((500, 2))
    assert_allclose(on_moons.transform(on_moons.inverse_transform(Z)), Z, atol=1e-6)


def test_sample_is_the_inverse_of_gaussian_draws(on_moons):
    Z = np.random.RandomState(3).standard_normal((10, 2))
    assert_allclose(on_moons.sample(10, random_state=3), on_moons.inverse_transform(Z), atol=1e-12)
    assert on_moons.sample().shape == (1, 2)
    with pytest.raises(ValueError, match="n_samples must be an integer of at least 1, got 0"):
        on_moons.sample(0)


def test_float32_stays_float32(on_moons):
    X = moons(500, 1).astype(np.float32)
    Z = on_moons.transform(X)
    assert Z.dtype == on_moons.inverse_transform(Z).dtype == np.float32
    assert on_moons.score_samples(X).dtype == np.float64
    assert_allclose(Z, on_moons.transform(X.astype(np.float64)), atol=1e-5)
    # The bound on the slopes allows 1e5 eps (1 + |z|) standard deviations.
    assert_allclose(on_moons.inverse_transform(Z), X, atol=0.05)
    assert np.median(np.abs(on_moons.inverse_transform(Z) - X)) < 1e-5


# How Gaussian


@pytest.mark.parametrize("data", [moons, ring])
def test_held_out_samples_are_more_gaussian_than_with_maps_of_single_features(data):
    train, test = data(2000, 0), data(2000, 1)

    def statistic(transformer):
        z = transformer.fit(train).transform(test)
        result = epps_pulley_test(z, n_slices=64, random_state=0)
        return result.statistic / result.expected

    others = [PowerTransformer(), QuantileTransformer(output_distribution="normal")]
    # Draws from N(0, I) have 1 in expectation.
    assert 5 * statistic(Gaussianizer(random_state=0)) < min(map(statistic, others))


def test_training_samples_have_mean_zero_and_covariance_one(fitted):
    X, gaussianizer = fitted
    Z = gaussianizer.transform(X)
    assert_allclose(Z.mean(axis=0), 0, atol=1e-9)
    assert_allclose(np.cov(Z.T), np.eye(X.shape[1]), atol=1e-9)


# Weights


def test_samples_of_weight_zero_do_not_exist():
    X, weight = moons(400, 0), np.random.default_rng(0).integers(0, 3, 400).astype(float)
    kept = weight > 0
    less = Gaussianizer(random_state=0).fit(X[kept], sample_weight=weight[kept])
    spoiled = np.where(kept[:, None], X, 1e9)
    more = Gaussianizer(random_state=0).fit(spoiled, sample_weight=weight)
    assert_array_equal(more.transform(X), less.transform(X))


def test_equal_weights_are_none_and_their_scale_does_not_matter():
    X, weight = moons(400, 0), np.random.default_rng(0).exponential(size=400)

    def transformed(weight):
        return Gaussianizer(random_state=0).fit(X, sample_weight=weight).transform(X)

    assert_array_equal(transformed(np.full(400, 0.1)), transformed(None))
    assert_allclose(transformed(3 * weight), transformed(weight), atol=1e-8)


def test_weights_are_worth_repetitions():
    train, test = moons(2000, 0), moons(4000, 1)
    weights = [np.where(rows[:, 1] > 0.25, 4, 1) for rows in (train, test)]
    weighted = Gaussianizer(random_state=0).fit(train, sample_weight=weights[0])
    repeated = Gaussianizer(random_state=0).fit(np.repeat(train, weights[0], axis=0))
    unweighted = Gaussianizer(random_state=0).fit(train)
    first, second, third = (
        g.score(test, sample_weight=weights[1]) for g in (weighted, repeated, unweighted)
    )
    assert first == pytest.approx(second, abs=0.1)
    assert third < first - 0.15


def test_weights_are_routed():
    X, y = load_wine(return_X_y=True)
    X, weight = X[:, :3], np.random.default_rng(0).exponential(size=len(y))
    gaussianizer = Gaussianizer(random_state=0)
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(
            clone(gaussianizer).set_fit_request(sample_weight=True),
            LogisticRegression().set_fit_request(sample_weight=False),
        ).fit(X, y, sample_weight=weight)
    expected = gaussianizer.fit(X, sample_weight=weight).transform(X)
    assert_array_equal(pipeline[0].transform(X), expected)


# Degenerate data


def test_constant_features_become_zero_and_return():
    X = np.insert(moons(500, 0), [0, 2], [0.1, 1e9], axis=1)
    gaussianizer, without = (Gaussianizer(random_state=0).fit(rows) for rows in (X, X[:, 1:3]))
    Z = gaussianizer.transform(X)
    assert_array_equal(Z[:, [0, 3]], 0)
    assert_allclose(np.cov(Z[:, 1:3].T), np.eye(2), atol=1e-9)
    restored = gaussianizer.inverse_transform(Z)
    assert_array_equal(restored[:, [0, 3]], X[:, [0, 3]])
    assert_allclose(restored, X, atol=1e-6)
    # The density is that of the other features; the directions are others.
    test = np.insert(moons(500, 1), [0, 2], [0.1, 1e9], axis=1)
    assert gaussianizer.score(test) == pytest.approx(without.score(test[:, 1:3]), abs=0.1)
    # Another value of the constant has no density. It stays in its units, and returns.
    step = np.array([2.0, 0, 0, 0])
    other = X[:1] + step
    assert gaussianizer.score_samples(other) == -np.inf
    assert_allclose(gaussianizer.transform(other), Z[:1] + step, atol=1e-12)
    assert_allclose(gaussianizer.inverse_transform(gaussianizer.transform(other)), other)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_collinear_features(dtype):
    base = skewed(1000, 0, 2)
    mix = np.array([[1, 0, 2.0], [0, 1, -3]])
    X = (base @ mix + [0, 10, 1000]).astype(dtype)
    gaussianizer = Gaussianizer(random_state=0).fit(X)
    assert gaussianizer.n_rounds_ >= 1
    Z = gaussianizer.transform(X)
    assert_allclose(np.linalg.eigvalsh(np.cov(Z.T)), [0, 1, 1], atol=1e-5)
    rtol = 1e-9 if dtype == np.float64 else 1e-4
    assert_allclose(gaussianizer.inverse_transform(Z), X, rtol=rtol, atol=rtol)
    aside = X + np.array([0, 0, 1], dtype)
    assert (gaussianizer.score_samples(aside) == -np.inf).all()
    restored = gaussianizer.inverse_transform(gaussianizer.transform(aside))
    assert_allclose(restored, aside, rtol=rtol, atol=rtol)
    drawn = gaussianizer.sample(100, random_state=0)
    assert_allclose(drawn - [0, 10, 1000], (drawn[:, :2] - [0, 10]) @ mix, atol=1e-3)
    assert np.isfinite(gaussianizer.score_samples(drawn.astype(dtype))).all()
    # The same samples in either type are in the subspace, up to rounding.
    for other in (np.float32, np.float64):
        assert np.isfinite(gaussianizer.score_samples(X.astype(other))).all()


def test_features_that_vary_by_rounding_are_constant():
    rng = np.random.default_rng(0)
    noise = np.where(rng.random(500) < 0.5, 1e8, np.nextafter(1e8, 2e8))
    X = np.column_stack([moons(500, 0), noise])
    Z = Gaussianizer(random_state=0).fit_transform(X)
    assert_allclose(Z[:, 2], 0, atol=1e-7)


def test_density_of_collinear_gaussian_samples_is_that_of_scipy():
    base = np.random.default_rng(0).standard_normal((500, 2))
    X = base @ np.array([[1, 0, 2.0], [0, 1, -3]]) * [1, 10, 100]
    gaussianizer = Gaussianizer(random_state=0).fit(X)
    assert gaussianizer.n_rounds_ == 0
    law = multivariate_normal(X.mean(axis=0), np.cov(X.T), allow_singular=True)
    assert_allclose(gaussianizer.score_samples(X), law.logpdf(X), atol=1e-6)


def test_constant_samples_raise():
    gaussianizer = Gaussianizer()
    with pytest.raises(ValueError, match="X is constant: at least one feature must vary"):
        gaussianizer.fit(np.full((10, 2), 0.1))
    with pytest.raises(NotFittedError):
        gaussianizer.transform(np.full((10, 2), 0.1))


@pytest.mark.parametrize("n", [2, 3, 5, 20])
@pytest.mark.parametrize("p", [1, 3, 30])
def test_few_samples(n, p):
    X = 1e3 + np.random.default_rng(0).standard_normal((n, p))
    gaussianizer = Gaussianizer(random_state=0).fit(X)
    rank = min(n - 1, p)
    Z = gaussianizer.transform(X)
    values = np.linalg.eigvalsh(np.atleast_2d(np.cov(Z.T)))
    assert_allclose(values, [0] * (p - rank) + [1] * rank, atol=1e-6)
    rows = X + np.random.default_rng(1).standard_normal(X.shape)
    assert_allclose(gaussianizer.inverse_transform(gaussianizer.transform(rows)), rows, atol=1e-6)
    assert np.isfinite(gaussianizer.score_samples(X)).all()
    assert np.isfinite(gaussianizer.score_samples(rows)).all() == (rank == p)


def test_one_sample_is_too_few():
    with pytest.raises(ValueError, match="minimum of 2 is required"):
        Gaussianizer().fit([[1.0, 2.0]])
    with pytest.raises(ValueError, match="positive for at least 2 samples, got 1"):
        Gaussianizer().fit([[1.0], [2.0]], sample_weight=[1, 0])


def test_more_features_than_directions():
    # The search tests 128 directions at a time.
    X = skewed(1000, 0, 150)
    gaussianizer = Gaussianizer(random_state=0).fit(X)
    Z = gaussianizer.transform(X)
    assert_allclose(np.cov(Z.T), np.eye(150), atol=1e-8)
    assert_allclose(gaussianizer.inverse_transform(Z), X, atol=1e-6)


def test_large_data_are_mapped_by_what_a_subsample_teaches(monkeypatch):
    X, test = moons(3000, 0), moons(2000, 1)
    whole = Gaussianizer(random_state=0).fit(X).score(test)
    monkeypatch.setattr(_gaussianizer, "SUBSAMPLE", 2000)
    gaussianizer = Gaussianizer(random_state=0).fit(X)
    assert gaussianizer.score(test) == pytest.approx(whole, abs=0.1)
    # All samples determine the whitening.
    assert_allclose(gaussianizer._whitening.mean_, X.mean(axis=0), atol=1e-12)
    # Mapping in small chunks changes nothing.
    expected = gaussianizer.score_samples(test), gaussianizer.transform(test)
    monkeypatch.setattr(_gaussianizer, "CHUNK", 100)
    for value, chunked in zip(
        expected, (gaussianizer.score_samples(test), gaussianizer.transform(test)), strict=True
    ):
        assert_allclose(chunked, value, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("degenerate", [False, True])
def test_extreme_samples_have_no_density_and_change_no_other_sample(degenerate, dtype):
    X = moons(500, 0).astype(dtype)
    if degenerate:
        X = np.column_stack([X, X[:, 0] - X[:, 1], np.ones(500, dtype)])
    gaussianizer = Gaussianizer(random_state=0).fit(X)
    rows, largest = X[:6].copy(), np.finfo(dtype).max
    rows[1, 0], rows[2], rows[4, 1] = np.sqrt(largest), -largest, largest
    rows[3, :2] = largest, -largest
    Z, value = gaussianizer.transform(rows), gaussianizer.score_samples(rows)
    assert np.isfinite(Z).all()
    # The log-densities are about the squares, which are finite in float64 for a float32.
    limit = -np.inf if dtype == np.float64 or degenerate else -(largest / 10.0)
    assert (value[1:5] <= limit).all()
    others = [0, 5]
    assert_array_equal(Z[others], gaussianizer.transform(X[:6])[others])
    assert_array_equal(value[others], gaussianizer.score_samples(X[:6])[others])
    for each in (rows, Z):
        restored = gaussianizer.inverse_transform(each)
        assert np.isfinite(restored).all()
        assert_allclose(restored[others], gaussianizer.inverse_transform(each[others]), rtol=1e-6)


def test_a_sample_far_away_has_a_finite_density(on_moons):
    # Of the order of the Gaussian's; the map is linear far away.
    for far in (1e3, 1e6, 1e12):
        assert -100 * far**2 < on_moons.score_samples([[far, -far]]) < -(far**2) / 100


# Memory


def test_blocks_of_samples_need_little_memory(monkeypatch):
    gaussianizer = Gaussianizer(random_state=0).fit(
        np.random.default_rng(0).exponential(size=(500, 1))
    )
    assert gaussianizer.n_rounds_ >= 1
    whole = gaussianizer.sample(200_000, random_state=0)
    calls = [
        lambda: gaussianizer.sample(200_000, random_state=0),
        lambda: gaussianizer.inverse_transform(whole),
        lambda: gaussianizer.transform(whole),
    ]
    monkeypatch.setattr(_gaussianizer, "CHUNK", 1000)
    for call in calls:
        tracemalloc.start()
        output = call()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 1.5 * output.nbytes
    assert_allclose(calls[0](), whole, rtol=1e-12)


# Conventions


def test_output_keeps_the_names_of_features():
    X = load_wine(as_frame=True).data.iloc[:, :3]
    gaussianizer = Gaussianizer(random_state=0).fit(X)
    assert_array_equal(gaussianizer.get_feature_names_out(), X.columns)
    frame = clone(gaussianizer).set_output(transform="pandas").fit_transform(X)
    assert_array_equal(frame.columns, X.columns)
    frame = clone(gaussianizer).set_output(transform="polars").fit_transform(pl.DataFrame(X))
    assert frame.columns == list(X.columns)
    assert_array_equal(frame.to_numpy(), gaussianizer.transform(X))


def test_random_state_and_pickle():
    X = moons(500, 0)
    first, second, other = (Gaussianizer(random_state=seed).fit(X) for seed in (0, 0, 1))
    assert_array_equal(first.transform(X), second.transform(X))
    assert (first.transform(X) != other.transform(X)).any()
    copied = pickle.loads(pickle.dumps(first))
    assert_array_equal(copied.score_samples(X), first.score_samples(X))


def test_errors_name_what_is_wrong(on_moons):
    with pytest.raises(TypeError, match="Sparse data was passed for X, but dense data is required"):
        Gaussianizer().fit(csr_array(np.eye(3)))
    for k in (1, 3):
        with pytest.raises(ValueError, match=f"Z has {k} components, but Gaussianizer is expect"):
            on_moons.inverse_transform(np.zeros((1, k)))
    with pytest.raises(ValueError, match="X has 3 features, but Gaussianizer is expecting 2"):
        on_moons.score_samples(np.zeros((1, 3)))


def test_a_search_selects_the_dimension_of_a_pipeline():
    X, y = load_digits(return_X_y=True)
    X, y = X[:400], y[:400]
    pipeline = make_pipeline(PCA(2), Gaussianizer(random_state=0), LogisticRegression())
    search = GridSearchCV(pipeline, {"pca__n_components": [1, 6]}, cv=3).fit(X, y)
    assert search.best_params_ == {"pca__n_components": 6}
    density = make_pipeline(PCA(2, whiten=True), Gaussianizer(random_state=0)).fit(X)
    assert np.isfinite(density.score(X))
    assert density[:-1].transform(X).shape == density.transform(X).shape


def test_outlier_detector_gives_false_alarms_at_the_asked_rate():
    detector = OutlierDetector(Gaussianizer(random_state=0), contamination=0.1, cv=3)
    detector.fit(moons(1000, 0))
    alarms = (detector.predict(moons(1000, 1)) == -1).mean()
    # Standard errors of the threshold and of the share: 0.0095 each.
    assert alarms == pytest.approx(0.1, abs=4 * 0.0134)
    assert (detector.predict([[3, 3], [0.5, -2]]) == -1).all()
