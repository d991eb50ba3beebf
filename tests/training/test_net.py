import copy
import pickle
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from sklearn.datasets import load_digits
from sklearn.metrics import r2_score
from skorch.callbacks import Callback, Checkpoint, EpochTimer, LRScheduler
from torch.testing import assert_close

from sklatent import GaussianEmbedder
from sklatent.networks import Embedding
from sklatent.regularizers import KLDivergence, Regularizer, _mmd
from sklatent.tasks import Classification, FunctionTask, Reconstruction, Regression
from sklatent.training import Objective

X, LABELS = (array[:400] for array in load_digits(return_X_y=True))
EPOCHS = 4

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")


class Interrupt(Callback):
    """Raises an exception at a moment of its choosing."""

    error, moment, epoch = None, "on_epoch_end", 2

    def _maybe_raise(self, moment, net):
        if self.error and moment == self.moment and len(net.history) == self.epoch:
            raise self.error("stop")

    def on_train_begin(self, net, **kwargs):
        self._maybe_raise("on_train_begin", net)

    def on_batch_end(self, net, **kwargs):
        self._maybe_raise("on_batch_end", net)

    def on_epoch_end(self, net, **kwargs):
        self._maybe_raise("on_epoch_end", net)


def embedder(**params):
    defaults = {"n_components": 4, "hidden_layer_sizes": (16,), "max_iter": EPOCHS}
    return GaussianEmbedder(**defaults | {"random_state": 0, "n_iter_no_change": 100} | params)


@pytest.fixture(scope="module", params=["moment", "kl"])
def fitted(request):
    return embedder(regularizer=request.param, reg_weight=0.3).fit(X)


def state(net):
    """Everything that training changes, as it is now."""
    return copy.deepcopy((net.module_.state_dict(), net.optimizer_.state_dict()["state"]))


# Exceptions


@contextmanager
def interrupting(monkeypatch, error, moment, epoch):
    with monkeypatch.context() as patch:
        patch.setattr(Interrupt, "error", error)
        patch.setattr(Interrupt, "moment", moment)
        patch.setattr(Interrupt, "epoch", epoch)
        yield


@pytest.mark.parametrize("early_stopping", [True, False])
@pytest.mark.parametrize(
    ("error", "moment", "epoch"),
    [
        (RuntimeError, "on_train_begin", EPOCHS),
        (RuntimeError, "on_batch_end", EPOCHS + 2),
        (RuntimeError, "on_epoch_end", EPOCHS + 2),
        # Before the first epoch is complete, there is nothing to keep.
        (KeyboardInterrupt, "on_train_begin", EPOCHS),
        (KeyboardInterrupt, "on_batch_end", EPOCHS + 1),
    ],
)
def test_exception_leaves_the_net_as_it_was(error, moment, epoch, early_stopping, monkeypatch):
    model = embedder(
        warm_start=True, early_stopping=early_stopping, net_params={"callbacks": [Interrupt()]}
    ).fit(X)
    net, before, Z = model.net_, state(model.net_), model.transform(X)
    with interrupting(monkeypatch, error, moment, epoch), pytest.raises(error, match="stop"):
        model.fit(X)
    assert model.net_ is net
    assert_close(state(net), before, rtol=0, atol=0)
    assert len(net.history) == EPOCHS
    np.testing.assert_array_equal(model.transform(X), Z)

    # As if nothing had been, the next fit adds its own epochs.
    model.fit(X)
    assert model.n_iter_ == len(model.loss_curve_) == 2 * EPOCHS
    if early_stopping:
        assert len(model.validation_scores_) == 2 * EPOCHS + 1


def test_training_after_an_exception_is_as_if_nothing_had_been(monkeypatch):
    params = {"regularizer": "kl", "warm_start": True, "net_params": {"callbacks": [Interrupt()]}}
    model = embedder(**params).fit(X)
    twin = copy.deepcopy(model)
    with (
        interrupting(monkeypatch, RuntimeError, "on_batch_end", EPOCHS + 2),
        pytest.raises(RuntimeError),
    ):
        model.fit(X)
    for each in (model, twin):
        each.fit(X)
    assert_close(state(model.net_), state(twin.net_), rtol=0, atol=0)
    assert model.loss_curve_ == twin.loss_curve_
    assert model.validation_scores_ == twin.validation_scores_


