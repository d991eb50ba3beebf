"""State: what a fit leaves as it was, and what copies carry along."""

import copy
import pickle

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

from sklatent import GaussianEmbedder
from sklatent.regularizers import MomentMatching, Regularizer

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")

X, y = load_wine(return_X_y=True)
X = scale(X)


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
    return GaussianEmbedder(2, max_iter=4, random_state=0, **VARIANTS[request.param])


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
        StandardScaler(), GaussianEmbedder(2, max_iter=3, random_state=0), LogisticRegression()
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
    assert embedder.noise_variance_ == twin.noise_variance_


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
