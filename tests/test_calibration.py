import numpy as np
import pytest
from scipy.integrate import trapezoid
from scipy.stats import norm
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from sklatent.calibration import AffineCalibration, Gaussianization, _flow, _gaussianization
from sklatent.calibration._flow import MixtureFlow
from sklatent.calibration._splines import KNOTS, Splines
from sklatent.metrics import epps_pulley_test

# Correlated features of unlike scales, none of them Gaussian.
WINE = load_wine().data[:, :6]
TUMOURS = PCA(5, whiten=True).fit_transform(load_breast_cancer().data) ** 3 + 0.7


@pytest.mark.parametrize("u", [WINE, TUMOURS, WINE[:, :1]])
class TestMoments:
    def test_mean_is_zero_and_covariance_the_identity(self, u):
        z = AffineCalibration().fit(u).transform(u)
        np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-10)
        np.testing.assert_allclose(np.atleast_2d(np.cov(z.T)), np.eye(u.shape[1]), atol=1e-10)

    def test_weighted_mean_is_zero_and_weighted_covariance_the_identity(self, u):
        n, weight = len(u), np.random.default_rng(0).uniform(0.1, 5, len(u))
        z = AffineCalibration().fit(u, weight).transform(u)
        np.testing.assert_allclose(np.average(z, axis=0, weights=weight), 0, atol=1e-10)
        cov = np.atleast_2d(np.cov(z.T, aweights=weight, ddof=0)) * n / (n - 1)
        np.testing.assert_allclose(cov, np.eye(u.shape[1]), atol=1e-10)

    def test_inverse_transform_undoes_transform(self, u):
        calibration = AffineCalibration().fit(u)
        z = calibration.transform(u)
        np.testing.assert_allclose(calibration.inverse_transform(z), u, rtol=1e-10)

    def test_signs_survive(self, u):
        z = AffineCalibration().fit(u).transform(u)
        for before, after in zip(u.T, z.T, strict=True):
            assert np.corrcoef(before, after)[0, 1] > 0

    def test_scale_of_weights_does_not_matter_and_ones_are_none(self, u):
        weight = np.random.default_rng(0).uniform(0.1, 5, len(u))
        for a, b in [(weight, 100 * weight), (np.ones(len(u)), None)]:
            z, other = (AffineCalibration().fit(u, w).transform(u) for w in (a, b))
            np.testing.assert_allclose(z, other, atol=1e-10)


def test_calibrated_rows_are_left_alone():
    u = AffineCalibration().fit(TUMOURS).transform(TUMOURS)
    np.testing.assert_allclose(AffineCalibration().fit(u).transform(u), u, atol=1e-10)


def test_no_whitening_changes_rows_less():
    # Kessy, Lewin & Strimmer 2018: of all W with W S W^T = I, that is W = Q S^(-1/2).
    def change(z):
        return np.square(z - (TUMOURS - TUMOURS.mean(axis=0))).sum()

    z = AffineCalibration().fit(TUMOURS).transform(TUMOURS)
    rng = np.random.default_rng(0)
    for _ in range(20):
        rotation = np.linalg.qr(rng.standard_normal((5, 5)))[0]
        assert change(z) < change(z @ rotation)


@pytest.mark.parametrize("spreads", [[10.0, 0.5], [0.5, 0.1], [3.0, 2.0]])
def test_slopes_are_those_of_the_map(spreads):
    u = np.random.default_rng(0).standard_normal((500, 2)) * spreads
    calibration = AffineCalibration().fit(u)
    matrix = calibration.transform(np.eye(2)) - calibration.transform(np.zeros((2, 2)))
    values = np.linalg.svd(matrix, compute_uv=False)
    assert calibration.least_slope == pytest.approx(values.min())
    assert calibration.log_slope == pytest.approx(np.log(values).sum())


def test_permuting_components_permutes_the_calibrated_ones():
    order = [3, 0, 4, 1, 2]
    z = AffineCalibration().fit(TUMOURS).transform(TUMOURS)
    permuted = TUMOURS[:, order]
    np.testing.assert_allclose(
        AffineCalibration().fit(permuted).transform(permuted), z[:, order], atol=1e-10
    )


def test_float32_is_kept():
    u = TUMOURS.astype(np.float32)
    calibration = AffineCalibration().fit(u)
    z = calibration.transform(u)
    assert z.dtype == np.float32
    assert calibration.inverse_transform(z).dtype == np.float32
    # The moments are found in float64: nothing is lost but the rounding of the result.
    np.testing.assert_array_equal(
        z, AffineCalibration().fit(u.astype(float)).transform(u.astype(float)).astype(np.float32)
    )


def test_rows_are_left_as_they_were():
    u = TUMOURS.copy()
    AffineCalibration().fit(u).transform(u)
    np.testing.assert_array_equal(u, TUMOURS)


