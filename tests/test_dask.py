"""Dask runs scikit-learn's searches, and embeds and streams its arrays."""

import joblib
import numpy as np
import pytest
from common import LABELS as Y
from common import WINE as X
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score

from sklatent import GaussianEmbedder, GaussianEmbedderCV

da = pytest.importorskip("dask.array", reason="needs the extra dask")
distributed = pytest.importorskip("distributed", reason="needs the extra dask")

LESS = {"hidden_layer_sizes": (16,), "batch_size": 50, "random_state": 0, "max_iter": 2}
pytestmark = pytest.mark.filterwarnings(
    "ignore:Stochastic Optimizer:sklearn.exceptions.ConvergenceWarning"
)


@pytest.fixture(scope="module")
def client():
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def test_searches_and_scores_on_a_cluster_are_those_without_one(client):
    searches = (
        GridSearchCV(GaussianEmbedder(2, **LESS), {"reg_weight": [0.1, 10.0]}, cv=2),
        GaussianEmbedderCV(2, reg_weights=[0.1, 10.0], cv=2, halving=True, **LESS),
    )
    for search in searches:
        alone = clone(search).fit(X)
        with joblib.parallel_config(backend="dask"):
            search.fit(X)
        for key in ("split0_test_score", "split1_test_score"):
            np.testing.assert_allclose(search.cv_results_[key], alone.cv_results_[key], rtol=1e-5)
        np.testing.assert_allclose(search.transform(X), alone.transform(X), atol=1e-5)
    classifier = GaussianEmbedder(2, task="classification", **LESS)
    expected = cross_val_score(classifier, X, Y, cv=2)
    with joblib.parallel_config(backend="dask"):
        np.testing.assert_allclose(cross_val_score(classifier, X, Y, cv=2), expected)


def test_blocks_are_embedded_on_a_cluster(client):
    blocks = da.from_array(X, chunks=(50, X.shape[1]))
    embedder = GaussianEmbedder(2, **LESS).fit(X)
    Z = blocks.map_blocks(embedder.transform, dtype=X.dtype, chunks=(blocks.chunks[0], (2,)))
    assert Z.shape == (len(X), 2)
    np.testing.assert_allclose(Z.compute(), embedder.transform(X), atol=1e-12)


def test_an_array_of_dask_is_read_as_a_whole():
    blocks = da.from_array(X, chunks=(50, X.shape[1]))
    embedder = GaussianEmbedder(2, **LESS).fit(X)
    given = GaussianEmbedder(2, **LESS).fit(blocks)
    np.testing.assert_array_equal(given.transform(X), embedder.transform(X))
    Z = given.transform(blocks)
    assert type(Z) is np.ndarray
    np.testing.assert_array_equal(Z, embedder.transform(X))


def test_blocks_are_streamed_from_a_cluster(client):
    blocks = da.from_array(X, chunks=(60, X.shape[1])).persist()
    stream, alone = GaussianEmbedder(2, **LESS), GaussianEmbedder(2, **LESS)
    for i in range(blocks.numblocks[0]):
        stream.partial_fit(blocks.blocks[i].compute())
    for block in np.split(X, [60, 120]):
        alone.partial_fit(block)
    np.testing.assert_array_equal(stream.transform(X), alone.transform(X))


def test_incremental_streams_blocks(client):
    reason = "dask-ml is not among the dependencies of the tests, because it needs numba"
    wrappers = pytest.importorskip("dask_ml.wrappers", reason=reason)
    blocks = da.from_array(X, chunks=(60, X.shape[1]))
    stream = wrappers.Incremental(GaussianEmbedder(2, **LESS), shuffle_blocks=False).fit(blocks)
    alone = GaussianEmbedder(2, **LESS)
    for block in np.split(X, [60, 120]):
        alone.partial_fit(block)
    np.testing.assert_allclose(stream.estimator_.transform(X), alone.transform(X), atol=1e-5)
    np.testing.assert_allclose(stream.transform(blocks).compute(), alone.transform(X), atol=1e-5)
