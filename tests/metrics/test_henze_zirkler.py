import numpy as np
import pingouin
import pytest
from scipy.spatial.distance import cdist, pdist
from sklearn.datasets import load_iris, load_wine

from sklatent.metrics import henze_zirkler_test
from sklatent.metrics._henze_zirkler import (
    composite_law,
    composite_variance,
    excess,
    is_analytic,
    large_sample_law,
    nearest_pair,
    simple_law,
    squared_bandwidth,
    statistic_of,
)
from sklatent.metrics._samples import MAX_SAMPLES, squared_distances, thin, whiten

SETOSA = load_iris().data[:50]


@pytest.mark.parametrize(
    "Z",
    [SETOSA, load_wine().data, np.random.default_rng(0).standard_normal((700, 3))],
    ids=["setosa", "wine", "gaussian"],
)
def test_it_agrees_with_pingouin(Z):
    expected = pingouin.multivariate_normality(Z)
    result = henze_zirkler_test(Z, null="composite", random_state=0)
    assert result.statistic == pytest.approx(expected.hz, rel=1e-8)
    if result.method == "analytic":  # by other approximations: gamma and log-normal
        assert result.pvalue == pytest.approx(expected.pval, abs=0.02)


def test_published_value_of_iris_setosa():
    # Korkmaz, Goksuluk & Zararsiz (2014), The R Journal 6(2): 0.9488453, p = 0.04995356.
    result = henze_zirkler_test(SETOSA, null="composite", random_state=0)
    assert result.statistic == pytest.approx(0.9488453, abs=1e-6)
    assert result.pvalue == pytest.approx(0.05, abs=0.03)


@pytest.mark.parametrize("k", [1, 3])
def test_it_is_a_distance_of_characteristic_functions(k):
    u = np.random.default_rng(0).exponential(size=(20, k))
    b = squared_bandwidth(20, k)
    t = b**0.5 * np.random.default_rng(1).standard_normal((200_000, k))
    ecf = np.exp(1j * t @ u.T).mean(axis=1)
    distance = 20 * np.abs(ecf - np.exp(-np.square(t).sum(axis=1) / 2)) ** 2
    error = distance.std() / len(t) ** 0.5
    assert abs(henze_zirkler_test(u).statistic - distance.mean()) < 4 * error


@pytest.mark.parametrize(("n", "k"), [(10, 1), (40, 3), (40, 12)])
def test_cumulants_under_the_simple_null(n, k):
    rng = np.random.default_rng(0)
    t = np.concatenate([statistic_of(rng.standard_normal((1000, n, k))) for _ in range(20)])
    law = simple_law(n, k)
    assert abs(t.mean() - law.mean) < 4 * t.std() / len(t) ** 0.5
    # The diagonal, which the law leaves out, adds to the spread where n is small.
    assert t.var() == pytest.approx(law.variance, rel=0.1)
    assert ((t - t.mean()) ** 3).mean() == pytest.approx(law.third, rel=0.3)


@pytest.mark.parametrize(("n", "k"), [(200, 1), (300, 2), (200, 4)])
def test_the_law_under_the_composite_null(n, k):
    rng = np.random.default_rng(0)
    t = np.concatenate([statistic_of(whiten(rng.standard_normal((50, n, k)))) for _ in range(40)])
    law = composite_law(n, k)
    assert abs(t.mean() - law.mean) < 4 * (law.variance / len(t)) ** 0.5
    assert t.var() == pytest.approx(law.variance, rel=0.15)
    assert law.variance == pytest.approx(composite_variance(n, k), rel=0.15)  # published
    tail = np.mean([law.sf(x) <= 0.05 for x in t])
    assert abs(tail - 0.05) < 4 * (0.05 * 0.95 / len(t)) ** 0.5


@pytest.mark.parametrize(("n", "k"), [(200, 1), (200, 2), (1000, 20)])
def test_published_moments_under_the_composite_null(n, k):
    # Henze & Zirkler (1990), Theorem 2.2, by the covariance of the empirical characteristic function.
    law = large_sample_law(n, k)
    mean = henze_zirkler_test(
        whiten(np.random.default_rng(0).standard_normal((n, k))), null="composite"
    ).expected
    assert 1 - mean == pytest.approx(1 - law.mean, rel=1e-6)
    assert composite_variance(n, k) == pytest.approx(law.variance, rel=1e-6)


def test_the_tail_under_the_composite_null():
    # Quantiles of 40,000 simulated samples of 1000 x 21. For the log-normal distribution they are
    # the quantiles 0.9926 and 0.9997.
    law = composite_law(1000, 21)
    for q, quantile in ((0.01, 1.00032551), (0.001, 1.00055416)):
        assert law.sf(quantile) == pytest.approx(q, rel=4 / (40_000 * q) ** 0.5)
    # The skewness of 10,000 samples of 1000 x 30, up to its sampling error and corrections.
    law = composite_law(1000, 30)
    assert law.third / law.variance**1.5 == pytest.approx(1.11, rel=0.2)


