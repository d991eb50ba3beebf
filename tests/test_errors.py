"""Bad input: every error names the parameter, what it got and what is allowed."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from skorch.callbacks import EarlyStopping, EpochScoring

from sklatent import GaussianEmbedder
from sklatent.regularizers import Adversarial, MomentMatching, Regularizer
from sklatent.tasks import Classification, Reconstruction, Task

X = np.random.default_rng(0).normal(size=(40, 5))
Y = np.repeat(["a", "b"], 20)


def distance(x, z, output, y):
    return (z[:, 0] - y).square()


def with_(value):
    changed = X.copy()
    changed[0, 0] = value
    return changed


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (with_(np.nan), "Input X contains NaN"),
        (with_(np.inf), "Input X contains infinity"),
        (np.full((40, 5), "a"), "could not convert string to float"),
        (X[:, 0], "Expected 2D array, got 1D array"),
        (X[:1], r"1 sample\(s\) .* while a minimum of 2 is required"),
        (np.ones((40, 5)), "X is constant"),
        (1e9 + np.zeros((40, 5)), "X is constant"),
        (1e170 * X, "in column [0-4], and absolute values must be at most 1e.150"),
        (1e-170 * X, "X varies too little"),
        (csr_matrix(1e-200 * X), "X varies too little"),
        (with_(-1e200), "X has the value -1e.200 in column 0"),
        (with_(1e20), "exceeds the rank of X: only 1 .* 1e.20 in column 0 is the largest value"),
        (np.repeat(X[:, :1], 5, axis=1), "n_components=2 exceeds the rank of X: only 1"),
    ],
)
def test_rows_that_cannot_be_embedded(rows, message):
    with pytest.raises((ValueError, TypeError), match=message):
        GaussianEmbedder(2).fit(rows)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_components": 6}, r"n_components=6 .* min\(n_samples, n_features\)=5"),
        (
            {"regularizer": MomentMatching(mean_weight=-1)},
            "'mean_weight' parameter of MomentMatching .* Got -1",
        ),
        (
            {"regularizer": MomentMatching(cov_weight=-2)},
            "'cov_weight' parameter of MomentMatching .* Got -2",
        ),
        ({"task": Classification}, r"task must be an instance.* Classification\(...\)"),
        ({"net_params": {"module__x": 1}}, "must not hold 'module__x': pass encoder and decoder"),
        ({"net_params": {"callbacks": "disable"}}, "must be a list, got 'disable'"),
        ({"decoder": lambda k, p: 1 / 0}, r"decoder\(2, 5\) must return .* division by zero"),
        ({"target_mean": [0.0]}, r"target_mean .*\(2,\), got \(1,\)"),
        ({"target_cov": np.eye(3)}, r"target_cov .*\(2, 2\).* got \(3, 3\)"),
        ({"target_cov": [[1, 2], [2, 1]]}, "target_cov must be positive definite"),
        ({"target_cov": [[1, 0.5], [0, 1]]}, "target_cov must be symmetric"),
        ({"target_cov": [1, -1]}, "target_cov must be positive definite"),
        ({"target_mean": [0, np.nan]}, "target_mean must be finite"),
        ({"hidden_layer_sizes": (0,)}, r"hidden_layer_sizes .* got \(0,\)"),
        ({"hidden_layer_sizes": (2.5,)}, r"hidden_layer_sizes .* got \(2.5,\)"),
        ({"hidden_layer_sizes": True}, "hidden_layer_sizes .* got True"),
        (
            {"regularizer": Adversarial(critic_hidden_layer_sizes=(8, True))},
            r"critic_hidden_layer_sizes of Adversarial .* got \(8, True\)",
        ),
        (
            {"learning_rate_init": 1e300, "net_params": {"optimizer": torch.optim.SGD}},
            r"Lower learning_rate_init=1e\+300 or reg_weight=1.0, or check X",
        ),
        (
            {"device": "abacus"},
            "device must be 'auto', 'accelerate' or an available torch device, got 'abacus'",
        ),
        ({"net_params": {"lr": 1}}, "net_params must not hold 'lr': pass learning_rate_init"),
        ({"net_params": {"callbacks": [EarlyStopping()]}}, "skorch's EarlyStopping"),
        ({"net_params": {"callbacks": [("r2", EpochScoring("r2"))]}}, "skorch's EpochScoring"),
        ({"net_params": {"optimizer__lr": 1}}, "hold 'optimizer__lr': pass learning_rate_init"),
        (
            {"net_params": {"callbacks__patience__tol": 1}},
            "hold 'callbacks__patience__tol': pass tol and n_iter_no_change",
        ),
        ({"net_params": {"callbacks__loss_curves": None}}, "hold 'callbacks__loss_curves'"),
        ({"net_params": {"callbacks__loss_curves__a": 1}}, "hold 'callbacks__loss_curves__a'"),
        ({"net_params": {"history_": []}}, "hold 'history_': the estimator sets it"),
        ({"net_params": {"generator_": None}}, "hold 'generator_': the estimator sets it"),
        ({"net_params": {"warm_up": 1}}, "warm_up"),
        ({"task": None, "regularizer": None}, "leave nothing to train"),
        ({"task": None, "decoder": torch.nn.Linear(2, 5)}, "decoder must be None with task=None"),
        ({"task": "regression"}, "requires y to be passed, but the target y is None"),
        ({"task": "classification"}, "requires y to be passed, but the target y is None"),
    ],
)
def test_parameters_that_mean_nothing(params, message):
    embedder = GaussianEmbedder(2).set_params(**params)
    with pytest.raises((ValueError, TypeError), match=message) as error:
        embedder.fit(X)
    assert not isinstance(error.value, RuntimeError)
    with pytest.raises(AttributeError):
        embedder.net_  # noqa: B018 (attribute access is the test)


@pytest.mark.parametrize(
    ("task", "y", "message"),
    [
        ("classification", np.full(40, "a"), r"at least 2 classes .* 1 class: \['a'\]"),
        ("classification", np.linspace(0, 1, 40), "Unknown label type: continuous"),
        ("classification", Y[:39], "inconsistent numbers of samples"),
        ("classification", np.where(Y == "a", np.nan, Y.astype(object)), "Input y contains NaN"),
        ("regression", Y, "y must be numeric for task='regression', got dtype <U1"),
        ("regression", Y.astype(object), "y must be numeric for task='regression': .* float: 'a'"),
        ("regression", np.full(40, np.nan), "Input y contains NaN"),
        ("regression", np.full(40, np.nan, dtype=object), "Input y contains NaN"),
        (distance, Y, "y must be numeric for task=<function distance"),
    ],
)
def test_labels_that_cannot_be_learned(task, y, message):
    with pytest.raises(ValueError, match=message):
        GaussianEmbedder(2, task=task).fit(X, y)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_labels_that_cannot_be_scored(task):
    embedder = GaussianEmbedder(2, task=task, max_iter=0).fit(X, np.arange(40) % 2)
    for y, message in (
        (None, "requires y to be passed, but the target y is None"),
        (np.full(40, np.nan), "Input y contains NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            embedder.score(X, y)


def test_numbers_too_large_for_the_loss_of_a_function():
    with pytest.raises(
        ValueError, match=r"criterion .* became inf .*, or check X and y for extreme"
    ):
        GaussianEmbedder(2, task=distance).fit(X, 1e200 * X[:, 0])


@pytest.mark.filterwarnings("ignore:task=None trains")
def test_a_regularizer_scores_two_samples_or_more():
    embedder = GaussianEmbedder(2, task=None, max_iter=0).fit(X)
    assert np.isfinite(embedder.score(X[:2]))
    with pytest.raises(ValueError, match="minimum of 2 is required"):
        embedder.score(X[:1])


@pytest.mark.parametrize(("value", "message"), [(None, "NaN"), (np.inf, "infinity")])
@pytest.mark.parametrize("task", ["regression", distance])
def test_numbers_in_objects_are_checked_too(task, value, message):
    y = np.array([1.0, value] * 20, dtype=object)
    with pytest.raises(ValueError, match=f"Input y contains {message}"):
        GaussianEmbedder(2, task=task, max_iter=1).fit(X, y)


def test_a_function_without_the_y_or_decoder_that_it_uses():
    embedder = GaussianEmbedder(2, task=distance)
    with pytest.raises(
        ValueError,
        match=r"task=<function distance .* Its argument y is None: pass y if the function uses y\.",
    ):
        embedder.fit(X)
    with pytest.raises(ValueError, match=r"Its argument y is None: pass y if"):
        embedder.set_params(max_iter=0).fit(X, X[:, 0]).score(X)
    embedder = GaussianEmbedder(2, task=lambda x, z, output, y: output.square().sum(-1))
    with pytest.raises(
        ValueError,
        match=r"Its argument output is None: pass a decoder if the function uses output\.$",
    ):
        embedder.set_params(decoder=None).fit(X, X[:, 0])
    embedder.set_params(task=lambda x, z, output, y: torch.as_tensor(y) + z[:, 0])
    with pytest.raises(ValueError, match="Its argument y is None"):
        embedder.fit(X)
    # Errors of another kind are the user's own.
    with pytest.raises(TypeError, match="unsupported operand"):
        GaussianEmbedder(2, task=lambda x, z, output, y: z + "1").fit(X)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.zeros(40), "ample weights"),
        (-np.ones(40), "Negative values in data passed to `sample_weight`"),
        (np.ones(39), r"sample_weight.shape == \(39,\), expected \(40,\)"),
        (np.eye(1, 40)[0], "sample_weight must be positive for at least 2 samples, got 1"),
    ],
)
def test_weights_that_cannot_be_used(weight, message):
    with pytest.raises(ValueError, match=message):
        GaussianEmbedder(2).fit(X, sample_weight=weight)


def test_rows_unlike_those_of_fit():
    embedder = GaussianEmbedder(2, max_iter=0).fit(X)
    with pytest.raises(ValueError, match="X has 4 features, but GaussianEmbedder is expecting 5"):
        embedder.transform(X[:, :4])
    with pytest.raises(ValueError, match="Z has 3 components, but GaussianEmbedder is expecting 2"):
        embedder.inverse_transform(X[:, :3])
    with pytest.raises(ValueError, match="n_samples must be an integer of at least 1, got 0"):
        embedder.sample(0)


def test_a_function_that_returns_the_wrong_thing():
    losses = [
        lambda x, z, output, y: z,
        lambda x, z, output, y: z.mean(),
        lambda x, z, output, y: (z > 0).all(-1),
        lambda x, z, output, y: None,
    ]
    for loss in losses:
        with pytest.raises(ValueError, match=r"task must return .* one loss for each sample, got"):
            GaussianEmbedder(2, task=loss).fit(X)
    with pytest.raises(ValueError, match="does not depend on any weight that can be trained"):
        GaussianEmbedder(2, task=lambda x, z, output, y: x.sum(-1), regularizer=None).fit(X)


def test_a_function_that_returns_an_array():
    losses = {
        r"got ndarray of shape \(\d+,\)$": lambda x, z, output, y: np.zeros(len(z)),
        "got list$": lambda x, z, output, y: z.tolist(),
    }
    for message, loss in losses.items():
        with pytest.raises(ValueError, match=message):
            GaussianEmbedder(2, task=loss).fit(X)


def absolute(x, z, output, y):
    return (z - y).abs().mean(-1)


class Third(Task):
    def loss(self, x, z, output, y):
        return z[:, 2] - y

    def __repr__(self):
        return "Third()"


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (absolute, r"^task=<function absolute at .*> failed .* x \((\d+), 5\), z \(\1, 2\), output None, y \(\1,\): The size of tensor"),
        (Third(), r"^task=Third\(\) failed .* z \(\d+, 2\), .*: index 2 is out of bounds"),
        (Reconstruction(lambda x_hat, x: x_hat @ x), r"^error=<function .* failed .* x_hat \(40, 5\), x \(40, 5\): "),
    ],
)  # fmt: skip
def test_shapes_that_do_not_fit(task, message):
    with pytest.raises(ValueError, match=message) as error:
        GaussianEmbedder(2, task=task).fit(X, X[:, 0])
    assert type(error.value.__cause__) in (RuntimeError, IndexError)


def test_a_lack_of_memory_is_not_about_shapes():
    def loss(x, z, output, y):
        raise torch.cuda.OutOfMemoryError("no memory")

    with pytest.raises(torch.cuda.OutOfMemoryError, match="no memory"):
        GaussianEmbedder(2, task=loss).fit(X)


def fit_one_output(loss, y=X[:, 0], k=2):
    """Fit a loss of one output of a decoder; warnings are errors."""
    decoder = torch.nn.Linear(k, 1)
    params = {"max_iter": 3, "early_stopping": False, "random_state": 0}
    return GaussianEmbedder(k, task=loss, decoder=decoder, **params).fit(X, y)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize(
    ("loss", "ndim", "k"),
    [
        (lambda x, z, output, y: (output - y).square().mean(-1), 1, 2),
        (lambda x, z, output, y: (output.exp() - y * output).mean(0), 1, 2),
        (lambda x, z, output, y: -torch.distributions.Normal(output, 1.0).log_prob(y).mean(-1), 1, 2),
        (lambda x, z, output, y: (z[:, :1] - y).square().mean(-1), 1, 2),
        (lambda x, z, output, y: (z - y).square().mean(-1), 1, 1),
        (lambda x, z, output, y: (z.norm(dim=1, keepdim=True) - y).abs().mean(-1), 1, 2),
        (lambda x, z, output, y: (output[..., 0] - y).square().mean(-1), 2, 2),
    ],
)  # fmt: skip
def test_a_loss_of_all_pairs_by_broadcasting_is_warned_about_once(loss, ndim, k):
    y = X[:, 0] if ndim == 1 else X[:, :1]
    message = r"combines tensors of shapes \(40, 1\) and \(40,\).* output\[..., 0\]"
    with pytest.warns(UserWarning, match=message) as caught:
        embedder = fit_one_output(loss, y, k)
    (warning,) = (each for each in caught if "combines" in str(each.message))
    assert warning.filename == __file__
    # The warning is right: any order of y gives the same loss.
    x, z, output, y = (torch.from_numpy(each) for each in (X, X[:, :k], X[:, 1:2], y))
    torch.testing.assert_close(loss(x, z, output, y.flip(0)).mean(), loss(x, z, output, y).mean())
    with pytest.warns(UserWarning, match="combines tensors of shapes"):  # in each fit
        embedder.partial_fit(X, y.numpy())


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize(
    "loss",
    [
        lambda x, z, output, y: (output[..., 0] - y).square(),
        lambda x, z, output, y: (output.squeeze(-1) - y).square(),
        lambda x, z, output, y: (output - y[:, None]).square().mean(-1),
        # All pairs on purpose
        lambda x, z, output, y: (output[..., 0][:, None] - y).square().mean(-1),
        lambda x, z, output, y: (output - y[None, :]).square().mean(-1),
        lambda x, z, output, y: (y[:, None] - output[..., 0]).square().mean(-1),
        lambda x, z, output, y: ((y[:, None] - y) * (output - output.T)).mean(-1),
        lambda x, z, output, y: ((y[:, None] - y) * (output - output[:, 0])).mean(-1),
        lambda x, z, output, y: ((y[:, None] - y).abs() * torch.cdist(z, z)).mean(-1),
    ],
)
def test_losses_of_samples_and_of_pairs_on_purpose_are_not_warned_about(loss):
    fit_one_output(loss)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_one_sample_has_no_pairs():
    scale = torch.ones(1)
    embedder = fit_one_output(lambda x, z, output, y: ((output / scale)[..., 0] - y).square())
    embedder.partial_fit(X[:1], X[:1, 0])


class PerRow(Regularizer):
    def __call__(self, embedding, n_rows=float("inf"), generator=None):
        return embedding.sample.square().sum(-1)


def test_a_regularizer_that_returns_the_wrong_thing():
    with pytest.raises(ValueError, match=r"regularizer must return .* of shape \(\)"):
        GaussianEmbedder(2, regularizer=PerRow()).fit(X)


def test_too_few_rows_to_set_some_aside():
    for params, n in (({"validation_fraction": 0.95}, 12), ({"early_stopping": True}, 3)):
        with pytest.raises(ValueError, match=r"early_stopping with validation_fraction=.* leaves"):
            GaussianEmbedder(2, **params).fit(X[:n])


def test_a_stream_keeps_its_shapes():
    embedder = GaussianEmbedder(2, task="regression").partial_fit(X, X[:, :2])
    with pytest.raises(ValueError, match=r"y must have shape \('n_samples', 2\)"):
        embedder.partial_fit(X, X[:, 0])
    embedder = GaussianEmbedder(2, task="classification").partial_fit(X, Y)
    with pytest.raises(ValueError, match="classes must be as in the first call"):
        embedder.partial_fit(X, Y, classes=["a", "c"])


@pytest.mark.parametrize("missing", [np.nan, None])
def test_classes_of_a_stream_are_not_missing(missing):
    y = np.arange(40) % 2
    for classes in ([0, 1, missing], np.array([0, 1, missing]), ["a", "b", missing]):
        with pytest.raises(ValueError, match="classes must not have missing values, got "):
            GaussianEmbedder(2, task="classification").partial_fit(X, y, classes=classes)


def test_early_stopping_is_not_for_streams():
    for early_stopping in (True, np.True_):
        with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True"):
            GaussianEmbedder(2, early_stopping=early_stopping).partial_fit(X)
    GaussianEmbedder(2, early_stopping=np.False_).partial_fit(X)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_a_loss_that_becomes_nan_leaves_no_trace():
    # torch.log of a negative number: NaN from the second epoch on, when the gate has opened.
    epochs = []

    def loss(x, z, output, y):
        epochs.append(None)
        return z.square().sum(-1) * (float("nan") if len(epochs) > 5 else 1.0)

    embedder = GaussianEmbedder(2, task=loss, early_stopping=False, warm_start=True, max_iter=3)
    embedder.set_params(max_iter=10)
    with pytest.raises(ValueError, match=r"loss became nan in epoch 6 .* Lower learning_rate_init"):
        embedder.fit(X)
    assert not hasattr(embedder, "net_")
    epochs.clear()
    before = embedder.set_params(max_iter=3).fit(X).transform(X)
    with pytest.raises(ValueError, match="Lower learning_rate_init"):
        embedder.fit(X)
    np.testing.assert_array_equal(embedder.transform(X), before)
    assert len(embedder.net_.history) == 3
    epochs.clear()
    assert embedder.fit(X).n_iter_ == 6


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("n_epochs", [0, 2])
def test_a_criterion_that_is_not_finite_ends_the_fit(value, n_epochs):
    evaluations = []  # True: the criterion, once before training and once after each epoch

    def loss(x, z, output, y):
        evaluations.append(not torch.is_grad_enabled())
        wrong = evaluations[-1] and sum(evaluations) == n_epochs + 1  # at one evaluation only
        return z.square().sum(-1) * (value if wrong else 1.0)

    embedder = GaussianEmbedder(2, task=loss, batch_size=36, max_iter=5, random_state=0)
    message = rf"criterion .* became {value} after epoch {n_epochs}\. Lower learning_rate_init=0.001 or reg_weight=1.0, or check X"
    with pytest.raises(ValueError, match=message):
        embedder.fit(X)
    assert not hasattr(embedder, "net_")
    assert evaluations.count(False) == n_epochs  # one batch per epoch
    # A stream has no validation set.
    assert embedder.partial_fit(X).validation_scores_ is None


def test_a_diverging_fit_says_what_to_try():
    embedder = GaussianEmbedder(2, learning_rate_init=1e30, early_stopping=False, random_state=0)
    with pytest.raises(ValueError, match=r"Lower learning_rate_init=1e\+30 or reg_weight=1.0"):
        embedder.fit(X)


def test_weights_that_become_infinite_in_the_last_step_are_no_fit():
    embedder = GaussianEmbedder(
        2, learning_rate_init=1e39, batch_size=len(X), max_iter=1, early_stopping=False
    )
    with pytest.raises(ValueError, match="the weights became infinite"):
        embedder.fit(X)
    assert not hasattr(embedder, "net_")


def test_a_loss_of_all_pairs_names_the_remedy():
    def loss(x, z, output, y):
        return (z - y).square()

    with pytest.raises(ValueError, match=r"one loss for each sample, got .* index the tensor of"):
        GaussianEmbedder(1, task=loss).fit(X, X[:, 0])
