import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid
from scipy.stats import ortho_group

from sklatent._epps_pulley import random_directions
from sklatent.metrics import epps_pulley_test
from sklatent.metrics._epps_pulley import effect_unit, statistics
from sklatent.metrics._samples import whiten
from sklatent.networks import Embedding
from sklatent.regularizers import SlicedEppsPulley


def by_definition(u, directions):
    t = np.linspace(-3, 3, 33)
    normal = np.exp(-(t**2) / 2)
    values = []
    for a in directions.T:
        ecf = np.exp(1j * np.outer(t, u @ a)).mean(axis=1)
        values.append(len(u) * trapezoid(np.abs(ecf - normal) ** 2 * normal, t))
    return np.array(values)


def test_it_is_the_definition():
    u = np.random.default_rng(0).exponential(size=(30, 3))
    directions = random_directions(3, 20, seed=0)
    np.testing.assert_allclose(statistics(u, directions), by_definition(u, directions), rtol=1e-10)
    result = epps_pulley_test(u, n_slices=20, random_state=0)
    assert result.statistic == pytest.approx(by_definition(u, directions).mean(), rel=1e-10)


def test_blocks_of_rows_and_samples_add_up():
    u = np.random.default_rng(0).standard_normal((2, 5000, 3))
    directions = random_directions(3, 40, seed=0)  # 200,000 projections: several blocks
    expected = np.stack([statistics(v, directions) for v in u])
    np.testing.assert_allclose(statistics(u, directions), expected, rtol=1e-10)


@pytest.mark.parametrize("n", [2, 10, 200])
@pytest.mark.parametrize("k", [1, 4])
def test_the_simple_null_mean_is_the_same_at_any_n_and_k(n, k):
    rng = np.random.default_rng(0)
    t = [
        epps_pulley_test(rng.standard_normal((n, k)), n_slices=8, random_state=0) for _ in range(2)
    ]
    assert t[0].expected == pytest.approx(1.0525, abs=1e-4)
    values = statistics(rng.standard_normal((3000, n, k)), random_directions(k, 8, 0)).mean(axis=1)
    assert abs(values.mean() - t[0].expected) < 4 * values.std() / 3000**0.5


@pytest.mark.parametrize(("n", "k"), [(8, 1), (8, 4), (60, 4)])
def test_the_composite_null_mean_is_exact_and_does_not_depend_on_k(n, k):
    rng = np.random.default_rng(0)
    u = whiten(rng.standard_normal((3000, n, k)))
    values = statistics(u, random_directions(k, 16, 0)).mean(axis=1)
    result = epps_pulley_test(u[0], null="composite", n_slices=8, random_state=0)
    assert abs(values.mean() - result.expected) < 4 * values.std() / 3000**0.5


def test_the_expectation_of_a_large_sample_is_finite():
    u = np.random.default_rng(0).standard_normal((100_000, 1))
    result = epps_pulley_test(u, null="composite", n_slices=1)
    assert result.expected == pytest.approx(0.32888, abs=1e-4)


def test_the_effect_size_is_in_units_of_the_regularizer():
    # The regularizer is the unbiased form: they differ by terms in 1/n.
    u = 1.3 * np.random.default_rng(0).standard_normal((4000, 3))
    tensor = torch.from_numpy(u)
    penalty = SlicedEppsPulley(n_slices=512)(
        Embedding(tensor, None, tensor), generator=torch.Generator().manual_seed(0)
    )
    result = epps_pulley_test(u, n_slices=512, random_state=0)
    assert result.effect_size == pytest.approx(penalty.item(), rel=0.05)
    # N(0, s^2 I) in closed form.
    t = np.linspace(-3, 3, 33)
    distance = (np.exp(-1.69 * t**2 / 2) - np.exp(-(t**2) / 2)) ** 2 * np.exp(-(t**2) / 2)
    expected = trapezoid(distance, t) / effect_unit(3)
    assert result.effect_size == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("k", [1, 3])
def test_the_unit_is_the_square_of_a_variances_error_over_k(k):
    # Of a single component, with a squared entry s of a direction: E s^2 is 3 / (k (k + 2)).
    t, error = np.linspace(-3, 3, 33), 1e-3
    distance = (np.exp(-(1 + error) * t**2 / 2) - np.exp(-(t**2) / 2)) ** 2 * np.exp(-(t**2) / 2)
    mean = trapezoid(distance, t) * 3 / (k * (k + 2))
    assert mean / effect_unit(k) == pytest.approx(error**2 / k, rel=0.01)


def test_a_rotation_moves_it_by_the_noise_of_the_slices_only():
    u = np.random.default_rng(0).exponential(size=(500, 4)) - 1
    q = ortho_group.rvs(4, random_state=0)
    for null in ("simple", "composite"):
        before, after = (
            epps_pulley_test(v, null=null, n_slices=2000, random_state=0).statistic
            for v in (u, u @ q)
        )
        assert after == pytest.approx(before, rel=0.1)


def test_one_direction_has_the_law_of_a_line():
    u = np.random.default_rng(0).exponential(size=(100, 8)) - 1
    for seed in range(5):
        line = u @ random_directions(8, 1, seed)
        one, alone = (epps_pulley_test(v, n_slices=1, random_state=seed) for v in (u, line))
        assert one.statistic == pytest.approx(alone.statistic)
        assert one.pvalue == pytest.approx(alone.pvalue, abs=0.03)


def test_more_directions_have_less_noise():
    u = np.random.default_rng(0).exponential(size=(100, 6)) - 1
    few, many = (
        np.std([epps_pulley_test(u, n_slices=m, random_state=s).statistic for s in range(40)])
        for m in (8, 512)
    )
    assert many < few / 4  # 1/8 in expectation
