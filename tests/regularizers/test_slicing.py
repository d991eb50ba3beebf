import pytest
import torch
from torch.testing import assert_close

from sklatent.regularizers._slicing import random_directions

LIKE = torch.zeros(0, dtype=torch.float64)


def directions(k, n_slices, seed=0, like=LIKE):
    return random_directions(k, n_slices, torch.Generator().manual_seed(seed), like)


@pytest.mark.parametrize("k", [1, 2, 5, 16])
@pytest.mark.parametrize("n_slices", [1, 5, 16, 37])
def test_directions_are_unit_vectors_in_orthogonal_sets(k, n_slices):
    a = directions(k, n_slices)
    assert a.shape == (k, n_slices)
    for one_set in a.split(k, dim=1):
        # Drawn in single precision.
        identity = torch.eye(one_set.shape[1], dtype=a.dtype)
        assert_close(one_set.T @ one_set, identity, atol=2e-6, rtol=0)


@pytest.mark.parametrize("k", [1, 2, 3, 8])
def test_each_direction_of_a_set_is_uniform_on_the_sphere(k):
    sets = 20_000
    a = directions(k, sets * k).unflatten(1, (sets, k))  # (component, set, place in its set)
    # Moments of one component of a uniform direction: 0, 1/k, 0 and 3/(k (k + 2)).
    for power, expected in enumerate([0, 1 / k, 0, 3 / (k * (k + 2))], start=1):
        means = a.pow(power).mean(dim=1)
        error = a.pow(power).std(dim=1) / sets**0.5
        assert ((means - expected).abs() <= 4.5 * error + 1e-6).all(), power
    products = torch.einsum("isp,jsp->pij", a, a) / sets
    assert_close(products, torch.eye(k, dtype=a.dtype).expand(k, k, k) / k, atol=0.03, rtol=0)


def test_type_and_generator_are_the_callers():
    state = torch.get_rng_state()
    single = directions(3, 7, like=torch.zeros(0))
    assert single.dtype == torch.float32
    assert_close(directions(3, 7).float(), single)
    assert not torch.equal(directions(3, 7, seed=1), directions(3, 7))
    assert torch.equal(torch.get_rng_state(), state)
