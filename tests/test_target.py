import numpy as np
import pytest

from sklatent._target import Target

MEAN = np.array([1.0, -2.0, 3.0])
FULL = np.array([[4.0, 1.0, -0.5], [1.0, 2.0, 0.3], [-0.5, 0.3, 0.25]])


def badly_scaled():
    correlation = np.array([[1.0, 0.9, -0.5], [0.9, 1.0, -0.3], [-0.5, -0.3, 1.0]])
    scale = np.sqrt([1e-12, 1.0, 1e12])
    return correlation * scale * scale[:, None]


def draws(n=1000, k=3):
    return np.random.default_rng(0).standard_normal((n, k))


@pytest.mark.parametrize("cov", [None, [4.0, 1e-3, 9.0], FULL, badly_scaled()])
def test_coordinates_are_inverse(cov):
    target, u = Target.from_params(MEAN, cov, 3), draws()
    # In its own units each row is exact to rounding; a mean of m standard deviations costs m
    # times that.
    far = 1 + np.abs(target.mean / np.sqrt(target.cov.diagonal())).max()
    np.testing.assert_allclose(target.to_standard(target.to_user(u)), u, rtol=0, atol=1e-14 * far)


@pytest.mark.parametrize("cov", [FULL, badly_scaled()])
def test_factor_is_the_triangular_root_of_the_covariance(cov):
    target = Target.from_params(None, cov, 3)
    np.testing.assert_array_equal(target.factor, np.tril(target.factor))
    assert (target.factor.diagonal() > 0).all()
    np.testing.assert_allclose(target.factor @ target.factor.T, cov, rtol=1e-14)


@pytest.mark.parametrize("cov", [FULL, badly_scaled()])
def test_moments_of_draws_are_the_targets(cov):
    n = 100_000
    z = Target.from_params(MEAN, cov, 3).to_user(draws(n))
    variances = np.diag(cov)
    # Standard errors of a mean and, by Isserlis' theorem, of a covariance.
    assert (np.abs(z.mean(axis=0) - MEAN) < 4 * np.sqrt(variances / n)).all()
    error = np.sqrt((np.outer(variances, variances) + np.square(cov)) / n)
    assert (np.abs(np.cov(z.T) - cov) < 4 * error).all()


def test_default_is_the_standard_normal():
    target, u = Target.from_params(None, None, 3), draws()
    np.testing.assert_array_equal(target.mean, np.zeros(3))
    np.testing.assert_array_equal(target.cov, np.eye(3))
    np.testing.assert_array_equal(target.to_user(u), u)
    np.testing.assert_array_equal(target.to_standard(u), u)


@pytest.mark.parametrize("k", [1, 3])
def test_variances_stand_for_a_diagonal_covariance(k):
    variances = [4.0, 1e-3, 9.0][:k]
    target = Target.from_params(None, variances, k)
    np.testing.assert_array_equal(target.cov, np.diag(variances))
    expected = Target.from_params(None, np.diag(variances), k)
    np.testing.assert_array_equal(target.factor, expected.factor)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_is_kept(dtype):
    target, u = Target.from_params(MEAN, FULL, 3), draws().astype(dtype)
    z = target.to_user(u)
    assert z.dtype == dtype
    assert target.to_standard(z).dtype == dtype
    np.testing.assert_array_equal(z, target.to_user(u.astype(np.float64)).astype(dtype))


@pytest.mark.parametrize(
    "mean",
    [
        1.0,
        [0.0],
        np.zeros(3),
        np.zeros((1, 2)),
        [0.0, np.nan],
        [0.0, np.inf],
        "zeros",
        ["a", "b"],
        [[0.0], [0.0, 1.0]],
    ],
)
def test_bad_mean_is_named(mean):
    with pytest.raises(ValueError, match="target_mean must"):
        Target.from_params(mean, None, 2)


@pytest.mark.parametrize(
    ("cov", "reason"),
    [
        (1.0, "shape"),
        (np.eye(3), "shape"),
        (np.ones(3), "shape"),
        (np.ones((2, 1)), "shape"),
        ([[1.0, 0.5], [0.2, 1.0]], "symmetric"),
        ([[1e-12, 2e-1], [1e-1, 1e12]], "symmetric"),
        ([[1.0, 0.5 + 1e-6], [0.5, 1.0]], "symmetric"),
        ([[1.0, 1.0], [1.0, 1.0]], "positive definite"),
        ([[1.0, 2.0], [2.0, 1.0]], "positive definite"),
        ([[1e-12, 1.0], [1.0, 1e12]], "positive definite"),
        ([[1.0, 0.0], [0.0, 0.0]], "positive definite"),
        ([1.0, -1.0], "positive definite"),
        ([1.0, 0.0], "positive definite"),
        ([[1.0, np.nan], [np.nan, 1.0]], "finite"),
        ([1.0, np.inf], "finite"),
        ("identity", "numbers"),
        ([["a", "b"], ["c", "d"]], "numbers"),
        ([[1.0], [0.0, 1.0]], "numbers"),
    ],
)
def test_bad_covariance_is_named(cov, reason):
    with pytest.raises(ValueError, match=f"target_cov must .*{reason}"):
        Target.from_params(None, cov, 2)


@pytest.mark.parametrize("seed", range(5))
def test_a_covariance_that_is_singular_but_for_rounding_is_refused(seed):
    # Its smallest eigenvalue is a rounding error of either sign.
    factor = np.random.default_rng(seed).normal(size=(5, 4))
    with pytest.raises(ValueError, match="target_cov must be positive definite, got a matrix"):
        Target.from_params(None, factor @ factor.T, 5)
