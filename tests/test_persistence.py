"""Files: the same estimator comes back, a damaged file never does, and no code is executed."""

import copy
import errno
import importlib
import json
import multiprocessing
import os
import pickle
import pkgutil
import random
import re
import resource
import signal
import stat
import sys
import time
import warnings

import numpy as np
import pytest
import safetensors.numpy
import torch
from common import absolute
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sklatent
from sklatent import (
    GaussianEmbedder,
    GaussianEmbedderCV,
    Gaussianizer,
    OutlierDetector,
    calibration,
    load,
)
from sklatent import _persistence as persistence
from sklatent.metrics import gaussianity_scorer, most_gaussian_within, reconstruction_scorer
from sklatent.regularizers import (
    Adversarial,
    MaximumMeanDiscrepancy,
    MomentMatching,
    Regularizer,
    SlicedEppsPulley,
)
from sklatent.tasks import Classification, Reconstruction

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer", "ignore:task=None")

X, labels = load_iris(return_X_y=True, as_frame=True)
species = np.array(["setosa", "versicolor", "virginica"])[labels]
TARGETS = {None: None, "regression": X.to_numpy()[:, :2], "classification": species}

SETTINGS = [
    {"regularizer": "moment", "calibration": "gaussianize"},
    {"regularizer": "kl", "target_cov": [[2.0, 1.0], [1.0, 3.0]]},
    {"regularizer": "kl", "calibration": "gaussianize", "task": "classification"},
    {"regularizer": "adversarial", "task": Reconstruction("weighted", noise="isotropic")},
    {"regularizer": Adversarial("wgan-gp", joint=True, critic_hidden_layer_sizes=[8])},
    {"regularizer": "sliced", "calibration": None, "task": Classification()},
    {"regularizer": "sliced_wasserstein", "task": "regression", "calibration": "gaussianize"},
    {
        "regularizer": MaximumMeanDiscrepancy("rbf"),
        "task": None,
        "target_mean": np.array([1.0, np.pi]),
    },
    {"regularizer": "mmd", "random_state": np.random.RandomState(3), "init": "random"},
    {"regularizer": "sliced", "n_components": 0.9, "early_stopping": False},
    {"regularizer": MomentMatching(cov_weight=np.float32(0.1)) + 3 * SlicedEppsPulley()},
    {"regularizer": None, "hidden_layer_sizes": (), "device": torch.device("cpu")},
    {"net_params": {"optimizer": torch.optim.SGD, "optimizer__momentum": 0.9}},
]


def make(**params):
    params = {"hidden_layer_sizes": (4,), "max_iter": 2, "random_state": 0} | params
    return GaussianEmbedder(**params)


def target_of(estimator):
    task = getattr(estimator, "task", None)
    name = "classification" if isinstance(task, Classification) else task
    return TARGETS.get(name if isinstance(name, str) else None)


def results(estimator):
    """Return what the methods of an estimator return, in float64 and in float32."""
    found = {}
    some, y = X[::6], target_of(estimator)
    for dtype in (np.float64, np.float32):
        Z = np.asarray(estimator.transform(some.astype(dtype)))
        found["transform", dtype] = Z
        for name in ("score_samples", "predict", "predict_proba"):
            if hasattr(estimator, name):
                found[name, dtype] = getattr(estimator, name)(some.astype(dtype))
        if hasattr(estimator, "inverse_transform"):
            found["inverse_transform", dtype] = estimator.inverse_transform(Z)
    if hasattr(estimator, "sample"):
        found["sample"] = estimator.sample(5, random_state=0)
    if getattr(estimator, "calibration", "gaussianize") != "gaussianize":
        for i, part in enumerate(
            estimator.posterior(some) if hasattr(estimator, "posterior") else ()
        ):
            found["posterior", i] = part
    if not isinstance(estimator, GaussianEmbedderCV):
        found["score"] = estimator.score(some, None if y is None else y[::6])
    found["names"] = estimator.get_feature_names_out()
    return found


def assert_equal(one, other):
    np.testing.assert_equal(results(one), results(other))
    for first, second in zip(contents(one), contents(other), strict=True):
        np.testing.assert_equal(first, second)


