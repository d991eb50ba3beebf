"""Callbacks of scikit-learn and of skorch, progress, and what verbose prints."""

import pickle
import threading

import numpy as np
import pytest
import skops.io
import torch
from sklearn.base import clone
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.callback._callback_context import CallbackContext, get_context_path
from sklearn.datasets import load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import callbacks as skorch_callbacks
from skorch.callbacks import Callback, Checkpoint, LRScheduler

from sklatent import GaussianEmbedder, GaussianEmbedderCV, Gaussianizer, OutlierDetector, load
from sklatent.metrics import gaussianity_scorer, reconstruction_scorer
from sklatent.training import net

X, LABELS = load_wine(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
SMALL = {"hidden_layer_sizes": (8,), "random_state": 0}
FAST = SMALL | {"max_iter": 3, "n_iter_no_change": 100}
SEARCH = {"reg_weights": [0.1, 1], "cv": 2, "scoring": reconstruction_scorer}

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")


def embedder(**params):
    return GaussianEmbedder(2, **FAST | params)


def search(**params):
    return GaussianEmbedderCV(2, **FAST | SEARCH | params)


class Record:
    """Writes down what it is told, and acts at one place of the log.

    Parameters
    ----------
    at : tuple or None
        What `act` is called for: a hook and the name of the task.
    act : callable
        Its return value is the hook's.
    """

    def __init__(self, at=None, act=lambda: None):
        self.log, self.data, self.at, self.act = [], {}, at, act

    def _add(self, hook, context):
        self.log.append((hook, context.estimator_name, context.task_name))
        return self.act() if self.at == (hook, context.task_name) else None

    def setup(self, estimator, context):
        self._add("setup", context)

    def teardown(self, estimator, context):
        self._add("teardown", context)

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None, metadata=None):
        path = tuple(each.task_id for each in get_context_path(context))
        self.data[path] = {"X": X, "y": y, "metadata": metadata, "most": context.max_subtasks}
        return self._add("begin", context)

    def on_fit_task_end(self, estimator, context):
        return self._add("end", context)

    def names(self, hook):
        return [name for each, _, name in self.log if each == hook]

    @property
    def balanced(self):
        """Whether tasks end in the reverse order of their beginnings, between setup and teardown."""
        (first, *inner, last), stack = self.log, []
        for hook, *task in inner:
            if hook == "begin":
                stack.append(task)
            elif not stack or stack.pop() != task:
                return False
        return first[0] == "setup" and last[0] == "teardown" and not stack


class Propagated(Record):
    """The same, and meta-estimators pass it to their estimators."""

    max_propagation_depth = None


class Snapshots:
    """Keeps what `function` returns for the fitted estimator after each task."""

    def __init__(self, function):
        self.function, self.values = function, []

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        if fitted_estimator is not None:
            self.values.append(self.function(fitted_estimator))


# The tasks of a fit


def test_tasks_of_a_fit_are_its_epochs():
    record = Record()
    weight = np.linspace(1, 2, len(X))
    model = embedder().set_callbacks(record).fit(X, LABELS, sample_weight=weight)
    assert record.balanced
    assert record.names("begin") == ["fit", "epoch", "epoch", "epoch"]
    assert [told["most"] for told in record.data.values()] == [3, 0, 0, 0]
    for told in record.data.values():
        assert told["X"] is X
        assert told["y"] is LABELS
        assert told["metadata"]["sample_weight"] is weight
    assert not any("callback" in name for name in vars(model) if name != "_skl_callbacks")


def test_long_epochs_have_periods_as_tasks():
    # 160 samples in batches of 2 are 80 steps: 2 periods of 40.
    record = Record()
    embedder(batch_size=2, max_iter=2).set_callbacks(record).fit(X)
    assert record.names("end") == ["period"] * 4 + ["fit"]
    assert record.data[(0,)]["most"] == 4
    assert all(told["metadata"] is None for told in record.data.values())


def test_the_length_of_auto_is_known(monkeypatch):
    monkeypatch.setattr(net, "AUTO_EPOCHS", 5)
    record = Record()
    embedder(max_iter="auto").set_callbacks(record).fit(X)
    assert record.data[(0,)]["most"] == len(record.data) - 1 == 5


