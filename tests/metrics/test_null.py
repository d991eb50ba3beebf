"""P-values are uniform where the null hypothesis holds."""

from functools import partial

import numpy as np
import pytest
from scipy.stats import kstest, kstwo

from sklatent.metrics import epps_pulley_test, henze_zirkler_test, mardia_test
from sklatent.metrics._null import (
    NullLaw,
    _n_harmonics,
    characteristic_law,
    n_draws,
    rank_pvalue,
    simulate,
)
from sklatent.metrics._worst_direction import worst_direction

TESTS = [mardia_test, henze_zirkler_test, partial(epps_pulley_test, n_slices=64)]
NAMES = ["mardia", "henze_zirkler", "epps_pulley"]
DRAWS = 500
LOOKS = 200  # Kolmogorov-Smirnov tests on this page, of the slow ones too: a level for each


def assert_uniform(pvalues, draws=np.inf):
    """Simulated p-values share a null distribution of so many draws: a test of two samples."""
    size = 1 / (1 / len(pvalues) + 1 / draws)
    distance = kstest(pvalues, "uniform").statistic
    assert kstwo.sf(distance, round(size)) > 0.05 / LOOKS


def check_uniform(test, n, k, null):
    """The parts of Mardia's result are tests of their own."""
    rng = np.random.default_rng(n + k)
    mean, factor = rng.normal(size=k), np.tril(rng.normal(size=(k, k)), -1) + 2 * np.eye(k)
    given = {"mean": mean, "cov": factor @ factor.T} if null == "simple" else {}
    results = [
        test(rng.standard_normal((n, k)) @ factor.T + mean, **given, null=null, random_state=1)
        for _ in range(DRAWS)
    ]
    parts = [results]
    if test is mardia_test:
        parts += [[r.skewness for r in results], [r.kurtosis for r in results]]
    draws = n_draws(n * n) if parts[-1][0].method == "Monte Carlo" else np.inf
    for part in parts:
        assert_uniform([r.pvalue for r in part], draws)


@pytest.mark.parametrize("null", ["simple", "composite"])
@pytest.mark.parametrize(("n", "k"), [(50, 2), (50, 8), (50, 20), (200, 2)])
@pytest.mark.parametrize("test", TESTS, ids=NAMES)
def test_pvalues_are_uniform(test, n, k, null):
    check_uniform(test, n, k, null)


@pytest.mark.slow
@pytest.mark.parametrize("null", ["simple", "composite"])
@pytest.mark.parametrize(
    ("n", "k"), [(500, 2), (500, 8), (500, 20), (1000, 2), (1000, 20), (10, 5), (100, 1)]
)
@pytest.mark.parametrize("test", [*TESTS[:2], epps_pulley_test], ids=NAMES)
def test_pvalues_are_uniform_elsewhere(test, n, k, null):
    check_uniform(test, n, k, null)


@pytest.mark.parametrize("k", [pytest.param(2, marks=pytest.mark.slow), 8])
def test_the_worst_directions_pvalue_is_uniform(k):
    # Though it is the worst of all: it is not measured where it was sought.
    rng = np.random.default_rng(0)
    samples = rng.standard_normal((200, 50, k))
    assert_uniform([worst_direction(u, 0).test.pvalue for u in samples])


def test_the_law_of_a_mean_is_a_chi_square():
    # A single knot at a small t, on a line: n t^2 mean^2 to first order.
    t = 1e-3
    law = characteristic_law(np.array([t]), np.array([t**-2]), 1, "simple")
    np.testing.assert_allclose(law[:3], [1, 2, 8], rtol=1e-5)
    np.testing.assert_allclose(law.leading[0], [1, 1], rtol=1e-5)
    # The integral is at its worst for a single chi-square.
    assert law.sf(3.841459) == pytest.approx(0.05, abs=1e-4)
    assert law.sf(0.454936) == pytest.approx(0.5, abs=1e-3)
    assert law.isf(0.05) == pytest.approx(3.841459, rel=1e-4)
    assert law.cdf(3.841459) == pytest.approx(0.95, rel=1e-4)


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("null", ["simple", "composite"])
def test_cumulants_are_traces_of_the_covariance(k, null):
    # The covariance function of the ecf at random frequencies, and its powers' traces.
    rng = np.random.default_rng(0)
    t, weight = np.array([0.7, 1.6]), np.array([1.0, 0.5])
    a = rng.standard_normal((400, k))
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    x, w = np.vstack([s * a for s in t]), np.repeat(weight, 400) / 400
    inner, norm = x @ x.T, np.square(x).sum(axis=1)
    cov = np.exp(inner) - 1
    if null == "composite":
        cov -= inner + inner**2 / 2
    cov *= np.exp(-(norm[:, None] + norm) / 2) * np.sqrt(w[:, None] * w)
    expected = [np.trace(cov), 2 * np.trace(cov @ cov), 8 * np.trace(cov @ cov @ cov)]
    law = characteristic_law(t, weight, k, null, n_slices=400)
    # 400 directions stand for a random 400: their moments scatter by some percent.
    for cumulant, trace, tolerance in zip(law[:3], expected, (1e-9, 0.08, 0.15), strict=True):
        assert cumulant == pytest.approx(trace, rel=tolerance)


