"""Whitening in any units, of any rank."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sklatent._whitening import Whitening


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
    scales = 10.0 ** np.random.default_rng(seed).uniform(-30, 30, 6)
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