def test_a_fit_that_stops_early_ends_its_tasks():
    record = Record()
    model = embedder(max_iter=1000, tol=1e3, n_iter_no_change=1).set_callbacks(record).fit(X)
    assert record.balanced
    assert model.n_iter_ < 1000
    assert record.names("end") == ["epoch"] * model.n_iter_ + ["fit"]
    assert record.data[(0,)]["most"] == 1000


def test_streams_and_warm_starts_tell_about_each_call():
    record = Record()
    stream = embedder().set_callbacks(record)
    for batch in (X[:90], X[90:]):
        record.log.clear()
        stream.partial_fit(batch)
        assert record.balanced
        assert record.names("end") == ["epoch", "partial-fit"]
        assert record.data[(0,)]["X"] is batch
    model = embedder(warm_start=True, max_iter=2).set_callbacks(record)
    for n_iter in (2, 4):
        record.log.clear()
        assert model.fit(X).n_iter_ == n_iter
        assert record.balanced
        assert record.names("end") == ["epoch"] * 2 + ["fit"]


@pytest.mark.parametrize("early_stopping", [True, False])
@pytest.mark.parametrize("regularizer", ["moment", "kl", "adversarial"])
def test_fitted_estimators_are_those_of_a_shorter_fit(regularizer, early_stopping):
    # "as if fit had stopped at the end of this task"; the last value is the fit's.
    params = {"regularizer": regularizer, "early_stopping": early_stopping}
    snapshots = Snapshots(lambda fitted: fitted)
    told = embedder(**params).set_callbacks(snapshots).fit(X)
    lengths = [1, 2, 3, 3]
    assert len(snapshots.values) == len(lengths)
    for fitted, n_iter in zip(snapshots.values, lengths, strict=True):
        alone = embedder(**params, max_iter=n_iter).fit(X)
        assert fitted.n_iter_ == n_iter
        assert fitted.validation_scores_ == alone.validation_scores_
        np.testing.assert_array_equal(fitted.transform(X), alone.transform(X))
    # Callbacks change nothing.
    np.testing.assert_array_equal(told.transform(X), alone.transform(X))
    assert told.loss_curve_ == alone.loss_curve_


def test_fitted_estimators_share_the_callbacks_of_skorch():
    class Writer(Callback):
        n_copies = 0

        def __deepcopy__(self, memo):
            Writer.n_copies += 1
            return Writer()

    model = embedder(net_params={"callbacks": [Writer()]}).fit(X)
    copies, Writer.n_copies = Writer.n_copies, 0
    snapshots = Snapshots(lambda fitted: fitted.net_.callbacks_[-1][1])
    model.set_callbacks(snapshots).fit(X)
    assert Writer.n_copies == copies
    assert all(each is model.net_.callbacks_[-1][1] for each in snapshots.values)


def test_fitted_estimators_can_be_used_as_after_a_fit():
    def network(p, k):
        return torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(p, k))

    params = {"encoder": network, "init": "random", "early_stopping": False}
    rows = X.astype(np.float32)  # for float64, transform has a copy of the network
    snapshots = Snapshots(lambda fitted: (fitted, fitted.transform(rows)))
    embedder(**params).set_callbacks(snapshots).fit(rows)
    for fitted, Z in snapshots.values:
        # Dropout is off, and the network no longer tells the callbacks of the fit about epochs.
        np.testing.assert_array_equal(fitted.transform(rows), Z)
        assert [name for name, _ in fitted.net_.callbacks_] == ["loss_curves", "patience"]


def test_fitted_estimators_of_long_epochs_have_averaged_weights():
    snapshots = Snapshots(lambda fitted: fitted.transform(X))
    params = {"batch_size": 2, "early_stopping": False, "max_iter": 1}
    model = embedder(**params).set_callbacks(snapshots).fit(X)
    *_, last, end = snapshots.values
    np.testing.assert_array_equal(last, end)
    np.testing.assert_array_equal(end, model.transform(X))


def test_fitted_estimators_of_a_stream_use_its_reservoir():
    snapshots = Snapshots(lambda fitted: fitted.transform(X))
    stream = embedder().partial_fit(X[:90]).set_callbacks(snapshots).partial_fit(X[90:])
    for values in snapshots.values:
        np.testing.assert_array_equal(values, stream.transform(X))
    np.testing.assert_array_equal(
        embedder().partial_fit(X[:90]).partial_fit(X[90:]).transform(X), stream.transform(X)
    )