@pytest.mark.parametrize("noise", [0.0, 1e-9])
def test_collapsed_direction_warns_and_stays_collapsed(noise):
    u = TUMOURS.copy()
    u[:, 1] = 2 * u[:, 0] + noise * TUMOURS[:, 2]
    with pytest.warns(UserWarning, match="1 of 5 directions of the embedding have collapsed"):
        calibration = AffineCalibration().fit(u)
    z = calibration.transform(u)
    variances = np.linalg.eigvalsh(np.cov(z.T))
    np.testing.assert_allclose(variances[1:], 1, atol=1e-6)
    assert variances[0] < 1e-6
    np.testing.assert_allclose(calibration.inverse_transform(z), u, atol=1e-9)


def test_point_warns_and_stays_finite():
    u = np.full((10, 2), 3.0)
    with pytest.warns(UserWarning, match="2 of 2 directions"):
        z = AffineCalibration().fit(u).transform(u)
    np.testing.assert_array_equal(z, np.zeros((10, 2)))


# Gaussianization


def ring(n, seed):
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi, n)
    return rng.normal(1, 0.1, (n, 1)) * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def two_clusters(n, seed):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 3)) + 3 * rng.choice([-1, 1], (n, 1))


def skewed(n, seed):
    return np.exp(np.random.default_rng(seed).standard_normal((n, 4)))


def digits():
    X, y = load_digits(return_X_y=True)
    train, test = train_test_split(X, test_size=0.3, stratify=y, random_state=0)
    pca = PCA(8, whiten=True, random_state=0).fit(train)
    return pca.transform(train), pca.transform(test)


DATA = {
    "ring": (ring(1000, 0), ring(1000, 1)),
    "two clusters": (two_clusters(1000, 0), two_clusters(1000, 1)),
    "skewed": (skewed(1000, 0), skewed(1000, 1)),
    "digits": digits(),
}


def non_gaussianity(z, n_slices=256):
    """The sliced Epps-Pulley statistic over its mean for N(0, I)."""
    test = epps_pulley_test(z, n_slices=n_slices, random_state=7)
    return test.statistic / test.expected


def sphere(n, k, radius):
    points = np.random.default_rng(3).standard_normal((n, k))
    return radius * points / np.linalg.norm(points, axis=1, keepdims=True)


@pytest.fixture(scope="module", params=DATA)
def fitted(request):
    train, test = DATA[request.param]
    return train, test, Gaussianization().fit(train)


class TestGaussianization:
    def test_mean_is_zero_and_covariance_the_identity(self, fitted):
        train, _, gaussianization = fitted
        z = gaussianization.transform(train)
        np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-10)
        np.testing.assert_allclose(np.cov(z.T), np.eye(train.shape[1]), atol=1e-10)

    def test_held_out_rows_are_far_more_gaussian_than_whitened_ones(self, fitted):
        train, test, gaussianization = fitted
        affine = non_gaussianity(AffineCalibration().fit(train).transform(test))
        # Of the excess over 1, what n_test / n_train makes of the training rows' own chance
        # deviations cannot be removed.
        excess = non_gaussianity(gaussianization.transform(test)) - 1 - len(test) / len(train)
        assert excess <= 0.25 * (affine - 1)

    def test_inverse_transform_undoes_transform(self, fitted):
        _, test, gaussianization = fitted
        restored = gaussianization.inverse_transform(gaussianization.transform(test))
        np.testing.assert_allclose(restored, test, atol=1e-8 * np.abs(test).max())

    def test_ten_sigma_is_inverted_too(self, fitted):
        train, _, gaussianization = fitted
        far = sphere(500, train.shape[1], 10)
        u = gaussianization.inverse_transform(far)
        np.testing.assert_allclose(gaussianization.transform(u), far, atol=1e-7)
        u = AffineCalibration().fit(train).inverse_transform(far)
        restored = gaussianization.inverse_transform(gaussianization.transform(u))
        np.testing.assert_allclose(restored, u, atol=1e-8 * np.abs(u).max())

    def test_extrapolates_linearly(self, fitted):
        train, _, gaussianization = fitted
        # On a ray from the centre all coordinates of all rounds leave the range of the knots,
        # or stay near a hyperplane: second differences vanish against the first.
        away = sphere(50, train.shape[1], 1)
        root = AffineCalibration().fit(train)
        near, middle, far = (
            gaussianization.transform(root.inverse_transform(r * away)) for r in (1e5, 2e5, 3e5)
        )
        change = np.linalg.norm(far - middle, axis=1)
        assert (np.linalg.norm(far - 2 * middle + near, axis=1) <= 1e-3 * change).all()
        # Neither the map nor its inverse explodes.
        assert change.max() <= 100 * 1e5
        assert change.min() >= 1e5 / 100

    def test_a_row_is_mapped_by_itself(self, fitted):
        _, test, gaussianization = fitted
        alone = np.concatenate([gaussianization.transform(row[None]) for row in test[:20]])
        np.testing.assert_allclose(alone, gaussianization.transform(test)[:20], atol=1e-10)

    def test_orientation_is_kept(self, fitted):
        # A composition of increasing maps along orthogonal axes has a positive Jacobian.
        _, test, gaussianization = fitted
        k, step = test.shape[1], 1e-6
        rows = test[:20, None] + step * np.concatenate([np.eye(k), np.zeros((1, k))])
        z = gaussianization.transform(rows.reshape(-1, k)).reshape(20, k + 1, k)
        assert (np.linalg.det(z[:, :-1] - z[:, -1:]) > 0).all()

    def test_float32_is_kept(self, fitted):
        _, test, gaussianization = fitted
        z = gaussianization.transform(test.astype(np.float32))
        restored = gaussianization.inverse_transform(z)
        assert z.dtype == restored.dtype == np.float32
        # Rounding z to 24 bits moves u by that times the inverse's slope, which is at most 100.
        np.testing.assert_allclose(restored, test, atol=100 * 2**-23 * np.abs(test).max())

    def test_same_seed_same_map(self, fitted):
        train, test, gaussianization = fitted
        again, other = (Gaussianization(seed).fit(train).transform(test) for seed in (0, 1))
        np.testing.assert_array_equal(gaussianization.transform(test), again)
        assert not np.array_equal(again, other)

    def test_scale_of_weights_does_not_matter_and_ones_are_none(self, fitted):
        train, test, gaussianization = fitted
        z = gaussianization.transform(test)
        ones = Gaussianization().fit(train, np.full(len(train), 4.0))
        np.testing.assert_allclose(ones.transform(test), z, atol=1e-9)

    def test_small_changes_of_the_rows_make_small_changes_of_the_map(self, fitted):
        train, test, gaussianization = fitted
        moved = Gaussianization().fit(train * (1 + 1e-9)).transform(test)
        np.testing.assert_allclose(moved, gaussianization.transform(test), atol=1e-6)


