import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.stats import norm
from sklearn.datasets import load_wine
from sklearn.preprocessing import scale

from sklatent.networks import Embedding
from sklatent.regularizers import EnergyDistance
from sklatent.regularizers._energy import negative_distance

WINE = scale(load_wine().data)


def penalty(u):
    u = torch.as_tensor(u)
    return EnergyDistance()(Embedding(u, None, u))


def c(k):
    return math.gamma((k + 1) / 2) / math.gamma(k / 2)


def unit(k):
    return 3 / (8 * (k + 2)) * c(k)


@pytest.mark.parametrize("k", [1, 2, 13])
def test_it_is_the_mean_of_two_sample_statistics(k):
    u, n = WINE[:40, :k], 40
    rng = np.random.default_rng(0)
    within = cdist(u, u).sum() / (n * (n - 1))
    statistics = []
    for _ in range(300):
        y, z = rng.standard_normal((2, 400, k))
        prior = np.linalg.norm(y - z, axis=1).mean()
        statistics.append(2 * cdist(u, y).mean() - within - prior)
    expected, error = np.mean(statistics), np.std(statistics) / 300**0.5
    assert abs(penalty(u).item() * unit(k) - expected) < 4 * error


@pytest.mark.parametrize("k", [1, 2, 8, 64])
@pytest.mark.parametrize("variance", [1.0, 2.0])
def test_means_over_a_gaussian_by_simulation(k, variance):
    rng = np.random.default_rng(0)
    for r in (0.0, 1.0, 3 * k**0.5):
        x = np.zeros(k)
        x[0] = r
        draws = np.linalg.norm(x - variance**0.5 * rng.standard_normal((40_000, k)), axis=1)
        expected = -negative_distance(torch.tensor(r, dtype=torch.float64), variance, k).item()
        assert abs(draws.mean() - expected) < 4 * draws.std() / 200


def test_mean_distance_on_the_line_is_that_of_the_folded_normal():
    r = np.linspace(0, 20, 50)
    expected = r * (1 - 2 * norm.cdf(-r)) + 2 * norm.pdf(r)
    value = -negative_distance(torch.from_numpy(r), 1.0, 1).numpy()
    np.testing.assert_allclose(value, expected, rtol=3e-9)


@pytest.mark.parametrize("k", [1, 4])
def test_expectation_for_a_gaussian_of_any_variance(k):
    # Norms of N(0, w I) have the mean sqrt(2 w) c; w is 1 + v, 2 v and 2.
    u = torch.randn(1000, 50, k, generator=torch.Generator().manual_seed(0))
    for v in (0.25, 1.5, 4.0):
        values = penalty(v**0.5 * u).double()
        expected = 2 * ((2 + 2 * v) ** 0.5 - v**0.5 - 1) * c(k) / unit(k)
        assert abs(values.mean() - expected) < 4 * values.std() / 1000**0.5


def test_a_far_point_is_pulled_with_a_force_that_does_not_fade():
    u = torch.from_numpy(WINE[:40, :3])
    pull = []
    for distance in (1e2, 1e3):
        one = torch.tensor([[distance, 0, 0]], dtype=torch.float64, requires_grad=True)
        penalty(torch.cat([u, one])).backward()
        pull.append(one.grad[0, 0].item())
    # One point's derivative: 2/n from N(0, I), less 2/n from the other points' distances.
    assert pull[0] == pytest.approx(0, abs=1e-3)
    assert pull[1] == pytest.approx(0, abs=1e-4)