def test_a_callback_can_save_a_file_after_each_epoch(tmp_path):
    paths = iter(tmp_path / f"{i}.safetensors" for i in range(9))
    snapshots = Snapshots(lambda fitted: fitted.save(next(paths)))
    params = {"warm_start": True, "early_stopping": False}
    embedder(**params).set_callbacks(snapshots).fit(X)
    resumed = load(tmp_path / "1.safetensors")
    assert resumed.n_iter_ == 2
    resumed.set_params(max_iter=1).fit(X)
    np.testing.assert_array_equal(resumed.transform(X), embedder(**params).fit(X).transform(X))


def test_a_callback_can_stop_a_fit(recwarn):
    epochs = iter([False, True])
    record = Record(("end", "epoch"), lambda: next(epochs))
    model = embedder().set_callbacks(record).fit(X)
    assert model.n_iter_ == 2
    assert not any(issubclass(each.category, ConvergenceWarning) for each in recwarn)
    expected = embedder(max_iter=2).fit(X).transform(X)
    np.testing.assert_array_equal(model.transform(X), expected)


# Ends that are not regular


def raise_(error):
    raise error


def test_without_valid_data_no_task_begins():
    record = Record()
    with pytest.raises(ValueError, match="NaN"):
        embedder().set_callbacks(record).fit(np.where(X[0, 0] == X, np.nan, X))
    assert record.log == []


def test_a_fit_that_diverges_ends_its_tasks():
    record = Record()
    model = embedder(learning_rate_init=1e30).set_callbacks(record)
    with pytest.raises(ValueError, match="Lower learning_rate_init"):
        model.fit(X)
    assert record.balanced
    assert not hasattr(model, "net_")
    assert model._skl_callbacks == [record]
    assert not any("callback" in name for name in vars(model) if name != "_skl_callbacks")


def test_an_error_of_a_callback_does_not_hide_the_error_of_the_fit():
    failing = Record(("end", "fit"), lambda: raise_(RuntimeError("mine")))
    with pytest.raises(ValueError, match="Lower learning_rate_init"):
        embedder(learning_rate_init=1e30).set_callbacks(failing).fit(X)
    assert failing.balanced


@pytest.mark.parametrize("place", ["setup", "begin", "end", "teardown"])
@pytest.mark.parametrize("task", ["fit", "epoch"])
def test_an_error_of_a_callback_is_raised(place, task):
    record = Record()
    failing = Record((place, task), lambda: raise_(RuntimeError("mine")))
    model = embedder().set_callbacks(record, failing)
    if (place, task) in (("setup", "epoch"), ("teardown", "epoch")):
        model.fit(X)  # epochs are not set up
    else:
        with pytest.raises(RuntimeError, match="mine"):
            model.fit(X)
        assert not hasattr(model, "net_")
    if place != "begin":  # a task does not end if a callback could not begin it
        assert record.balanced
    elif task == "epoch":
        assert record.names("end") == ["fit"]
    assert record.names("teardown") == failing.names("teardown") == ["fit"]


@pytest.mark.parametrize(("moment", "epochs"), [("on_epoch_end", 2), ("on_batch_end", 3)])
def test_an_interrupted_fit_ends_its_tasks(moment, epochs):
    class Interrupt(Callback):
        pass

    def interrupt(self, net, **kwargs):
        if len(net.history) == epochs:
            raise KeyboardInterrupt

    setattr(Interrupt, moment, interrupt)
    record, snapshots = Record(), Snapshots(lambda fitted: fitted.transform(X))
    model = embedder(net_params={"callbacks": [Interrupt()]}).set_callbacks(record, snapshots)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    assert model.n_iter_ == 2
    assert record.balanced
    assert record.names("end") == ["epoch"] * epochs + ["fit"]
    # The end of the fit comes with the interrupted estimator.
    np.testing.assert_array_equal(snapshots.values[-1], model.transform(X))


def test_callbacks_can_interrupt():
    record = Record(("end", "epoch"), lambda: raise_(KeyboardInterrupt()))
    model = embedder().set_callbacks(record)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    assert record.balanced
    assert model.interrupted_
    assert model.n_iter_ == 1


# Without callbacks


def test_without_callbacks_epochs_are_not_tasks(monkeypatch):
    monkeypatch.setattr(CallbackContext, "subcontext", lambda *args, **kwargs: 1 / 0)
    model = embedder().fit(X)
    assert [name for name, _ in model.net_.callbacks_] == ["loss_curves", "patience"]
    with pytest.raises(ZeroDivisionError):
        embedder().set_callbacks(Record()).fit(X)


