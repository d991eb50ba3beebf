"""State: what a fit leaves as it was, and what copies carry along."""

import copy
import ctypes
import inspect
import multiprocessing
import pickle
import subprocess
import sys
import threading
import warnings
from contextlib import contextmanager

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from common import LABELS as y
from common import WINE as X
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklatent import GaussianEmbedder, GaussianEmbedderCV, Gaussianizer, OutlierDetector, load
from sklatent._isolation import seeded
from sklatent.calibration import AffineCalibration
from sklatent.regularizers import Adversarial, MomentMatching, Regularizer

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")


def squared_norm(x, z, output, y):
    return z.square().sum(dim=-1) + torch.rand(len(z))


VARIANTS = {
    "moment": {},
    "kl": {"regularizer": "kl"},
    "classification": {"task": "classification"},
    "own function": {"task": squared_norm},
    "own encoder": {"encoder": torch.nn.Linear},
}


@pytest.fixture(params=VARIANTS)
def embedder(request):
    # With a larger batch, the start could be best, where the network is zero.
    return GaussianEmbedder(2, max_iter=4, batch_size=16, random_state=0, **VARIANTS[request.param])


def through_file(fitted, path):
    joblib.dump(fitted, path / "embedder.joblib")
    return joblib.load(path / "embedder.joblib")


def test_global_state_is_left_alone(embedder):
    torch.manual_seed(3)
    numpy_before = np.random.get_state()  # noqa: NPY002 (the state to be left alone)
    torch_before, threads = torch.get_rng_state(), torch.get_num_threads()
    embedder.fit(X, y).transform(X)
    embedder.partial_fit(X, y)
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert torch.get_num_threads() == threads
    after = np.random.get_state()  # noqa: NPY002 (the same)
    np.testing.assert_array_equal(after[1], numpy_before[1])
    assert after[2:] == numpy_before[2:]
    assert torch.is_grad_enabled()


def test_same_seed_same_numbers(embedder):
    first = embedder.fit_transform(X, y)
    torch.rand(5)
    np.testing.assert_array_equal(clone(embedder).fit_transform(X, y), first)
    other = clone(embedder).set_params(random_state=1, early_stopping=False).fit_transform(X, y)
    assert not np.array_equal(other, first)


def test_copies_embed_alike(embedder, tmp_path):
    expected = embedder.fit(X, y).transform(X)
    single = embedder.transform(X.astype(np.float32))
    for again in (
        copy.deepcopy(embedder),
        pickle.loads(pickle.dumps(embedder)),
        through_file(embedder, tmp_path),
    ):
        np.testing.assert_array_equal(again.transform(X), expected)
        np.testing.assert_array_equal(again.transform(X.astype(np.float32)), single)
        # Copies go on by themselves, and alike.
        again.partial_fit(X, y)
        np.testing.assert_array_equal(embedder.transform(X), expected)
    original = copy.deepcopy(embedder).partial_fit(X, y).transform(X)
    np.testing.assert_array_equal(again.transform(X), original)


def test_a_function_defined_anywhere_can_be_copied_in_memory():
    fitted = GaussianEmbedder(2, task=lambda x, z, output, y: z.square().sum(-1), max_iter=2).fit(X)
    np.testing.assert_array_equal(copy.deepcopy(fitted).transform(X), fitted.transform(X))


def test_in_a_pipeline_and_in_processes():
    pipeline = make_pipeline(
        StandardScaler(),
        GaussianEmbedder(2, max_iter=3, batch_size=16, random_state=0),
        LogisticRegression(),
    ).fit(X, y)
    again = pickle.loads(pickle.dumps(pipeline))
    np.testing.assert_array_equal(again.predict_proba(X), pipeline.predict_proba(X))
    one, two = (cross_val_score(pipeline, X, y, n_jobs=n_jobs) for n_jobs in (1, 2))
    np.testing.assert_allclose(one, two)


