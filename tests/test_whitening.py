"""Whitening in any units, of any rank."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklatent._whitening import Whitening, without_outliers


def correlated(n, p, seed):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, p)) @ rng.standard_normal((p, p))


def test_mean_is_zero_and_weighted_covariance_the_identity():
    X, weight = correlated(200, 4, 0) + 5, np.random.default_rng(1).exponential(size=200)
    u, outside = Whitening().fit(X, weight).transform(X)
    share = weight / weight.sum()
    assert_allclose(share @ u, 0, atol=1e-10)
    # Weights that sum to n, and the divisor n - 1.
    assert_allclose((share[:, None] * u).T @ u * 200 / 199, np.eye(4), atol=1e-10)
    assert not outside.any()


@pytest.mark.parametrize("seed", range(5))
def test_log_slope_is_the_log_determinant_for_units_of_any_size(seed):
    X = correlated(100, 6, seed)
    scales = 10.0 ** np.random.default_rng(seed).uniform(-250, 250, 6)
    expected = -np.linalg.slogdet(np.cov(X.T))[1] / 2 - np.log(scales).sum()
    assert Whitening().fit(X * scales).log_slope_ == pytest.approx(expected, abs=1e-8)


def test_log_slope_of_uncorrelated_features_in_units_of_any_size():
    X = np.linalg.qr(np.random.default_rng(0).standard_normal((50, 4)))[0]
    X = np.concatenate([X, -X])
    scales = 10.0 ** np.array([-30, 0, 10, 30])
    expected = -np.log((X * scales).std(axis=0, ddof=1)).sum()
    assert Whitening().fit(X * scales).log_slope_ == pytest.approx(expected, abs=1e-8)


def test_log_slope_in_a_subspace():
    # The second feature is twice the first: on the line (1, 2), lengths are sqrt(5) |x|.
    x = np.random.default_rng(0).standard_normal(100)
    whitening = Whitening().fit(np.stack([x, 2 * x], axis=1))
    assert whitening.axes_.shape == (2, 1)
    assert whitening.log_slope_ == pytest.approx(-np.log(np.sqrt(5) * x.std(ddof=1)), abs=1e-9)


def test_components_are_closest_to_their_features():
    # The sum of correlations of components and features is the trace of R^(1/2), which is the
    # maximum over all whitening matrices (Kessy, Lewin & Strimmer 2018).
    X = correlated(500, 4, 0)
    u, _ = Whitening().fit(X * [1, 10, 100, 1000]).transform(X * [1, 10, 100, 1000])
    correlation = np.corrcoef(X.T, u.T)[:4, 4:]
    expected = np.sqrt(np.linalg.eigvalsh(np.corrcoef(X.T))).sum()
    assert correlation.trace() == pytest.approx(expected)


@pytest.mark.parametrize("constant", [0.1, 1e9, -3e-7])
def test_constants_are_exactly_zero(constant):
    X = np.insert(correlated(333, 2, 0), 1, constant, axis=1)
    whitening = Whitening().fit(X)
    u, outside = whitening.transform(X)
    assert not whitening.join(u, outside)[:, 1].any()


@pytest.mark.parametrize("factor", [1e170, 1e-170, 1e-300])
def test_coordinates_of_huge_and_tiny_values(factor):
    X = correlated(200, 3, 0)
    u, _ = Whitening().fit(X).transform(X)
    assert_allclose(Whitening().fit(factor * X).transform(factor * X)[0], u, atol=1e-10)


@pytest.mark.parametrize(("n", "value"), [(500, 100), (20_000, 200), (1000, 1e6), (1000, -1e200)])
def test_wrong_cells_are_outliers(n, value):
    X = correlated(n, 3, 0)
    X[7, 2] = X[11, 0] = 10 * value
    X[13, 1] = value  # hidden by the other two at first
    assert_array_equal(np.flatnonzero(~without_outliers(X)), [7, 11, 13])


@pytest.mark.parametrize("df", [2, 3, 100])
def test_heavy_tails_have_no_outliers(df):
    # The largest of many distances is a few times the next one at most.
    for seed in range(10):
        assert without_outliers(np.random.default_rng(seed).standard_t(df, size=(1000, 3))).all()


def test_the_only_sample_of_a_category_is_no_outlier():
    # Without this sample, the feature would be constant.
    X = np.insert(correlated(1000, 2, 0), 1, 0.0, axis=1)
    X[5, 1] = 1
    assert without_outliers(X).all()
    X[9, 0] = 1e9
    assert_array_equal(np.flatnonzero(~without_outliers(X)), [9])


def test_a_large_weight_makes_no_outlier():
    X, weight = correlated(500, 3, 0), np.ones(500)
    weight[3] = 1000
    assert without_outliers(X, weight).all()
    # A far sample with the weight of fifty is no wrong value of a single sample.
    X[3], weight[3] = 30, 50
    assert without_outliers(X, weight).all()
    assert without_outliers(np.repeat(X, weight.astype(int), axis=0)).all()
    X[4] = 1e5
    assert_array_equal(np.flatnonzero(~without_outliers(X, weight)), [4])


@pytest.mark.parametrize("weight", [[1, 1e-9], [1e-9, 1, 1e-9]])
def test_at_least_two_samples_remain(weight):
    # A sample of a tiny weight has all of the variance, and one sample alone has none.
    X = np.arange(len(weight), dtype=float)[:, None]
    assert without_outliers(X, np.array(weight)).sum() >= 2


def test_distances_are_in_units_of_the_weighted_samples():
    X, weight = correlated(500, 3, 0), np.ones(500)
    X[3], weight[3] = 1000, 5000
    assert_array_equal(np.flatnonzero(~without_outliers(X)), [3])
    # With most of the weight, the sample is near the mean, and the distance is a spread.
    assert without_outliers(X, weight).all()
