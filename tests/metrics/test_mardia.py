import numpy as np
import pytest
from scipy.special import hermitenorm
from scipy.stats import chi2, norm
from sklearn.datasets import load_iris, load_wine

from sklatent.metrics import mardia_test
from sklatent.metrics._mardia import _kurtosis_law, skewness
from sklatent.metrics._samples import whiten

WINE = load_wine().data[:, :5]
SETOSA = load_iris().data[:50]


def test_published_values_of_iris_setosa():
    # Korkmaz, Goksuluk & Zararsiz (2014), MVN: An R package for assessing multivariate
    # normality. The R Journal 6(2), printed to seven digits. Their p-values are asymptotic.
    result = mardia_test(SETOSA, null="composite", random_state=0)
    assert result.skewness.statistic == pytest.approx(25.66434, abs=2e-5)
    assert result.kurtosis.statistic == pytest.approx(1.294992, abs=1e-6)
    assert result.skewness.pvalue == pytest.approx(0.113, abs=0.04)  # theirs for small samples


def test_it_is_mardias_definition():
    n, k = WINE.shape
    centered = WINE - WINE.mean(axis=0)
    m = centered @ np.linalg.inv(np.cov(WINE.T, ddof=0)) @ centered.T
    result = mardia_test(WINE, null="composite", random_state=0)
    b1, b2 = (m**3).mean(), (m.diagonal() ** 2).mean()
    assert result.skewness.statistic == pytest.approx(n * b1 / 6, rel=1e-8)
    z = (b2 - k * (k + 2)) / np.sqrt(8 * k * (k + 2) / n)
    assert result.kurtosis.statistic == pytest.approx(z, rel=1e-8)


@pytest.mark.parametrize("null", ["simple", "composite"])
def test_few_samples_of_many_components_take_pairs_of_samples(null):
    # Components of zeros change the path, and the tensor by a known number: Hermite's of order 3
    # has -x_j for each j and component of zeros, three times.
    u = np.random.default_rng(0).exponential(size=(60, 9))
    zeros = 3
    plain, wide = (skewness(v, null) for v in (u, np.hstack([u, np.zeros((60, zeros))])))
    if null == "simple":
        plain += 3 * zeros * (np.square(u.sum(axis=0)).sum() - np.square(u).sum()) / 60 / 59
    assert 9**2 < 2 * 60 < 12**2
    assert wide == pytest.approx(plain, rel=1e-10)


@pytest.mark.parametrize("k", [1, 3])
def test_the_simple_null_has_hermites_polynomials(k):
    # By brute force: products of one-dimensional polynomials over all multi-indices.
    u = (WINE[:30, :k] - WINE[:, :k].mean(axis=0)) / WINE[:, :k].std(axis=0) + 0.3
    n = len(u)
    orders = [a for a in np.ndindex(*[4] * k) if sum(a) == 3]
    total = 0.0
    for a in orders:
        h = np.prod([hermitenorm(r)(u[:, j]) for j, r in enumerate(a)], axis=0)
        ways = 6 / np.prod([[1, 1, 2, 6][r] for r in a])
        total += ways * (h.sum() ** 2 - (h**2).sum()) / n / (n - 1)
    result = mardia_test(u, random_state=0)
    assert result.skewness.statistic == pytest.approx(len(orders) + n * total / 6, rel=1e-8)
    assert result.skewness.effect_size == pytest.approx(total, rel=1e-8)
    r = (u**2).sum(axis=1)
    h = r**2 - 2 * (k + 2) * r + k * (k + 2)
    assert result.kurtosis.statistic == pytest.approx(
        h.sum() / np.sqrt(8 * k * (k + 2) * n), rel=1e-8
    )