@pytest.mark.parametrize("null", ["simple", "composite"])
def test_the_nearest_pair_counts_in_the_tail(null):
    # The expected number of pairs whose terms, 2 / n times the kernel, alone exceed a number.
    n, k, kernel = 100, 8, 0.3
    b, rng = squared_bandwidth(n, k), np.random.default_rng(0)
    samples = rng.standard_normal((200, n, k))
    mean = henze_zirkler_test(samples[0], null=null, random_state=0).expected
    samples = whiten(samples) if null == "composite" else samples
    number = [(np.exp(-b / 2 * pdist(u, "sqeuclidean")) > kernel).sum() for u in samples]
    bound = nearest_pair(mean + 2 / n * kernel, n, k, null)
    assert abs(np.mean(number) - bound) < 4 * np.std(number) / 200**0.5
    assert bound > 1
    assert nearest_pair(mean + 2 / n, n, k, null) == 0  # no kernel is larger than 1


def test_small_pvalues_are_at_least_the_nearest_pairs():
    # A sample with few pairs near each other, of which one is very near.
    u = np.random.default_rng(0).standard_normal((1000, 24))
    u[0] = u[1] + 0.25
    for null, law in (("simple", simple_law), ("composite", composite_law)):
        result = henze_zirkler_test(u, null=null, random_state=0)
        nearest = nearest_pair(result.statistic, 1000, 24, null)
        assert law(1000, 24).sf(result.statistic) < 1e-3 * nearest
        assert result.pvalue == nearest < 1e-3


def test_pvalues_are_simulated_where_few_pairs_are_near_each_other():
    for n, k in [(1000, 24), (5000, 32), (200, 4), (250, 5), (1000, 20), (200, 1)]:
        assert is_analytic(n, k)
    for n, k in [(1000, 25), (5000, 33), (199, 4), (249, 5), (999, 20), (199, 1), (5000, 3000)]:
        assert not is_analytic(n, k)


@pytest.mark.parametrize("k", [60, 2200])
def test_many_components(k):
    # By the definition, in units of (1 + 2 b)^(-k / 2), of which nothing is left next to 1.
    n = 20
    u = 0.9 * np.random.default_rng(0).standard_normal((n, k))
    b = squared_bandwidth(n, k)
    pairs = -b / 2 * pdist(u, "sqeuclidean") + k / 2 * np.log1p(2 * b)
    outward = k / 2 * np.log((1 + 2 * b) / (1 + b)) - b / (2 * (1 + b)) * (u**2).sum(axis=1)
    excess = 2 * np.exp(pairs).sum() / n - 2 * np.exp(outward).sum() + n
    expected = (excess + 1) / n / (0.75 * k * (b / (1 + 2 * b)) ** 2)
    result = henze_zirkler_test(u, random_state=0)
    assert result.effect_size == pytest.approx(expected, rel=1e-8)
    assert result.statistic == pytest.approx(1)


def test_identical_samples_are_the_nearest_of_all():
    u = np.random.default_rng(0).standard_normal((20, 60))
    assert henze_zirkler_test(u[[0, *range(19)]], random_state=0).pvalue == 0.001
    assert 1e100 < excess(np.zeros((3, 3000))) < np.inf


def test_distances_are_exact_far_from_the_target():
    # Only the distances between samples still matter at either place.
    u = np.random.default_rng(0).standard_normal((50, 2))
    near, far = (henze_zirkler_test(u + shift, random_state=0) for shift in (1e3, 2.0**26))
    assert far.statistic == pytest.approx(near.statistic, rel=1e-6)


@pytest.mark.parametrize("null", ["simple", "composite"])
def test_many_samples_are_thinned(null, monkeypatch):
    for module in ("_samples", "_henze_zirkler"):
        monkeypatch.setattr(f"sklatent.metrics.{module}.MAX_SAMPLES", 60)
    u = np.random.default_rng(0).standard_normal((300, 2))
    result = henze_zirkler_test(u, null=null, random_state=0)
    assert result.n_samples == 60
    # The moments of a composite test are those of the samples that it compares.
    alone = henze_zirkler_test(thin(u, seed=0), null=null, random_state=0)
    assert result.statistic == pytest.approx(alone.statistic)


def test_many_samples_are_thinned_to_different_ones():
    u = np.random.default_rng(0).standard_normal((MAX_SAMPLES + 1, 2))
    result = henze_zirkler_test(u, random_state=0)
    assert result.n_samples == MAX_SAMPLES
    assert result == henze_zirkler_test(u, random_state=0)
    assert result != henze_zirkler_test(u, random_state=1)
    assert len(np.unique(thin(np.arange(20_000), seed=0))) == MAX_SAMPLES == 5000


def test_distances_far_from_the_origin_are_accurate():
    u = np.random.default_rng(0).standard_normal((30, 2)) + 1e7
    (block,) = squared_distances(u)
    off = ~np.eye(30, dtype=bool)
    np.testing.assert_allclose(block[off], cdist(u, u, "sqeuclidean")[off], rtol=1e-6)


def test_a_tighter_component_has_the_effect_size_of_its_variance():
    # (v - 1)^2 / k to second order.
    u = np.random.default_rng(0).standard_normal((5000, 2))
    u = whiten(u) * [0.8**0.5, 1]
    assert henze_zirkler_test(u).effect_size == pytest.approx(0.02, abs=0.01)