def contents(estimator):
    """Return all that a file would hold: the parameters, the fitted state and the arrays."""
    arrays = {}
    return persistence._encode(estimator, "", arrays), arrays


@pytest.fixture
def path(tmp_path):
    return tmp_path / "estimator.safetensors"


def through_file(estimator, path):
    estimator.save(path)
    return load(path)


@pytest.fixture(params=SETTINGS, ids=lambda params: "-".join(map(str, params)))
def embedder(request):
    embedder = make(**copy.deepcopy(request.param))
    return embedder.fit(X, target_of(embedder))


# The same estimator


@pytest.mark.filterwarnings("ignore:The log-likelihood")
def test_a_loaded_embedder_gives_the_same_bits_and_trains_on_alike(embedder, path):
    copies = [through_file(embedder, path), pickle.loads(pickle.dumps(embedder))]
    for again in copies:
        assert_equal(again, embedder)
        for name, value in embedder.get_params().items():
            assert type(again.get_params()[name]) is type(value)
    y = target_of(embedder)
    # The map takes long to fit, and its seed is one of the arrays compared above.
    settings = {"warm_start": True, "calibration": embedder.calibration and "affine"}
    for each in (embedder, *copies):
        each.set_params(**settings).fit(X, y)
        each.partial_fit(X[::2], None if y is None else y[::2])
    copies[0] = through_file(copies[0], path)
    for each in (embedder, *copies):  # continues with the kept samples of the stream
        each.partial_fit(X, y)
    for again in copies:
        assert_equal(again, embedder)


@pytest.mark.parametrize(("dtype", "dependent"), [(np.float64, True), (np.float32, False)])
def test_a_loaded_gaussianizer_gives_the_same_bits(path, dtype, dependent):
    rows = X.assign(sum=X.sum(axis=1)) if dependent else X
    gaussianizer = Gaussianizer(random_state=0).fit(rows.astype(dtype))
    again = through_file(gaussianizer, path)
    Z = gaussianizer.transform(rows)
    np.testing.assert_array_equal(again.transform(rows), Z)
    np.testing.assert_array_equal(again.inverse_transform(Z), gaussianizer.inverse_transform(Z))
    np.testing.assert_array_equal(again.score_samples(rows), gaussianizer.score_samples(rows))
    np.testing.assert_array_equal(again.sample(9, 0), gaussianizer.sample(9, 0))
    np.testing.assert_equal(contents(again), contents(gaussianizer))


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"refit": False, "cv": KFold(2, shuffle=True, random_state=0), "scoring": "r2"},
        {
            "scoring": {"r2": reconstruction_scorer, "gaussian": gaussianity_scorer},
            "refit": most_gaussian_within("r2", 0.1, gaussianity="gaussian"),
        },
        {"task": "classification", "halving": True, "max_iter": 9},
    ],
    ids=["default", "no refit", "several scores", "halving"],
)
@pytest.mark.filterwarnings("ignore:The log-likelihood")
def test_a_loaded_search_gives_the_same_bits(params, path):
    defaults = {"reg_weights": np.array([0.1, 1.0]), "cv": 2, "max_iter": 1, "random_state": 0}
    if params.get("scoring") == "r2":
        params = params | {"task": "regression"}
    search = GaussianEmbedderCV(hidden_layer_sizes=(4,), **(defaults | params))
    search.fit(X, target_of(search)).set_output(transform="pandas")
    for again in (through_file(search, path), pickle.loads(pickle.dumps(search))):
        assert vars(again).keys() == vars(search).keys()
        np.testing.assert_equal(again.cv_results_, search.cv_results_)
        masks = (each.cv_results_["param_reg_weight"].mask for each in (again, search))
        np.testing.assert_array_equal(*masks)
        assert repr(again.get_params()) == repr(search.get_params())
        assert repr(again.scorer_) == repr(search.scorer_)
        if search.refit:
            assert_equal(again, search)


def test_a_search_keeps_nothing_of_an_embedder_that_it_does_not_fit_again(path):
    search = GaussianEmbedderCV(
        hidden_layer_sizes=(4,), reg_weights=[0.1, 1.0], cv=2, max_iter=1, random_state=0
    )
    search.fit(X).set_params(refit=False).fit(X)
    assert vars(search).keys() == vars(clone(search).fit(X)).keys()
    again = through_file(search, path)
    np.testing.assert_equal(again.cv_results_, search.cv_results_)