def test_one_component_is_monotone():
    u = skewed(1000, 0)[:, :1]
    line = np.linspace(-5, 50, 5000)[:, None]
    z = Gaussianization().fit(u).transform(line)
    assert (np.diff(z[:, 0]) > 0).all()


@pytest.mark.parametrize(("n", "k"), [(100, 8), (1000, 2), (5000, 8)])
def test_gaussian_rows_get_the_affine_map(n, k):
    rounds = []
    for seed in range(10):
        u = np.random.default_rng(seed).standard_normal((n, k))
        rounds.append(Gaussianization(seed).fit(u).n_rounds_)
    # A test of level 0.05 or less: more than 3 of 10 has probability 0.001.
    assert np.count_nonzero(rounds) <= 3
    assert max(rounds) <= 4


@pytest.mark.parametrize("n", [3, 10, 30])
def test_few_rows_get_the_affine_map(n):
    u = skewed(n, 0)[:, :2] ** 0.5
    z, affine = (c().fit(u).transform(u) for c in (Gaussianization, AffineCalibration))
    np.testing.assert_allclose(z, affine, atol=1e-12)


def test_weights_stand_for_repetitions():
    u = two_clusters(2000, 0)
    weight = np.where(u.sum(axis=1) > 0, 3.0, 1.0)
    weighted = Gaussianization().fit(u, weight)
    z = weighted.transform(u)
    np.testing.assert_allclose(np.average(z, axis=0, weights=weight), 0, atol=1e-10)
    repeated = np.repeat(u, weight.astype(int), axis=0)
    # The rows as weighted are Gaussian; unweighted they are not: two clusters of 3 to 1.
    assert non_gaussianity(weighted.transform(repeated)) <= 3
    assert non_gaussianity(z) >= 30
    # Repeated rows look like more evidence, so the maps differ a little.
    other = Gaussianization().fit(repeated).transform(u)
    assert np.sqrt(np.square(z - other).mean()) <= 0.25


def test_many_samples_of_little_weight_do_not_hide_a_direction():
    # The weighted variance is that of the heavy samples: the others are near the mean.
    rng = np.random.default_rng(0)
    u = np.concatenate([rng.exponential(size=(1000, 1)) - 1, 0.01 * rng.normal(size=(9000, 1))])
    weight = np.repeat([1.0, 1e-6], [1000, 9000])
    assert Gaussianization().fit(u, weight).n_rounds_ >= 1


