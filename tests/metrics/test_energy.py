import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.special import gammaln

from sklatent.metrics import energy_distance, energy_test
from sklatent.metrics._energy import effect_unit, expected, mean_distance, null_law, statistic_of
from sklatent.metrics._samples import MAX_SAMPLES, squared_distances, thin, whiten
from sklatent.networks import Embedding
from sklatent.regularizers import EnergyDistance


def c(k):
    return math.gamma((k + 1) / 2) / math.gamma(k / 2)


@pytest.mark.parametrize("k", [1, 2, 20, 99, 100, 150, 300, 3000])
def test_the_mean_distance_is_an_integral_over_laplace_transforms(k):
    # E V^(1/2) is the integral of (1 - E exp(-t V)) t^(-3/2) / (2 pi^(1/2)) over t, and a squared
    # distance V is a noncentral chi-square.
    squared_norm = k * np.array([0, 1e-3, 0.5, 1, 1.1, 4, 1e4, 0.9e8, 1.1e8, 1e12])
    s, step = np.linspace(-90, 90, 20_001, retstep=True)
    t = np.exp(s)[:, None]
    log_transform = -k / 2 * np.log1p(2 * t) - squared_norm * t / (1 + 2 * t)
    reference = (-np.expm1(log_transform) * t**-0.5).sum(axis=0) * step / (2 * np.pi**0.5)
    np.testing.assert_allclose(mean_distance(squared_norm, k), reference, rtol=1e-10)
    assert mean_distance(np.array(1e200), k) == pytest.approx(1e100)


@pytest.mark.parametrize("k", [100, 1000])
def test_many_components(k):
    u = np.random.default_rng(0).standard_normal((100, k))
    result = energy_test(u, random_state=0)
    assert np.isfinite(result.statistic)
    assert result.pvalue > 0.001
    assert abs(energy_distance(u)) < 4 * null_law(100, k, "simple").variance ** 0.5 / 100
    assert energy_test(u + 0.2, random_state=0).pvalue < 1e-6


@pytest.mark.parametrize("k", [1, 3])
def test_it_is_the_two_sample_statistic_in_expectation(k):
    rng = np.random.default_rng(0)
    u = rng.exponential(size=(20, k))
    values = []
    for _ in range(300):
        y, z = rng.standard_normal((2, 300, k))
        prior = np.linalg.norm(y - z, axis=1).mean()
        values.append(20 * (2 * cdist(u, y).mean() - prior - cdist(u, u).mean()))
    error = np.std(values) / 300**0.5
    assert abs(energy_test(u).statistic - np.mean(values)) < 4 * error


def test_the_distance_is_the_regularizers():
    u = np.random.default_rng(0).exponential(size=(300, 3))
    tensor = torch.from_numpy(u)
    penalty = EnergyDistance()(Embedding(tensor, None, tensor)).item()
    assert energy_distance(u) == pytest.approx(penalty * 3 * c(3) / 40, rel=1e-6)
    assert effect_unit(3) == pytest.approx(3 * c(3) / 40)
    # The test's statistic has the diagonal, and its effect size takes its expectation out.
    assert energy_test(u).effect_size == pytest.approx(penalty, rel=0.05)


@pytest.mark.parametrize("variance", [0.25, 2.0])
def test_gaussians_of_another_variance(variance):
    u = variance**0.5 * np.random.default_rng(0).standard_normal((3000, 4))
    theory = 2 * ((2 + 2 * variance) ** 0.5 - variance**0.5 - 1) * c(4)
    assert energy_distance(u) == pytest.approx(theory, rel=0.1)


@pytest.mark.parametrize("null", ["simple", "composite"])
@pytest.mark.parametrize(
    ("n", "k", "repeats"), [(3, 1, 3000), (8, 1, 3000), (8, 4, 3000), (60, 4, 3000), (200, 150, 40)]
)
def test_expectations_are_exact(n, k, repeats, null):
    u = np.random.default_rng(0).standard_normal((repeats, n, k))
    t = statistic_of(whiten(u) if null == "composite" else u)
    assert abs(t.mean() - expected(n, k, null)) < 4 * t.std() / repeats**0.5


def test_the_composite_expectation_of_thousands_of_components():
    # Almost constant distances: their mean is (2 n)^(1/2) times a ratio of gamma functions.
    n, k = 4000, 2500
    ratio = gammaln([(k + 1) / 2, (n - 1) / 2, k / 2, n / 2]) @ [1, 1, -1, -1]
    pairs = (2 * n) ** 0.5 * np.exp(ratio)
    norms = (n - 1) * np.random.default_rng(0).beta(k / 2, (n - 1 - k) / 2, size=400)
    outward = mean_distance(norms, k)
    value = 2 * n * (outward.mean() - np.exp(gammaln((k + 1) / 2) - gammaln(k / 2)))
    error = 2 * n * outward.std() / 400**0.5
    assert abs(expected(n, k, "composite") - value + (n - 1) * pairs) < 4 * error


def test_the_composite_expectation_for_large_n():
    for k in (1, 32):
        assert expected(5000, k, "composite") == pytest.approx(0.75 * c(k), rel=1e-4)


@pytest.mark.parametrize("k", [1, 4, 20])
def test_the_variance_of_the_law_is_that_of_the_kernel(k):
    # Twice the mean square of the centered kernel, by simulation.
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 1500, k))
    h = -cdist(x, y)
    h -= h.mean(axis=0) + h.mean(axis=1)[:, None] - h.mean()
    assert null_law(500, k, "simple").variance == pytest.approx(2 * (h**2).mean(), rel=0.05)


def test_many_samples_are_thinned_to_different_ones():
    u = np.random.default_rng(0).standard_normal((MAX_SAMPLES + 1, 2))
    result = energy_test(u, random_state=0)
    assert result.n_samples == MAX_SAMPLES
    assert result == energy_test(u, random_state=0)
    assert result != energy_test(u, random_state=1)
    assert len(np.unique(thin(np.arange(20_000), seed=0))) == MAX_SAMPLES == 5000


def test_distances_far_from_the_origin_are_accurate():
    u = np.random.default_rng(0).standard_normal((30, 2)) + 1e7
    (block,) = squared_distances(u)
    off = ~np.eye(30, dtype=bool)
    np.testing.assert_allclose(block[off], cdist(u, u, "sqeuclidean")[off], rtol=1e-6)