# ScoringMonitor


@pytest.mark.parametrize("task", ["reconstruction", None])
@pytest.mark.filterwarnings("ignore:task=None trains")
def test_scoring_monitor_scores_a_fit_without_y(task):
    monitor = ScoringMonitor(scoring={"gaussianity": gaussianity_scorer})
    model = embedder(task=task).set_callbacks(monitor).fit(X)
    scores = {row["task_id_path"]: row["gaussianity"] for row in monitor.get_logs().data}
    assert set(scores) == {(0,), (0, 0), (0, 1), (0, 2)}
    assert scores[0,] == scores[0, 2] == gaussianity_scorer(model, X)


def test_scoring_monitor_scores_a_supervised_fit():
    monitor = ScoringMonitor(scoring=["accuracy", "neg_log_loss"])
    weight = np.where(LABELS == 0, 2.0, 1.0)
    model = embedder(task="classification").set_callbacks(monitor).fit(X, LABELS, weight)
    end = monitor.get_logs().data[0]
    assert end["accuracy"] == model.score(X, LABELS, weight)
    assert end["neg_log_loss"] < 0


def test_tasks_that_can_use_y_get_no_other_y():
    record = Record()
    embedder(task=lambda x, z, output, y: z.square().sum(dim=-1)).set_callbacks(record).fit(X)
    assert record.data[(0,)]["y"] is None


# Searches and pipelines


@pytest.mark.parametrize(
    ("params", "n_folds"), [({}, 2), ({"halving": True}, 3 * 2), ({"task": None}, 2)]
)
@pytest.mark.filterwarnings("ignore:task=None trains")
def test_tasks_of_a_search_are_its_folds_and_its_last_fit(params, n_folds):
    params = params | {"scoring": gaussianity_scorer}
    record = Propagated()
    model = search(**params).set_callbacks(record).fit(X)
    assert record.balanced
    begun = [tuple(each[1:]) for each in record.log if each[0] == "begin"]
    name = "GaussianEmbedderCV"
    assert begun == [
        (name, "fit"),
        *[(name, "search"), *[(name, "fold")] * n_folds],
        *[("GaussianEmbedder", "fit"), *[("GaussianEmbedder", "epoch")] * 3],
    ]
    assert record.data[(0,)]["most"] == 2
    assert record.data[(0, 0)]["most"] == n_folds
    assert record.data[(0, 1)]["most"] == 3
    expected = search(**params).fit(X)
    np.testing.assert_array_equal(model.transform(X), expected.transform(X))
    assert not hasattr(model.best_embedder_, "_skl_callbacks")


def test_tasks_of_a_search_without_a_last_fit():
    record = Record()
    search(refit=False).set_callbacks(record).fit(X)
    assert record.names("end") == ["fold", "fold", "search", "fit"]
    assert record.data[(0,)]["most"] == 1


def test_a_search_that_fails_ends_its_tasks():
    def fails(embedder, X, y=None):
        raise RuntimeError("mine")

    record = Record()
    model = search(scoring=fails, error_score="raise").set_callbacks(record)
    with pytest.raises(RuntimeError, match="mine"):
        model.fit(X)
    assert record.balanced
    assert record.names("end") == ["fold", "search", "fit"]


def test_scoring_monitor_scores_a_search_at_its_end():
    monitor = ScoringMonitor(scoring={"r2": reconstruction_scorer})
    model = search().set_callbacks(monitor).fit(X)
    (row,) = (row for row in monitor.get_logs().data if "r2" in row)
    assert row["task_name"] == "fit"
    assert row["r2"] == reconstruction_scorer(model, X)


def test_an_outlier_detector_passes_callbacks_on():
    record = Propagated()
    OutlierDetector(embedder(max_iter=1), cv=2).set_callbacks(record).fit(X)
    begun = [tuple(each[1:]) for each in record.log if each[0] == "begin"]
    one = [("GaussianEmbedder", "fit"), ("GaussianEmbedder", "epoch")]
    assert begun == [("OutlierDetector", "fit"), *one * 3]
    assert record.data[(0,)]["most"] == 3


# What a terminal shows