def rare_far_cluster(n, k):
    u = 0.1 * np.random.default_rng(0).standard_normal((n, k))
    u[: n // 50] += 3
    return u


def ties(n):
    rng, u = np.random.default_rng(0), skewed(n, 0)
    u[:, 1] = rng.random(n) < 0.5
    u[:, 2] *= rng.random(n) < 0.02
    return u


def binary(n, shares):
    return (np.random.default_rng(0).random((n, len(shares))) < shares).astype(float)


HARD = {
    "rare far cluster": rare_far_cluster(1000, 3),
    "rare far cluster, one component": rare_far_cluster(2000, 1),
    "0/1": binary(2000, [0.5]),
    "0/1, rarely 1": binary(2000, [0.1]),
    "0/1, four components": binary(1000, [0.5, 0.3, 0.1, 0.02]),
    "heavy tails": np.random.default_rng(0).standard_cauchy((2000, 2)),
    "ties": ties(1000),
    "whole numbers": np.round(1.5 * skewed(1000, 0)),
}


@pytest.mark.parametrize("name", HARD)
def test_strictly_increasing_and_invertible_in_both_types(name):
    u = HARD[name]
    n, k = u.shape
    gaussianization = Gaussianization().fit(u)
    assert gaussianization.n_rounds_ >= 1
    np.testing.assert_allclose(
        np.atleast_2d(np.cov(gaussianization.transform(u).T)), np.eye(k), atol=1e-9
    )
    # Where samples are, between them, and where none are.
    rng = np.random.default_rng(1)
    a, b = u[rng.integers(0, n, (2, 2000))]
    between = a + rng.random((2000, 1)) * (b - a)
    anywhere = u.min(axis=0) + rng.random((2000, k)) * np.ptp(u, axis=0)
    rows = np.concatenate([a, between, (a + b) / 2, anywhere])
    std = np.sqrt(np.linalg.eigvalsh(np.atleast_2d(np.cov(u.T)))[-1])
    for dtype in (np.float64, np.float32):
        x = rows.astype(dtype)
        z = gaussianization.transform(x)
        error = np.linalg.norm(gaussianization.inverse_transform(z).astype(float) - x, axis=1)
        eps = np.finfo(dtype).eps
        bound = 1e5 * eps * (1 + np.linalg.norm(z, axis=1)) * std
        assert (error <= bound + eps * np.linalg.norm(x, axis=1)).all()
    # A composition of increasing maps along orthogonal axes keeps that much of every distance.
    line = np.linspace(u.min(axis=0) - std, u.max(axis=0) + std, 20_001)
    steps = np.linalg.norm(np.diff(gaussianization.transform(line), axis=0), axis=1)
    whitened = np.diff(gaussianization.affine.transform(line), axis=0)
    assert (steps >= 0.5e-5 * np.linalg.norm(whitened, axis=1)).all()
    if k == 1:
        assert (np.diff(gaussianization.transform(line)[:, 0]) > 0).all()


def test_collapsed_direction_warns_and_the_others_are_gaussianized():
    u = np.insert(ring(1000, 0), 1, 3.0, axis=1)
    with pytest.warns(UserWarning, match="1 of 3 directions of the embedding have collapsed"):
        gaussianization = Gaussianization().fit(u)
    z = gaussianization.transform(u)
    np.testing.assert_allclose(z[:, 1], 0, atol=1e-10)
    assert non_gaussianity(z[:, [0, 2]]) <= 3
    np.testing.assert_allclose(gaussianization.inverse_transform(z), u, atol=1e-9)


def test_point_is_left_to_the_affine_map():
    u = np.full((10, 2), 3.0)
    with pytest.warns(UserWarning, match="2 of 2 directions"):
        gaussianization = Gaussianization().fit(u)
    z = gaussianization.transform(u)
    np.testing.assert_array_equal(z, np.zeros((10, 2)))
    np.testing.assert_array_equal(gaussianization.inverse_transform(z), u)


def test_null_law_of_the_statistic_of_standardised_gaussian_rows():
    p = np.random.default_rng(0).standard_normal((500, 4000))
    p = (p - p.mean(axis=0)) / p.std(axis=0, ddof=1)
    statistic = 500 * _gaussianization._epps_pulley(_gaussianization._histogram(p, None))
    expected = _gaussianization.NULL_EIGENVALUES.sum()
    assert statistic.mean() == pytest.approx(expected, abs=0.03)
    # The sum of scaled chi-squares has variance 2 sum of squares; CRITICAL is exceeded with
    # probability 0.05 / 128, 1.6 times of 4000.
    variance = 2 * np.square(_gaussianization.NULL_EIGENVALUES).sum()
    assert statistic.var() == pytest.approx(variance, rel=0.15)
    assert (statistic > _gaussianization.CRITICAL).sum() <= 6


def test_mirrored_samples_have_the_mirrored_map():
    u = skewed(1000, 0)[:, :1]
    first, second = Gaussianization().fit(u), Gaussianization().fit(-u)
    assert first.n_rounds_ >= 1
    np.testing.assert_allclose(second.transform(-u), -first.transform(u), atol=1e-9)


def test_rounds_come_to_an_end():
    # No continuous increasing map makes two values look less like two.
    assert Gaussianization().fit(binary(1000, [0.5])).n_rounds_ <= _gaussianization.MAX_ROUNDS


def test_held_out_samples_prefer_the_affine_map_to_rounds_that_fit_chance():
    # One of 10 components is not Gaussian, and 200 samples cannot tell which.
    rng = np.random.default_rng(0)
    gains = []
    for _ in range(4):
        u, test = rng.standard_normal((2, 200, 10))
        u[:, 0], test[:, 0] = rng.exponential(size=(2, 200))
        gaussianization = Gaussianization().fit(u)
        z = gaussianization.affine.transform(test)
        log_affine = norm.logpdf(z).sum(axis=1) + gaussianization.affine.log_slope
        gains.append((gaussianization.log_density(test) - log_affine).mean())
    assert np.mean(gains) >= -0.02 * 10


def test_weights_stay_with_their_samples_where_directions_are_looked_at_on_some(monkeypatch):
    n = 2000
    monkeypatch.setattr(_gaussianization, "SEARCH_ROWS", 1000)
    rng = np.random.default_rng(0)
    heavy = rng.random((n, 1)) < 0.5
    u = np.where(heavy, rng.standard_normal((n, 2)), rng.exponential(size=(n, 2)))
    # The samples of nearly no weight alone are not Gaussian.
    assert Gaussianization().fit(u, np.where(heavy, 1, 1e-6)[:, 0]).n_rounds_ == 0
    assert Gaussianization().fit(u, np.where(heavy, 1e-6, 1)[:, 0]).n_rounds_ >= 1


# What a coordinate is bent by


def histogram_of(density):
    histogram = density(_gaussianization.BINS)[:, None]
    return histogram / histogram.sum()


@pytest.mark.parametrize("n", [100, 1000, 100_000])
def test_bending_is_the_identity_where_samples_are_gaussian(n):
    # Whatever the bandwidth, and so whatever n.
    splines = _gaussianization._gaussianizing(histogram_of(norm.pdf), n, np.ones(1), 1e-3)
    np.testing.assert_allclose(splines.values[:, 0], KNOTS, atol=1e-9)
    np.testing.assert_allclose(splines.slopes, 1, atol=1e-9)


@pytest.mark.parametrize("n", [100, 1000, 10_000])
def test_bending_is_linear_where_samples_are_gaussian(n):
    # With noise of standard deviation h a variance s^2 is s^2 + h^2, and that of N(0, 1) 1 + h^2.
    histogram, h = histogram_of(norm(0.2, 0.6).pdf), 2.5 * n**-0.2
    x = np.linspace(-1, 1, 9)[:, None]
    expected = np.sqrt((1 + h**2) / (0.6**2 + h**2)) * (x - 0.2)
    splines = _gaussianization._gaussianizing(histogram, n, np.ones(1), 1e-3)
    np.testing.assert_allclose(splines(x), expected, atol=1e-9)


def test_bending_is_a_shift_beyond_the_samples():
    def uniform(x):
        return (np.abs(x) <= 1.6).astype(float)

    splines = _gaussianization._gaussianizing(histogram_of(uniform), 1000, np.ones(1), 1e-3)
    beyond = np.linspace(1.75, 6, 50)[:, None]  # from the next knot on
    for x in (beyond, -beyond):
        np.testing.assert_allclose(splines.slope(x), 1, atol=1e-9)
    assert (splines.slope(np.array([[-1.0], [0.0], [1.0]])) != 1).all()


def test_bending_is_a_shift_beyond_the_knots_though_samples_are_there():
    histogram = histogram_of(lambda x: np.exp(-np.abs(x) / 2))
    splines = _gaussianization._gaussianizing(histogram, 1000, np.ones(1), 1e-3)
    for end in (-4.0, 4.0):
        x = end * np.array([[1.0], [1.5], [2.0]])
        np.testing.assert_allclose(np.diff(splines(x), axis=0), np.diff(x, axis=0), atol=1e-9)


def test_weak_evidence_bends_little():
    # By 1 - 2 E_0 / S, with the statistic S and its expectation E_0 for Gaussian samples.
    u = skewed(1000, 0)[:, :1] ** 0.2
    u = AffineCalibration().fit(u).transform(u)
    histogram = _gaussianization._histogram(u, None)
    statistic = 1000 * _gaussianization._epps_pulley(histogram)[0]
    strength = 1 - 2 * _gaussianization.NULL_EIGENVALUES.sum() / statistic
    assert 0.5 < strength < 0.95
    fitted = _gaussianization._fit_round(u, None, np.random.default_rng(0), 1.0)
    whole = _gaussianization._gaussianizing(histogram, 1000, np.ones(1), 1e-3)
    # The rotation of one component is its sign. Splines of a share of the values are a share of
    # the splines at the knots.
    np.testing.assert_allclose(
        fitted.transform(KNOTS[:, None]) - KNOTS[:, None],
        strength * (whole.values - KNOTS[:, None]),
        atol=1e-4,
    )


def test_axes_along_which_samples_look_gaussian_are_left_alone():
    # Most statistics are below twice the expectation for Gaussian samples.
    u = np.random.default_rng(1).standard_normal((1000, 8))
    u[:, 0] = np.random.default_rng(2).exponential(size=1000)
    splines = _gaussianization._fit_round(u, None, np.random.default_rng(0), 1.0).splines
    change = np.abs(splines.values - KNOTS[:, None]).max(axis=0)
    assert (change > 0.5).sum() == 1
    assert np.median(change) <= 0.1


def test_influence_is_the_derivative_of_the_statistic():
    def statistic(p):
        return _gaussianization._epps_pulley(_gaussianization._histogram(p, None))

    rng = np.random.default_rng(0)
    p, step = rng.exponential(size=(500, 3)) - 1, 1e-4
    influence = _gaussianization._influence(p, _gaussianization._histogram(p, None))
    for direction in (np.abs(p), p**2, np.sin(p)):
        difference = statistic(p + step * direction) - statistic(p - step * direction)
        # Within a bin the histogram takes the statistic for linear.
        np.testing.assert_allclose(
            (influence * direction).mean(axis=0), difference / (2 * step), rtol=0.05, atol=1e-3
        )


def test_turning_the_axes_raises_the_sum_of_their_statistics():
    u = skewed(1000, 0) ** 0.5
    u = AffineCalibration().fit(u).transform(u)

    def total(rotation):
        histogram = _gaussianization._histogram(u @ rotation, None)
        return _gaussianization._epps_pulley(histogram).sum()

    start = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))[0]
    end = _gaussianization._ascend(u, None, start)
    np.testing.assert_allclose(end.T @ end, np.eye(4), atol=1e-12)
    # The components are independent, and no mixture of them is as far from a Gaussian.
    assert total(start) < 0.6 * total(np.eye(4))
    assert total(end) > 0.95 * total(np.eye(4))
    # Others of almost no weight do not turn them.
    both = np.concatenate([u, u[::-1] @ start])
    weighted = _gaussianization._ascend(both, np.repeat([1.0, 1e-9], 1000), start)
    np.testing.assert_allclose(weighted, end, atol=1e-6)