def test_an_estimator_without_a_fit_can_be_saved(path):
    for estimator in (make(regularizer=Adversarial()), GaussianEmbedderCV(), Gaussianizer()):
        again = through_file(estimator, path)
        assert repr(again) == repr(estimator)
        assert vars(again).keys() == vars(estimator).keys()


@pytest.mark.parametrize("kind", [str, int, bool, object])
def test_labels_keep_their_type(kind, path):
    y = {str: species, int: labels.to_numpy(), bool: labels.to_numpy() > 0}
    y[object] = species.astype(object)
    embedder = make(task="classification").fit(X, y[kind])
    again = through_file(embedder, path)
    assert again.classes_.dtype == embedder.classes_.dtype
    assert again.predict(X).dtype == embedder.predict(X).dtype
    np.testing.assert_array_equal(again.predict(X), embedder.predict(X))


def test_settings_that_changed_after_the_fit_are_kept_apart(path):
    embedder = make().fit(X)
    changed = {"hidden_layer_sizes": (9,), "learning_rate_init": -1.0, "tol": 7.0, "init": "random"}
    embedder.set_params(**changed, reg_weight=5.0)
    embedder.set_output(transform="pandas")
    again = through_file(embedder, path)
    assert again.get_params() == embedder.get_params()
    assert again.net_.criterion_.reg_weight == 1.0
    assert list(again.transform(X).columns) == ["gaussianembedder0", "gaussianembedder1"]
    assert_equal(again, embedder)


def test_a_loaded_embedder_goes_on_in_modes_of_torch(path):
    embedder = make().fit(X)
    embedder.save(path)
    state = torch.get_rng_state()
    with torch.inference_mode():
        again = load(path)
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(
        again.partial_fit(X).transform(X), embedder.partial_fit(X).transform(X)
    )


def test_an_absent_device_is_replaced_by_the_cpu(path):
    embedder = make().fit(X)
    embedder._fixed["device"] = "cuda:99"
    embedder.save(path)
    with pytest.warns(UserWarning, match="device='cuda:99' is not available"):
        again = load(path)
    np.testing.assert_array_equal(again.transform(X), embedder.transform(X))


def test_all_calibrations_can_be_stored():
    stored = set(persistence._classes().values())
    for info in pkgutil.iter_modules(calibration.__path__, f"{calibration.__name__}."):
        module = importlib.import_module(info.name)
        for value in vars(module).values():
            if isinstance(value, type) and value.__module__ == module.__name__:
                assert value in stored


# What cannot be stored


