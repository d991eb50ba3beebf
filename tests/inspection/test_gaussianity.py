import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy.stats import binom, chi2, norm
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklatent.inspection import GaussianityDisplay
from sklatent.inspection._band import uniform_band
from sklatent.metrics import gaussianity_report

Z = np.random.default_rng(0).standard_normal((200, 3))
MEAN = np.array([1.0, -2.0, 0.5])
COV = np.array([[4.0, 1.0, 0.0], [1.0, 1.0, 0.2], [0.0, 0.2, 0.25]])


def shown(display, i):
    return display.scatters_[i].get_offsets().data


def test_radii_against_chi_square():
    user = MEAN + Z @ np.linalg.cholesky(COV).T
    display = GaussianityDisplay.from_embedding(user, MEAN, COV, panels=["radius"])
    radii = np.einsum("ij,jk,ik->i", user - MEAN, np.linalg.inv(COV), user - MEAN)
    x, y = shown(display, 0).T
    np.testing.assert_allclose(y, np.sort(radii))
    np.testing.assert_allclose(x, chi2(3).ppf(uniform_band(200, 0.95)[1]))


@pytest.mark.parametrize("j", range(3))
def test_components_against_their_marginals(j):
    user = MEAN + Z @ np.linalg.cholesky(COV).T
    display = GaussianityDisplay.from_embedding(user, MEAN, COV, panels=[j])
    x, y = shown(display, 0).T
    np.testing.assert_allclose(y, np.sort((user[:, j] - MEAN[j]) / COV[j, j] ** 0.5))
    np.testing.assert_allclose(x, norm.ppf(uniform_band(200, 0.95)[1]))


def test_worst_direction_is_that_of_the_report():
    bent = Z.copy()
    bent[:, 1] = np.abs(bent[:, 1]) * 1.5
    display = GaussianityDisplay.from_embedding(bent, panels=["worst"])
    worst = gaussianity_report(bent).worst
    np.testing.assert_array_equal(display.direction, worst.direction)
    y = shown(display, 0)[:, 1]
    assert len(y) == worst.test.n_samples == 100
    assert y.mean() == pytest.approx(worst.mean)
    assert display.outside_[0] > 0.1


def test_band_and_diagonal_drawn():
    display = GaussianityDisplay.from_embedding(Z, panels=["radius"], level=0.5)
    low, middle, high = (chi2(3).ppf(q) for q in uniform_band(200, 0.5))
    corners = display.bands_[0].get_paths()[0].vertices
    for x, y in ((middle, low), (middle, high)):
        assert all(np.isclose(corners, point).all(axis=1).any() for point in zip(x, y, strict=True))
    xy = display.lines_[0].get_xydata()
    np.testing.assert_array_equal(xy[:, 0], xy[:, 1])
    assert display.ax_.get_legend().get_texts()[1].get_text() == "50% band"


@pytest.mark.parametrize("panel", ["radius", "worst", 0])
def test_draws_from_the_target_stay_inside_as_often_as_claimed(panel):
    rng = np.random.default_rng(3)
    n_draws, inside = 60, 0
    axes = plt.figure().add_subplot()
    for _ in range(n_draws):
        display = GaussianityDisplay.from_embedding(
            rng.standard_normal((40, 2)), panels=[panel], level=0.8, ax=axes
        )
        inside += display.outside_[0] == 0
        axes.clear()
    assert binom(n_draws, 0.8).cdf(inside) == pytest.approx(0.5, abs=0.4999)


def test_points_outside_have_another_color():
    display = GaussianityDisplay.from_embedding(Z + np.array([0.5, 0, 0]), panels=[0, 1])
    assert display.outside_[0] > 0.2
    assert display.outside_[1] == 0
    assert len(np.unique(display.scatters_[0].get_facecolors(), axis=0)) == 2
    assert len(np.unique(display.scatters_[1].get_facecolors(), axis=0)) == 1
    assert display.texts_[1].get_text() == "all inside"


def test_how_many_are_outside_is_written():
    middle = norm.ppf(uniform_band(1000, 0.95)[1])
    titles = []
    for n_moved in (0, 1, 2, 5, 50):
        z = middle.copy()
        z[:n_moved] = -9.0
        display = GaussianityDisplay.from_embedding(z[:, None], panels=[0])
        assert display.outside_[0] * 1000 == pytest.approx(n_moved, abs=1)
        titles.append(display.texts_[0].get_text())
    assert titles == [
        "all inside",
        "1 sample outside",
        "2 samples outside",
        "5 samples outside",
        "5% outside",
    ]