def test_exception_in_a_first_fit_leaves_no_net(monkeypatch):
    model = embedder(net_params={"callbacks": [Interrupt()]})
    with (
        interrupting(monkeypatch, RuntimeError, "on_epoch_end", 2),
        pytest.raises(RuntimeError),
    ):
        model.fit(X)
    assert not hasattr(model, "net_")


# What is recorded


def test_only_the_last_epoch_keeps_its_batches(fitted):
    kept = [len(batches) for batches in fitted.net_.history[:, "batches"]]
    assert kept[:-1] == [0] * (EPOCHS - 1)
    assert kept[-1] > 1


def test_loss_is_task_loss_plus_weighted_regularizer(fitted):
    loss, task, regularizer = (
        np.array(fitted.net_.history[:, key]) for key in ("train_loss", "task_loss", "regularizer")
    )
    # The sum is taken in float32.
    np.testing.assert_allclose(loss, task + 0.3 * regularizer, rtol=1e-6)
    assert (task > 0).all()
    assert (regularizer != 0).all()


def test_recorded_losses_are_means_over_the_rows_of_an_epoch():
    # Steps too small to change anything: all batches are losses of the start.
    model = embedder(regularizer=None, early_stopping=False, learning_rate_init=1e-12).fit(X)
    restored = model.inverse_transform(model.transform(X))
    r2 = r2_score(X, restored, multioutput="variance_weighted")
    # The unit is a variance with the divisor n - 1.
    expected = (1 - r2) * (len(X) - 1) / len(X)
    np.testing.assert_allclose(model.net_.history[:, "train_loss"], expected, rtol=1e-5)


def test_best_weights_are_those_of_the_best_score(fitted):
    net = copy.deepcopy(fitted.net_)
    x = fitted._start.standardize(X)
    rows, valid = net.samples(x[:300], None, None), net.samples(x[300:], None, None)
    net.patience.scores_.clear()
    # Large steps spoil the embedding, so that the best weights are not the last.
    for group in net.optimizer_.param_groups:
        group["lr"] = 0.1
    net.train(rows, valid, epochs=2, n_rows=300)
    scores = net.patience.scores_[-3:]  # of the start, and after each epoch
    assert scores[-1] < max(scores)
    assert -net.losses_on(valid)[0].item() == max(scores)


# The criterion


def random_batch(n=30, p=5, k=3, q=5):
    generator = torch.Generator().manual_seed(0)
    x, u, log_var, output = (torch.randn(n, width, generator=generator) for width in (p, k, k, q))
    return x, Embedding(u, log_var, u + 1), output


def objective(task, regularizer, reg_weight=0.3):
    units = {"mean": np.arange(5.0), "scale": 2.0}
    factor = np.array([[1.0, 0, 0], [2, 3, 0], [4, 5, 6]])
    return Objective(
        task, regularizer, reg_weight, **units, target_mean=np.ones(3), target_factor=factor
    )


@pytest.mark.parametrize(
    ("task", "beta"),
    # Reconstruction is the beta-VAE; what predicts labels needs a smaller beta (see test_kl.py).
    [(Reconstruction(), 1), (Classification(), 0.02), (Regression(), 0.02)],
)
def test_criterion_puts_nats_in_the_units_of_the_task(task, beta):
    task.nats_ = 7.0
    x, embedding, output = random_batch()
    y = torch.zeros(x.shape[:-1], dtype=torch.int64)
    y = y if isinstance(task, Classification) else output
    loss, task_loss, penalty = objective(task, KLDivergence())(x, embedding, output, y)
    assert_close(penalty * 7, beta * KLDivergence()(embedding))
    assert_close(loss, task_loss + 0.3 * penalty)