def test_samples_of_nearly_no_weight_are_no_evidence():
    u, weight = skewed(1100, 0)[:, :2], np.where(np.arange(1100) < 100, 1, 1e-9)
    rng = np.random.default_rng
    # Their number counts in the affine maps' divisor only: variances differ by a hundredth.
    with_others = _gaussianization._fit_round(u, weight, rng(0), 1.0)
    alone = _gaussianization._fit_round(u[:100], None, rng(0), 1.0)
    np.testing.assert_allclose(with_others.transform(u[:100]), alone.transform(u[:100]), atol=0.05)
    # With all others, the log-normal components would need rounds in any case. These do not.
    gaussian = rng(0).standard_normal((1100, 2))
    gaussian[100:] = u[100:]
    assert Gaussianization().fit(gaussian, weight).n_rounds_ == 0


# The flow


def clusters(n, seed):
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(0).normal(0, 3, (6, 3))
    u = centers[rng.integers(0, 6, n)] + rng.standard_normal((n, 3))
    return AffineCalibration().fit(u).transform(u)


@pytest.fixture(scope="module")
def flow():
    return MixtureFlow().fit(clusters(1000, 0), None, np.random.default_rng(0))


class TestMixtureFlow:
    def test_takes_a_mixture_to_a_nearly_gaussian_distribution(self, flow):
        rng = np.random.default_rng(1)
        center = rng.choice(len(flow.centers), 20_000, p=np.exp(flow.log_weights))
        noise = rng.standard_normal((20_000, 3))
        start, end = np.exp(flow.levels[[0, -1]])
        before = flow.centers[center] + np.sqrt(start) * noise
        after = flow.transform(before) / flow.scale
        # The centers plus noise of the variance at the end, by their moments.
        other = flow.centers[center[::-1]] + np.sqrt(end) * rng.standard_normal((20_000, 3))
        np.testing.assert_allclose(np.cov(after.T), np.cov(other.T), atol=0.05 * end)
        for power, atol in ((1, 0.1), (3, 3.0)):
            difference = (after**power).mean(axis=0) - (other**power).mean(axis=0)
            np.testing.assert_allclose(difference, 0, atol=atol)

    def test_change_of_variables(self, flow):
        u = clusters(200, 1)
        z, log_slope = flow.forward(u)
        np.testing.assert_array_equal(z, flow.transform(u))
        np.testing.assert_allclose(log_slope, log_det(flow.transform, u), atol=1e-5)

    @pytest.mark.parametrize("name", ["digits", "log-normal", "rare far cluster", "clusters"])
    def test_error_of_the_log_determinant_is_within_the_documented_bounds(self, name):
        train = {
            "digits": PCA(32, random_state=0).fit_transform(load_digits().data),
            "log-normal": np.exp(np.random.default_rng(0).standard_normal((3000, 32))),
            "rare far cluster": rare_far_cluster(3000, 32),
            "clusters": clusters(3000, 0),
        }[name]
        u = AffineCalibration().fit(train).transform(train)
        flow = MixtureFlow().fit(u, None, np.random.default_rng(0))
        for distance in (None, 5, 10, 30):  # in standard deviations
            rows = u[np.random.default_rng(1).choice(len(u), 200)]
            if distance is not None:
                rows[::2] = np.random.default_rng(2).standard_normal(rows[::2].shape)
                rows *= distance / np.linalg.norm(rows, axis=1, keepdims=True)
            error = np.abs(flow.forward(rows)[1] - log_det(flow.transform, rows))
            assert distance == 30 or np.quantile(error, 0.99) < 0.001
            assert error.max() < 0.01

    def test_inverse_is_exact_although_the_integration_is_not(self, flow):
        u = np.concatenate([clusters(200, 1), 5 * clusters(50, 2), sphere(50, 3, 1e4)])
        restored = flow.inverse_transform(flow.transform(u))
        np.testing.assert_allclose(restored, u, rtol=1e-9, atol=1e-9)

    def test_one_center_is_a_scale(self):
        u = np.random.default_rng(0).standard_normal((4, 3))
        flow = MixtureFlow().fit(u - u.mean(axis=0), None, np.random.default_rng(0))
        assert len(flow.centers) == 1
        start, end = np.exp(flow.levels[[0, -1]])
        x = sphere(10, 3, 2)
        expected = x * flow.scale * np.sqrt(end / start)
        np.testing.assert_allclose(flow.transform(x), expected, rtol=1e-6)
        np.testing.assert_allclose(flow.least_slope, expected[0] / x[0], rtol=0.1)

    def test_no_slope_is_below_the_bound(self, flow):
        h, rng = 1e-5, np.random.default_rng(0)
        pairs = rng.integers(0, len(flow.centers), (2, 500))
        u = np.concatenate([flow.centers[pairs].mean(axis=0), clusters(500, 1)])
        columns = [flow.transform(u + h * e) - flow.transform(u - h * e) for e in np.eye(3)]
        slopes = np.linalg.svd(np.stack(columns, axis=-1) / (2 * h), compute_uv=False)
        assert slopes.min() >= flow.least_slope
        assert slopes.min() <= 3 * flow.least_slope  # the bound is not loose

    def test_starts_with_more_noise_if_the_slope_would_be_too_small(self):
        # A cluster of 8 samples as far from the others as the whitening allows. It is not farther
        # from the origin than other samples of 20 features.
        u = np.random.default_rng(0).standard_normal((400, 20))
        u[8:, 0] = -1 / 7
        u[:8] = 7 * np.eye(20)[0]
        flow = MixtureFlow().fit(u, None, np.random.default_rng(0))
        assert flow.least_slope >= _flow.LEAST_SLOPE
        calm = MixtureFlow().fit(u[8:], None, np.random.default_rng(0))
        assert calm.levels[0] < flow.levels[0]
        # The estimate is about right along the line from cluster to cluster.
        line = np.linspace(-1 / 7, 7, 100)[:, None] * np.eye(20)[0]
        slopes = np.diff(flow.transform(line)[:, 0]) / np.diff(line[:, 0])
        assert slopes.min() >= _flow.LEAST_SLOPE / 2
        np.testing.assert_allclose(flow.inverse_transform(flow.transform(line)), line, atol=1e-9)

    def test_far_samples_have_no_center(self):
        u = np.random.default_rng(0).standard_normal((400, 2))
        u[:3] *= 1000
        flow = MixtureFlow().fit(u, None, np.random.default_rng(0))
        assert np.abs(flow.centers).max() <= np.sqrt(2) + _flow.MARGIN

    def test_weights_stand_for_repetitions(self):
        u = clusters(300, 0)
        weight = np.where(u[:, 0] > 0, 0.0, 2.0)
        flow = MixtureFlow().fit(u, weight, np.random.default_rng(0))
        alone = MixtureFlow().fit(u[weight > 0], None, np.random.default_rng(0))
        np.testing.assert_allclose(flow.transform(u), alone.transform(u), atol=1e-9)

    def test_weights_are_shares(self):
        u = np.repeat([[-1.0], [1.0]], 8, axis=0)
        flow = MixtureFlow().fit(u, np.repeat([1.0, 3.0], 8), np.random.default_rng(0))
        np.testing.assert_allclose(flow.centers[flow.log_weights.argmax()], 1)
        np.testing.assert_allclose(np.sort(np.exp(flow.log_weights)), [0.25, 0.75])
        # A single center is the weighted mean.
        one = MixtureFlow().fit(np.eye(4), np.array([3, 1, 1, 1]), np.random.default_rng(0))
        np.testing.assert_allclose(one.centers, [[0.5, 1 / 6, 1 / 6, 1 / 6]])


