"""What a fit leaves behind: types, copies, and further training."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from sklatent import GaussianEmbedder
from sklatent.networks import MLP

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")

X = load_digits().data[:400]
PARAMS = {"n_components": 4, "hidden_layer_sizes": (16,), "max_iter": 3, "random_state": 0}
PARAMS["early_stopping"] = False  # it could return the start, where the network is zero


def through_pickle(fitted):
    return pickle.loads(pickle.dumps(fitted))


@pytest.fixture(scope="module", params=["moment", "kl"])
def fitted(request):
    return GaussianEmbedder(**PARAMS, regularizer=request.param, reg_weight=0.3).fit(X)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, through_pickle, copy.copy])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_copies_encode_and_decode_alike(fitted, duplicate, dtype):
    other = duplicate(fitted)
    first, second = (each._model.encode(X.astype(dtype)) for each in (fitted, other))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    assert first[0].dtype == dtype
    np.testing.assert_array_equal(fitted._model.decode(first[0]), other._model.decode(first[0]))
    # The last digit depends on where arrays lie in memory.
    np.testing.assert_allclose(fitted.score_samples(X), other.score_samples(X), rtol=1e-12)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, through_pickle])
def test_a_copy_embeds_with_the_networks_that_it_trains(duplicate):
    other = duplicate(GaussianEmbedder(**PARAMS, warm_start=True, tol=0).fit(X))
    assert other._model.autoencoder is other.net_.module_
    before = other.transform(X)
    after = other.fit(X).transform(X)
    assert other._model.autoencoder is other.net_.module_
    assert np.abs(after - before).max() > 1e-3


def test_pickle_holds_the_weights_once():
    fitted = GaussianEmbedder(**PARAMS | {"hidden_layer_sizes": (512, 512)}).fit(X)
    fitted.transform(X)  # in float64, which is not kept
    n_weights = sum(weight.numel() for weight in fitted.net_.module_.parameters())
    # The weights and Adam's two moments, in float32.
    assert len(pickle.dumps(fitted)) < 1.1 * (3 * 4 * n_weights)


@pytest.mark.parametrize("activation", ["silu", "relu", "gelu", "tanh"])
@pytest.mark.parametrize("init", ["pca", "random"])
@pytest.mark.parametrize("regularizer", ["moment", "kl"])
def test_one_sample_has_the_embedding_that_it_has_among_others(activation, init, regularizer):
    params = PARAMS | {"activation": activation, "init": init, "regularizer": regularizer}
    fitted = GaussianEmbedder(**params).fit(X)
    for dtype, tolerance in ((np.float32, 1e-5), (np.float64, 1e-13)):
        rows = X[:5].astype(dtype)
        for among, part in zip(fitted._model.encode(rows), (0, 1), strict=True):
            alone = [fitted._model.encode(row[None])[part] for row in rows]
            if among is None:
                assert alone == [None] * len(rows)
                continue
            assert all(value.dtype == dtype for value in alone)
            np.testing.assert_allclose(np.concatenate(alone), among, rtol=0, atol=tolerance)


class Doubled(MLP):
    """Our network, used otherwise."""

    def forward(self, x):
        return 2 * super().forward(x)


def doubled(in_features, out_features):
    return Doubled(in_features, out_features, (8,), generator=torch.Generator().manual_seed(0))


def longer(in_features, out_features):
    network = MLP(in_features, out_features, (8,), generator=torch.Generator().manual_seed(0))
    return network.append(nn.Softplus())


@pytest.mark.parametrize("encoder", [doubled, longer])
def test_one_sample_of_an_own_network_made_of_ours(encoder):
    fitted = GaussianEmbedder(**PARAMS | {"encoder": encoder, "init": "random"}).fit(X)
    np.testing.assert_allclose(fitted.transform(X[:1]), fitted.transform(X)[:1], atol=1e-10)


def test_float64_is_float32_refined(fitted):
    single, double = fitted._model.encode(X.astype(np.float32)), fitted._model.encode(X)
    for a, b in zip(single, double, strict=True):
        if b is not None:
            # float32 has seven digits; sums of 64 terms lose one or two.
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())
    assert not np.array_equal(single[0], double[0])


def test_float64_follows_further_training():
    fitted = GaussianEmbedder(**PARAMS, warm_start=True).fit(X)
    before = fitted.transform(X)
    after = fitted.fit(X).transform(X)
    assert not np.allclose(before, after, rtol=0, atol=1e-4)
    single = fitted.transform(X.astype(np.float32))
    np.testing.assert_allclose(after, single, rtol=0, atol=1e-4)
