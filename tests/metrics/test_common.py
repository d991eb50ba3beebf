"""What all tests have in common."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from scipy.stats import ortho_group

from sklatent.metrics import (
    MardiaResult,
    _classifier,
    classifier_two_sample_test,
    epps_pulley_test,
    gaussianity_report,
    henze_zirkler_test,
    mardia_test,
)

DISTANCES = [henze_zirkler_test, epps_pulley_test]
FORMULAS = [mardia_test, *DISTANCES]
TESTS = [*FORMULAS, classifier_two_sample_test]
ALL = [*TESTS, gaussianity_report]
SKEWED = np.random.default_rng(0).exponential(size=(220, 3))


def parts(result):
    """The tests that a result is made of: Mardia's is of two."""
    return [result.skewness, result.kurtosis] if isinstance(result, MardiaResult) else [result]


def values(name, result):
    return [getattr(part, name) for part in parts(result)]


def shapes(n, k):
    """Distributions with mean 0 and covariance I that are not Gaussian."""
    rng = np.random.default_rng(0)
    u, angle = rng.standard_normal((4, n, k)), rng.uniform(0, 2 * np.pi, size=n)
    ring, banana, clusters = u[:3]
    ring[:, :2] = (1 + 0.1 * u[0, :, :1]) * 2**0.5 * np.c_[np.cos(angle), np.sin(angle)]
    banana[:, 1] = (banana[:, 0] ** 2 - 1 + banana[:, 1]) / 3**0.5
    clusters[:, 0] = 0.5 * clusters[:, 0] + 0.75**0.5 * rng.choice([-1, 1], size=n)
    q = ortho_group.rvs(k, random_state=0)
    heavy = u[3] * np.sqrt(3 / rng.chisquare(5, size=(n, 1)))
    box = rng.uniform(-(3**0.5), 3**0.5, size=(n, k))
    named = {"ring": ring, "banana": banana, "clusters": clusters, "heavy": heavy, "uniform": box}
    return {name: rows @ q for name, rows in named.items()}


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize("shape", ["ring", "banana", "clusters", "heavy", "uniform"])
def test_shapes_that_are_not_gaussian_are_found(test, shape):
    u = shapes(1000, 2)[shape]
    assert test(u, null="composite", random_state=0).pvalue < 0.01


@pytest.mark.parametrize("test", TESTS)
def test_the_simple_null_is_the_given_gaussian(test):
    # The same rows in other coordinates, and the Gaussian with them. Cholesky's factor is
    # triangular: standard coordinates are the same.
    rng = np.random.default_rng(0)
    factor = np.tril(rng.standard_normal((3, 3)), -1) + np.diag([1.0, 2.0, 3.0])
    before = test(SKEWED, random_state=0)
    after = test(
        SKEWED @ factor.T + [1, 2, 3], mean=[1, 2, 3], cov=factor @ factor.T, random_state=0
    )
    np.testing.assert_allclose(values("statistic", after), values("statistic", before), rtol=1e-8)
    np.testing.assert_allclose(after.pvalue, before.pvalue, rtol=1e-6)
    assert set(values("null", before)) == {"simple"}


@pytest.mark.parametrize("test", [mardia_test, henze_zirkler_test])
def test_the_composite_null_is_affine_invariant(test):
    a = np.random.default_rng(0).standard_normal((3, 3))
    before = test(SKEWED, null="composite", random_state=0)
    after = test(1e4 * SKEWED @ a - 7, null="composite", random_state=0)
    np.testing.assert_allclose(values("statistic", after), values("statistic", before), rtol=1e-7)
    np.testing.assert_allclose(
        values("effect_size", after), values("effect_size", before), rtol=1e-6
    )
    assert set(values("null", before)) == {"composite"}


@pytest.mark.parametrize("test", FORMULAS)
def test_components_can_have_units_of_any_size(test):
    before, after = (
        test(SKEWED * scales, null="composite", random_state=0) for scales in (1, [1e-9, 1, 1e9])
    )
    np.testing.assert_allclose(values("statistic", after), values("statistic", before), rtol=1e-7)


@pytest.mark.parametrize("test", [mardia_test, henze_zirkler_test])
def test_a_rotation_does_not_matter(test):
    q = ortho_group.rvs(3, random_state=0)
    before, after = test(SKEWED, random_state=0), test(SKEWED @ q, random_state=0)
    np.testing.assert_allclose(values("statistic", after), values("statistic", before), rtol=1e-8)


@pytest.mark.parametrize("null", ["simple", "composite"])
@pytest.mark.parametrize("test", FORMULAS)
def test_the_order_of_rows_does_not_matter(test, null):
    before = test(SKEWED, null=null, random_state=0)
    after = test(SKEWED[::-1], null=null, random_state=0)
    np.testing.assert_allclose(values("statistic", after), values("statistic", before), rtol=1e-9)


@pytest.mark.parametrize("test", TESTS)
def test_random_state(test):
    # Simulated, and repeated: the int determines all; None is one seed per process.
    u = SKEWED[:30]
    one = test(u, null="composite", random_state=3)
    assert one == test(u, null="composite", random_state=3)
    assert one == test(u, null="composite", random_state=np.int64(3))
    assert test(u, null="composite") == test(u, null="composite")
    states = [np.random.RandomState(0) for _ in range(2)]
    assert test(u, random_state=states[0]) == test(u, random_state=states[1])
    before = np.random.mtrand._rand.get_state()[1].copy()
    test(u, null="composite", random_state=4)
    np.testing.assert_array_equal(np.random.mtrand._rand.get_state()[1], before)


