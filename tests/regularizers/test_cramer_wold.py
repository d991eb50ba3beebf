import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import hyp1f1
from scipy.stats import norm
from sklearn.datasets import load_wine
from sklearn.preprocessing import scale

from sklatent.networks import Embedding
from sklatent.regularizers import CramerWold, SlicedEppsPulley
from sklatent.regularizers._cramer_wold import cramer_wold

WINE = scale(load_wine().data)


def unit(k):
    return 1 / (4 * 3**0.5 * (k + 2))


def embedding(u):
    u = torch.as_tensor(u)
    return Embedding(u, None, u)


def test_along_a_line_it_is_the_distance_of_smoothed_densities():
    u, n = WINE[:12, 0], 12

    def squared_difference(t):  # variances: 1/2 of the kernel, 1 + 1/2 of the target
        return (norm.pdf(t, u, 0.5**0.5).mean() - norm.pdf(t, 0, 1.5**0.5)) ** 2

    with_diagonal = quad(squared_difference, -12, 12, limit=200)[0] * (2 * np.pi) ** 0.5
    # The kernel is 1 at 0: (sum over pairs + n) / n^2 against sum over pairs / (n (n - 1)).
    pairs = np.exp(-0.5 * np.subtract.outer(u, u) ** 2).sum() - n
    expected = with_diagonal - (pairs + n) / n**2 + pairs / (n * (n - 1))
    value = CramerWold()(embedding(u[:, None])).item() * unit(1)
    # The unit is a second difference, good to 1e-6.
    assert value == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("k", [2, 5, 13])
def test_it_is_sliced_epps_pulley_over_all_directions(k):
    u = 0.3 + WINE[:50, :k]
    generator = torch.Generator().manual_seed(0)
    sliced = SlicedEppsPulley(n_slices=100, n_knots=33)
    values = torch.stack([sliced(embedding(u), generator=generator) for _ in range(100)])
    # That one integrates over [-3, 3] rather than the line: 2 % of the unit.
    slack = 4 * values.std().item() / 10 + 0.02 * abs(values.mean().item())
    assert CramerWold()(embedding(u)).item() == pytest.approx(values.mean().item(), abs=slack)


@pytest.mark.parametrize("k", [1, 2, 8, 64])
def test_kernel_is_a_mean_over_directions(k):
    a = np.random.default_rng(0).standard_normal((100_000, k))
    first = a[:, 0] / np.linalg.norm(a, axis=1)
    for r in (0.0, 0.5, 2.0, 8.0):
        values = np.exp(-0.5 * (r * first) ** 2)
        expected = cramer_wold(torch.tensor(r, dtype=torch.float64), 0.0, k).item()
        # 1e-8 where every direction is the same, k = 1.
        assert abs(values.mean() - expected) < 4 * values.std() / 1e5**0.5 + 1e-8


@pytest.mark.parametrize("k", [1, 2, 8, 64])
@pytest.mark.parametrize("variance", [1.0, 2.0])
def test_means_over_a_gaussian_by_simulation(k, variance):
    rng = np.random.default_rng(0)
    for r in (0.0, 1.0, 3 * k**0.5):
        x = np.zeros(k)
        x[0] = r
        draws = x - variance**0.5 * rng.standard_normal((40_000, k))
        values = hyp1f1(0.5, k / 2, -0.5 * (draws**2).sum(1))
        expected = cramer_wold(torch.tensor(r, dtype=torch.float64), variance, k).item()
        assert abs(values.mean() - expected) < 4 * values.std() / 200


@pytest.mark.parametrize("k", [1, 4])
def test_expectation_for_a_gaussian_of_any_variance(k):
    # 1 / sqrt(1 + 2 v) - 2 / sqrt(2 + v) + 1 / sqrt(3), over the unit.
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(1000, 50, k, generator=generator)
    for v in (0.25, 1.5, 4.0):
        values = CramerWold()(embedding(v**0.5 * u)).double()
        expected = ((1 + 2 * v) ** -0.5 - 2 * (2 + v) ** -0.5 + 3**-0.5) / unit(k)
        assert abs(values.mean() - expected) < 4 * values.std() / 1000**0.5