def test_each_row_is_embedded_on_its_own(embedder):
    embedder.fit(X, y)
    Z = embedder.transform(X)
    np.testing.assert_array_equal(embedder.transform(X), Z)
    np.testing.assert_allclose(embedder.transform(X[:1]), Z[:1], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(
        embedder.transform(np.tile(X, (60, 1)))[-len(X) :], Z, rtol=1e-10, atol=1e-12
    )


def test_an_interrupted_fit_is_not_a_finished_one():
    def interrupted(x, z, output, y):
        raise KeyboardInterrupt

    embedder = GaussianEmbedder(2, task=interrupted, early_stopping=False)
    with pytest.raises(KeyboardInterrupt):
        embedder.fit(X)
    assert not hasattr(embedder, "net_")


def test_a_fit_that_fails_to_resume_leaves_the_estimator_as_it_was():
    embedder = GaussianEmbedder(2, max_iter=2, random_state=0, warm_start=True).fit(X)
    twin = copy.deepcopy(embedder)
    before = embedder.transform(X)
    embedder.set_params(target_mean=[5, 5], reg_weight=1e38, learning_rate_init=1.0)
    with pytest.raises(ValueError, match=r"not a number|became"):
        embedder.fit(1e3 * X)
    np.testing.assert_array_equal(embedder.transform(X), before)
    embedder.set_params(**twin.get_params())
    np.testing.assert_array_equal(embedder.fit(X).transform(X), twin.fit(X).transform(X))


SMALL = {"hidden_layer_sizes": (4,), "max_iter": 2, "random_state": 0}
ESTIMATORS = [
    GaussianEmbedder(1, **SMALL),
    GaussianEmbedderCV(1, reg_weights=[0.1, 1], cv=2, **SMALL),
    Gaussianizer(random_state=0),
    OutlierDetector(Gaussianizer(random_state=0), cv=2),
]
FRAME = pd.DataFrame(X[:, :2], columns=["a", "b"])
OTHER = pd.DataFrame(X[:, 2:4], columns=["c", "d"])


class FailsAtTheEnd:
    """A callback for the end of a fit."""

    def __init__(self):
        self.torn_down = False

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        self.torn_down = True

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        if context.parent is None:
            raise RuntimeError("the disk is full")


@pytest.mark.parametrize("failure", ["nan", "constant", "interrupt", "callback"])
@pytest.mark.parametrize("fitted", [True, False])
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda each: type(each).__name__)
@pytest.mark.filterwarnings("ignore:.*fits failed:sklearn.exceptions.FitFailedWarning")
def test_a_fit_that_fails_changes_no_attribute(estimator, fitted, failure, monkeypatch):
    estimator = clone(estimator)
    if fitted:
        estimator.fit(FRAME)
        expected = estimator.score_samples(FRAME)
    callback = FailsAtTheEnd()
    if failure == "callback":
        estimator.set_callbacks(callback)
    before = vars(estimator).copy()

    def interrupted(*args):
        raise KeyboardInterrupt

    error = {"interrupt": KeyboardInterrupt, "callback": RuntimeError}.get(failure, ValueError)
    rows = {"nan": OTHER.where(OTHER < 2), "constant": 0 * OTHER}.get(failure, OTHER)
    with monkeypatch.context() as patch:
        if failure == "interrupt":
            patch.setattr(AffineCalibration, "fit", interrupted)
        with pytest.raises(error):
            estimator.fit(rows)
    after = vars(estimator)
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] for name in after)
    assert callback.torn_down == (failure == "callback")
    if fitted:
        np.testing.assert_array_equal(estimator.score_samples(FRAME), expected)
        with pytest.raises(ValueError, match="feature names"):
            estimator.score_samples(OTHER)


def settings(net):
    optimizer = [group["lr"] for group in net.optimizer_.param_groups]
    return [optimizer, net.lr, net.batch_size, net.patience.get_params(), len(net.history)]


@pytest.mark.parametrize("early_stopping", [True, False])
def test_a_fit_that_fails_to_resume_leaves_every_setting_as_it_was(early_stopping):
    make = {"early_stopping": early_stopping, "max_iter": 2, "random_state": 0}
    embedder = GaussianEmbedder(2, warm_start=True, **make).fit(X)
    twin = copy.deepcopy(embedder)
    # The failure is the diverging loss of the first attempt; the second has the same settings.
    later = {"learning_rate_init": 0.01, "batch_size": 20, "tol": 5.0, "n_iter_no_change": 3}
    embedder.set_params(reg_weight=1e39, target_mean=[5, 5], early_stopping=True, **later)
    with pytest.raises(ValueError, match="Lower learning_rate_init"):
        embedder.fit(X)
    assert settings(embedder.net_) == settings(twin.net_)
    assert embedder.validation_scores_ == twin.validation_scores_
    later |= {"reg_weight": 1.0, "target_mean": [1, 1], "early_stopping": early_stopping}
    for each in (embedder, twin):
        each.set_params(**later).fit(X)
    np.testing.assert_array_equal(embedder.transform(X), twin.transform(X))
    np.testing.assert_array_equal(embedder.loss_curve_, twin.loss_curve_)
    assert embedder.validation_scores_ == twin.validation_scores_


