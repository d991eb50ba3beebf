import numpy as np
import pytest
from scipy.stats import binom

from sklatent.inspection._band import EXACT_SAMPLES, coverage, local_level, uniform_band


@pytest.mark.parametrize("level", [0.5, 0.95])
@pytest.mark.parametrize("n", [1, 2, 7, 100])
def test_the_whole_sample_stays_inside_as_often_as_claimed(n, level):
    lower, middle, upper = uniform_band(n, level)
    assert ((lower < middle) & (middle < upper)).all()
    n_draws = 4000
    u = np.sort(np.random.default_rng(n).random((n_draws, n)), axis=1)
    inside = int(((u >= lower) & (u <= upper)).all(axis=1).sum())
    assert binom(n_draws, level).cdf(inside) == pytest.approx(0.5, abs=0.4999)


def test_of_one_row_it_is_the_central_interval():
    np.testing.assert_allclose(np.ravel(uniform_band(1, 0.95)), [0.025, 0.5, 0.975], atol=1e-9)


def test_coverage_of_two_rows_in_closed_form():
    # P(a <= U_(1) <= b, c <= U_(2) <= d), with c = 1 - b and d = 1 - a by symmetry, as an integral
    # of 2 over the points of the rectangle above the diagonal.
    alpha = 0.1
    a, b = 1 - np.sqrt(1 - alpha / 2), 1 - np.sqrt(alpha / 2)
    c, d = 1 - b, 1 - a
    expected = 2 * ((b - a) * (d - c) - max(0.0, b - c) ** 2 / 2)
    assert coverage(2, alpha) == pytest.approx(expected, rel=1e-9)


def test_pointwise_bands_are_too_narrow_and_bonferroni_s_too_wide():
    n = 500
    assert coverage(n, 0.05) < 0.5
    assert coverage(n, 0.05 / n) > 0.99
    assert coverage(n, local_level(n, 0.95)) == pytest.approx(0.95, abs=1e-4)


def test_published_level():
    # Aldor-Noiman et al. (2013) is simulated; Weine, McPeek & Abney (2023) give for large n
    # -log(1 - a) / (2 log log n log n) (1 - 1.3 log log log n / log log n) with a = 0.05, "nearly".
    n = 5000
    loglog = np.log(np.log(n))
    formula = -np.log(0.95) / (2 * loglog * np.log(n)) * (1 - 1.3 * np.log(loglog) / loglog)
    assert local_level(n, 0.95) == pytest.approx(formula, rel=0.1)


def test_beyond_the_exact_rows_the_error_is_small():
    n = 2 * EXACT_SAMPLES
    assert coverage(n, local_level(n, 0.95)) == pytest.approx(0.95, abs=1e-3)