def lines(capsys):
    """Return the name and the share of each bar."""
    rows = [line.split("━") for line in capsys.readouterr().out.splitlines()]
    return [(row[0].strip(), row[-1].split()[0]) for row in rows if len(row) > 1]


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def test_progress_bar_of_a_pipeline_in_a_search_is_one_tree(capsys):
    pipeline = make_pipeline(StandardScaler(), embedder(), LogisticRegression())
    grid = GridSearchCV(pipeline, {"gaussianembedder__reg_weight": [1.0]}, cv=2)
    grid.set_callbacks(ProgressBar(max_propagation_depth=2)).fit(X, LABELS)
    shown = lines(capsys)
    bar = "Pipeline - fit-transform-gaussianembedder | GaussianEmbedder - fit #1"
    assert [name for name, _ in shown].count(bar) == 3
    assert {share for _, share in shown} == {"100%"}


def test_progress_bar_of_gaussian_embedder_cv_and_gaussianizer(capsys):
    pipeline = make_pipeline(Gaussianizer(random_state=0), search())
    pipeline.set_callbacks(ProgressBar(max_propagation_depth=None)).fit(X[:, :3])
    assert [name for name, _ in lines(capsys)] == [
        "Pipeline - fit",
        "Pipeline - fit-transform-gaussianizer | Gaussianizer - fit #0",
        "Pipeline - fit-final-estimator | GaussianEmbedderCV - fit #1",
        "GaussianEmbedderCV - search #0",
        "GaussianEmbedderCV - refit | GaussianEmbedder - fit #1",
    ]


@pytest.mark.slow
def test_progress_bar_counts_the_epochs_of_other_processes(capsys):
    grid = GridSearchCV(embedder(), {"reg_weight": [0.1, 1.0]}, cv=2, n_jobs=2)
    grid.set_callbacks(ProgressBar()).fit(X)
    shown = lines(capsys)
    assert sum("GaussianEmbedder - fit" in name for name, _ in shown) == 5
    assert {share for _, share in shown} == {"100%"}


def table(capsys):
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_verbose_prints_one_line_per_100_steps(capsys):
    # 160 samples in batches of 16 are 10 steps.
    model = embedder(verbose=1, batch_size=16, max_iter=25).fit(X)
    title, names, *rows = table(capsys)
    assert title == ["[GaussianEmbedder]"]
    assert names == ["epoch", "step", "loss", "task", "regularizer", "validation", "time"]
    assert [row[:2] for row in rows] == [["10", "100"], ["20", "200"], ["25", "250"]]
    for row, epoch in zip(rows, [10, 20, 25], strict=True):
        parts = (model.loss_curve_, model.task_loss_curve_, model.regularizer_curve_)
        expected = [curve[epoch - 1] for curve in parts] + [model.validation_scores_[epoch]]
        assert [float(value) for value in row[2:6]] == pytest.approx(expected, rel=1e-3)
        assert row[-1] == "s"


def test_verbose_0_prints_nothing_and_2_prints_each_epoch(capsys):
    embedder(verbose=0).fit(X)
    search(verbose=0).fit(X)
    assert table(capsys) == []
    model = embedder(verbose=2, regularizer="adversarial", early_stopping=False, warm_start=True)
    model.fit(X)
    _, names, *rows = table(capsys)
    assert names[2:] == ["loss", "task", "regularizer", "critic", "time"]
    assert [row[0] for row in rows] == ["1", "2", "3"]
    model.set_params(verbose=0).fit(X)
    assert table(capsys) == []


def test_verbose_prints_a_line_per_batch_of_a_stream(capsys):
    stream = embedder(verbose=1).partial_fit(X).partial_fit(X)
    _, _, *rows = table(capsys)
    assert [row[0] for row in rows] == ["1", "2"]
    assert stream.n_iter_ == 2


def test_verbose_prints_the_progress_of_a_search(capsys):
    model = search(verbose=1).fit(X)
    first, second, best, *refit = capsys.readouterr().out.splitlines()
    assert first.startswith("[GaussianEmbedderCV] training with reg_weights 0.1, 1: fold 1 of 2, ")
    assert second.startswith("[GaussianEmbedderCV] training with reg_weights 0.1, 1: fold 2 of 2, ")
    assert best == f"[GaussianEmbedderCV] best reg_weight: {model.reg_weight_:g}"
    assert refit[0] == "[GaussianEmbedder]"
    model = search(verbose=1, halving=True, refit=False).fit(X)
    *folds, _ = (line.split(": ")[0] for line in capsys.readouterr().out.splitlines())
    kept = f"training with reg_weights {model.reg_weight_:g}"
    rungs = ["1/9 of the training with reg_weights 0.1, 1", f"1/3 of the {kept}", kept]
    assert folds == [f"[GaussianEmbedderCV] {rung}" for rung in rungs for _ in range(2)]


