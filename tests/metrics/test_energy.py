import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from sklatent.metrics import energy_distance, energy_test
from sklatent.metrics._energy import effect_unit, expected, null_law, statistic_of
from sklatent.metrics._rows import MAX_ROWS, whiten
from sklatent.networks import Embedding
from sklatent.regularizers import EnergyDistance


def c(k):
    return math.gamma((k + 1) / 2) / math.gamma(k / 2)


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
@pytest.mark.parametrize(("n", "k"), [(8, 1), (8, 4), (60, 4)])
def test_expectations_are_exact(n, k, null):
    u = np.random.default_rng(0).standard_normal((3000, n, k))
    t = statistic_of(whiten(u) if null == "composite" else u)
    assert abs(t.mean() - expected(n, k, null)) < 4 * t.std() / 3000**0.5


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


def test_many_rows_are_thinned():
    u = np.random.default_rng(0).standard_normal((MAX_ROWS + 1, 2))
    result = energy_test(u, random_state=0)
    assert result.n_samples == MAX_ROWS
    assert result == energy_test(u, random_state=0)
    assert result != energy_test(u, random_state=1)
