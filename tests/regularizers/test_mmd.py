import numpy as np
import pytest
import torch
from common import WINE
from scipy.integrate import quad
from scipy.spatial.distance import cdist

from sklatent.networks import Embedding
from sklatent.regularizers import MaximumMeanDiscrepancy
from sklatent.regularizers._mmd import KERNELS, imq


def textbook(name, r2, k):
    if name == "rbf":
        return np.exp(-r2 / (2 * k))
    c = 2 * k * np.array([0.1, 0.2, 0.5, 1, 2, 5, 10])
    return (c / (c + np.expand_dims(r2, -1))).sum(-1)


def unit(name, k):
    """3 k times the mean squared rate of the kernel's Gaussians exp(-tau r^2) on N(0, I)."""
    if name == "rbf":
        return 3 / (4 * k) * (1 + 2 / k) ** (-k / 2 - 2)
    # 3 k E[tau^2 (1 + 4 tau)^(-k/2 - 2)], tau exponential of mean 1 / C.
    return sum(
        quad(
            lambda t, c: 3 * k * np.exp(-t) * (t / c) ** 2 * (1 + 4 * t / c) ** (-k / 2 - 2),
            0,
            np.inf,
            args=(2 * k * s,),
        )[0]
        for s in (0.1, 0.2, 0.5, 1, 2, 5, 10)
    )


def penalty(name, u):
    u = torch.from_numpy(u)
    return MaximumMeanDiscrepancy(name)(Embedding(u, None, u)).item()


@pytest.mark.parametrize("name", ["imq", "rbf"])
@pytest.mark.parametrize("k", [1, 2, 13])
def test_it_is_the_mean_of_two_sample_statistics(name, k):
    u, n = WINE[:40, :k], 40
    rng = np.random.default_rng(0)
    within = textbook(name, cdist(u, u, "sqeuclidean"), k)
    within = (within.sum() - np.trace(within)) / (n * (n - 1))
    statistics = []
    for _ in range(300):
        y, z = rng.standard_normal((2, 400, k))
        prior = textbook(name, ((y - z) ** 2).sum(1), k).mean()
        across = textbook(name, cdist(u, y, "sqeuclidean"), k).mean()
        statistics.append(within - 2 * across + prior)
    expected, error = np.mean(statistics), np.std(statistics) / 300**0.5
    assert abs(penalty(name, u) * unit(name, k) - expected) < 4 * error


@pytest.mark.parametrize("name", ["imq", "rbf"])
@pytest.mark.parametrize("k", [1, 2, 8, 64])
@pytest.mark.parametrize("variance", [1.0, 2.0])
def test_means_over_a_gaussian_by_simulation(name, k, variance):
    rng = np.random.default_rng(0)
    for r in (0.0, 1.0, 3 * k**0.5):
        x = np.zeros(k)
        x[0] = r
        draws = x - variance**0.5 * rng.standard_normal((40_000, k))
        values = textbook(name, (draws**2).sum(1), k)
        expected = KERNELS[name](torch.tensor(r, dtype=torch.float64), variance, k).item()
        assert abs(values.mean() - expected) < 4 * values.std() / 200


@pytest.mark.parametrize("k", [1, 8, 64])
@pytest.mark.parametrize("variance", [1.0, 2.0])
@pytest.mark.parametrize("r", [0.0, 2.0, 30.0, 1000.0])
def test_quadrature_of_the_inverse_multiquadric(k, variance, r):
    def integrand(t, c):
        widened = c + 2 * variance * t
        return np.exp(-t - t * r**2 / widened) * (c / widened) ** (k / 2)

    expected = sum(
        quad(integrand, low, high, args=(2 * k * s,), epsabs=1e-13, limit=200)[0]
        for s in (0.1, 0.2, 0.5, 1, 2, 5, 10)
        for low, high in [(0, 1e-5), (1e-5, 1e-3), (1e-3, 0.1), (0.1, 4), (4, 50)]
    )
    value = imq(torch.tensor(r, dtype=torch.float64), variance, k).item()
    assert value == pytest.approx(expected, abs=2e-6)


def test_unknown_kernel():
    with pytest.raises(KeyError, match="cosine"):
        penalty("cosine", WINE)