@pytest.mark.parametrize("null", ["simple", "composite"])
def test_expectations_and_variances_are_exact(null):
    n, k = 12, 3
    rng = np.random.default_rng(0)
    results = [
        mardia_test(rng.standard_normal((n, k)), null=null, random_state=0) for _ in range(1500)
    ]
    for part in ("skewness", "kurtosis"):
        t = [getattr(r, part).statistic for r in results]
        error = np.std(t) / len(t) ** 0.5
        assert abs(np.mean(t) - getattr(results[0], part).expected) < 4 * error
    if null == "simple":
        d = k * (k + 1) * (k + 2) / 6
        skewness = [r.skewness.statistic for r in results]
        kurtosis = [r.kurtosis.statistic for r in results]
        # Of variances of heavy-tailed statistics.
        assert np.var(skewness) == pytest.approx(2 * d * n / (n - 1), rel=0.3)
        assert np.var(kurtosis) == pytest.approx(1, rel=0.3)


def test_moments_of_the_composite_null_are_exact():
    n, k = 7, 3
    u = whiten(np.random.default_rng(0).standard_normal((40_000, n, k)))
    b2 = (np.square(u).sum(axis=2) ** 2).mean(axis=1)
    law = _kurtosis_law(n, k, "composite")
    assert abs(b2.mean() - law.mean) < 4 * b2.std() / 200
    assert b2.var() == pytest.approx(law.variance, rel=0.05)
    b1 = ((u @ np.swapaxes(u, 1, 2)) ** 3).mean(axis=(1, 2))
    expected = mardia_test(u[0], null="composite", random_state=0).skewness.expected
    assert abs(n * b1.mean() / 6 - expected) < 4 * n * b1.std() / 6 / 200


def test_effect_sizes_do_not_grow_with_n():
    # An elliptical t with 12 degrees of freedom has b_2 / (k (k + 2)) - 1 = 2 / (12 - 4).
    rng = np.random.default_rng(0)
    for n in (2000, 50_000):
        u = rng.standard_normal((n, 3)) * np.sqrt(10 / rng.chisquare(12, size=(n, 1)))
        for null in ("simple", "composite"):
            result = mardia_test(u, null=null)
            assert result.kurtosis.effect_size == pytest.approx(0.25, abs=5 / n**0.5)
            assert result.skewness.effect_size == pytest.approx(0, abs=1)


def test_gamma_components_have_the_skewness_of_theory():
    # b_1 of independent standardized exponentials is the sum of their squared skewnesses, 4 k.
    rng = np.random.default_rng(0)
    u = rng.exponential(size=(100_000, 3)) - 1
    for null in ("simple", "composite"):
        assert mardia_test(u, null=null).skewness.effect_size == pytest.approx(12, rel=0.1)


def test_the_pvalue_of_both_where_it_is_analytic():
    rng = np.random.default_rng(0)
    result = mardia_test(rng.standard_normal((1500, 2)))
    smallest = min(result.skewness.pvalue, result.kurtosis.pvalue)
    assert result.pvalue == pytest.approx(1 - (1 - smallest) ** 2)
    # Kurtosis is nearly normal here.
    z = result.kurtosis.statistic
    assert result.kurtosis.pvalue == pytest.approx(2 * norm.sf(abs(z)), abs=0.05)


def test_analytic_pvalues_of_the_simple_null():
    u = np.random.default_rng(0).standard_normal((5000, 2))
    result = mardia_test(u).skewness
    assert result.pvalue == pytest.approx(chi2.sf(result.statistic, 4), rel=1e-3)
    # The mean of the cube of Hermite's polynomial of order 4 is 4!^3 / 2!^3.
    assert _kurtosis_law(1000, 1, "simple").third == pytest.approx(1728 / 1000**2)
    assert _kurtosis_law(1000, 1, "composite").third == pytest.approx(1728 / 1000**2)


def test_light_tails_are_found_too():
    u = np.random.default_rng(0).uniform(-(3**0.5), 3**0.5, size=(300, 2))
    result = mardia_test(u, random_state=0)
    assert result.kurtosis.statistic < 0
    assert result.kurtosis.pvalue == pytest.approx(2 / 1000)
    assert result.skewness.pvalue > 0.05
    assert result.pvalue < 0.01
