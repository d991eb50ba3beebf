"""Tensors and arrays of other libraries are converted to NumPy, with and without dispatch."""

import numpy as np
import pytest
import torch
from sklearn import config_context
from sklearn.datasets import load_wine
from sklearn.preprocessing import scale
from sklearn.utils import get_tags

from sklatent import GaussianEmbedder, Gaussianizer, OutlierDetector

X, y = load_wine(return_X_y=True)
X = scale(X)
FAST = {"hidden_layer_sizes": (8,), "max_iter": 1, "early_stopping": False, "random_state": 0}

pytestmark = pytest.mark.filterwarnings(
    "ignore:Stochastic Optimizer:sklearn.exceptions.ConvergenceWarning"
)


def test_tensors_give_numpy_arrays():
    tensor, weight = torch.from_numpy(X), np.linspace(1, 2, len(X))
    for estimator in (GaussianEmbedder(**FAST), Gaussianizer(random_state=0)):
        expected = estimator.fit(X, sample_weight=weight).transform(X)
        output = estimator.fit(tensor, sample_weight=torch.from_numpy(weight)).transform(tensor)
        assert isinstance(output, np.ndarray)
        assert np.array_equal(output, expected)
        inverse = estimator.inverse_transform(torch.from_numpy(output))
        assert np.array_equal(inverse, estimator.inverse_transform(output))


def test_tensors_under_dispatch(monkeypatch):
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    try:
        with config_context(array_api_dispatch=True):
            test_tensors_give_numpy_arrays()
    except RuntimeError as error:
        pytest.skip(f"scipy reads SCIPY_ARRAY_API when it is imported: {error}")


def test_bfloat16_and_gradients():
    with pytest.raises(TypeError, match=r"got bfloat16: convert them by \.float\(\)"):
        Gaussianizer().fit(torch.from_numpy(X).bfloat16())
    with pytest.raises(RuntimeError, match="detach"):
        Gaussianizer().fit(torch.from_numpy(X).requires_grad_())


def test_tags():
    for task in ("reconstruction", "classification", "regression", None):
        tags = get_tags(GaussianEmbedder(task=task))
        assert tags.target_tags.required == (task in ("classification", "regression"))
        assert tags.input_tags.sparse
        assert not tags.array_api_support
    assert not get_tags(Gaussianizer()).input_tags.sparse
    assert not get_tags(OutlierDetector(Gaussianizer())).input_tags.sparse
    assert get_tags(OutlierDetector(GaussianEmbedder())).input_tags.sparse


def test_html_shows_fitted_attributes_and_links_nowhere():
    html = GaussianEmbedder(**FAST).fit(X)._repr_html_()
    assert "Fitted attributes" in html
    assert "noise_variance_" in html
    assert "href=" not in html  # the documentation has no address yet
