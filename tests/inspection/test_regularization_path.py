from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklatent import GaussianEmbedder, GaussianEmbedderCV
from sklatent.inspection import RegularizationPathDisplay
from sklatent.metrics import gaussianity_scorer, most_gaussian_within, reconstruction_scorer

X = np.random.default_rng(0).standard_normal((60, 3)) ** 2
WEIGHTS = [10.0, 0.1, 1.0]  # not in order
R2 = np.array([[0.5, 0.9, 0.8], [0.7, 0.8, 0.8]])
G = np.array([[-0.1, -0.4, -0.2], [-0.1, -0.6, -0.4]])
ORDER = [1, 2, 0]


def results(weights=WEIGHTS, **scores):
    out = {"params": [{"reg_weight": w} for w in weights], "param_reg_weight": np.array(weights)}
    for name, splits in scores.items():
        out |= {f"split{i}_test_{name}": values for i, values in enumerate(splits)}
    return out


def test_two_scores_one_against_the_other_in_the_order_of_the_weights():
    display = RegularizationPathDisplay.from_cv_results(results(r2=R2, gaussianity=G), best_index=2)
    np.testing.assert_allclose(display.line_.get_xdata(), G.mean(axis=0)[ORDER])
    np.testing.assert_allclose(display.line_.get_ydata(), R2.mean(axis=0)[ORDER])
    assert [text.get_text() for text in display.annotations_] == ["0.1", "1", "10"]
    np.testing.assert_allclose(display.chosen_.get_offsets(), [[-0.3, 0.8]])
    assert display.ax_.get_legend().get_texts()[0].get_text() == "chosen: reg_weight=1"
    assert display.ax_.get_ylabel().startswith("r2")


def test_bars_are_standard_errors_of_the_mean():
    display = RegularizationPathDisplay.from_cv_results(results(r2=R2, gaussianity=G))
    across, up = (bars.get_segments() for bars in display.errors_.lines[2])
    for scores, segments, axis in ((G, across, 0), (R2, up, 1)):
        lengths = [np.ptp(segment[:, axis]) for segment in segments]
        expected = 2 * scores.std(axis=0, ddof=1)[ORDER] / np.sqrt(2)
        np.testing.assert_allclose(lengths, expected, atol=1e-12)


def test_one_score_against_the_weight():
    display = RegularizationPathDisplay.from_cv_results(results(score=R2), best_index=1)
    np.testing.assert_array_equal(display.line_.get_xdata(), [0.1, 1, 10])
    np.testing.assert_allclose(display.line_.get_ydata(), R2.mean(axis=0)[ORDER])
    assert display.ax_.get_xscale() == "log"
    assert display.annotations_ == []
    np.testing.assert_allclose(display.chosen_.get_offsets(), [[0.1, 0.85]])
    corners = display.errors_.get_paths()[0].vertices
    assert np.isclose(corners, [0.1, 0.9]).all(axis=1).any()  # 0.85 + 0.05


def test_a_weight_of_zero_is_on_the_axis():
    display = RegularizationPathDisplay.from_cv_results(results([0.0, 0.1, 1.0], score=R2))
    assert display.ax_.get_xscale() == "symlog"
    display.figure_.canvas.draw()
    left, right = display.ax_.get_xlim()
    assert left < 0 < 1 < right
    shown = display.ax_.transData.transform([(w, 0.8) for w in (0, 0.1, 1.0)])[:, 0]
    assert (np.diff(shown) > 20).all()


def test_gaussianity_alone_is_drawn_against_the_weight():
    display = RegularizationPathDisplay.from_cv_results(results(gaussianity=G))
    np.testing.assert_allclose(display.line_.get_ydata(), G.mean(axis=0)[ORDER])


def test_scores_have_the_names_given():
    cv_results = results(a=R2, b=R2 + 1, G=G)
    display = RegularizationPathDisplay.from_cv_results(cv_results, score="b", gaussianity="G")
    np.testing.assert_allclose(display.line_.get_ydata(), R2.mean(axis=0)[ORDER] + 1)
    np.testing.assert_allclose(display.line_.get_xdata(), G.mean(axis=0)[ORDER])


@pytest.mark.parametrize("failed", ["r2", "gaussianity"])
def test_fits_that_failed_are_left_out(failed):
    scores = {"r2": R2.copy(), "gaussianity": G.copy()}
    scores[failed][0, 1] = np.nan
    display = RegularizationPathDisplay.from_cv_results(results(**scores), best_index=0)
    assert [text.get_text() for text in display.annotations_] == ["1", "10"]
    np.testing.assert_allclose(display.chosen_.get_offsets(), [[-0.1, 0.6]])
    with pytest.raises(ValueError, match="every candidate has a score that is not finite"):
        RegularizationPathDisplay.from_cv_results(results(r2=np.nan * R2))