# Copies


@pytest.mark.parametrize("make", [embedder, search, Gaussianizer])
def test_callbacks_survive_clones_and_pickles_but_not_files(make, tmp_path):
    model = make().set_callbacks(Record(), ScoringMonitor(scoring={"one": lambda *args: 1.0}))
    assert clone(model)._skl_callbacks is model._skl_callbacks
    model.set_callbacks(ScoringMonitor(scoring={"r2": reconstruction_scorer})).fit(X[:, :3])
    expected = model.transform(X[:, :3])
    assert repr(model) == repr(make())
    assert model._repr_html_()
    trusted = [
        f"{make().__class__.__module__}.{make().__class__.__name__}",
        "sklatent.metrics._scorers.reconstruction_scorer",
        "sklearn.callback._scoring_monitor.ScoringMonitor",
        "sklearn.callback._transport.ListenerHandle",
        "uuid.UUID",
    ]
    for again in (
        pickle.loads(pickle.dumps(model)),
        skops.io.loads(skops.io.dumps(model), trusted=trusted),
    ):
        np.testing.assert_array_equal(again.transform(X[:, :3]), expected)
        (monitor,) = again._skl_callbacks
        before = len(monitor.get_logs("all"))
        again.fit(X[:, :3])
        assert len(monitor.get_logs("all")) == before + 1
    model.save(tmp_path / "model.safetensors")
    stored = load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(stored.transform(X[:, :3]), expected)
    assert not hasattr(stored, "_skl_callbacks")


def test_a_pickle_with_callbacks_still_holds_arrays():
    model = embedder().set_callbacks(ScoringMonitor(scoring={"r2": reconstruction_scorer})).fit(X)
    assert set(model.__getstate__()) == {
        "_contents", "_arrays", "_skl_callbacks", "_sklatent_version"
    }  # fmt: skip


# Callbacks of skorch


def with_callbacks(*callbacks, **params):
    return embedder(net_params={"callbacks": list(callbacks)}, **params).fit(X)


class Count(Callback):
    n_epochs = 0

    def on_epoch_end(self, net, **kwargs):
        self.n_epochs += 1


@pytest.mark.parametrize("named", [False, True])
def test_a_fit_leaves_the_users_callback_alone(named):
    mine = Count()
    model = with_callbacks(("count", mine) if named else mine)
    assert (dict(model.net_.callbacks_)["count" if named else "Count"].n_epochs, mine.n_epochs) == (
        3,
        0,
    )


@pytest.mark.parametrize(
    ("policy", "params", "expected"),
    [
        ("StepLR", {"step_size": 1, "gamma": 0.5}, [1.0, 0.5, 0.25]),
        (torch.optim.lr_scheduler.ExponentialLR, {"gamma": 0.1}, [1.0, 0.1, 0.01]),
    ],
)
def test_schedulers_change_the_learning_rate(policy, params, expected):
    model = with_callbacks(LRScheduler(policy, event_name="event_lr", **params))
    rates = np.array(model.net_.history[:, "event_lr"]) / model.learning_rate_init
    np.testing.assert_allclose(rates, expected)


@pytest.mark.parametrize("monitor", ["train_loss", "valid_loss"])
def test_a_plateau_lowers_the_learning_rate(monitor):
    plateau = LRScheduler(
        "ReduceLROnPlateau", monitor=monitor, patience=0, threshold=1e3, threshold_mode="abs"
    )
    model = with_callbacks(plateau)
    assert model.net_.optimizer_.param_groups[0]["lr"] < model.learning_rate_init


def test_checkpoints_hold_the_best_weights(tmp_path):
    model = with_callbacks(Checkpoint(dirname=tmp_path), init="random")
    assert np.argmax(model.validation_scores_) > 0
    stored = torch.load(tmp_path / "params.pt")
    for name, value in model.net_.module_.state_dict().items():
        assert torch.equal(stored[name], value)
    with pytest.raises(Exception, match="valid_loss_best"):
        with_callbacks(Checkpoint(dirname=tmp_path), early_stopping=False)
    with_callbacks(Checkpoint("train_loss_best", dirname=tmp_path), early_stopping=False)