class Own(Regularizer):
    def __call__(self, embedding, n_rows=float("inf"), generator=None):
        return embedding.sample.mean(-2).square().sum(-1)


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"encoder": torch.nn.Linear}, "encoder="),
        ({"decoder": torch.nn.Linear(2, 4)}, "decoder="),
        ({"regularizer": Own()}, "regularizer="),
        ({"regularizer": MomentMatching() + 2 * Own()}, "regularizer.second.regularizer="),
        ({"regularizer": Adversarial(critic=torch.nn.Linear)}, "regularizer.critic="),
        ({"task": lambda x, z, output, y: z.square().sum(-1)}, "task="),
        ({"task": Reconstruction(absolute)}, "task.error="),
        ({"net_params": {"callbacks": [object]}}, "net_params.callbacks.0="),
        (
            {"net_params": {"compile__options": {"cpp.cxx": "touch"}}},
            "GaussianEmbedder: a file must not hold net_params={'compile__options'",
        ),
        (
            {"net_params": {"optimizer": gaussianity_scorer}},
            "GaussianEmbedder: a file must not hold net_params={'optimizer'",
        ),
        ({"target_cov": np.eye(2, dtype=np.longdouble)}, "target_cov: .* dtype float128"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_object_of_the_users_own_is_named(params, name, path):
    with pytest.raises(ValueError, match=f"cannot save {name}"):
        make(**params).save(path)
    assert not path.exists()


def test_an_object_of_the_users_own_in_a_search_is_named(path):
    with pytest.raises(ValueError, match="cannot save scoring=<function"):
        GaussianEmbedderCV(scoring=lambda estimator, X, y: 0.0).save(path)


def test_an_object_of_the_users_own_is_named_although_the_parameter_has_changed(path):
    embedder = make(encoder=torch.nn.Linear, task=lambda x, z, output, y: z.square().sum(-1))
    embedder.fit(X).set_params(encoder=None)
    with pytest.raises(ValueError, match="cannot save task="):
        embedder.save(path)
    with pytest.raises(ValueError, match="cannot save task_="):
        embedder.set_params(task="reconstruction").save(path)
    embedder = make(encoder=torch.nn.Linear).fit(X).set_params(encoder=None)
    with pytest.raises(ValueError, match=r"cannot save _fixed\.encoder="):
        embedder.save(path)


class Mine(GaussianEmbedder):
    pass


def test_a_subclass_or_another_attribute_is_not_lost_silently(path):
    with pytest.raises(ValueError, match="cannot save Mine"):
        Mine(max_iter=1).save(path)
    embedder = make()
    embedder.note = "iris"
    with pytest.raises(
        ValueError, match=r"cannot save GaussianEmbedder: unknown attributes.*'note'"
    ):
        embedder.save(path)
    assert pickle.loads(pickle.dumps(embedder)).note == "iris"
    mine = Mine(2, max_iter=1, random_state=0).fit(X)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(mine)).transform(X), mine.transform(X))


# Damaged files


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Return the bytes of a file, and its estimator."""
    path = tmp_path_factory.mktemp("files") / "small"
    embedder = GaussianEmbedder(1, hidden_layer_sizes=(), max_iter=1, random_state=0).fit(X)
    embedder.save(path)
    return path.read_bytes(), embedder


def parts(raw):
    """Return the JSON header of a file, and the bytes after it."""
    end = 8 + int.from_bytes(raw[:8], "little")
    return json.loads(raw[8:end]), raw[end:]


def joined(header, body):
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + body


def flip(raw, rng):
    place = rng.randrange(len(raw) if rng.random() < 0.5 else raw.index(b"}}") + 200)
    return raw[:place] + bytes([raw[place] ^ 1 << rng.randrange(8)]) + raw[place + 1 :]


def truncate(raw, rng):
    return raw[: rng.randrange(len(raw))]


def extend(raw, rng):
    return raw + rng.randbytes(rng.randrange(1, 20))


def swap(raw, rng):
    header, body = parts(raw)
    one, other = rng.sample(sorted(header.keys() - {"__metadata__"}), 2)
    header[one], header[other] = header[other], header[one]
    return joined(header, body)


WORDS = [None, True, 0, -1, 1e400, "", "os.system", "__class__", [], {}, {"object": ["Popen", {}]}]
WORDS += [{"function": "eval"}, {"array": ["net_.generator", "C"]}, {"dict": [[1]]}, [[]] * 3]


def edit(value, rng):
    """Return JSON with one place replaced, removed, renamed or moved."""
    if isinstance(value, dict) and value and rng.random() < 0.95:
        key = rng.choice(list(value))
        choice = rng.random()
        changed = dict(value)
        if choice < 0.05:
            del changed[key]
        elif choice < 0.1:
            changed[key + "x"] = changed.pop(key)
        else:
            changed[key] = edit(value[key], rng)
        return changed
    if isinstance(value, list) and value and rng.random() < 0.95:
        place = rng.randrange(len(value))
        return [*value[:place], edit(value[place], rng), *value[place + 1 :]]
    if isinstance(value, str) and rng.random() < 0.5:
        return value[::-1]
    return rng.choice(WORDS)


def edit_header(raw, rng):
    header, body = parts(raw)
    if rng.random() < 0.5:
        return joined(edit(header, rng), body)
    metadata = header["__metadata__"]
    metadata["contents"] = json.dumps(edit(json.loads(metadata["contents"]), rng))
    return joined(header, body)


def test_damaged_files_are_refused_or_equal(small, path):
    raw, embedder = small
    expected = contents(embedder)
    rng = random.Random(0)
    refused = 0
    for i in range(1000):
        mutate = (flip, truncate, swap, edit_header, extend)[i % 5]
        path.write_bytes(mutate(raw, rng))
        try:
            again = load(path)
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017 (not raised by each file)
            refused += 1
        else:
            np.testing.assert_equal(contents(again), expected)
    assert refused > 900


def metadata_and_arrays(raw):
    metadata = parts(raw)[0]["__metadata__"]
    del metadata["sha256"]
    return metadata, safetensors.numpy.load(raw)


def sealed(metadata, arrays):
    """Return the bytes of a file with a valid checksum."""
    checksum = persistence._checksum(metadata, arrays)
    return safetensors.numpy.save(arrays, metadata | {"sha256": checksum})


def test_edited_files_with_a_valid_checksum_execute_nothing(small, path, monkeypatch):
    metadata, arrays = metadata_and_arrays(small[0])
    known, executed = set(persistence._classes().values()), []
    monkeypatch.setattr(os, "system", executed.append)
    rng = random.Random(0)
    for _ in range(300):
        some = dict(arrays)
        if rng.random() < 0.1:
            del some[rng.choice(sorted(some))]
        again = metadata | {"contents": json.dumps(edit(json.loads(metadata["contents"]), rng))}
        path.write_bytes(sealed(again, some))
        try:
            loaded = load(path)
        except ValueError:
            continue
        assert type(loaded) in known
        if hasattr(loaded, "net_"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert loaded.transform(X.to_numpy()).shape == (len(X), 1)  # names may be edited
    assert not executed


def of_kind(value, kind):
    """Return all places in JSON with a value of a kind, such as {"tuple": ...}."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    places = [place for item in items for place in of_kind(item, kind)]
    return [value, *places] if isinstance(value, dict) and kind in value else places


