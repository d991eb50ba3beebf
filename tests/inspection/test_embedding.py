import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
from matplotlib.colors import to_rgba
from scipy.stats import chi2
from sklearn.decomposition import PCA

from sklatent import GaussianEmbedder
from sklatent.inspection import EmbeddingDisplay
from sklatent.inspection._embedding import COLORS, MASSES

RNG = np.random.default_rng(0)
Z = RNG.standard_normal((60, 4))
LABELS = RNG.integers(3, size=60)
NUMBERS = RNG.standard_normal(60)


def test_rows_and_pairs_are_those_given():
    display = EmbeddingDisplay.from_embedding(Z, LABELS, components=[0, 2, 3])
    assert display.pairs_ == [(0, 2), (0, 3), (2, 3)]
    for (i, j), axes, points in zip(display.pairs_, display.axes_, display.scatters_, strict=True):
        np.testing.assert_array_equal(points.get_offsets(), Z[:, [i, j]])
        assert (axes.get_xlabel(), axes.get_ylabel()) == (f"component {i}", f"component {j}")


@pytest.mark.parametrize("names", [np.array(["a", "b", "c"]), np.array([4, 7, 9]), [1.0, 2.0, 5.0]])
def test_classes_have_colors_and_a_legend(names):
    display = EmbeddingDisplay.from_embedding(Z, np.asarray(names)[LABELS])
    expected = np.array([to_rgba(c)[:3] for c in COLORS])[LABELS]
    np.testing.assert_allclose(display.scatters_[0].get_facecolors()[:, :3], expected)
    texts = [text.get_text() for text in display.legend_.get_texts()]
    assert texts == [str(name) for name in names]
    handles = display.legend_.legend_handles
    shown = [handle.get_markerfacecolor() for handle in handles]
    np.testing.assert_allclose(shown, [to_rgba(c) for c in COLORS[:3]])
    assert display.colorbar_ is None


def test_classes_beyond_the_colors_are_rings():
    y = np.arange(60) % 12
    display = EmbeddingDisplay.from_embedding(Z, y)
    points = display.scatters_[0]
    faces, edges = points.get_facecolors(), points.get_edgecolors()
    assert (faces[y == 10, 3] == 0).all()
    np.testing.assert_allclose(edges[y == 10], edges[y == 0][0] * np.ones((5, 1)))


@pytest.mark.parametrize("y", [NUMBERS, np.arange(60)])
def test_numbers_have_a_color_bar(y):
    display = EmbeddingDisplay.from_embedding(Z, y)
    np.testing.assert_array_equal(display.scatters_[0].get_array(), y)
    assert display.classes_ is None
    assert display.legend_ is None
    assert display.colorbar_.vmin == y.min()


@pytest.mark.parametrize(
    ("y", "title"),
    [
        (LABELS.tolist(), "y"),
        (pd.Series(LABELS, name="kind"), "kind"),
        (pl.Series("kind", LABELS), "kind"),
    ],
)
def test_y_of_any_kind(y, title):
    display = EmbeddingDisplay.from_embedding(Z, y)
    np.testing.assert_array_equal(display.y, LABELS)
    assert display.legend_.get_title().get_text() == title


def test_contours_hold_their_share_of_the_target():
    mean, cov = np.array([1.0, -1.0, 3.0]), np.array([[4.0, 1, 0], [1, 1, 0.3], [0, 0.3, 0.2]])
    display = EmbeddingDisplay.from_embedding(Z[:, :3], mean=mean, cov=cov)
    for (i, j), contours in zip(display.pairs_, display.contours_, strict=True):
        precision = np.linalg.inv(cov[np.ix_([i, j], [i, j])])
        for mass, line in zip(MASSES, contours, strict=True):
            away = line.get_xydata() - mean[[i, j]]
            radii = np.einsum("ni,ij,nj->n", away, precision, away)
            np.testing.assert_allclose(radii, chi2(2).ppf(mass), rtol=1e-9)


@pytest.mark.parametrize("names", [np.arange(20), np.array([f"{i:02}" for i in range(20)])])
def test_twenty_classes_are_the_most(names):
    display = EmbeddingDisplay.from_embedding(Z, names[np.arange(60) % 20])
    assert len(display.legend_.get_texts()) == 20


@pytest.mark.parametrize("mean", [None, [5, -50, 0, 0]])
def test_nothing_is_outside_of_the_axes(mean):
    display = EmbeddingDisplay.from_embedding(Z * [1, 9, 1, 1], mean=mean)
    (left, right), (bottom, top) = display.ax_.get_xlim(), display.ax_.get_ylim()
    assert left <= Z[:, 0].min()
    assert right >= Z[:, 0].max()
    assert bottom <= 9 * Z[:, 1].min()
    assert top >= 9 * Z[:, 1].max()


def test_ellipses_of_unlike_variances_fill_the_axes():
    # The limits are as many standard deviations from the mean on either axis.
    Z = RNG.standard_normal((60, 2)) * [1, 10]
    display = EmbeddingDisplay.from_embedding(Z, cov=[1, 100])
    axes = display.ax_
    for limits, line, std in ((axes.get_xlim(), 0, 1), (axes.get_ylim(), 1, 10)):
        ends = [contour.get_data()[line] for contour in axes.lines]
        assert limits[0] < np.min(ends) < np.max(ends) < limits[1]
        assert limits[1] / std < 5
    np.testing.assert_allclose(np.multiply(axes.get_xlim(), 10), axes.get_ylim())