@pytest.mark.parametrize("null", ["simple", "composite"])
@pytest.mark.parametrize("test", TESTS)
def test_another_random_state_has_other_draws(test, null):
    u = np.random.default_rng(0).standard_normal((30, 3))
    assert len({test(u, null=null, random_state=seed).pvalue for seed in range(4)}) > 1


@pytest.mark.parametrize("test", DISTANCES)
def test_one_component_of_another_variance_has_its_effect_size(test):
    # (v - 1)^2 / k in all units, to second order; the same at any n.
    for n in (1500, 5000):
        u = np.random.default_rng(0).standard_normal((n, 2))
        u = (u - u.mean(axis=0)) / u.std(axis=0) * [1, 0.8**0.5]
        assert test(u, random_state=0).effect_size == pytest.approx(0.04 / 2, abs=0.012)


def test_results_can_be_looped_over():
    rows = []
    for test in TESTS:
        result = test(SKEWED, null="composite", random_state=0)
        assert result.pvalue < 0.01
        rows += [(part.name, part.null, part.method, part.n_samples) for part in parts(result)]
    assert rows == [
        ("Mardia skewness", "composite", "Monte Carlo", 220),
        ("Mardia kurtosis", "composite", "Monte Carlo", 220),
        ("Henze-Zirkler", "composite", "analytic", 220),
        ("sliced Epps-Pulley", "composite", "analytic", 220),
        ("classifier", "composite", "analytic", 220),
    ]


def test_a_repr_says_it_all():
    text = repr(henze_zirkler_test(SKEWED, null="composite", random_state=0))
    for word in ("Henze-Zirkler", "p-value", "effect size", "composite", "analytic", "n=220"):
        assert word in text
    assert "Mardia: p-value" in repr(mardia_test(SKEWED, random_state=0))


@pytest.mark.parametrize("function", ALL)
def test_a_large_sample_takes_memory_linear_in_it(function, monkeypatch):
    if function is gaussianity_report:  # save the time of the classifiers, which have a case too
        monkeypatch.setattr(
            _classifier, "fit_score", lambda samples, draws, seed: lambda u: u[:, 0]
        )
    n, k = 30_000, 32
    u = np.random.default_rng(0).standard_normal((n, k))
    kwargs = {"n_slices": 4} if function is epps_pulley_test else {}
    tracemalloc.start()
    function(u, **kwargs)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # A few copies of the rows, and blocks of a fixed size. Distances of all pairs: 7 GB.
    assert peak < 8 * u.nbytes


@pytest.mark.parametrize("function", ALL)
@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"mean": [0.0]}, r"^mean must have shape \(n_components,\)=\(3,\), got \(1,\)"),
        ({"cov": [1.0, -1.0, 1.0]}, "^cov must be positive definite"),
        ({"cov": np.ones((3, 3))}, "^cov must be positive definite"),
        ({"cov": np.ones((2, 2))}, "^cov must have shape"),
        ({"mean": ["a", "b", "c"]}, "^mean must be an array of numbers"),
    ],
)
def test_a_wrong_gaussian(function, kwargs, message):
    with pytest.raises(ValueError, match=message):
        function(SKEWED, **kwargs)


@pytest.mark.parametrize("function", ALL)
def test_wrong_rows(function):
    for Z, message in (
        (SKEWED[0], "Expected 2D array"),
        (SKEWED[:1], "minimum of"),
        (np.where(SKEWED > 4, np.nan, SKEWED), "Z contains NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            function(Z)


@pytest.mark.parametrize("test", TESTS)
def test_a_composite_null_that_cannot_be(test):
    with pytest.raises(ValueError, match=r"null must be 'simple' or 'composite', got 'family'"):
        test(SKEWED, null="family")
    with pytest.raises(ValueError, match="mean must be None with null='composite'"):
        test(SKEWED, mean=[0, 0, 0], null="composite")
    with pytest.raises(ValueError, match=r"at least n_components \+ 2 samples.*\(4, 3\)"):
        test(SKEWED[:4], null="composite")
    with pytest.raises(ValueError, match=r"full rank.*rank 2"):
        test(SKEWED @ np.diag([1.0, 1, 0]) + SKEWED[:, [0, 0, 0]], null="composite")
    with pytest.raises(ValueError, match="got a constant component"):
        test(SKEWED * [1, 1, 0], null="composite")


@pytest.mark.parametrize("n_slices", [0, 1.5])
def test_wrong_n_slices(n_slices):
    with pytest.raises(ValueError, match=f"n_slices must be an int of at least 1, got {n_slices}"):
        epps_pulley_test(SKEWED, n_slices=n_slices)


def test_a_wrong_random_state():
    with pytest.raises(ValueError, match="'seed' cannot be used to seed"):
        epps_pulley_test(SKEWED, random_state="seed")


def test_torch_is_not_imported():
    code = "import sys, sklatent.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
