"""Fits that test_processes.py runs in one process and in two.

As a script, it writes what a process gets to the file that its argument names.
"""

import io
import os
import pickle
import sys
import warnings
from contextlib import redirect_stdout

import torch
from accelerate import PartialState
from sklearn.datasets import load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import scale
from torch import nn

from sklatent import GaussianEmbedder, GaussianEmbedderCV
from sklatent.regularizers import Adversarial
from sklatent.tasks import Reconstruction

X, Y = load_wine(return_X_y=True)
X, Y = scale(X)[:-1], Y[:-1]  # 177 samples, of which 159 train: batches without equal halves
LESS = {"hidden_layer_sizes": (16,), "max_iter": 8, "batch_size": 50, "random_state": 0}

CASES = {
    "moment": {},
    "kl": {"regularizer": "kl"},
    "sliced": {"regularizer": "sliced"},  # random directions
    "adversarial": {"regularizer": "adversarial"},
    "weighted": {"task": Reconstruction("weighted")},  # the task has statistics of a batch too
    "no validation": {"early_stopping": False},
    "classification": {"task": "classification"},
}


def outcome(embedder):
    return {
        "transform": embedder.transform(X),
        "loss": embedder.loss_curve_,
        "validation": embedder.validation_scores_ or [],
    }


def fits(device):
    """Return the outcome of each case."""
    given = {**LESS, "device": device}
    out = {name: GaussianEmbedder(3, **given, **case).fit(X, Y) for name, case in CASES.items()}
    weight = 1.0 + Y
    out["sample_weight"] = GaussianEmbedder(3, **given).fit(X, sample_weight=weight)
    stream = GaussianEmbedder(3, **given)
    out["partial_fit"] = stream.partial_fit(X[:101]).partial_fit(X[101:])
    resumed = GaussianEmbedder(3, warm_start=True, **given)
    out["warm_start"] = resumed.fit(X).fit(X)
    search = GaussianEmbedderCV(3, reg_weights=[0.1, 10.0], cv=2, halving=True, **given).fit(X)
    out["cv"] = search.best_embedder_
    return {name: outcome(embedder) for name, embedder in out.items()}


def unseeded(device):
    """Return the outcome of a fit with nothing seeded, and with a network of the user's."""
    encoder = nn.Linear(X.shape[1], 3)
    given = {**LESS, "random_state": None, "encoder": encoder, "init": "random"}
    return outcome(GaussianEmbedder(3, device=device, **given).fit(X))


def refused(*args, **kwargs):
    """Return the text of the error that a fit raises."""
    try:
        GaussianEmbedder(*args, **kwargs).fit(X)
    except ValueError as error:
        return str(error)
    return None


class Stop:
    """Stops a fit after two epochs, in one process only; scikit-learn's interface of callbacks."""

    def __init__(self):
        self.n_tasks = 0

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        self.n_tasks += 1
        return PartialState().is_main_process and self.n_tasks == 2


def stopped():
    """Return the number of epochs of a fit that a callback in process 0 stops."""
    embedder = GaussianEmbedder(3, **LESS, device="accelerate").set_callbacks(Stop())
    return embedder.fit(X).n_iter_


def printed():
    """Return what an embedder and a search print."""
    given = {**LESS, "max_iter": 1, "verbose": 1, "device": "accelerate"}
    with redirect_stdout(io.StringIO()) as text:
        GaussianEmbedder(3, **given).fit(X)
        GaussianEmbedderCV(3, reg_weights=[1.0], cv=2, **given).fit(X)
    return text.getvalue()


def main(path):
    out = {"fits": fits("accelerate"), "unseeded": unseeded("accelerate")}
    out |= {"stopped": stopped(), "printed": printed()}
    out["joint"] = refused(2, device="accelerate", regularizer=Adversarial(joint=True))
    X[20 * PartialState().process_index] += 1
    out["other X"] = refused(2, device="accelerate")
    with open(path, "wb") as file:
        pickle.dump(out, file)
    PartialState().wait_for_everyone()
    torch.distributed.destroy_process_group()
    # Threads of gloo that remain can abort the interpreter's own exit, also without any fit.
    os._exit(0)


if __name__ == "__main__":
    warnings.simplefilter("error")
    warnings.simplefilter("ignore", ConvergenceWarning)
    main(sys.argv[1])