def test_cumulants_of_few_random_directions():
    # In two dimensions, averaged over all angles of three directions; the sums are periodic.
    t, weight = np.array([0.7, 1.6]), np.array([1.0, 0.5])
    grid = 2 * np.pi * np.arange(24) / 24
    angles = np.stack(np.meshgrid(0, grid, grid), axis=-1).reshape(-1, 1, 3)
    x = (t[:, None] * np.exp(1j * angles)).reshape(-1, 6)
    x = np.concatenate([x, -x], axis=1)  # both signs of t
    norm, w = np.abs(x) ** 2, np.tile(np.repeat(weight, 3), 2) / 6
    cov = np.expm1((x[:, :, None] * x[:, None].conj()).real) * np.sqrt(np.outer(w, w))
    cov *= np.exp(-(norm[:, :, None] + norm[:, None]) / 2)
    law = characteristic_law(t, weight, 2, "simple", n_slices=3)
    assert law.variance == pytest.approx(2 * np.einsum("aij,aji->", cov, cov) / 24**2)
    assert law.third == pytest.approx(8 * np.einsum("aij,aji->", cov, cov @ cov) / 24**2)


def test_the_tail_of_a_sum_of_two_exponentials():
    law = NullLaw(3.0, 5.0, 18.0, ((1.0, 2.0), (0.5, 2.0)))
    for x in (1.0, 10.0, 15.0):
        expected = 2 * np.exp(-x / 2) - np.exp(-x)
        assert law.sf(x) == pytest.approx(expected, rel=2e-3)


def test_numbers_of_spherical_harmonics():
    for degree in range(5):
        assert _n_harmonics(degree, 2) == min(degree + 1, 2)
        assert _n_harmonics(degree, 3) == 2 * degree + 1
        assert _n_harmonics(degree, 4) == (degree + 1) ** 2


def test_simulated_rows_have_the_moments_of_the_null():
    def moments(u):
        return np.stack([u.mean(axis=(1, 2)), (np.swapaxes(u, 1, 2) @ u)[:, 0, 1]], axis=1)

    composite = simulate(moments, 20, 3, "composite", seed=0, size=60, draws=999)
    np.testing.assert_allclose(composite, 0, atol=1e-12)
    simple = simulate(moments, 20, 3, "simple", seed=0, size=60, draws=999)
    assert simple.shape == (999, 2)
    assert np.abs(simple.mean(axis=0)).max() < 4 * simple.std(axis=0).max() / 999**0.5


def test_large_samples_have_fewer_draws():
    for n, draws in ((250, 999), (251, 199), (2000, 199), (2001, 99)):
        assert n_draws(n * n) == draws


@pytest.mark.parametrize(
    ("test", "n", "k", "smallest"),
    [
        (mardia_test, 300, 2, 1 / 1000),  # few products
        (mardia_test, 300, 15, 1 / 200),
        (henze_zirkler_test, 300, 12, 1 / 200),
        (partial(epps_pulley_test, n_slices=8), 300, 18, 1 / 200),
    ],
)
def test_the_smallest_simulated_pvalue(test, n, k, smallest):
    u = np.random.default_rng(0).exponential(size=(n, k)) ** 3
    assert test(u, null="composite", random_state=0).pvalue == smallest


def test_draws_share_no_stream_with_directions():
    # A sample of the null distribution must not be the numbers that the directions are made of.
    draws = simulate(lambda u: u[:, 0, 0], 50, 1, "simple", seed=3, size=50, draws=999)
    assert not np.isin(np.random.default_rng(3).standard_normal(100_000), draws).any()


def test_a_tie_counts_as_at_least_as_large():
    assert rank_pvalue(2.0, np.array([1.0, 2.0, 3.0])) == 3 / 4


@pytest.mark.parametrize(
    ("test", "n", "k", "null"),
    [
        (epps_pulley_test, 50, 60, "simple"),
        (epps_pulley_test, 200, 10, "composite"),
        (epps_pulley_test, 240, 12, "composite"),
        (mardia_test, 1000, 2, "simple"),
        (mardia_test, 1000, 2, "composite"),
        (henze_zirkler_test, 200, 4, "simple"),
        (henze_zirkler_test, 1000, 24, "composite"),
    ],
)
def test_sizes_from_which_on_pvalues_are_analytic(test, n, k, null):
    u = np.random.default_rng(0).standard_normal((n, k))
    methods = [test(v, null=null, random_state=0) for v in (u, u[1:])]
    if test is mardia_test:
        methods = [m.kurtosis for m in methods]
    assert [m.method for m in methods] == ["analytic", "Monte Carlo"]


def test_a_weighted_sum_of_chi_squares():
    # The leading weights as they are, the others by their cumulants: 2 x + y + z/10 + ...
    rng = np.random.default_rng(0)
    x = rng.chisquare([1, 1, 30], size=(100_000, 3)) @ [2, 1, 0.1]
    law = NullLaw(6.0, 2 * (4 + 1 + 0.3), 8 * (8 + 1 + 0.03), ((2.0, 1.0), (1.0, 1.0)))
    for q in (0.01, 0.1, 0.5, 0.9, 0.99, 0.999):
        tail = law.sf(np.quantile(x, 1 - q))
        assert abs(tail - q) < 4 * (q * (1 - q) / len(x)) ** 0.5
    assert 0 < law.sf(100.0) < 1e-8  # below the precision of the integral
    assert law.sf(0.0) == pytest.approx(1, abs=1e-6)


def test_a_symmetric_law_is_nearly_normal():
    law = NullLaw(1.0, 4.0, 1e-3)
    assert law.sf(1.0) == pytest.approx(0.5, abs=1e-3)
    assert law.isf(0.025) == pytest.approx(1 + 2 * 1.959964, abs=1e-3)