def test_without_a_task_nats_stay_nats():
    x, embedding, _ = random_batch()
    kl = KLDivergence()(embedding)
    alone = objective(None, KLDivergence())(x, embedding, None, None)
    assert_close(torch.stack(alone), torch.stack([0.3 * kl, torch.tensor(0.0), kl]))


def test_function_sees_the_users_coordinates():
    seen = {}

    def spy(x, z, output, y):
        seen.update(x=x, z=z, output=output, y=y)
        return z[..., 0]

    x, embedding, output = random_batch()
    y = torch.arange(30)
    criterion = objective(FunctionTask(spy), None)
    criterion(x, embedding, output, y)
    assert_close(seen["x"], torch.arange(5.0) + 2 * x)
    assert_close(seen["z"], 1 + embedding.sample @ criterion.target_factor.T)
    assert seen["output"] is output
    assert seen["y"] is y


@pytest.mark.parametrize(
    ("task", "y"),
    [
        (Classification(), LABELS),
        (Regression(), LABELS.astype(float)),
        (Reconstruction(), None),
    ],
)
def test_losses_on_rows_are_those_of_the_decoded_embedding(task, y):
    model = embedder(task=task, regularizer=None).fit(X, y)
    net, x = model.net_, model._start.standardize(X)
    code = model.task_.encode(y)
    output = model._model.decode(model._model.encode_standardized(x)[0])
    expected = {
        Classification: lambda: -log_softmax(output, axis=1)[np.arange(400), code] / np.log(10),
        Regression: lambda: np.square(code - output).mean(axis=1),
        Reconstruction: lambda: np.square(x - output).mean(axis=1),
    }[type(task)]()
    task_loss = net.losses_on(net.samples(x, code, None))[1].item()
    # Rounded to float32 along the way.
    assert task_loss == pytest.approx(expected.mean(), rel=1e-4)


class BelowZero(Regularizer):
    """An estimate that is negative by chance."""

    def __call__(self, embedding, n_rows=np.inf, generator=None):
        return 0 * embedding.sample.sum(dim=(-2, -1)) - 1


def test_an_estimate_below_zero_counts_in_training_and_is_zero_in_the_criterion():
    model = embedder(regularizer=BelowZero(), reg_weight=0.3).fit(X)
    assert model.regularizer_curve_ == [-1] * EPOCHS
    rows = model.net_.samples(model._start.standardize(X), None, None)
    criterion, task_loss, penalty = model.net_.losses_on(rows).tolist()
    assert penalty == 0
    assert criterion == task_loss


# Compilation


def half_precision(graph, inputs):
    """A compiler whose programs give sixteen-bit numbers."""
    shorten = lambda value: value.half().to(value) if isinstance(value, torch.Tensor) else value  # noqa: E731 (a formula)
    return lambda *args: [shorten(value) for value in graph(*args)]


@pytest.mark.parametrize("regularizer", ["moment", "mmd"])
def test_compiling_leaves_the_objective_alone(regularizer):
    x, u = X[:100, 10:16], torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    clear = _mmd._constants.cache_clear
    clear()
    compiler = {"compile": True, "compile__backend": half_precision}
    compiled, plain = (
        embedder(regularizer=regularizer, n_components=2, max_iter=1, net_params=params).fit(x)
        for params in (compiler, None)
    )
    # The networks are rounded. What is kept for later fits, in the same process, is exact.
    assert compiled.loss_curve_ != plain.loss_curve_
    assert compiled.loss_curve_ == pytest.approx(plain.loss_curve_, rel=0.01)
    value = plain.regularizer_(Embedding(u, None, u))
    clear()
    assert_close(value, plain.regularizer_(Embedding(u, None, u)), rtol=0, atol=0)


# Copies and types


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_training_goes_on_in_a_copy_as_in_the_original(duplicate):
    model = embedder(regularizer="kl").fit(X)
    net, other = model.net_, duplicate(model.net_)
    rows = net.samples(model._start.standardize(X), None, None)
    for each in (net, other):
        each.train(rows, None, epochs=2, n_rows=len(rows))
    assert_close(state(other), state(net), rtol=0, atol=0)
    assert other.history[:, "train_loss"] == net.history[:, "train_loss"]


