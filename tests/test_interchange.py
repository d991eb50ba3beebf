"""Tensors and arrays of other libraries are converted to NumPy, with and without dispatch."""

import array_api_strict
import numpy as np
import pytest
import torch
from common import LABELS as y
from common import WINE as X
from sklearn import config_context
from sklearn.mixture import GaussianMixture
from sklearn.utils import get_tags

from sklatent import GaussianEmbedder, GaussianEmbedderCV, Gaussianizer, OutlierDetector
from sklatent.tasks import Classification, Reconstruction, Regression, Task

FAST = {"hidden_layer_sizes": (8,), "max_iter": 1, "early_stopping": False, "random_state": 0}
SEARCH = FAST | {"reg_weights": [0.1, 1], "cv": 2}

pytestmark = pytest.mark.filterwarnings(
    "ignore:Stochastic Optimizer:sklearn.exceptions.ConvergenceWarning"
)


@pytest.fixture(params=[False, True], ids=["no dispatch", "dispatch"])
def dispatch(request, monkeypatch):
    if request.param:
        pytest.importorskip("scipy", "1.14", reason="scikit-learn does not dispatch before")
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    with config_context(array_api_dispatch=request.param):
        yield request.param


@pytest.fixture(params=[torch.from_numpy, array_api_strict.asarray], ids=["torch", "strict"])
def convert(request):
    return request.param


@pytest.mark.parametrize(
    ("estimator", "supervised"),
    [
        (GaussianEmbedder(**FAST), False),
        (Gaussianizer(random_state=0), False),
        (GaussianEmbedderCV(0.5, **SEARCH), False),
        (GaussianEmbedderCV(task="classification", scoring="accuracy", **SEARCH), True),
    ],
    ids=["embedder", "gaussianizer", "search", "search with y"],
)
def test_tensors_give_numpy_arrays(dispatch, convert, estimator, supervised):
    params = {"sample_weight": np.linspace(1, 2, len(X))} | ({"y": y} if supervised else {})
    expected = estimator.fit(X, **params).transform(X)
    scores = getattr(estimator, "cv_results_", {}).get("mean_test_score", 0)
    estimator.fit(convert(X), **{name: convert(value) for name, value in params.items()})
    output = estimator.transform(convert(X))
    assert isinstance(output, np.ndarray)
    assert np.array_equal(output, expected)
    assert np.array_equal(getattr(estimator, "cv_results_", {}).get("mean_test_score", 0), scores)
    if not supervised:
        inverse = estimator.inverse_transform(convert(output))
        assert np.array_equal(inverse, estimator.inverse_transform(output))


@pytest.mark.parametrize("cv", [None, 3])
def test_an_outlier_detector_passes_tensors_on(dispatch, convert, cv):
    if cv and convert is array_api_strict.asarray and not dispatch:
        pytest.skip("scikit-learn selects samples of such arrays under dispatch only")
    detector = OutlierDetector(GaussianEmbedder(**FAST), cv=cv)
    expected = detector.fit(X).offset_
    assert detector.fit(convert(X)).offset_ == expected
    assert np.array_equal(detector.predict(convert(X)), detector.predict(X))


def test_bfloat16_and_gradients():
    with pytest.raises(TypeError, match=r"got bfloat16: convert them by \.float\(\)"):
        Gaussianizer().fit(torch.from_numpy(X).bfloat16())
    with pytest.raises(RuntimeError, match="detach"):
        Gaussianizer().fit(torch.from_numpy(X).requires_grad_())


def norm(x, z, output, y):
    return z.square().sum(dim=-1)


class Supervised(Task):
    """A task of the user's own that needs y."""

    supervised = True

    def loss(self, x, z, output, y):
        return norm(x, z, output, y)


@pytest.mark.parametrize("estimator", [GaussianEmbedder, GaussianEmbedderCV])
@pytest.mark.parametrize(
    ("task", "kind", "required", "several"),
    [
        ("reconstruction", None, False, False),
        (Reconstruction(noise="isotropic"), None, False, False),
        (None, None, False, False),
        ("classification", "classifier", True, False),
        (Classification(), "classifier", True, False),
        ("regression", "regressor", True, True),
        (Regression(), "regressor", True, True),
        (norm, None, False, True),  # y is optional, and may have two dimensions
        (Supervised(), None, True, True),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_tags_of_embedders(estimator, task, kind, required, several):
    tags = get_tags(estimator(task=task))
    assert tags.estimator_type == kind
    assert (tags.classifier_tags is not None) == (kind == "classifier")
    assert (tags.regressor_tags is not None) == (kind == "regressor")
    assert tags.target_tags.required == required
    assert tags.target_tags.multi_output == several
    assert tags.target_tags.single_output
    assert tags.input_tags.sparse
    assert not tags.input_tags.allow_nan
    assert not tags.array_api_support
    assert tags.transformer_tags.preserves_dtype == ["float64", "float32"]


def test_tags_of_other_estimators():
    gaussianizer = get_tags(Gaussianizer())
    assert gaussianizer.estimator_type is None
    assert not gaussianizer.input_tags.sparse
    assert gaussianizer.transformer_tags.preserves_dtype == ["float64", "float32"]
    for model, sparse in ((Gaussianizer(), False), (GaussianEmbedder(), True)):
        detector = get_tags(OutlierDetector(model))
        assert detector.estimator_type == "outlier_detector"
        assert detector.input_tags.sparse == sparse
    assert not get_tags(OutlierDetector(GaussianMixture())).input_tags.sparse
    for tags in (gaussianizer, detector):
        assert not tags.target_tags.required
        assert not tags.target_tags.multi_output
        assert not tags.array_api_support


def test_a_callable_task_accepts_several_targets():
    targets = np.stack([y, -y], axis=1)
    given = []

    def task(x, z, output, y):
        given.append(y.shape[-1])
        return norm(x, z, output, y)

    GaussianEmbedder(task=task, **FAST).fit(X, targets)
    assert set(given) == {2}


def test_html_shows_fitted_attributes_and_links_nowhere():
    html = GaussianEmbedder(**FAST).fit(X)._repr_html_()
    assert "Fitted attributes" in html
    assert "noise_variance_" in html
    assert "href=" not in html  # the documentation has no address yet
