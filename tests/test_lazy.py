"""Data that stay on disk or sparse: the same results as in memory, and little memory."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.datasets import load_digits
from sklearn.utils import gen_batches

from sklatent import GaussianEmbedder, GaussianEmbedderCV, _fit, _lazy
from sklatent._data import Data
from sklatent._lazy import LazySamples, as_samples, blocks, chunks
from sklatent._reservoir import Reservoir
from sklatent.regularizers import Adversarial
from sklatent.tasks import Reconstruction

pytestmark = [
    pytest.mark.filterwarnings("ignore:Stochastic Optimizer"),
    pytest.mark.filterwarnings("ignore:task=None trains"),
    pytest.mark.filterwarnings("ignore:The log-likelihood of"),
]

X, y = (part[:300] for part in load_digits(return_X_y=True))
WEIGHT = np.random.default_rng(0).uniform(0, 2, len(X))
WEIGHT[:7] = 0
PARAMS = {"n_components": 3, "hidden_layer_sizes": (16,), "max_iter": 3, "random_state": 0}
PARAMS |= {"batch_size": 16, "learning_rate_init": 5e-3}  # so that the start is not the best epoch


def first_component(x, z, output, y):
    return (z[..., 0] - y).square()


CASES = {
    "reconstruction": ({}, None, None),
    "weighted": ({}, None, WEIGHT),
    "share of variance": ({"n_components": 0.5}, None, None),
    "classification": ({"task": "classification"}, y, WEIGHT),
    "regression": ({"task": "regression"}, np.stack([y, y**2], axis=1), WEIGHT),
    "function": ({"task": first_component}, y.astype(float), WEIGHT),
    "no task": ({"task": None}, None, None),
    "error": ({"task": Reconstruction(error=lambda a, b: (a - b).abs())}, None, None),
    "kl": ({"regularizer": "kl", "calibration": "gaussianize"}, None, None),
    "critic": ({"regularizer": Adversarial(n_critic=1), "early_stopping": False}, None, None),
    "own encoder": ({"encoder": torch.nn.Linear}, None, None),
}


@pytest.fixture
def on_disk(tmp_path):
    """Return a function that copies an array to a file and opens the file, read-only."""

    def memmap(array):
        path = tmp_path / "array.dat"
        array.tofile(path)
        return np.memmap(path, array.dtype, "r", shape=array.shape)

    return memmap


def results(embedder, rows, labels, weight):
    found = [embedder.transform(rows), embedder.score(rows, labels, weight), embedder.loss_curve_]
    found += [embedder.validation_scores_ or [], getattr(embedder, "noise_variance_", 0)]
    for method in ("score_samples", "predict", "predict_proba"):
        if hasattr(embedder, method):
            found.append(getattr(embedder, method)(rows))
    if hasattr(embedder, "posterior"):
        found += embedder.posterior(rows)
    return found


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_where_the_samples_are_does_not_matter(sparse, case, on_disk, monkeypatch):
    params, labels, weight = CASES[case]
    embedder = GaussianEmbedder(**PARAMS | params)
    expected = results(embedder.fit(X, labels, weight), X, labels, weight)
    monkeypatch.setattr(_lazy, "LARGE", 100)
    monkeypatch.setattr(_lazy, "BLOCK_ENTRIES", 10_000)  # 256 of 300 samples
    rows = sp.csr_array(X) if sparse else on_disk(X)
    found = results(embedder.fit(rows, labels, weight), rows, labels, weight)
    for a, b in zip(expected, found, strict=True):
        # Products of matrices have other rounding errors in blocks.
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("stored", [sp.csc_array, sp.coo_array, sp.csr_matrix, sp.csc_matrix])
def test_sparse_formats(stored):
    embedder = GaussianEmbedder(**PARAMS)
    z = embedder.fit(X).transform(X)
    np.testing.assert_allclose(embedder.fit(stored(X)).transform(stored(X)), z, rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_types(dtype, on_disk, monkeypatch):
    monkeypatch.setattr(_lazy, "LARGE", 100)
    rows = X.astype(dtype)
    embedder = GaussianEmbedder(**PARAMS).fit(on_disk(rows))
    for stored in (on_disk(rows), sp.csr_array(rows)):
        z = embedder.transform(stored)
        assert z.dtype == dtype
        np.testing.assert_array_equal(z, embedder.transform(rows))
    assert embedder.inverse_transform(z).shape == embedder.sample(300).shape == X.shape
    # Training is in float32, so both types of X give the same embedding up to rounding.
    expected = GaussianEmbedder(**PARAMS).fit(X).transform(X)
    np.testing.assert_allclose(z, expected, atol=1e-3)


@pytest.mark.parametrize("params", [{}, {"task": "classification"}, {"encoder": torch.nn.Linear}])
def test_cross_validation_of_sparse_samples(params):
    search = GaussianEmbedderCV(reg_weights=[0.1, 1], cv=2, **PARAMS | params)
    labels = y if "task" in params else None
    dense = search.fit(X, labels, WEIGHT).cv_results_["mean_test_score"]
    z = search.transform(X)
    sparse = search.fit(sp.csr_array(X), labels, WEIGHT).cv_results_["mean_test_score"]
    np.testing.assert_allclose(dense, sparse, rtol=1e-6)
    np.testing.assert_allclose(search.transform(sp.csr_array(X)), z, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("size", [50, 1000])
def test_streams_of_sparse_samples(size, monkeypatch):
    monkeypatch.setattr(_fit, "RESERVOIR", size)
    dense, sparse = GaussianEmbedder(**PARAMS), GaussianEmbedder(**PARAMS)
    for some in gen_batches(len(X), 100):
        dense.partial_fit(X[some])
        sparse.partial_fit(sp.csr_array(X[some]))
    np.testing.assert_array_equal(dense.transform(X), sparse.transform(X))


def test_a_reservoir_reads_only_what_it_keeps():
    read = []

    def reading(some):
        read.append(len(some))
        return some

    reservoir = Reservoir(5, np.random.RandomState(0))
    reservoir.add(LazySamples(X, function=reading), None)
    assert len(reservoir.samples) == 5
    assert reservoir.n_seen == len(X)
    assert sum(read) < 50  # 5 (1 + log(300 / 5)) = 25 are expected


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("sparse", [True, False])
def test_infinite_and_missing_values_are_found(bad, sparse, on_disk, monkeypatch):
    monkeypatch.setattr(_lazy, "LARGE", 100)
    rows = X.copy()
    rows[-1, -1] = bad
    rows = sp.csr_array(rows) if sparse else on_disk(rows)
    with pytest.raises(ValueError, match="Input X contains"):
        GaussianEmbedder(**PARAMS).fit(rows)


def curved(n, p):
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(n, 3))
    loadings = rng.normal(size=(3, p))
    return (factors + 0.3 * factors**2) @ loadings + 0.1 * rng.normal(size=(n, p))


@pytest.fixture
def small(monkeypatch):
    """Make blocks and samples small, as if the data were large."""
    monkeypatch.setattr(_lazy, "LARGE", 2**16)
    monkeypatch.setattr(_lazy, "BLOCK_ENTRIES", 2**14)
    monkeypatch.setattr(_lazy, "SAMPLE_ENTRIES", 2**14)
    monkeypatch.setattr(_fit, "CALIBRATION", 4000)


WIDE = curved(20_000, 32)
LINEAR = {"n_components": 3, "hidden_layer_sizes": (), "max_iter": 1, "random_state": 0}


@pytest.mark.parametrize("weighted", [True, False])
def test_a_memmap_is_never_copied_as_a_whole(weighted, small, on_disk):
    rows = on_disk(WIDE)
    weight = np.linspace(0, 1, len(rows)) if weighted else None
    tracemalloc.start()
    embedder = GaussianEmbedder(**LINEAR).fit(rows, sample_weight=weight)
    embedder.transform(rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Indices and weights have 8 bytes per sample, and the samples have 256.
    assert peak < rows.nbytes / 2


def test_only_blocks_and_batches_become_dense(small, monkeypatch):
    read = []
    getitem = LazySamples.__getitem__

    def reading(self, index):
        found = getitem(self, index)
        read.append(len(found))
        return found

    monkeypatch.setattr(LazySamples, "__getitem__", reading)
    rows = sp.csr_array(np.where(WIDE > 1, WIDE, 0))
    embedder = GaussianEmbedder(**LINEAR, batch_size=256, regularizer="adversarial")
    embedder.set_params(early_stopping=False).fit(rows)
    embedder.transform(rows)
    embedder.score(rows[:3000])
    assert max(read) == 1024  # the least size of a sample
    assert sum(read) > 4e4


def test_a_sample_represents_large_data(small, on_disk, monkeypatch):
    rows = on_disk(WIDE)
    embedder = GaussianEmbedder(**LINEAR | {"max_iter": 0}).fit(rows)
    monkeypatch.undo()
    exact = GaussianEmbedder(**LINEAR | {"max_iter": 0}).fit(WIDE)
    # The start is from 1024 samples, and the calibration and the noise are from about 5000.
    z = embedder.transform(rows)
    assert 0 < np.abs(z.mean(axis=0)).max() < 4 / 70
    np.testing.assert_allclose(np.cov(z.T), np.eye(3), atol=4 * 2**0.5 / 70)
    np.testing.assert_allclose(
        embedder.noise_variance_, exact.noise_variance_, rtol=4 * 2**0.5 / 70
    )
    assert embedder._start.scale != exact._start.scale
    assert embedder._start.scale == pytest.approx(exact._start.scale, rel=0.1)


def test_large_sparse_data_start_at_the_components_of_all_samples(monkeypatch):
    monkeypatch.setattr(_lazy, "SAMPLE_ENTRIES", 2**12)
    monkeypatch.setattr(_lazy, "LEAST_SAMPLE", 100)
    embedder = GaussianEmbedder(**PARAMS | {"max_iter": 0}, calibration=None)
    for weight in (None, WEIGHT):
        z, other = (embedder.fit(rows, None, weight).transform(X) for rows in (X, sp.csr_array(X)))
        np.testing.assert_allclose(z, other, atol=1e-6)


def test_random_samples_are_uniform_and_contain_what_they_must():
    data = Data(LazySamples(np.arange(1000.0)[:, None]))
    also = np.arange(0, 1000, 50)
    index = data.sample(300, 0, also)
    assert np.isin(also, index).all()
    assert (np.diff(index) > 0).all()
    counts = sum(np.bincount(data.sample(300, seed), minlength=1000) for seed in range(200))
    # 200 draws with probability 0.3.
    assert np.abs(counts - 60).max() < 5.5 * np.sqrt(200 * 0.3 * 0.7)
    assert data.sample(1000, 0) is None
    assert Data(np.zeros((1000, 1))).sample(300, 0) is None


def test_validation_samples_are_limited(small, on_disk, monkeypatch):
    monkeypatch.setattr(_lazy, "SAMPLE_ENTRIES", 2**12)
    monkeypatch.setattr(_lazy, "LEAST_SAMPLE", 200)
    n_valid = []
    set_aside = _fit.Fit.set_aside
    monkeypatch.setattr(
        _fit.Fit, "set_aside", lambda fit, n: (n_valid.append(n), set_aside(fit, n))
    )
    GaussianEmbedder(**LINEAR | {"max_iter": 0}).fit(on_disk(WIDE))
    GaussianEmbedder(**LINEAR | {"max_iter": 0}).fit(WIDE[:2000])
    assert n_valid == [200, 200]


def test_selections_compose():
    rows = LazySamples(sp.csr_array(X)).take(WEIGHT > 0).take(np.arange(100, 200))
    expected = X[WEIGHT > 0][100:200]
    np.testing.assert_array_equal(rows[:], expected)
    np.testing.assert_array_equal(rows.sparse.toarray(), expected)
    np.testing.assert_array_equal(rows.map(np.sqrt)[[3, 1]], np.sqrt(expected[[3, 1]]))
    assert rows.shape == (100, 64)


def test_blocks_depend_on_the_number_of_features():
    assert isinstance(as_samples(sp.csr_array(X)), LazySamples)
    assert as_samples(X) is X
    assert [some.stop for some in blocks(X)] == [len(X)]
    sizes = [
        next(iter(blocks(LazySamples(sp.csr_array((10**5, p)))))).stop for p in (10, 5000, 10**6)
    ]
    assert sizes == [8192, 2**22 // 5000, 256]
    assert next(iter(chunks(np.zeros((10_000, 1))))).stop == 8192
