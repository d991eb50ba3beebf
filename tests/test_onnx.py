"""ONNX models give the output of the estimators, in onnxruntime."""

import re
import sys

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from common import LABELS as y
from common import WINE as X
from scipy.sparse import csr_array
from skl2onnx import to_onnx
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklatent import GaussianEmbedder, GaussianEmbedderCV, Gaussianizer, load
from sklatent.calibration import _gaussianization
from sklatent.onnx import register_converters

# Early stopping could return the start, where the network is zero.
FAST = {"hidden_layer_sizes": (16,), "max_iter": 3, "early_stopping": False, "random_state": 0}
# Rounding errors of arithmetic in the two types; a component has the variance 1.
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}

pytestmark = pytest.mark.filterwarnings(
    "ignore:Stochastic Optimizer:sklearn.exceptions.ConvergenceWarning"
)


@pytest.fixture(scope="module", autouse=True)
def _registered():
    register_converters()


@pytest.fixture
def few_rounds(monkeypatch):
    # skl2onnx needs seconds for a graph of more than a thousand operators.
    monkeypatch.setattr(_gaussianization, "MAX_ROUNDS", 4)


def run(estimator, rows, **params):
    """Convert an estimator, and return the outputs of onnxruntime."""
    model = to_onnx(estimator, rows[:1], **params)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    if isinstance(rows, pd.DataFrame):
        inputs = {name: rows[[name]].to_numpy() for name in rows}
    else:
        inputs = {model.graph.input[0].name: rows}
    return session.run(None, inputs)


