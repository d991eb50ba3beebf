import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.decomposition import PCA

from sklatent.calibration import AffineCalibration

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
