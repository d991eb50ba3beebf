import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklatent import GaussianEmbedder, GaussianEmbedderCV
from sklatent.inspection import LossCurveDisplay

X = np.random.default_rng(0).standard_normal((80, 3)) ** 2
KWARGS = {"n_components": 2, "hidden_layer_sizes": (8,), "max_iter": 4, "random_state": 0}

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")


def test_curves_are_the_estimator_s():
    embedder = GaussianEmbedder(reg_weight=0.5, **KWARGS).fit(X)
    display = LossCurveDisplay.from_estimator(embedder)
    assert set(display.lines_) == {"loss", "task_loss", "regularizer", "criterion"}
    for name, curve in (("loss", embedder.loss_curve_), ("task_loss", embedder.task_loss_curve_)):
        np.testing.assert_array_equal(
            display.lines_[name].get_xydata(), np.column_stack([[1, 2, 3, 4], curve])
        )
    parts = [display.lines_[name].get_ydata() for name in ("task_loss", "regularizer")]
    # float32 sums
    np.testing.assert_allclose(sum(parts), embedder.loss_curve_, rtol=1e-5)
    np.testing.assert_allclose(parts[1], 0.5 * np.array(embedder.regularizer_curve_), rtol=1e-4)
    x, y = display.lines_["criterion"].get_data()
    np.testing.assert_array_equal(x, [0, 1, 2, 3, 4])
    np.testing.assert_array_equal(y, -np.array(embedder.validation_scores_))


def test_the_best_epoch_is_marked():
    embedder = GaussianEmbedder(**KWARGS).fit(X)
    display = LossCurveDisplay.from_estimator(embedder)
    best = int(np.argmax(embedder.validation_scores_))
    assert display.best_epoch_ == best
    (mark,) = display.best_.get_offsets()
    assert mark.tolist() == [best, -max(embedder.validation_scores_)]
    texts = [text.get_text() for text in display.figure_.legends[0].get_texts()]
    assert f"best epoch: {best}" in texts


def test_a_single_value_has_a_marker():
    display = LossCurveDisplay.from_estimator(GaussianEmbedder(**KWARGS | {"max_iter": 1}).fit(X))
    assert display.lines_["loss"].get_marker() == "o"
    assert display.lines_["criterion"].get_marker() == "none"  # two values, from epoch 0


def test_epochs_without_a_criterion_are_never_the_best():
    curves = dict.fromkeys(("loss", "task_loss", "regularizer"), np.ones(3))
    display = LossCurveDisplay(criterion=np.array([np.nan, 0.5, 0.3, np.nan]), **curves).plot()
    assert display.best_epoch_ == 2


def test_without_early_stopping_there_is_no_best_epoch():
    embedder = GaussianEmbedder(early_stopping=False, **KWARGS).fit(X)
    display = LossCurveDisplay.from_estimator(embedder)
    assert "criterion" not in display.lines_
    assert display.best_epoch_ is None
    assert display.best_ is None


def test_the_critic_has_its_own_panel():
    embedder = GaussianEmbedder(regularizer="adversarial", **KWARGS).fit(X)
    display = LossCurveDisplay.from_estimator(embedder)
    assert len(display.axes_) == 2
    line = display.lines_["critic_loss"]
    assert line.axes is display.axes_[1]
    np.testing.assert_array_equal(line.get_ydata(), embedder.critic_loss_curve_)
    assert display.axes_[1].get_xlim() == display.axes_[0].get_xlim()
    figure, axes = plt.subplots(2, 2)
    display.plot(axes[:, 0])
    assert list(display.axes_) == list(axes[:, 0])
    display.plot(axes[0, 1])
    assert display.figure_ is figure


def test_no_epoch_one_epoch_and_a_stream():
    still = GaussianEmbedder(**{**KWARGS, "max_iter": 0}).fit(X)
    display = LossCurveDisplay.from_estimator(still)
    assert display.best_epoch_ == 0
    assert len(display.loss) == 0
    streamed = GaussianEmbedder(**KWARGS).partial_fit(X).partial_fit(X)
    display = LossCurveDisplay.from_estimator(streamed)
    assert display.lines_["loss"].get_xdata().tolist() == [1, 2]


def test_long_epochs_are_drawn_by_step():
    # 128 samples to train on, in batches of 2, are 64 steps: 2 periods of 32.
    X = np.random.default_rng(0).standard_normal((142, 3)) ** 2
    embedder = GaussianEmbedder(**KWARGS | {"batch_size": 2, "max_iter": 2}).fit(X)
    display = LossCurveDisplay.from_estimator(embedder)
    assert display.ax_.get_xlabel() == "step"
    assert display.lines_["loss"].get_xdata().tolist() == [32, 64, 96, 128]
    assert display.lines_["criterion"].get_xdata().tolist() == [0, 32, 64, 96, 128]
    best = 32 * int(np.argmax(embedder.validation_scores_))
    assert display.best_epoch_ == best
    assert display.best_.get_offsets()[0, 0] == best
    texts = [text.get_text() for text in display.figure_.legends[0].get_texts()]
    assert f"best step: {best}" in texts


def test_a_parameter_set_since_changes_nothing():
    embedder = GaussianEmbedder(reg_weight=0.5, **KWARGS).fit(X)
    before = LossCurveDisplay.from_estimator(embedder).regularizer
    after = LossCurveDisplay.from_estimator(embedder.set_params(reg_weight=5.0)).regularizer
    np.testing.assert_array_equal(after, before)


def test_a_search_shows_the_weight_it_chose():
    search = GaussianEmbedderCV(reg_weights=[0.3], cv=2, **KWARGS).fit(X)
    pipeline = make_pipeline(FunctionTransformer(), GaussianEmbedder(reg_weight=0.3, **KWARGS))
    for estimator, embedder in ((search, search.best_embedder_), (pipeline.fit(X), pipeline[-1])):
        display = LossCurveDisplay.from_estimator(estimator)
        expected = 0.3 * np.array(embedder.regularizer_curve_)
        np.testing.assert_allclose(display.regularizer, expected, rtol=1e-4)


def test_axes_given_are_those_drawn_on():
    embedder = GaussianEmbedder(**KWARGS).fit(X)
    figure, axes = plt.subplots(1, 2)
    display = LossCurveDisplay.from_estimator(
        embedder, ax=axes[1], line_kwargs={"lw": 3}, scatter_kwargs={"s": 9}
    )
    assert (display.ax_, display.figure_) == (axes[1], figure)
    assert not axes[0].lines
    assert {line.get_linewidth() for line in display.lines_.values()} == {3}
    assert display.best_.get_sizes() == [9]


@pytest.mark.parametrize("estimator", [GaussianEmbedder(), FunctionTransformer()])
def test_errors(estimator):
    with pytest.raises(TypeError, match="a fitted GaussianEmbedder, got "):
        LossCurveDisplay.from_estimator(estimator)
