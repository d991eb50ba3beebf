import numpy as np
import pingouin
import pytest
from sklearn.datasets import load_iris, load_wine

from sklatent.metrics import henze_zirkler_test
from sklatent.metrics._henze_zirkler import (
    composite_moments,
    simple_law,
    squared_bandwidth,
    statistic_of,
)
from sklatent.metrics._rows import whiten

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
    if result.method == "analytic":
        assert result.pvalue == pytest.approx(expected.pval, rel=1e-8)


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


def test_moments_under_the_composite_null():
    rng = np.random.default_rng(0)
    t = np.concatenate([statistic_of(whiten(rng.standard_normal((50, 300, 2)))) for _ in range(40)])
    mean, variance = composite_moments(300, 2)
    assert abs(t.mean() - mean) < 4 * (variance / len(t)) ** 0.5
    assert t.var() == pytest.approx(variance, rel=0.15)


def test_a_tighter_component_has_the_effect_size_of_its_variance():
    # (v - 1)^2 / k to second order.
    u = np.random.default_rng(0).standard_normal((5000, 2))
    u = whiten(u) * [0.8**0.5, 1]
    assert henze_zirkler_test(u).effect_size == pytest.approx(0.02, abs=0.01)
