import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm, ortho_group

from sklatent.metrics import (
    energy_distance,
    frechet_distance,
    gaussian_kl_divergence,
    sliced_wasserstein_distance,
)
from sklatent.metrics._samples import whiten

DISTANCES = [
    energy_distance,
    frechet_distance,
    gaussian_kl_divergence,
    sliced_wasserstein_distance,
]


def exactly(mean, cov, n=50):
    """Samples with these moments, divisor n - 1."""
    u = whiten(np.random.default_rng(0).standard_normal((n, len(mean))))
    return u @ np.linalg.cholesky(cov).T * ((n - 1) / n) ** 0.5 + mean


def test_frechet_of_commuting_covariances():
    # |m - mu|^2 + sum (s_j - sigma_j)^2 of their standard deviations.
    q = ortho_group.rvs(3, random_state=0)
    S, cov = ((q * np.square(s)) @ q.T for s in ([1.0, 2.0, 3.0], [2.0, 2.5, 1.0]))
    Z = exactly([1.0, 2.0, 3.0], S)
    value = frechet_distance(Z, mean=[1.0, 2.0, 1.0], cov=cov)
    assert value**2 == pytest.approx(4 + 1 + 0.25 + 4)


def test_frechet_of_a_collapsed_embedding_is_its_targets_spread():
    assert frechet_distance(np.zeros((5, 3))) == pytest.approx(3**0.5)


def test_kl_is_the_mean_log_ratio_of_densities():
    S = np.array([[2.0, 0.5], [0.5, 1.0]])
    Z = exactly([0.5, -1.0], S)
    cov = np.array([[1.0, -0.3], [-0.3, 2.0]])
    x = multivariate_normal([0.5, -1.0], S).rvs(200_000, random_state=0)
    ratio = multivariate_normal([0.5, -1.0], S).logpdf(x) - multivariate_normal(
        [1.0, 0.0], cov
    ).logpdf(x)
    value = gaussian_kl_divergence(Z, mean=[1.0, 0.0], cov=cov)
    assert abs(value - ratio.mean()) < 4 * ratio.std() / len(ratio) ** 0.5


def test_kl_of_too_few_rows_is_infinite():
    assert gaussian_kl_divergence(np.random.default_rng(0).standard_normal((3, 3))) == np.inf


def test_kl_of_components_that_depend_on_each_other_is_infinite():
    for seed in range(10):  # the smallest eigenvalue is zero up to rounding, of either sign
        Z = np.random.default_rng(seed).standard_normal((50, 3))
        assert gaussian_kl_divergence(np.c_[Z, Z.sum(axis=1)]) == np.inf


def test_sliced_wasserstein_on_a_line_is_the_integral_over_quantiles():
    z = np.random.default_rng(0).exponential(size=7)
    q = (np.arange(700_000) + 0.5) / 700_000
    gap = np.repeat(np.sort(z), 100_000) - norm(1, 2).ppf(q)
    value = sliced_wasserstein_distance(z[:, None], mean=[1.0], cov=[4.0])
    assert value == pytest.approx((gap**2).mean() ** 0.5, rel=1e-5)


def test_sliced_wasserstein_of_draws_from_a_correlated_target_is_near_zero():
    cov = np.array([[1.0, 1.9], [1.9, 4.0]])
    Z = np.random.default_rng(0).standard_normal((5000, 2)) @ np.linalg.cholesky(cov).T + 3
    assert sliced_wasserstein_distance(Z, [3, 3], cov, n_slices=50, random_state=0) < 0.06


def test_sliced_wasserstein_of_a_shift():
    # |a'd| squared is |d|^2 / k in the mean over directions.
    u = np.random.default_rng(0).standard_normal((5000, 4))
    shift = np.array([3.0, 0.0, 0.0, 4.0])
    value = sliced_wasserstein_distance(u + shift, n_slices=1000, random_state=0)
    assert value == pytest.approx((25 / 4) ** 0.5, rel=0.05)


@pytest.mark.parametrize(
    ("distance", "expected"),
    [
        # Expectations for draws from N(0, I), k = 4, n = 2000, from the docstrings.
        (lambda u: frechet_distance(u) ** 2, (4 + 5) / 2000),
        (gaussian_kl_divergence, 4 * 7 / 8000),
        (energy_distance, 0.0),
    ],
)
def test_draws_from_the_target(distance, expected):
    rng = np.random.default_rng(0)
    values = [distance(rng.standard_normal((2000, 4))) for _ in range(40)]
    assert abs(np.mean(values) - expected) < 4 * np.std(values) / 40**0.5


@pytest.mark.parametrize("distance", DISTANCES)
def test_order_of_rows_and_a_common_shift_do_not_matter(distance):
    rng = np.random.default_rng(0)
    Z, cov = rng.exponential(size=(60, 3)), np.diag([1.0, 4.0, 0.25])
    kwargs = {} if distance in (frechet_distance, gaussian_kl_divergence) else {"random_state": 0}
    value = distance(Z, [1, 1, 1], cov, **kwargs)
    assert value == pytest.approx(distance(Z[::-1], [1, 1, 1], cov, **kwargs))
    assert value == pytest.approx(distance(Z + 9, [10, 10, 10], cov, **kwargs))


@pytest.mark.parametrize("distance", [energy_distance, gaussian_kl_divergence])
def test_an_affine_map_of_rows_and_target_does_not_matter(distance):
    rng = np.random.default_rng(0)
    Z, a = rng.exponential(size=(60, 3)), rng.standard_normal((3, 3))
    assert distance(Z @ a.T, mean=[0, 0, 0], cov=a @ a.T) == pytest.approx(distance(Z))


@pytest.mark.parametrize("distance", [frechet_distance, sliced_wasserstein_distance])
def test_distances_in_the_units_of_rows_scale_with_them(distance):
    Z = np.random.default_rng(0).exponential(size=(60, 3))
    assert distance(10 * Z, cov=[100, 100, 100]) == pytest.approx(10 * distance(Z))