def test_many_rows_are_thinned_with_their_labels():
    display = EmbeddingDisplay.from_embedding(Z, NUMBERS, subsample=20)
    assert display.Z.shape == (20, 4)
    pairs = {(*row, number) for row, number in zip(Z.tolist(), NUMBERS.tolist(), strict=True)}
    shown = zip(display.Z.tolist(), display.y.tolist(), strict=True)
    assert all((*row, number) in pairs for row, number in shown)
    assert len(np.unique(display.Z[:, 0])) == 20  # without replacement
    again = EmbeddingDisplay.from_embedding(Z, NUMBERS, subsample=20)
    np.testing.assert_array_equal(again.Z, display.Z)
    other = EmbeddingDisplay.from_embedding(Z, NUMBERS, subsample=20, random_state=1)
    assert not np.array_equal(other.Z, display.Z)
    assert len(EmbeddingDisplay.from_embedding(Z, subsample=0.5).Z) == 30
    assert len(EmbeddingDisplay.from_embedding(Z, subsample=0.01).Z) == 1
    assert len(EmbeddingDisplay.from_embedding(Z, subsample=None).Z) == 60


def test_from_estimator_draws_transform():
    pca = PCA(2, whiten=True).fit(Z)
    display = EmbeddingDisplay.from_estimator(pca, Z, LABELS)
    np.testing.assert_allclose(display.scatters_[0].get_offsets(), pca.transform(Z))
    with pytest.raises(TypeError, match="an estimator with transform"):
        EmbeddingDisplay.from_estimator(object(), Z)


def test_from_estimator_passes_its_arguments_on():
    embedder = GaussianEmbedder(3, target_mean=[1, 2, 3], target_cov=[1, 4, 9], max_iter=0).fit(Z)
    kwargs = {"components": [0, 2], "subsample": 20, "random_state": 1}
    kwargs |= {"scatter_kwargs": {"s": 7}, "contour_kwargs": {"ls": ":"}}
    display = EmbeddingDisplay.from_estimator(embedder, Z, **kwargs)
    expected = EmbeddingDisplay.from_embedding(
        embedder.transform(Z), mean=[1, 2, 3], cov=[1, 4, 9], **kwargs
    )
    for each in (display, expected):
        assert each.pairs_ == [(0, 2)]
        assert each.scatters_[0].get_sizes() == [7]
        assert each.contours_[0][0].get_linestyle() == ":"
    for name in ("Z", "mean", "cov"):
        np.testing.assert_array_equal(getattr(display, name), getattr(expected, name))


@pytest.mark.parametrize("y", [None, LABELS, NUMBERS])
def test_axes_given_are_those_drawn_on(y):
    figure, axes = plt.subplots(1, 3)
    display = EmbeddingDisplay.from_embedding(Z, y, components=[0, 1], ax=axes[1])
    assert display.ax_ is axes[1]
    assert display.figure_ is figure
    assert not axes[0].collections
    EmbeddingDisplay.from_embedding(Z, y, ax=axes)
    assert len(axes[0].collections) == 1
    assert len(plt.get_fignums()) == 1
    figure.canvas.draw()


def test_keywords_reach_the_artists():
    display = EmbeddingDisplay.from_embedding(
        Z, LABELS, scatter_kwargs={"cmap": ["r", "g", "b"], "s": 7}, contour_kwargs={"ls": ":"}
    )
    np.testing.assert_allclose(
        display.scatters_[0].get_facecolors()[:, :3], np.eye(3)[LABELS] * [1, 0.5, 1]
    )
    assert display.contours_[0][0].get_linestyle() == ":"
    display.plot(scatter_kwargs={"color": "k"})
    assert display.legend_ is None
    display = EmbeddingDisplay.from_embedding(Z, NUMBERS, scatter_kwargs={"cmap": "magma"})
    assert display.scatters_[0].get_cmap().name == "magma"


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"components": [0]}, r"components must be at least two .* from 0 to 3, got \[0\]"),
        ({"components": [0, 4]}, r"got \[0, 4\]"),
        ({"components": [1, 1]}, r"got \[1, 1\]"),
        ({"y": LABELS[:5]}, r"inconsistent numbers of samples: \[60, 5\]"),
        ({"y": [f"{i}" for i in range(60)]}, "y must have at most 20 different labels, got 60"),
        ({"y": np.full(60, np.nan)}, "y must be finite"),
        ({"y": np.array(["a", np.nan] * 30, object)}, r"y must have labels .*\['float', 'str'\]"),
        ({"y": pd.Series(["a", None] * 30)}, "y must have labels of one type, without missing"),
        ({"y": np.array(["a", 1] * 30, object)}, r"y must have labels .*\['int', 'str'\]"),
        ({"subsample": 0}, "subsample must be .* got 0"),
        ({"subsample": 1.5}, "subsample must be .* got 1.5"),
        ({"ax": [1, 2]}, "one Axes or 3"),
    ],
)
def test_errors(kwargs, message):
    with pytest.raises(ValueError, match=message):
        EmbeddingDisplay.from_embedding(Z, **kwargs)


def test_one_component_is_no_pair():
    with pytest.raises(ValueError, match="GaussianityDisplay draws embeddings with one"):
        EmbeddingDisplay.from_embedding(Z[:, :1])
