"""When training stops: periods of long epochs, max_iter="auto" and interrupts."""

import pickle
import signal
import subprocess
import sys
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback
from torch.testing import assert_close

from sklatent import GaussianEmbedder, GaussianEmbedderCV, _fit
from sklatent.calibration import AffineCalibration
from sklatent.training import net

X, LABELS = (array[:400] for array in load_digits(return_X_y=True))


def embedder(**params):
    defaults = {"hidden_layer_sizes": (16,), "max_iter": 4, "n_iter_no_change": 100}
    return GaussianEmbedder(4, **defaults | {"random_state": 0} | params)


class At(Callback):
    """Raises KeyboardInterrupt once, when the history has some length."""

    raised_ = False

    def __init__(self, length, moment="on_epoch_end"):
        self.length, self.moment = length, moment

    def interrupt(self, method_name, net):
        if method_name == self.moment and len(net.history) == self.length and not self.raised_:
            self.raised_ = True
            raise KeyboardInterrupt

    def on_epoch_end(self, net, **kwargs):
        self.interrupt("on_epoch_end", net)

    def on_batch_end(self, net, **kwargs):
        self.interrupt("on_batch_end", net)


class KeepData(Callback):
    """Keeps the samples that the net receives."""

    def on_train_begin(self, net, X=None, **kwargs):
        self.valid = X[1]


# Long epochs


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("regularizer", ["moment", "adversarial"])
def test_a_long_epoch_has_several_periods(regularizer):
    # 360 samples in batches of 2 are 180 steps: 4 periods of 45.
    params = {"regularizer": regularizer, "batch_size": 2, "max_iter": 2, "warm_start": True}
    model = embedder(**params, net_params={"callbacks": [KeepData()]}).fit(X)
    assert model.n_iter_ == 2
    assert len(model.loss_curve_) == len(model.regularizer_curve_) == 2 * 4
    assert len(model.validation_scores_) == 2 * 4 + 1
    assert model.net_.history[:, "train_batch_count"] == [45] * 8
    # The kept weights are the evaluated ones.
    (kept,) = (each for _, each in model.net_.callbacks_ if isinstance(each, KeepData))
    assert max(model.validation_scores_) == -model.net_.losses_on(kept.valid)[0].item()
    model.set_params(max_iter=1).fit(X)
    assert model.n_iter_ == 3
    assert model.net_.history[:, "n_iter"] == [1] * 4 + [2] * 4 + [3] * 4


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_patience_may_have_no_end():
    assert embedder(max_iter=2, n_iter_no_change=10**30).fit(X).n_iter_ == 2


def test_validation_set_has_a_largest_size(monkeypatch):
    monkeypatch.setattr(_fit, "MOST_VALID", 7)
    model = embedder(max_iter=0, net_params={"callbacks": [KeepData()]}).fit(X)
    (kept,) = (each for _, each in model.net_.callbacks_ if isinstance(each, KeepData))
    assert len(kept.valid) == 7


# max_iter="auto"