def test_training_a_copy_leaves_the_original_alone(fitted):
    before, other = state(fitted.net_), copy.deepcopy(fitted.net_)
    rows = other.samples(fitted._start.standardize(X), None, None)
    other.train(rows, None, epochs=1, n_rows=len(rows))
    assert_close(state(fitted.net_), before, rtol=0, atol=0)
    assert not torch.equal(
        other.module_.encoder.network[0].weight, fitted.net_.module_.encoder.network[0].weight
    )


class Biases(Callback):
    """Records the biases of the encoder's last layer after each step."""

    def on_train_begin(self, net, **kwargs):
        self.seen = []

    def on_batch_end(self, net, training, **kwargs):
        if training:
            self.seen.append(net.module_.encoder.network[-1].bias.detach().clone())


@pytest.mark.parametrize("batch_size", [2, 100])
def test_long_epochs_end_with_the_average_of_the_weights(batch_size):
    net_params = {"callbacks": [("biases", Biases())]}
    model = embedder(batch_size=batch_size, early_stopping=False, net_params=net_params).fit(X)
    first, *others = dict(model.net_.callbacks_)["biases"].seen
    expected = first
    for n, bias in enumerate(others, start=1):
        decay = min(0.99, (1 + n) / (10 + n)) if batch_size == 2 else 0
        expected = decay * expected + (1 - decay) * bias
    assert_close(model.net_.module_.encoder.network[-1].bias, expected, atol=1e-6, rtol=1e-4)


def test_fit_leaves_global_random_states_and_threads_alone():
    def everything():
        numpy_state = np.random.get_state()[1:3]  # noqa: NPY002 (the state to be left alone)
        return torch.get_rng_state(), numpy_state, torch.get_num_threads()

    before = copy.deepcopy(everything())
    embedder(regularizer="kl").fit(X)
    torch_state, numpy_state, threads = everything()
    assert torch.equal(torch_state, before[0])
    np.testing.assert_equal(numpy_state, before[1])
    assert threads == before[2]


# Callbacks of skorch


class Count(Callback):
    """Counts the epochs that end."""

    def on_epoch_end(self, net, **kwargs):
        net.history.record("count", len(net.history))


@pytest.mark.parametrize("stops", [True, False])
def test_callbacks_see_every_epoch(stops):
    early = {"tol": 1e3, "n_iter_no_change": 1, "max_iter": 500} if stops else {}
    model = embedder(net_params={"callbacks": [Count(), EpochTimer()]}, **early).fit(X)
    assert stops == (model.n_iter_ < model.max_iter)
    assert model.net_.history[:, "count"] == list(range(1, model.n_iter_ + 1))
    assert len(model.net_.history[:, "dur"]) == model.n_iter_


@pytest.mark.parametrize("early_stopping", [True, False])
def test_histories_have_the_names_that_skorch_monitors(early_stopping, tmp_path):
    plateau = LRScheduler("ReduceLROnPlateau", patience=0, threshold=1e3, threshold_mode="abs")
    callbacks = [plateau] + [Checkpoint(dirname=tmp_path)] * early_stopping
    model = embedder(early_stopping=early_stopping, net_params={"callbacks": callbacks}).fit(X)
    history = model.net_.history
    assert history[:, "train_loss"] == model.loss_curve_
    least = np.minimum.accumulate(model.loss_curve_)
    best = np.r_[True, least[1:] < least[:-1]]
    assert history[:, "train_loss_best"] == best.tolist()
    assert model.net_.optimizer_.param_groups[0]["lr"] < model.learning_rate_init
    if early_stopping:
        np.testing.assert_array_equal(
            history[:, "valid_loss"], -np.array(model.validation_scores_[1:])
        )
        least = np.minimum.accumulate(history[:, "valid_loss"])
        assert history[:, "valid_loss_best"] == np.r_[True, least[1:] < least[:-1]].tolist()
        assert (tmp_path / "params.pt").exists()
