from itertools import pairwise

import numpy as np
import pytest
import torch
from common import WINE
from scipy.integrate import quad
from scipy.stats import beta, norm, wasserstein_distance
from torch.testing import assert_close

from sklatent.networks import Embedding
from sklatent.regularizers import SlicedWasserstein
from sklatent.regularizers._sliced_wasserstein import normal_order_statistics


def distance(u, n_slices=64):
    """The penalty in units of squared length."""
    u = torch.as_tensor(u)
    generator = torch.Generator().manual_seed(0)
    penalty = SlicedWasserstein(n_slices)(Embedding(u, None, u), generator=generator)
    return penalty * 3 / (4 * (u.shape[-1] + 2))


@pytest.mark.parametrize(
    ("n", "largest"),
    # Closed forms for 2, 3 and 4 (David & Nagaraja 2003).
    [
        (1, 0),
        (2, np.pi**-0.5),
        (3, 1.5 * np.pi**-0.5),
        (4, 6 * np.pi**-1.5 * np.arctan(2**0.5)),
    ],
)
def test_largest_of_a_few(n, largest):
    assert normal_order_statistics(n)[-1] == pytest.approx(largest, abs=1e-14)


@pytest.mark.parametrize("n", [5, 100, 10_000])
def test_order_statistics_by_integration_over_the_beta_distribution(n):
    def integrand(x, place):
        return x * place.pdf(norm.cdf(x)) * norm.pdf(x)

    m = normal_order_statistics(n)
    for i in {1, 2, n // 3, n - 1, n}:
        # The i-th of n uniform draws is Beta(i, n - i + 1).
        place = beta(i, n - i + 1)
        knots = [*norm.ppf(place.ppf([1e-15, 1e-6, 0.01, 0.5, 0.99, 1 - 1e-6])), 8.5]
        if i == n:
            # Near one the uniform is known too coarsely.
            assert m[i - 1] == pytest.approx(-m[0], rel=1e-10)
            continue
        expected = sum(
            quad(integrand, low, high, args=(place,))[0] for low, high in pairwise(knots)
        )
        assert m[i - 1] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("n", [2, 7, 128, 10_000])
def test_order_statistics_are_ascending_and_odd(n):
    m = normal_order_statistics(n)
    assert (np.diff(m) > 0).all()
    np.testing.assert_allclose(m, -m[::-1], atol=1e-12)


def test_order_statistics_by_simulation():
    draws = np.sort(np.random.default_rng(0).standard_normal((40_000, 6)), axis=1)
    error = draws.std(axis=0) / 200
    assert (np.abs(draws.mean(axis=0) - normal_order_statistics(6)) < 4 * error).all()


@pytest.mark.parametrize(("n", "k"), [(2, 1), (10, 3), (100, 8)])
def test_expectation_for_a_gaussian_is_the_squared_difference_of_scales(n, k):
    u = torch.randn(4000, n, k, generator=torch.Generator().manual_seed(0)).double()
    for s in (0.5, 1.0, 2.0):
        values = distance(s * u, n_slices=8)
        assert abs(values.mean() - (s - 1) ** 2) < 4 * values.std() / 4000**0.5


@pytest.mark.parametrize(("n", "expected"), [(32, 0.886), (128, 0.969), (512, 0.992)])
def test_plain_quantiles_would_prefer_a_shrunken_embedding(n, expected):
    q = norm.ppf((np.arange(n) + 0.5) / n)
    best = np.mean(q * normal_order_statistics(n))
    assert best**2 == pytest.approx(expected, abs=0.0015)


def test_for_large_n_it_is_the_squared_distance_of_the_line():
    # A shift of Gaussian quantiles: W2 and W1 are both the shift, at any n.
    m = normal_order_statistics(5000)
    u = torch.from_numpy(m / np.mean(m**2) + 0.7)[:, None]
    assert wasserstein_distance(u[:, 0], u[:, 0] - 0.7) == pytest.approx(0.7)
    zero = distance(u - 0.7)
    assert_close((distance(u) - zero).item(), 0.49)
    assert -1e-3 < zero.item() < 0


@pytest.mark.parametrize("k", [2, 13])
def test_a_shift_costs_its_square_over_k(k):
    # Along direction a, with projections of mean zero: (a'm)^2, whose mean is |m|^2 / k; full sets
    # of orthogonal directions have no noise in it.
    u, shift = torch.from_numpy(WINE[:, :k]), 3.0
    change = distance(u + shift, n_slices=2 * k) - distance(u, n_slices=2 * k)
    assert change.item() == pytest.approx(shift**2, rel=1e-5)