def test_auto_trains_for_a_number_of_epochs_and_does_not_warn(monkeypatch):
    monkeypatch.setattr(net, "AUTO_EPOCHS", 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        auto = embedder(max_iter="auto").fit(X)
    assert auto.n_iter_ == 3
    with pytest.warns(ConvergenceWarning):
        three = embedder(max_iter=3).fit(X)
    np.testing.assert_array_equal(auto.transform(X), three.transform(X))


@pytest.mark.parametrize(("steps", "periods"), [(1, 1), (100, 2), (10_000, 12)])
def test_auto_has_a_largest_number_of_steps(monkeypatch, steps, periods):
    monkeypatch.setattr(net, "AUTO_EPOCHS", 3)
    monkeypatch.setattr(net, "AUTO_STEPS", steps)
    model = embedder(max_iter="auto", batch_size=2).fit(X)  # periods of 45 steps
    assert len(model.loss_curve_) == periods
    assert model.n_iter_ == -(-periods // 4)


def test_auto_is_the_default():
    for estimator in (GaussianEmbedder(), GaussianEmbedderCV()):
        assert estimator.max_iter == "auto"


def test_halving_knows_the_length_of_auto(monkeypatch):
    monkeypatch.setattr(net, "AUTO_EPOCHS", 9)
    epochs = {}

    def low_is_better(embedder, X, y=None):
        epochs[embedder.reg_weight] = embedder.n_iter_
        return -embedder.reg_weight

    GaussianEmbedderCV(
        2, reg_weights=[1, 2, 3, 4, 5, 6], cv=2, scoring=low_is_better, halving=True, refit=False,
        hidden_layer_sizes=(8,), random_state=0,
    ).fit(X)  # fmt: skip
    assert epochs == {1: 9, 2: 3, 3: 1, 4: 1, 5: 1, 6: 1}


# Interrupts


@pytest.mark.parametrize("regularizer", ["moment", "kl", "adversarial"])
@pytest.mark.parametrize(
    ("early_stopping", "at"), [(True, At(2)), (False, At(2)), (True, At(3, "on_batch_end"))]
)
def test_an_interrupted_fit_keeps_the_weights_of_its_epochs(regularizer, early_stopping, at):
    params = {"regularizer": regularizer, "early_stopping": early_stopping}
    model = embedder(**params, warm_start=True, net_params={"callbacks": [at]})
    with pytest.raises(KeyboardInterrupt) as caught:
        model.fit(X)
    assert "interrupted_ is True" in caught.value.__notes__[0]
    assert model.interrupted_
    assert model.n_iter_ == len(model.loss_curve_) == 2
    with pytest.warns(ConvergenceWarning):
        finished = embedder(**params, max_iter=2).fit(X)
    assert not finished.interrupted_
    np.testing.assert_array_equal(model.transform(X), finished.transform(X))
    assert model.validation_scores_ == finished.validation_scores_
    np.testing.assert_allclose(np.cov(model.transform(X).T), np.eye(4), atol=1e-4)

    again = pickle.loads(pickle.dumps(model))
    assert again.interrupted_
    with pytest.warns(ConvergenceWarning):
        again.fit(X)
    assert not again.interrupted_
    assert again.n_iter_ == len(again.loss_curve_) == 2 + 4


def test_an_interrupt_while_a_fit_finishes_leaves_it_unfitted(monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(AffineCalibration, "fit", interrupted)
    model = embedder(net_params={"callbacks": [At(2)]})
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    assert not hasattr(model, "net_")
    assert not hasattr(model, "interrupted_")


def test_an_interrupted_batch_of_a_stream_is_undone():
    # The third epoch is a period of the second call.
    model = embedder(batch_size=4, net_params={"callbacks": [At(3)]}).partial_fit(X[:200])
    before, weights = model.transform(X), model.net_.weights()
    with pytest.raises(KeyboardInterrupt):
        model.set_params(batch_size=2).partial_fit(X)
    assert len(model.net_.history) == model.n_iter_ == 1
    assert not model.interrupted_
    assert_close(model.net_.weights(), weights, rtol=0, atol=0)
    np.testing.assert_array_equal(model.transform(X), before)


@pytest.mark.parametrize("halving", [False, True])
def test_searches_end_with_an_interrupt(halving):
    params = {"hidden_layer_sizes": (8,), "max_iter": 9, "random_state": 0}
    net_params = {"callbacks": [At(2)]}
    grid = GridSearchCV(
        GaussianEmbedder(4, net_params=net_params, **params), {"reg_weight": [0.1]}, cv=2
    )
    search = GaussianEmbedderCV(4, reg_weights=[0.1, 1], cv=2, halving=halving, **params)
    with pytest.warns(ConvergenceWarning):
        search.fit(X)
    before = vars(search).copy()
    for each in (grid, search.set_params(net_params=net_params)):
        with pytest.raises(KeyboardInterrupt):
            each.fit(X)
    assert vars(search) == before | {"net_params": net_params}


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_search_whose_last_fit_fails_keeps_its_state(error):
    class Late(Callback):
        def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
            if len(dataset_train) + len(dataset_valid) == len(X) and len(net.history) == 2:
                raise error

    params = {"hidden_layer_sizes": (8,), "max_iter": 4, "random_state": 0}
    search = GaussianEmbedderCV(4, reg_weights=[0.1, 1], cv=2, **params)
    with pytest.warns(ConvergenceWarning):
        search.fit(X)
    before = vars(search).copy()
    changed = {"net_params": {"callbacks": [Late()]}, "reg_weights": [10]}
    with pytest.raises(error):
        search.set_params(**changed).fit(X)
    assert vars(search) == before | changed


SCRIPT = """
from sklearn.datasets import load_digits
from skorch.callbacks import Callback
from sklatent import GaussianEmbedder

class Say(Callback):
    def on_epoch_end(self, net, **kwargs):
        print(len(net.history), flush=True)

X = load_digits().data
embedder = GaussianEmbedder(2, max_iter=10**6, tol=0, n_iter_no_change=10**6, random_state=0,
                            net_params={"callbacks": [Say()]})
try:
    embedder.fit(X)
except KeyboardInterrupt:
    print("interrupted", embedder.interrupted_, embedder.transform(X).shape)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
def test_ctrl_c():
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True) as fit:
        assert fit.stdout.readline() == "1\n"
        fit.send_signal(signal.SIGINT)
        *_, last = fit.stdout
    assert fit.returncode == 0
    assert last == "interrupted True (1797, 2)\n"