class Fragile(torch.nn.Linear):
    """A network that fails outside training while it is told to."""

    broken = False

    def forward(self, x):
        if self.broken and not self.training:
            raise RuntimeError("out of memory")
        return super().forward(x)


@pytest.mark.parametrize("n_samples", [60, 5000])  # the sample of the stream has 4096
def test_a_stream_goes_on_after_a_call_that_fails(n_samples, monkeypatch):
    rows = np.random.default_rng(0).normal(size=(n_samples, 3))
    embedder = GaussianEmbedder(2, encoder=Fragile, hidden_layer_sizes=(4,), random_state=0)
    twin = copy.deepcopy(embedder.partial_fit(rows))
    with monkeypatch.context() as patch:
        patch.setattr(Fragile, "broken", True)
        with pytest.raises(RuntimeError, match="out of memory"):
            embedder.partial_fit(10 * rows)
    assert embedder.n_iter_ == len(embedder.net_.history) == 1
    for each in (embedder, twin):
        each.partial_fit(rows)
    np.testing.assert_array_equal(embedder.transform(rows), twin.transform(rows))
    np.testing.assert_array_equal(embedder.noise_variance_, twin.noise_variance_)


class Jittered(Regularizer):
    """A regularizer of a user's own that draws from torch's global generator."""

    def __call__(self, embedding, n_rows=float("inf"), generator=None):
        return embedding.sample.mean(-2).square().sum(-1) * (1 + torch.rand(()))


def test_a_users_regularizer_inside_a_sum_is_kept_from_the_global_state():
    embedder = GaussianEmbedder(
        2, regularizer=MomentMatching() + Jittered(), max_iter=3, early_stopping=False
    ).set_params(random_state=0)
    before = torch.get_rng_state()
    first = embedder.fit_transform(X)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    np.testing.assert_array_equal(embedder.fit_transform(X), first)


def test_a_stream_far_from_zero_is_calibrated_all_the_same():
    # In float32 rows at 1e9 would be told apart in steps of 64.
    near = GaussianEmbedder(2, random_state=0).partial_fit(X).transform(X)
    far = GaussianEmbedder(2, random_state=0).partial_fit(X + 1e9).transform(X + 1e9)
    np.testing.assert_allclose(far, near, atol=1e-3)
    np.testing.assert_allclose(np.cov(far.T), np.eye(2), atol=1e-3)


# The caller's torch


@contextmanager
def float64_by_default():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def other_device_by_default():
    torch.set_default_device("meta")  # its tensors have no data
    try:
        yield
    finally:
        torch.set_default_device(None)


def bfloat16():
    return torch.autocast("cpu", dtype=torch.bfloat16)


