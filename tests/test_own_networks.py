"""Networks of the user's own: never changed, deterministic after fit, checked for their shapes."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from sklatent import GaussianEmbedder, GaussianEmbedderCV

X = load_digits().data[:300]
pytestmark = pytest.mark.filterwarnings(
    "ignore:Stochastic Optimizer:sklearn.exceptions.ConvergenceWarning"
)


def convolutional(in_features, out_features):
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Flatten(), nn.Dropout(0.5), nn.LazyLinear(out_features),
    )  # fmt: skip


def test_the_module_of_the_caller_is_never_changed():
    module = convolutional(64, 2)
    module(torch.zeros(2, 64))  # makes the weights of the lazy layer
    module[1].bias.requires_grad_(False)
    module.eval()
    before = copy.deepcopy(module)
    embedder = GaussianEmbedder(encoder=module, max_iter=2, random_state=0).fit(X)
    for name, value in module.state_dict().items():
        assert torch.equal(value, before.state_dict()[name])
    assert not any(layer.training for layer in module.modules())
    assert [p.requires_grad for p in module.parameters()] == [
        p.requires_grad for p in before.parameters()
    ]
    assert all(p.grad is None for p in module.parameters())
    assert embedder.net_.module_.encoder.network is not module


@pytest.mark.parametrize("search", [False, True])
def test_a_lazy_module_is_an_instance_without_shapes(search):
    """Every fit makes the weights of its own copy, for its own number of features."""
    module = nn.Sequential(nn.LazyLinear(5), nn.Tanh(), nn.LazyLinear(2))
    embedder = GaussianEmbedder(encoder=module, init="random", max_iter=1, random_state=0)
    if search:
        params = embedder.get_params()
        del params["reg_weight"], params["warm_start"]
        embedder = GaussianEmbedderCV(reg_weights=[1], cv=2, **params)
    for p in (64, 20):
        embedder.fit(X[:, :p])
        fitted = embedder.best_embedder_ if search else embedder
        network = fitted.net_.module_.encoder.network
        assert network[0].weight.shape == (5, p)
        assert any(isinstance(each, nn.LazyLinear) for each in module)
        assert embedder.transform(X[:, :p]).shape == (300, 2)
    again = pickle.loads(pickle.dumps(embedder))
    assert np.array_equal(again.transform(X[:, :20]), embedder.transform(X[:, :20]))


def test_dropout_and_batch_statistics_are_off_after_fit():
    embedder = GaussianEmbedder(encoder=convolutional, max_iter=2, random_state=0).fit(X)
    Z = embedder.transform(X)
    assert np.array_equal(Z, embedder.transform(X))
    np.testing.assert_allclose(embedder.transform(X[:1]), Z[:1], atol=1e-10)
    # The calibration is fitted to the same output.
    np.testing.assert_allclose(np.cov(Z.T), np.eye(2), atol=1e-4)


def test_wrong_shapes_are_both_named():
    with pytest.raises(ValueError, match=r"shape \(n, 2\); for n = 2 it returned \(2, 3\)"):
        GaussianEmbedder(encoder=lambda p, k: nn.Linear(p, k + 1)).fit(X)