@pytest.mark.parametrize("scores", [{"r2": R2}, {"r2": R2, "gaussianity": G}])
def test_candidates_that_were_dropped_are_hollow_and_beside_the_line(scores):
    cv_results = results(**scores) | {"survived": np.array([False, True, True])}
    display = RegularizationPathDisplay.from_cv_results(cv_results, line_kwargs={"c": "k"})
    x = G.mean(axis=0) if "gaussianity" in scores else np.array(WEIGHTS)
    means = np.column_stack([x, R2.mean(axis=0)])
    np.testing.assert_allclose(display.line_.get_xydata(), means[[1, 2]])
    np.testing.assert_allclose(display.dropped_.get_xydata(), means[[0]])
    assert display.dropped_.get_markerfacecolor() == "none"
    assert display.dropped_.get_color() == "k"
    assert display.ax_.get_legend().get_texts()[0].get_text() == "dropped early"
    if "gaussianity" in scores:
        assert [len(bars.get_segments()) for bars in display.errors_.lines[2]] == [2, 2]
        assert [text.get_text() for text in display.annotations_] == ["0.1", "1", "10"]
    else:
        assert display.errors_.get_paths()[0].vertices[:, 0].max() == 1
        assert display.ax_.get_xlim()[1] > 10
    everyone = cv_results | {"survived": np.full(3, True)}
    assert RegularizationPathDisplay.from_cv_results(everyone).dropped_ is None


def test_one_split_has_no_errors():
    display = RegularizationPathDisplay.from_cv_results(results(r2=R2[:1], gaussianity=G[:1]))
    assert display.errors_ is None


def test_a_data_frame_will_do():
    frame = pd.DataFrame(results(r2=R2, gaussianity=G))
    display = RegularizationPathDisplay.from_cv_results(frame)
    np.testing.assert_allclose(display.line_.get_ydata(), R2.mean(axis=0)[ORDER])


SCORING = {"r2": reconstruction_scorer, "gaussianity": gaussianity_scorer}


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_from_searches():
    kwargs = {"hidden_layer_sizes": (4,), "max_iter": 1, "random_state": 0}
    refit = most_gaussian_within("r2")
    ours = GaussianEmbedderCV(
        2, reg_weights=[1, 0.1], cv=2, scoring=SCORING, refit=refit, **kwargs
    ).fit(X)
    pipeline = make_pipeline(FunctionTransformer(), GaussianEmbedder(2, **kwargs))
    grid = {"gaussianembedder__reg_weight": [1.0, 0.1]}
    theirs = GridSearchCV(pipeline, grid, cv=2, scoring=SCORING, refit=refit).fit(X)
    piped = make_pipeline(FunctionTransformer(), ours)
    for estimator, search in ((ours, ours), (theirs, theirs), (piped, ours)):
        display = RegularizationPathDisplay.from_estimator(estimator)
        np.testing.assert_array_equal(display.reg_weights, [0.1, 1])
        np.testing.assert_allclose(
            display.line_.get_ydata(), search.cv_results_["mean_test_r2"][::-1]
        )
        assert display.chosen == 1 - search.best_index_
    plain = GaussianEmbedderCV(2, reg_weights=[0, 1], cv=2, **kwargs).fit(X)
    display = RegularizationPathDisplay.from_estimator(plain)
    assert display.ax_.get_ylabel() == "score (greater is better)"


def test_from_estimator_passes_its_arguments_on():
    search = SimpleNamespace(cv_results_=results(a=R2, b=R2 + 1, G=G), best_index_=0)
    axes = plt.figure().add_subplot()
    display = RegularizationPathDisplay.from_estimator(
        search,
        score="b",
        gaussianity="G",
        ax=axes,
        line_kwargs={"c": "k"},
        error_kwargs={"elinewidth": 3},
        scatter_kwargs={"s": 10},
    )
    assert display.ax_ is axes
    assert (display.score_name, display.gaussianity_name) == ("b", "G")
    assert display.line_.get_color() == "k"
    assert display.errors_.lines[2][0].get_linewidth() == 3
    assert display.chosen_.get_sizes() == [10]


def test_axes_given_are_those_drawn_on():
    figure, axes = plt.subplots(1, 2)
    display = RegularizationPathDisplay.from_cv_results(
        results(r2=R2, gaussianity=G),
        ax=axes[1],
        best_index=0,
        line_kwargs={"c": "k"},
        error_kwargs={"elinewidth": 3},
        scatter_kwargs={"s": 10},
    )
    assert (display.ax_, display.figure_) == (axes[1], figure)
    assert display.line_.get_color() == "k"
    assert display.errors_.lines[2][0].get_linewidth() == 3
    assert display.chosen_.get_sizes() == [10]
    assert not axes[0].lines
    assert len(plt.get_fignums()) == 1


@pytest.mark.parametrize(
    ("cv_results", "kwargs", "message"),
    [
        ({"param_alpha": [1]}, {}, r"param_reg_weight .* got \['param_alpha'\]"),
        (results(), {}, "must have scores"),
        (results(a=R2, b=R2), {}, r"score must name one of the scores \['a', 'b'\]"),
        (results(a=R2), {"score": "r2"}, r"score must be one of \['a'\], got 'r2'"),
        (results(a=R2), {"best_index": 3}, "best_index must be from 0 to 2"),
        (
            results(a=R2) | {"param_regularizer": ["kl", "moment", "kl"]},
            {},
            r"reg_weight alone, got several values of \['param_regularizer'\]",
        ),
    ],
)
def test_errors(cv_results, kwargs, message):
    with pytest.raises(ValueError, match=message):
        RegularizationPathDisplay.from_cv_results(cv_results, **kwargs)


def test_a_search_must_be_fitted():
    with pytest.raises(TypeError, match="a fitted search with cv_results_"):
        RegularizationPathDisplay.from_estimator(GaussianEmbedderCV())
    with pytest.raises(TypeError, match="a fitted search with cv_results_, got Pipeline"):
        RegularizationPathDisplay.from_estimator(make_pipeline(GaussianEmbedderCV()))