@pytest.mark.parametrize(
    "params",
    [
        {"early_stopping": False},
        {"regularizer": "kl", "task": "classification"},
        {"regularizer": "sliced", "encoder": torch.nn.Linear(13, 2)},
        {"regularizer": Adversarial("wgan-gp", critic_hidden_layer_sizes=(8,))},
        {"task": None, "regularizer": "mmd"},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "mode",
    [float64_by_default, other_device_by_default, bfloat16, torch.inference_mode, torch.no_grad],
)
@pytest.mark.filterwarnings("ignore:task=None")
def test_modes_of_torch_change_nothing(mode, params):
    embedder = GaussianEmbedder(2, hidden_layer_sizes=(8,), max_iter=2, random_state=0, **params)
    expected = clone(embedder.set_params(batch_size=16)).fit(X, y)
    with mode():
        inside = embedder.fit(X, y)
        Z, score = inside.transform(X.astype(np.float32)), inside.score(X, y)
    # The last digits depend on where arrays lie in memory; bfloat16 has two digits.
    np.testing.assert_allclose(Z, expected.transform(X.astype(np.float32)), rtol=0, atol=1e-5)
    assert score == pytest.approx(expected.score(X, y), rel=1e-6)


def test_modes_of_torch_change_no_search():
    search = GaussianEmbedderCV(
        2, reg_weights=[0.1, 1], cv=2, hidden_layer_sizes=(8,), max_iter=2, random_state=0
    ).set_params(batch_size=16, early_stopping=False)
    expected = clone(search).fit(X).cv_results_["mean_test_score"]
    for mode in (float64_by_default, other_device_by_default, bfloat16, torch.inference_mode):
        with mode():
            search.fit(X)
        np.testing.assert_allclose(search.cv_results_["mean_test_score"], expected, rtol=1e-6)


LESS = {"hidden_layer_sizes": (8,), "max_iter": 2, "random_state": 0}


@pytest.mark.parametrize(
    "estimator",
    [
        GaussianEmbedder(regularizer="kl", calibration="gaussianize", **LESS),
        GaussianEmbedder(regularizer="adversarial", **LESS),
        GaussianEmbedder(encoder=torch.nn.Linear, **LESS),
        GaussianEmbedder(net_params={"optimizer": torch.optim.Adam}, **LESS),
        Gaussianizer(random_state=0),
        OutlierDetector(Gaussianizer(random_state=0)),
    ],
    ids=lambda estimator: str(estimator)[:50],
)
def test_a_default_device_changes_no_method(estimator, tmp_path):
    def results():
        fitted = clone(estimator).fit(X)
        copies = [fitted, copy.deepcopy(fitted), pickle.loads(pickle.dumps(fitted))]
        if hasattr(fitted, "save") and getattr(fitted, "encoder", None) is None:
            fitted.save(tmp_path / "fitted")
            copies.append(load(tmp_path / "fitted"))
        if hasattr(fitted, "partial_fit"):
            copies.append(copy.deepcopy(fitted).partial_fit(X))
        for each in copies:
            yield each.score_samples(X[:5])
            for name in ("transform", "posterior", "p_values", "contributions"):
                if hasattr(each, name):
                    out = getattr(each, name)(X[:5])
                    yield out.mean if name == "posterior" else out
            if hasattr(each, "sample"):
                yield each.sample(3, random_state=0)
                yield each.inverse_transform(each.transform(X[:1]))

    expected = list(results())
    with other_device_by_default():
        inside = list(results())
    for one, two in zip(inside, expected, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-6)


def in_time(target):
    """Say whether a function ends within a minute, in a thread of its own."""
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    thread.join(60)
    return not thread.is_alive()


def test_an_encoder_may_be_made_by_a_fit_of_its_own():
    params = {"hidden_layer_sizes": (8,), "max_iter": 1, "random_state": 0}

    def pretrained(p, k):
        return GaussianEmbedder(k, encoder=torch.nn.Linear, **params).fit(X).net_.module_.encoder

    def encoder(p, k):
        return torch.nn.Sequential(torch.nn.Linear(p, k), Mean(pretrained(p, p)))

    class Mean(torch.nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, x):
            return self.module(x.new_zeros(len(x), X.shape[1])).mean[:, :2] + x

    assert in_time(lambda: GaussianEmbedder(2, encoder=encoder, **params).fit(X).transform(X))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_process_forked_during_another_threads_fit_can_fit():
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with seeded(0, torch.device("cpu")):
            entered.set()
            leave.wait()

    def enter():
        with seeded(0, torch.device("cpu")):
            pass

    holder = threading.Thread(target=hold)
    holder.start()
    entered.wait()
    process = multiprocessing.get_context("fork").Process(target=enter)
    process.start()
    process.join(30)
    code = process.exitcode
    process.kill()
    leave.set()
    holder.join()
    assert code == 0


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs the GNU C library")
def test_import_leaves_the_allocator_as_it_was():
    # A block of 16 MB is mapped by itself, until a larger one of at most 32 MB has been freed.
    script = """
import ctypes, numpy, sklatent._embedder
class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "abcdefghij"]
info = ctypes.CDLL(None).mallinfo2
info.restype = Info
before = info().d
block = numpy.empty(2**24, dtype=numpy.uint8)
print(info().d - before)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "1"


# Warnings


def test_warnings_point_at_the_callers_line():
    embedder = GaussianEmbedder(2, task=None, max_iter=1, random_state=0)
    cases = [
        ("task=None", lambda: embedder.fit(X)),
        ("Stochastic", lambda: embedder.fit(X)),
        ("task=None", lambda: make_pipeline(StandardScaler(), embedder).fit(X)),
    ]
    for message, fit in cases:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fit()
        (warning,) = (each for each in caught if message in str(each.message))
        assert warning.filename == inspect.getfile(test_warnings_point_at_the_callers_line)