@pytest.mark.parametrize(
    "estimator",
    [
        make(regularizer="adversarial", calibration="gaussianize"),
        make(regularizer="kl", task="classification", calibration="gaussianize"),
        make(task="regression", net_params={"optimizer": torch.optim.Adadelta}),
        GaussianEmbedderCV(hidden_layer_sizes=(), reg_weights=[0.1, 1.0], cv=2, max_iter=1),
        Gaussianizer(random_state=0),
    ],
    ids=repr,
)
def test_an_array_of_another_shape_or_type_is_refused(estimator, path):
    y = target_of(estimator)
    fit = getattr(estimator, "partial_fit", estimator.fit)
    fit(X, y)
    estimator.save(path)
    metadata, arrays = metadata_and_arrays(path.read_bytes())
    kinds = {re.sub(r"\d+", "0", name): name for name in arrays}.values()
    for name in kinds:
        array = arrays[name]
        edits = {
            "longer": np.repeat(np.atleast_1d(array), 2, axis=-1),
            "nested": np.atleast_1d(array)[None],
            "other type": np.zeros(array.shape, np.float16),
        }
        if name.endswith(("levels", "classes_")):
            del edits["longer"]  # any number of levels is possible, and any width of text
        if name.startswith("cv_results_"):
            del edits["other type"]  # scores, times, ranks
        for edited in edits.values():
            path.write_bytes(sealed(metadata, arrays | {name: edited}))
            with pytest.raises(ValueError, match="does not hold a valid estimator"):
                load(path)


def sized(contents, name, value):
    """Return contents with another value of an attribute, a parameter or a key, in all places."""
    for place in of_kind(contents, "object"):
        if name in place["object"][1]:
            place["object"][1][name] = value
    for place in of_kind(contents, "dict"):
        place["dict"] = [[key, value if key == name else item] for key, item in place["dict"]]
    return contents


def load_elsewhere(path, sender):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        outcome = type(load(path))
    except ValueError:
        outcome = ValueError
    sender.send((outcome, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024))


