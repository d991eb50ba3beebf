"""Devices: which one is chosen, and what a CUDA device must give."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from common import WINE as X
from torch import nn

from sklatent import GaussianEmbedder, GaussianEmbedderCV
from sklatent._params import resolve_device

LESS = {"hidden_layer_sizes": (16,), "random_state": 0, "max_iter": 3}
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
pytestmark = pytest.mark.filterwarnings(
    "ignore:Stochastic Optimizer:sklearn.exceptions.ConvergenceWarning"
)


@pytest.mark.parametrize(
    ("available", "chosen"),
    [
        ([], "cpu"),
        (["mps"], "mps"),
        (["xpu"], "xpu"),
        (["cuda"], "cuda"),
        (["cuda", "xpu", "mps"], "cuda"),
        (["xpu", "mps"], "xpu"),
    ],
)
def test_auto_is_the_first_device_that_is_available(monkeypatch, available, chosen):
    backends = {"cuda": torch.cuda, "xpu": torch.xpu, "mps": torch.backends.mps}
    for name, backend in backends.items():
        monkeypatch.setattr(backend, "is_available", lambda name=name: name in available)
    assert resolve_device("auto") == torch.device(chosen)


@pytest.mark.parametrize("device", ["cuda:99", "meta", "abacus"])  # meta tensors have no values
def test_devices_that_cannot_compute_are_refused(device):
    with pytest.raises(ValueError, match=f"device must be .* got {device!r}"):
        resolve_device(device)


def test_float64_is_computed_on_the_cpu_if_the_device_has_no_float64(monkeypatch):
    """MPS has no float64. Here, every module but the one on the CPU is said to be on MPS."""
    embedder = GaussianEmbedder(2, **LESS).fit(X)
    expected = embedder.transform(X)
    moved = []
    module, to_cpu = embedder._model.autoencoder, nn.Module.cpu

    class OnMPS:
        device = torch.device("mps")

    monkeypatch.setattr(module, "parameters", lambda: iter([OnMPS()]))
    monkeypatch.setattr(nn.Module, "cpu", lambda self: moved.append(self) or to_cpu(self))
    embedder._model._float64 = None
    double = embedder._model._module(np.float64)
    assert moved == [double]
    del double.parameters
    np.testing.assert_array_equal(embedder.transform(X), expected)


def test_a_pickle_from_an_absent_device_loads_on_the_cpu():
    embedder = GaussianEmbedder(2, **LESS).fit(X)
    embedder._fixed["device"] = "cuda:99"
    pickled = pickle.dumps(embedder)
    with pytest.warns(UserWarning, match="device='cuda:99' is not available"):
        loaded = pickle.loads(pickled)
    np.testing.assert_array_equal(loaded.transform(X), embedder.transform(X))


def test_an_embedder_fitted_with_accelerate_loads_without_other_processes(monkeypatch):
    pytest.importorskip("accelerate", reason="needs the extra accelerate")
    embedder = GaussianEmbedder(2, device="accelerate", **LESS).fit(X)
    pickled = pickle.dumps(embedder)
    monkeypatch.setitem(sys.modules, "accelerate", None)  # not installed where it is loaded
    np.testing.assert_array_equal(pickle.loads(pickled).transform(X), embedder.transform(X))
    with pytest.raises(ImportError, match=r"pip install 'sklatent\[accelerate\]'"):
        GaussianEmbedder(2, device="accelerate").fit(X)


@needs_cuda
@pytest.mark.parametrize("regularizer", ["moment", "kl", "sliced", "mmd", "adversarial"])
def test_cuda_gives_what_the_cpu_gives(regularizer):
    given = {**LESS, "regularizer": regularizer}
    expected = GaussianEmbedder(2, **given).fit(X)
    embedder = GaussianEmbedder(2, device="cuda", **given).fit(X)
    # TF32 and another order of sums
    np.testing.assert_allclose(embedder.transform(X), expected.transform(X), atol=0.01)
    np.testing.assert_allclose(embedder.score_samples(X), expected.score_samples(X), atol=0.1)
    assert next(embedder.net_.module_.parameters()).is_cuda


@needs_cuda
def test_a_search_on_cuda_gives_what_the_cpu_gives():
    given = {**LESS, "reg_weights": [0.1, 10.0], "cv": 2}
    expected = GaussianEmbedderCV(2, **given).fit(X)
    embedder = GaussianEmbedderCV(2, device="cuda", **given).fit(X)
    np.testing.assert_allclose(embedder.transform(X), expected.transform(X), atol=0.01)


@needs_cuda
def test_the_default_device_is_not_the_device_of_the_fit():
    with torch.device("cuda"):
        encoder = nn.Linear(X.shape[1], 2)
        for params in ({}, {"encoder": encoder, "init": "random"}):
            embedder = GaussianEmbedder(2, **params, **LESS).fit(X)
            assert not next(embedder.net_.module_.parameters()).is_cuda
            assert np.isfinite(embedder.score(X))


@needs_cuda
@pytest.mark.parametrize("own", [False, True])
def test_a_pickle_from_cuda_loads_without_cuda(tmp_path, own):
    """A network of the user's is pickled as it is; other networks are pickled as arrays."""
    encoder = nn.Linear(X.shape[1], 2) if own else None
    embedder = GaussianEmbedder(2, encoder=encoder, device="cuda", **LESS).fit(X)
    (tmp_path / "embedder.pickle").write_bytes(pickle.dumps(embedder))
    np.save(tmp_path / "X.npy", X)
    code = (
        "import pickle, numpy as np\n"
        "embedder = pickle.load(open('embedder.pickle', 'rb'))\n"
        "np.save('Z.npy', embedder.transform(np.load('X.npy')))\n"
    )
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, check=True)
    np.testing.assert_allclose(np.load(tmp_path / "Z.npy"), embedder.transform(X), atol=1e-5)