def test_flow_is_used_if_held_out_samples_gain():
    for u, used in ((digits()[0], True), (rare_far_cluster(1000, 3), False)):
        u = AffineCalibration().fit(u).transform(u)
        assert _gaussianization._choose(u, None, np.random.default_rng(0))[0] == used


def test_splines_are_inverted_in_both_tails():
    splines = Splines(np.exp(KNOTS)[:, None], np.exp(KNOTS)[:, None])  # slopes e^-4 and e^4
    x = np.linspace(-7, 7, 101)[:, None]
    np.testing.assert_allclose(splines.inverse(splines(x)), x, atol=1e-9)
    np.testing.assert_allclose(splines(x)[x > 4], np.exp(4) * (x[x > 4] - 3), rtol=1e-9)


def test_a_floor_lifts_splines_that_are_too_flat():
    rng = np.random.default_rng(0)
    values = 0.02 * np.cumsum(rng.exponential(size=(len(KNOTS), 200)) ** 3, axis=0)
    values[10:15] = values[10]
    slopes = rng.exponential(size=values.shape) ** 2
    splines = Splines.steeper_than(0.1, values, slopes)
    assert splines.least_slope >= 0.1 - 1e-9
    np.testing.assert_array_equal(splines.slopes, np.maximum(slopes, 0.1))
    # Values are lifted away from the middle, and only as far as needed.
    middle = len(KNOTS) // 2
    np.testing.assert_allclose(splines.values[middle], values[middle], atol=1e-12)
    rise, before = np.diff(splines.values, axis=0), np.diff(values, axis=0)
    assert (rise >= before - 1e-12).all()
    steep = Splines.steeper_than(0.1, np.sinh(KNOTS)[:, None], np.cosh(KNOTS)[:, None])
    np.testing.assert_array_equal(steep.values[:, 0], np.sinh(KNOTS))