def test_target_is_the_estimator_s():
    class Fixed(TransformerMixin, BaseEstimator):
        def fit(self, X, y=None):
            self.target_mean_, self.target_cov_ = MEAN, COV
            return self

        def transform(self, X):
            return X

    user = MEAN + Z @ np.linalg.cholesky(COV).T
    pipeline = make_pipeline(StandardScaler(with_mean=False, with_std=False), Fixed()).fit(user)
    search = GridSearchCV(pipeline, {}, scoring=lambda *_: 0.0, cv=2).fit(user)
    for estimator in (Fixed().fit(user), pipeline, search):
        display = GaussianityDisplay.from_estimator(estimator, user, panels=["radius"])
        np.testing.assert_allclose(np.sort(display.squared_radii), np.sort((Z**2).sum(axis=1)))
    X, _ = load_iris(return_X_y=True)
    pca = PCA(2, whiten=True).fit(X)
    display = GaussianityDisplay.from_estimator(pca, X)
    np.testing.assert_allclose(display.squared_radii, (pca.transform(X) ** 2).sum(axis=1))


def test_from_estimator_passes_its_arguments_on():
    pca = PCA(2, whiten=True).fit(Z)
    kwargs = {"panels": ["worst"], "level": 0.5, "random_state": 1, "scatter_kwargs": {"s": 3}}
    kwargs |= {"line_kwargs": {"lw": 5}, "band_kwargs": {"fc": "yellow"}}
    display = GaussianityDisplay.from_estimator(pca, Z, **kwargs)
    expected = GaussianityDisplay.from_embedding(pca.transform(Z), **kwargs)
    other = GaussianityDisplay.from_embedding(pca.transform(Z), **kwargs | {"random_state": 2})
    np.testing.assert_array_equal(display.projection, expected.projection)
    assert not np.array_equal(display.projection, other.projection)
    assert display.panels_ == ("worst",)
    assert display.ax_.get_legend().get_texts()[1].get_text() == "50% band"
    assert display.scatters_[0].get_sizes() == [3]
    assert display.lines_[0].get_linewidth() == 5
    assert display.bands_[0].get_facecolor()[0].tolist() == [1, 1, 0, 1]


def test_default_panels():
    assert GaussianityDisplay.from_embedding(Z[:, :1]).panels_ == ("radius", 0)
    wide = np.random.default_rng(0).standard_normal((50, 9))
    assert GaussianityDisplay.from_embedding(wide).panels_ == ("radius", "worst", *range(6))


def test_axes_given_are_those_drawn_on():
    figure, axes = plt.subplots(1, 2)
    display = GaussianityDisplay.from_embedding(Z, panels=["radius"], ax=axes[1])
    assert display.ax_ is axes[1]
    assert display.figure_ is figure
    assert not axes[0].collections
    display.plot(axes, panels=[0, 1])
    assert list(display.axes_) == list(axes)
    assert len(plt.get_fignums()) == 1


def test_one_of_a_grid_is_divided():
    figure, axes = plt.subplots(1, 2)
    display = GaussianityDisplay.from_embedding(Z, ax=axes[0])
    assert len(display.axes_) == 5
    assert {a.figure for a in display.axes_} == {figure}
    assert not axes[0].axison
    assert all(a.get_position().x1 <= axes[1].get_position().x0 for a in display.axes_)


def test_keywords_reach_the_artists():
    display = GaussianityDisplay.from_embedding(
        Z,
        panels=["radius"],
        scatter_kwargs={"color": "k", "s": 3},
        line_kwargs={"lw": 5},
        band_kwargs={"fc": "yellow"},
    )
    assert display.scatters_[0].get_facecolors().tolist() == [[0, 0, 0, 1]]
    assert display.scatters_[0].get_sizes() == [3]
    assert display.lines_[0].get_linewidth() == 5
    assert display.bands_[0].get_facecolor()[0].tolist() == [1, 1, 0, 1]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"panels": ["radii"]}, "got 'radii'"),
        ({"panels": [3]}, "components from 0 to 2, got 3"),
        ({"panels": []}, r"panels must be a list .* got \[\]"),
        ({"panels": "radius"}, "panels must be a list .* got 'radius'"),
        ({"level": 1.0}, r"level must be in \(0, 1\), got 1.0"),
        ({"cov": [1.0, 1.0]}, r"cov must have shape .* got \(2,\)"),
        ({"ax": np.array([1, 2])}, "ax must be one Axes or 5, one for each panel, got 2"),
    ],
)
def test_errors(kwargs, message):
    with pytest.raises(ValueError, match=message):
        GaussianityDisplay.from_embedding(Z, **kwargs)


def test_axes_outside_of_a_grid_cannot_be_divided():
    axes = plt.figure().add_axes((0.1, 0.1, 0.8, 0.8))
    with pytest.raises(ValueError, match="part of a grid"):
        GaussianityDisplay.from_embedding(Z, ax=axes)


def test_few_rows_and_no_transform():
    with pytest.raises(ValueError, match="minimum of 4"):
        GaussianityDisplay.from_embedding(Z[:3])
    with pytest.raises(TypeError, match="an estimator with transform, got 3"):
        GaussianityDisplay.from_estimator(3, Z)