def test_the_first_of_equal_losses_is_the_best():
    model = embedder(learning_rate_init=1e-30).fit(X)
    assert model.net_.history[:, "valid_loss_best"] == [True, False, False]


class Writer:
    def __init__(self):
        self.scalars = {}
        self.lock = threading.Lock()  # a real writer has one, and so cannot be copied

    def add_scalar(self, tag, scalar_value, global_step):
        self.scalars.setdefault(tag, []).append(scalar_value)


def test_candidates_share_the_writer_of_a_logger():
    writer = Writer()
    logger = skorch_callbacks.TensorBoard(writer, close_after_train=False)
    params = {"max_iter": 2, "early_stopping": False, "random_state": 0}
    model = GaussianEmbedderCV(
        2, reg_weights=[0.1, 1.0], cv=2, net_params={"callbacks": [("log", logger)]}, **params
    )
    model.fit(X)
    assert len(writer.scalars["Loss/train_loss"]) == (2 * 2 + 1) * 2  # fits, and epochs


def test_loggers_receive_the_losses():
    class Run:
        def __init__(self):
            self.logged = []

        def watch(self, module):
            pass

        def log(self, values):
            self.logged.append(values)

    printed, writer, run = [], Writer(), Run()
    model = with_callbacks(
        skorch_callbacks.TensorBoard(writer, close_after_train=False),
        skorch_callbacks.WandbLogger(run, save_model=False),
        skorch_callbacks.PrintLog(sink=printed.append),
        skorch_callbacks.EpochTimer(),
    )
    assert writer.scalars["Loss/train_loss"] == model.loss_curve_
    assert writer.scalars["Loss/valid_loss"] == [-score for score in model.validation_scores_[1:]]
    assert [values["task_loss"] for values in run.logged] == model.task_loss_curve_
    assert len(printed) == 2 + 3
    assert len(model.net_.history[:, "dur"]) == 3


def test_the_norm_of_gradients_is_clipped():
    # One step of gradient descent with the rate 1 then has the length of the limit.
    def weights(*callbacks, **params):
        net_params = {"callbacks": list(callbacks), "optimizer": torch.optim.SGD}
        params |= {"net_params": net_params, "learning_rate_init": 1.0, "batch_size": len(X)}
        params |= {"early_stopping": False, "max_iter": 1}
        return embedder(**params).fit(X).net_.weights()

    clipped = weights(skorch_callbacks.GradientNormClipping(1e-3))
    free, still = weights(), weights(skorch_callbacks.GradientNormClipping(0.0))

    def length(end):
        return sum((end[name] - still[name]).square().sum() for name in end).sqrt().item()

    assert length(free) > 0.01
    assert length(clipped) == pytest.approx(1e-3, rel=1e-3)


def test_an_initializer_sets_the_weights_at_which_training_starts():
    initializer = skorch_callbacks.Initializer("encoder.*weight", torch.nn.init.ones_)
    params = {"init": "random", "calibration": None, "early_stopping": False, "max_iter": 1}
    params |= {"learning_rate_init": 1e-9}
    model = with_callbacks(initializer, **params)
    # All units of a layer are equal, so the components are equal too.
    for name, value in model.net_.module_.encoder.named_parameters():
        if name.endswith("weight"):
            torch.testing.assert_close(value, torch.ones_like(value))
    untouched = embedder(**params).fit(X).net_.module_.decoder.state_dict()
    for name, value in model.net_.module_.decoder.state_dict().items():
        torch.testing.assert_close(value, untouched[name])


def test_the_progress_bar_of_skorch_counts_batches(capsys):
    model = with_callbacks(skorch_callbacks.ProgressBar(detect_notebook=False), batch_size=40)
    assert model.net_.history[:, "train_batch_count"] == [4, 4, 4]
    assert "/5 " in capsys.readouterr().err  # the validation samples are one more


def test_weights_can_be_frozen():
    model = with_callbacks(skorch_callbacks.Freezer("encoder*"), early_stopping=False)
    start = embedder(max_iter=0).fit(X)
    np.testing.assert_allclose(model.transform(X), start.transform(X), atol=1e-5)
    assert not np.allclose(model.inverse_transform(X[:, :2]), start.inverse_transform(X[:, :2]))