# The density that a map leads back to


def test_slopes_of_splines_are_their_derivatives():
    splines = Splines(np.sinh(KNOTS)[:, None], np.cosh(KNOTS)[:, None])
    x = np.linspace(-6, 6, 500)[:, None] + 0.003  # off the knots
    differences = (splines(x + 1e-6) - splines(x - 1e-6)) / 2e-6
    np.testing.assert_allclose(splines.slope(x), differences, rtol=1e-6)


def log_det(function, u, h=1e-5):
    """Of the derivative at each row, by central differences."""
    k = u.shape[1]
    columns = [(function(u + h * e) - function(u - h * e)) / (2 * h) for e in np.eye(k)]
    return np.linalg.slogdet(np.stack(columns, axis=-1))[1]


class TestLogDensity:
    def test_change_of_variables(self, fitted):
        _, test, gaussianization = fitted
        u = np.concatenate([test[:50], 3 * test[:10]])
        z = gaussianization.transform(u)
        k = u.shape[1]
        expected = log_det(gaussianization.transform, u)
        expected -= 0.5 * (np.square(z).sum(axis=1) + k * np.log(2 * np.pi))
        np.testing.assert_allclose(gaussianization.log_density(u), expected, atol=1e-5)

    def test_affine_part(self, fitted):
        _, test, gaussianization = fitted
        affine = gaussianization.affine
        np.testing.assert_allclose(log_det(affine.transform, test[:3]), affine.log_slope, atol=1e-9)