def outcome_and_memory(path):
    """Return what a new process loads, or ValueError, and the memory that it needs, in MB."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(
        target=load_elsewhere, args=(path, sender)
    )
    process.start()
    process.join()
    assert process.exitcode == 0
    return receiver.recv()


ONLY_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs fork, and kB of memory")


@ONLY_LINUX
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden_layer_sizes", {"tuple": [10_000, 10_000]}),
        ("hidden_layer_sizes", {"tuple": [1] * 100_000}),
        ("critic_hidden_layer_sizes", {"tuple": [10_000, 10_000]}),
        ("n_features_in_", 50_000_000),
        ("n_components_", 50_000_000),
        ("out_features_", 50_000_000),
        ("mean", {"objects": [[50_000_000], []]}),
        ("mean", {"objects": ["<U50000000", [1], ["a"]]}),
    ],
    ids=lambda value: f"{value!s:.40}",
)
def test_a_small_file_needs_little_memory(name, value, path):
    make(regularizer="adversarial", max_iter=0).fit(X).save(path)
    metadata, arrays = metadata_and_arrays(path.read_bytes())
    metadata["contents"] = json.dumps(sized(json.loads(metadata["contents"]), name, value))
    path.write_bytes(sealed(metadata, arrays))
    outcome, memory = outcome_and_memory(path)
    assert outcome is ValueError
    assert memory < 50


@ONLY_LINUX
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_loading_needs_a_few_times_the_memory_of_the_file(path):
    make(hidden_layer_sizes=(1000, 1000), max_iter=1).fit(X).save(path)
    outcome, memory = outcome_and_memory(path)
    assert outcome is GaussianEmbedder
    assert memory < 30 + 5 * path.stat().st_size / 2**20


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, {"tuple": [1] * 624}),
        (1, 625),
        (1, -1),
        (1, 2**31),
        (2, 2),
        (3, None),
    ],
)
def test_an_invalid_state_of_a_random_generator_is_refused(place, value, path):
    make(random_state=np.random.RandomState(0)).save(path)
    metadata, arrays = metadata_and_arrays(path.read_bytes())
    contents = json.loads(metadata["contents"])
    *_, state = of_kind(contents, "random_state")
    state["random_state"][place] = value
    metadata["contents"] = json.dumps(contents)
    path.write_bytes(sealed(metadata, arrays if place else {}))
    with pytest.raises(ValueError, match="state of a RandomState"):
        load(path)


def test_an_invalid_state_of_torchs_generator_is_refused(small, path):
    metadata, arrays = metadata_and_arrays(small[0])
    name = "net_.generator"
    left = arrays[name][8:12].view(np.int32)  # numbers left of 624, and the place of the next
    assert left + arrays[name][16:24].view(np.int64) in (1, 625)
    left[:] = 600
    path.write_bytes(sealed(metadata, arrays))
    with pytest.raises(ValueError, match="600 numbers left"):
        load(path)


@pytest.mark.parametrize("name", persistence.OPTIMIZERS)
def test_the_state_of_every_optimizer_is_restored(name, path):
    params = {"optimizer": getattr(torch.optim, name), "optimizer__foreach": False}
    embedder = make(net_params=params).fit(X)
    again = through_file(embedder, path)
    np.testing.assert_array_equal(
        again.partial_fit(X).transform(X), embedder.partial_fit(X).transform(X)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "not saved by sklatent"),
        ({"format_version": "2"}, "format 2 of sklatent .* newer version"),
        ({"format_version": "9" * 5000}, "format 999999999 of sklatent .* newer version"),
        ({"more": "x"}, r"unknown keys.*\['more'\]"),
        ({"contents": "1"}, "instead of an estimator"),
        ({"contents": "{"}, "JSONDecodeError"),
        ({"contents": '{"object": ["Popen", {}]}'}, "unknown class: 'Popen'"),
        (
            {"contents": '{"object": ["Gaussianizer", {"x": 1}]}'},
            r"attributes of Gaussianizer: \['x'",
        ),
        ({"contents": '{"object": ["Gaussianizer", {}]}'}, "unknown arrays"),
        ({"contents": '{"eval": "1"}'}, "unknown kind of value: 'eval'"),
    ],
    ids=lambda value: f"{value!s:.40}",
)
def test_the_error_says_what_is_wrong_with_a_file(change, message, small, path):
    metadata, arrays = metadata_and_arrays(small[0])
    path.write_bytes(sealed(metadata | change, arrays))
    with pytest.raises(ValueError, match=message):
        load(path)


def test_the_error_of_a_truncated_altered_or_missing_file(small, path):
    raw, _ = small
    with pytest.raises(FileNotFoundError):
        load(path)
    for size in (0, 5, 100, len(raw) - 1):
        path.write_bytes(raw[:size])
        with pytest.raises(ValueError, match="truncated"):
            load(path)
    retyped = raw.replace(b'"dtype":"F64"', b'"dtype":"I64"')
    for altered in (raw[:-1] + bytes([raw[-1] ^ 1]), retyped):
        assert altered != raw
        path.write_bytes(altered)
        with pytest.raises(ValueError, match="altered: its contents do not have the stored check"):
            load(path)


def test_a_parameter_that_an_older_file_lacks_has_its_default(small, path):
    metadata, arrays = metadata_and_arrays(small[0])
    kind, attributes = json.loads(metadata["contents"])["object"]
    del attributes["validation_fraction"]
    metadata["contents"] = json.dumps({"object": [kind, attributes]})
    path.write_bytes(sealed(metadata, arrays))
    assert load(path).validation_fraction == 0.1


# Writing


def forever(estimators, path):
    while True:
        for estimator in estimators:
            estimator.save(path)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_process_that_is_killed_leaves_a_complete_file(path):
    estimators = [
        make(n_components=k, hidden_layer_sizes=(200, 200), max_iter=0).fit(X) for k in (1, 2)
    ]
    estimators[0].save(path)
    rng = random.Random(0)
    for _ in range(50):
        process = multiprocessing.get_context("fork").Process(
            target=forever, args=(estimators, path)
        )
        process.start()
        time.sleep(rng.uniform(0.005, 0.05))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert load(path).n_components in (1, 2)


def test_a_full_disk_leaves_the_old_file(path):
    make(max_iter=0).fit(X).save(path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    large = make(hidden_layer_sizes=(200, 200), max_iter=0).fit(X)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            large.save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_save_follows_links_and_keeps_the_default_permissions(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    real.touch()
    permissions = real.stat().st_mode
    link.symlink_to(real)
    Gaussianizer().save(str(link))
    assert link.is_symlink()
    assert real.stat().st_mode == permissions
    assert isinstance(load(link), Gaussianizer)


@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "folder"])
def test_only_regular_files_are_replaced_and_read(kind, tmp_path):
    pipe, path = tmp_path / "pipe", tmp_path / kind
    os.mkfifo(pipe)
    if kind == "folder":
        path.mkdir()
    elif path != pipe:
        path.symlink_to(pipe)
    before = {each: each.lstat().st_mode for each in tmp_path.iterdir()}
    for call in (Gaussianizer().save, load):
        with pytest.raises(OSError, match="is not a regular file"):
            call(path)
    assert {each: each.lstat().st_mode for each in tmp_path.iterdir()} == before


@pytest.mark.parametrize("mode", [0o600, 0o444, 0o666])
def test_a_replaced_file_keeps_its_permissions_and_its_owner(mode, path, monkeypatch):
    path.touch()
    path.chmod(mode)
    if os.geteuid() == 0:
        os.chown(path, 12345, 54321)
    before, written = path.stat(), []
    monkeypatch.setattr(os, "fsync", lambda file: written.append(os.fstat(file)))
    Gaussianizer().save(path)
    for after in (path.stat(), *written):  # also of the temporary file
        assert stat.S_IMODE(after.st_mode) == mode
        assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)


@pytest.mark.parametrize("code", [errno.EPERM, errno.EINVAL, errno.ENOTSUP])
def test_save_succeeds_if_the_system_keeps_no_owners(code, path, monkeypatch):
    def fchown(*args):
        raise OSError(code, "not supported")

    path.touch()
    monkeypatch.setattr(os, "fchown", fchown)
    Gaussianizer().save(path)
    assert isinstance(load(path), Gaussianizer)


def test_a_new_file_follows_the_umask(path):
    before = os.umask(0o027)
    try:
        Gaussianizer().save(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_only_own_temporary_files_of_a_day_ago_are_removed(tmp_path):
    old, new, link, folder = (tmp_path / f".sklatent-{i:032x}.tmp" for i in range(4))
    other = tmp_path / f".{0:032x}.tmp"
    for each in (old, new, other):
        each.touch()
    link.symlink_to(other)
    folder.mkdir()
    for each in (old, other, link, folder):
        os.utime(each, (0, 0), follow_symlinks=False)
    Gaussianizer().save(tmp_path / "file")
    assert set(tmp_path.iterdir()) == {new, link, folder, other, tmp_path / "file"}


# Pickles


def test_a_pickle_of_another_version_warns(monkeypatch):
    for estimator in (make().fit(X), Gaussianizer(), make(encoder=torch.nn.Linear)):
        pickled = pickle.dumps(estimator)
        pickle.loads(pickled)
        with monkeypatch.context() as patch:
            patch.setattr(persistence, "__version__", "99.0")
            with pytest.warns(
                InconsistentVersionWarning, match=rf"{sklatent.__version__} when.*99"
            ):
                pickle.loads(pickled)


def test_a_shallow_copy_shares_the_net():
    embedder = make().fit(X)
    assert copy.copy(embedder).net_ is embedder.net_


def test_skops_needs_one_trusted_type_per_estimator():
    io = pytest.importorskip("skops.io")
    pipeline = make_pipeline(
        StandardScaler(),
        make(regularizer="kl", calibration="gaussianize"),
        Gaussianizer(),
        LogisticRegression(),
    ).fit(X, labels)
    search = GaussianEmbedderCV(reg_weights=[1], cv=2, max_iter=1, task="classification")
    detector = OutlierDetector(Gaussianizer())
    for estimator, trusted in (
        (pipeline, ["sklatent._embedder.GaussianEmbedder", "sklatent._gaussianizer.Gaussianizer"]),
        (
            clone(pipeline),
            ["sklatent._embedder.GaussianEmbedder", "sklatent._gaussianizer.Gaussianizer"],
        ),
        (search.fit(X, species), ["sklatent._embedder_cv.GaussianEmbedderCV"]),
        (
            detector.fit(X),
            ["sklatent._gaussianizer.Gaussianizer", "sklatent._outliers.OutlierDetector"],
        ),
    ):
        data = io.dumps(estimator)
        assert io.get_untrusted_types(data=data) == trusted
        again = io.loads(data, trusted=trusted)
        if hasattr(estimator, "n_features_in_"):
            np.testing.assert_array_equal(again.predict(X), estimator.predict(X))


@pytest.mark.parametrize("packed", [True, False])
def test_a_file_of_skops_cannot_name_a_compiler(packed, monkeypatch):
    io = pytest.importorskip("skops.io")
    embedder = make(net_params={"compile": True})
    params = {"compile": True, "compile__options": {"cpp.cxx": "touch"}}
    state = embedder.__getstate__()
    if packed:
        contents = json.loads(state["_contents"])
        contents["object"][1]["net_params"] = persistence._encode(params, "", {})
        state["_contents"] = json.dumps(contents)
    else:
        state = vars(embedder) | {"net_params": params, "_sklatent_version": sklatent.__version__}
    with monkeypatch.context() as patch:
        patch.setattr(GaussianEmbedder, "__getstate__", lambda self: state)
        data = io.dumps(embedder)
    with pytest.raises(ValueError, match=r"compile__options|unknown attributes"):
        io.loads(data, trusted=["sklatent._embedder.GaussianEmbedder"])


def test_skops_asks_before_it_loads_other_attributes():
    io = pytest.importorskip("skops.io")
    params = {"compile__options": {"cpp.cxx": "touch"}}
    embedder = make(net_params=params)
    assert pickle.loads(pickle.dumps(embedder)).net_params == params
    names = io.get_untrusted_types(data=io.dumps(embedder))
    assert names == ["sklatent._embedder.GaussianEmbedder", "sklatent._persistence._Attributes"]


def test_wrong_places_and_files_are_named(tmp_path):
    with pytest.raises(TypeError):
        load(5)
    fitted = Gaussianizer().fit(np.random.default_rng(0).standard_normal((30, 2)))
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        fitted.save(tmp_path / "nowhere" / "file")
    path = tmp_path / "file.pkl"
    path.write_bytes(pickle.dumps(fitted))
    with pytest.raises(ValueError, match="for a pickle use joblib"):
        load(path)