def assert_equal_output(estimator, rows):
    (output,) = run(estimator, rows)
    expected = estimator.transform(rows)
    assert output.dtype == expected.dtype
    tolerance = TOLERANCE[str(expected.dtype)]
    np.testing.assert_allclose(output, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("regularizer", ["moment", "kl"])
@pytest.mark.parametrize("calibration", [None, "affine", "gaussianize"])
def test_embedder(calibration, regularizer, dtype, few_rounds):
    params = {"calibration": calibration, "regularizer": regularizer, "reg_weight": 0.01}
    embedder = GaussianEmbedder(3, **params, **FAST).fit(X)
    maps = [each for each in (embedder._model.calibration, embedder._model.prior) if each]
    assert calibration != "gaussianize" or max(getattr(each, "n_rounds_", 0) for each in maps) > 1
    # Samples far away are where the splines are linear.
    assert_equal_output(embedder, np.concatenate([X, 5 * X]).astype(dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gaussianizer_after_pca(dtype, few_rounds):
    rows = load_digits().data[:600].astype(dtype)
    pipeline = make_pipeline(PCA(3, random_state=0), Gaussianizer(random_state=0)).fit(rows)
    assert pipeline[-1].n_rounds_ > 2
    assert_equal_output(pipeline, rows)
    assert_equal_output(pipeline, 2 * rows)


def test_rounds_without_flow(few_rounds):
    rows = np.random.default_rng(0).exponential(size=(500, 1)).astype("float32")  # one feature
    gaussianizer = Gaussianizer(random_state=0).fit(rows)
    assert gaussianizer.n_rounds_ > 0
    assert_equal_output(gaussianizer, np.linspace(-20, 20, 101, dtype="float32")[:, None])


def test_gaussianizer_of_dependent_and_constant_features(few_rounds):
    rows = np.column_stack([X[:, :3], X[:, 0] - X[:, 1], np.ones(len(X))])
    gaussianizer = Gaussianizer(random_state=0).fit(rows)
    assert gaussianizer.n_rounds_ > 0
    outside = np.random.default_rng(0).standard_normal(rows.shape)
    assert_equal_output(gaussianizer, rows + outside)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("estimator", [
    GaussianEmbedder(3, calibration="gaussianize", **FAST), Gaussianizer(random_state=0)
])  # fmt: skip
def test_extreme_samples(estimator, dtype, few_rounds):
    rows = X[:, :4].astype(dtype)
    estimator = clone(estimator).fit(np.concatenate([rows, rows**3]))
    rows[1], rows[2, 0], rows[3, :2] = np.finfo(dtype).min, 1e30, [np.finfo(dtype).max, -1e30]
    assert_equal_output(estimator, rows)


@pytest.mark.filterwarnings("ignore:1 of 3 directions of the embedding have collapsed")
def test_collapsed_direction(few_rounds):
    params = {"calibration": "gaussianize", "init": "random", "task": None}
    embedder = GaussianEmbedder(3, encoder=collapsed, **FAST | params | {"max_iter": 0})
    with pytest.warns(UserWarning, match="task=None"):
        embedder.fit(X)
    assert embedder._model.calibration._axes.shape == (3, 2)
    assert_equal_output(embedder, X)


def collapsed(in_features, out_features):
    layer = nn.Linear(in_features, out_features)
    nn.init.zeros_(layer.weight[-1:])
    nn.init.zeros_(layer.bias[-1:])
    return layer


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_embedder_of_a_classification_before_a_classifier(dtype):
    embedder = GaussianEmbedder(3, task="classification", **FAST)
    pipeline = make_pipeline(StandardScaler(), embedder, LogisticRegression())
    rows = load_wine().data.astype(dtype)
    pipeline.fit(rows, y)
    labels, probabilities = run(pipeline, rows, options={"zipmap": False})
    assert np.array_equal(labels, pipeline.predict(rows))
    tolerance = TOLERANCE[dtype]
    np.testing.assert_allclose(probabilities, pipeline.predict_proba(rows), atol=tolerance)
    if dtype == "float32":  # ONNX makes dicts of float32 only
        labels, probabilities = run(pipeline, rows)
        assert np.array_equal(labels, pipeline.predict(rows))
        assert list(probabilities[0]) == [0, 1, 2]
    assert_equal_output(pipeline[:-1], rows)
    assert_equal_output(embedder, pipeline[0].transform(rows))


def test_regression_and_target():
    cov = [[2.0, 0.5], [0.5, 1.0]]
    embedder = GaussianEmbedder(task="regression", target_mean=[1, 2], target_cov=cov, **FAST)
    assert_equal_output(embedder.fit(X, y), X.astype("float32"))


def test_best_embedder_of_a_search():
    search = GaussianEmbedderCV(3, reg_weights=[0.1, 1], cv=2, **FAST).fit(X)
    assert_equal_output(search, X.astype("float32"))


def test_dense_samples_of_an_embedder_that_was_fitted_to_sparse_ones():
    rows = load_digits().data[:300].astype("float32")
    embedder = GaussianEmbedder(3, **FAST).fit(csr_array(rows))
    assert_equal_output(embedder, rows)


def test_loaded_embedder(tmp_path):
    GaussianEmbedder(3, **FAST).fit(X).save(tmp_path / "embedder")
    assert_equal_output(load(tmp_path / "embedder"), X.astype("float32"))


def test_several_embedders_in_one_model():
    union = make_union(
        GaussianEmbedder(3, **FAST), GaussianEmbedder(2, activation="tanh", **FAST)
    ).fit(X)
    assert_equal_output(union, X)


@pytest.mark.parametrize("activation", ["silu", "relu", "gelu", "tanh"])
def test_activations(activation):
    embedder = GaussianEmbedder(3, activation=activation, **FAST).fit(X)
    assert_equal_output(embedder, X.astype("float32"))
    # The error function is computed in float32.
    (output,) = run(embedder, X)
    np.testing.assert_allclose(output, embedder.transform(X), atol=1e-7)


def test_columns_of_a_data_frame():
    frame = pd.DataFrame(X[:, :4], columns=list("abcd"))
    frame["a"] = np.arange(len(frame))
    embedder = GaussianEmbedder(3, **FAST).fit(frame)
    (output,) = run(embedder, frame)
    np.testing.assert_allclose(output, embedder.transform(frame), atol=1e-12)
    columns = ColumnTransformer([("some", GaussianEmbedder(**FAST), ["b", "c"])]).fit(frame)
    (output,) = run(columns, frame)
    np.testing.assert_allclose(output, columns.transform(frame), atol=1e-12)


def test_integers_give_float32_as_in_skl2onnx():
    rows = load_digits().data[:300].astype(np.int64)
    embedder = GaussianEmbedder(3, **FAST).fit(rows)
    (output,) = run(embedder, rows)
    assert output.dtype == np.float32
    np.testing.assert_allclose(output, embedder.transform(rows), atol=1e-5)


def layers(in_features, out_features):
    return nn.Sequential(
        nn.Linear(in_features, 8, bias=False),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8, eps=0.125), nn.SiLU()),
        nn.Linear(8, 8),
        nn.LayerNorm(8, bias=False),
        nn.Sigmoid(),
        nn.Identity(),
        nn.Linear(8, out_features),
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_own_layers(dtype):
    params = FAST | {"learning_rate_init": 0.1}  # statistics and gains far from their start
    embedder = GaussianEmbedder(3, encoder=layers, **params).fit(X)
    assert_equal_output(embedder, X.astype(dtype))


class Own(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (lambda p, k: nn.Sequential(nn.Unflatten(1, (1, p)), nn.Flatten(), nn.Linear(p, k)), "Unf"),
        (lambda p, k: nn.Sequential(nn.Linear(p, k), nn.LayerNorm(k, elementwise_affine=False)), "La"),
        (lambda p, k: nn.Sequential(nn.GELU("tanh"), nn.Linear(p, k)), "GELU(approximate='tanh')"),
        (Own, "Own(in_features=13"),
    ],
)  # fmt: skip
def test_layers_without_a_converter(layer, name):
    embedder = GaussianEmbedder(3, encoder=layer, max_iter=0).fit(X)
    with pytest.raises(ValueError, match=f"the encoder contains {re.escape(name)}"):
        to_onnx(embedder, X[:1])


def hooked(in_features, out_features):
    layer = nn.Linear(in_features, out_features)
    layer.register_forward_hook(lambda layer, args, output: 2 * output)
    return layer


def normalized(in_features, out_features):
    return nn.utils.spectral_norm(nn.Linear(in_features, out_features))  # computed by a hook


@pytest.mark.parametrize("layer", [hooked, normalized])
def test_layers_with_hooks(layer):
    embedder = GaussianEmbedder(3, encoder=layer, max_iter=0).fit(X)
    with pytest.raises(ValueError, match=r"Linear.* with hooks"):
        to_onnx(embedder, X[:1])


@pytest.mark.parametrize("opset", [13, 22])
def test_opsets(opset, few_rounds):
    embedder = GaussianEmbedder(3, calibration="gaussianize", **FAST).fit(X)
    (output,) = run(embedder, X, target_opset=opset)
    np.testing.assert_allclose(output, embedder.transform(X), atol=1e-12)


def test_wrong_number_of_features():
    embedder = GaussianEmbedder(3, **FAST).fit(X)
    with pytest.raises(ValueError, match="inputs of the ONNX model have 12 features, but Gauss"):
        to_onnx(embedder, X[:1, 1:])


def test_unfitted():
    with pytest.raises(NotFittedError):
        to_onnx(Gaussianizer(), X[:1])


def test_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'sklatent\[onnx\]'"):
        register_converters()