def test_density_integrates_to_one():
    gaussianization = Gaussianization().fit(skewed(1000, 0)[:, :1])
    assert gaussianization.n_rounds_ >= 1
    u = np.linspace(-50, 300, 200_001)
    density = np.exp(gaussianization.log_density(u[:, None]))
    assert trapezoid(density, u) == pytest.approx(1, abs=1e-3)


def test_density_with_a_collapsed_direction():
    u = np.insert(ring(1000, 0), 1, 3.0, axis=1)
    with pytest.warns(UserWarning, match="1 of 3 directions"):
        gaussianization = Gaussianization().fit(u)
    u = u[:20] + 1e-4 * np.random.default_rng(0).standard_normal((20, 3))
    z = gaussianization.transform(u)
    expected = log_det(gaussianization.transform, u) - 0.5 * np.square(z).sum(axis=1)
    expected -= 1.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(gaussianization.log_density(u), expected, atol=1e-5)


@pytest.mark.parametrize("seed", [20, 42, 54])
def test_a_gain_below_its_standard_error_is_refused(seed):
    # The direction test rejects these small samples, and the twenty held-out samples gain a little.
    u = np.random.default_rng(seed).standard_t(4, size=(80, 2))
    assert Gaussianization().fit(u).n_rounds_ == 0
