import copy
import pickle
import time
import warnings
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import torch
from common import absolute
from sklearn.base import clone
from sklearn.datasets import load_digits, load_wine
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    StratifiedKFold,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_sample_weight_equivalence_on_dense_data

from sklatent import GaussianEmbedder, GaussianEmbedderCV
from sklatent.metrics import gaussianity_scorer, most_gaussian_within, reconstruction_scorer
from sklatent.regularizers import Adversarial, Regularizer
from sklatent.tasks import Reconstruction

X, LABELS = load_digits(return_X_y=True)
X, LABELS = X[:450] / 16, LABELS[:450]
SMALL = {"hidden_layer_sizes": (16,), "random_state": 0}
# Three folds of 300 training rows: 270 to train on (two batches of 135), 30 to watch.
EVEN = {**SMALL, "cv": KFold(3), "batch_size": 128}
SCORES = {"r2": reconstruction_scorer, "gaussianity": gaussianity_scorer}

pytestmark = [
    pytest.mark.filterwarnings("ignore:Stochastic Optimizer"),
    pytest.mark.filterwarnings("ignore:The log-likelihood of"),
    pytest.mark.filterwarnings("ignore:posterior collapse"),
]


def grid_search(reg_weights, cv, scoring=reconstruction_scorer, **params):
    embedder = GaussianEmbedder(4, **params)
    grid = {"reg_weight": reg_weights}
    return GridSearchCV(embedder, grid, cv=cv, scoring=scoring, refit=False).fit(X, LABELS)


@contextmanager
def ignored_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def several_scores(embedder, X, y=None):
    return {name: scorer(embedder, X) for name, scorer in SCORES.items()}


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"early_stopping": False},
        {
            "early_stopping": False,
            "tol": 0.02,
            "n_iter_no_change": 1,
            "max_iter": 80,
            "batch_size": 30,
        },
        {"regularizer": None, "max_iter": 3},
        {"task": "classification", "max_iter": 5},
        {"max_iter": 0},
    ],
    ids=str,
)
def test_stacked_candidates_are_those_of_a_grid_search(params):
    # Without draws and with even folds, all that differs is rounding.
    params = {**EVEN, "max_iter": 12, **params}
    reg_weights = [0.01, 1.0, 30.0]
    search = GaussianEmbedderCV(
        4,
        reg_weights=reg_weights,
        scoring=reconstruction_or_accuracy(params),
        refit=False,
        **params,
    ).fit(X, LABELS)
    cv = params.pop("cv")
    reference = grid_search(reg_weights, cv, reconstruction_or_accuracy(params), **params)
    for split in range(3):
        key = f"split{split}_test_score"
        np.testing.assert_allclose(search.cv_results_[key], reference.cv_results_[key], atol=2e-3)
    assert search.reg_weight_ == reg_weights[reference.best_index_]


def reconstruction_or_accuracy(params):
    return None if params.get("task") == "classification" else reconstruction_scorer


def test_each_model_stops_by_itself():
    # With a tolerance so large nothing counts as progress: all stop after 300 steps. The
    # smallest weight goes on where the criterion still falls.
    params = {**EVEN, "early_stopping": False, "n_iter_no_change": 1, "max_iter": 250}
    n_epochs = []
    for tol in (1e-4, 10.0):
        search = GaussianEmbedderCV(
            4, reg_weights=[0.1], tol=tol, scoring=n_iter, refit=False, **params
        ).fit(X)
        n_epochs.append(search.cv_results_["mean_test_score"][0])
    assert n_epochs[1] == 151  # 150 epochs of two steps, after the first
    assert n_epochs[0] > n_epochs[1]


def n_iter(embedder, X, y=None):
    assert len(embedder.loss_curve_) == embedder.n_iter_
    return embedder.n_iter_


@pytest.mark.parametrize("regularizer", ["kl", "sliced", "adversarial"])
def test_regularizers_that_draw_agree_with_a_grid_search_within_noise(regularizer):
    params = {**EVEN, "max_iter": 20, "regularizer": regularizer}
    reg_weights = [0.01, 1.0]
    search = GaussianEmbedderCV(
        4, reg_weights=reg_weights, scoring=reconstruction_scorer, refit=False, **params
    ).fit(X)
    reference = grid_search(reg_weights, params.pop("cv"), **params)
    np.testing.assert_allclose(
        search.cv_results_["mean_test_score"], reference.cv_results_["mean_test_score"], atol=0.02
    )


def test_results_look_like_those_of_a_grid_search():
    params = {**SMALL, "max_iter": 3}
    search = GaussianEmbedderCV(
        4, reg_weights=[1.0, 0.1], cv=2, scoring=SCORES, refit="r2", **params
    ).fit(X)
    reference = grid_search([1.0, 0.1], 2, SCORES, **params)
    frame, expected = pd.DataFrame(search.cv_results_), pd.DataFrame(reference.cv_results_)
    assert set(frame) == set(expected)
    pd.testing.assert_series_equal(frame["param_reg_weight"], expected["param_reg_weight"])
    assert list(frame["params"]) == list(expected["params"])
    assert search.best_score_ == frame["mean_test_r2"].max()
    assert search.n_splits_ == 2
    assert search.scorer_ == SCORES


def test_it_is_the_best_embedder():
    search = GaussianEmbedderCV(4, reg_weights=[0.1, 1.0], cv=2, max_iter=3, **SMALL).fit(X)
    best = GaussianEmbedder(4, reg_weight=search.reg_weight_, max_iter=3, **SMALL).fit(X)
    np.testing.assert_array_equal(search.transform(X), best.transform(X))
    np.testing.assert_array_equal(search.best_embedder_.transform(X), best.transform(X))
    Z = search.transform(X)
    np.testing.assert_array_equal(search.inverse_transform(Z), best.inverse_transform(Z))
    assert search.score(X) == best.score(X)
    assert list(search.get_feature_names_out()) == [f"gaussianembeddercv{i}" for i in range(4)]
    np.testing.assert_array_equal(search.noise_variance_, best.noise_variance_)
    again = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(again.transform(X), Z)
    assert not hasattr(search, "partial_fit")


def test_without_refit_there_is_a_choice_but_no_embedding():
    search = GaussianEmbedderCV(4, reg_weights=[1.0], cv=2, max_iter=1, refit=False, **SMALL)
    assert search.fit(X).reg_weight_ == 1.0
    assert not hasattr(search, "best_embedder_")
    with pytest.raises(ValueError, match="not fitted"):
        search.transform(X)


def test_refit_can_be_a_function_of_the_results():
    search = GaussianEmbedderCV(
        4,
        reg_weights=[0.01, 100.0],
        cv=2,
        scoring=SCORES,
        refit=most_gaussian_within("r2", tolerance=1.0),
        regularizer="sliced",
        max_iter=30,
        **SMALL,
    ).fit(X)
    assert search.best_index_ == search.cv_results_["mean_test_gaussianity"].argmax()
    assert not hasattr(search, "best_score_")


@pytest.mark.parametrize("regularizer", ["moment", "kl", "adversarial"])
def test_folds_of_unequal_size(regularizer):
    groups = np.repeat([0, 1, 2], [250, 150, 50])
    search = GaussianEmbedderCV(
        4, regularizer=regularizer, reg_weights=[0.1, 1], cv=GroupKFold(3), max_iter=5,
        scoring=reconstruction_scorer, refit=False, **SMALL,
    ).fit(X, groups=groups)  # fmt: skip
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize("groups", [(400, 50), (441, 9)])
def test_folds_of_unequal_size_are_watched_as_if_alone(groups):
    # The criterion before training, on the rows set aside; nine rows are too few to set some aside.
    def start(embedder, X, y=None):
        return embedder.validation_scores_[0] if embedder.validation_scores_ else 0.0

    cv = list(LeaveOneGroupOut().split(X, groups=np.repeat([0, 1], groups)))
    params = {**SMALL, "max_iter": 1, "task": "classification"}
    grid = GridSearchCV(
        GaussianEmbedder(4, **params), {"reg_weight": [1, 10]}, cv=cv, scoring=start, refit=False
    ).fit(X, LABELS)
    search = GaussianEmbedderCV(
        4, reg_weights=[1, 10], cv=cv, scoring=start, refit=False, **params
    ).fit(X, LABELS)
    for fold, n in enumerate(groups[::-1]):
        scores, expected = (each.cv_results_[f"split{fold}_test_score"] for each in (search, grid))
        assert (expected == 0).all() == (n < 10)
        if n < 10:  # alone it is not watched; beside others it is, on the rows that it trains on
            assert (scores != 0).all()
        else:
            np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_attributes_of_candidates_are_those_of_an_embedder_alone():
    # The critic's gap is that of the samples set aside; calibration and noise are weighted.
    weight = np.random.default_rng(0).exponential(size=len(X))
    train, test = np.arange(300), np.arange(300, 450)
    params = {**SMALL, "regularizer": "adversarial", "max_iter": 0}
    seen = []

    def attributes(embedder, X, y=None):
        seen.append((embedder.critic_gap_, embedder.noise_variance_, embedder.transform(X)))
        return 0.0

    GaussianEmbedderCV(
        4, reg_weights=[1], cv=[(train, test)], scoring=attributes, refit=False, **params
    ).fit(X, sample_weight=weight)
    alone = GaussianEmbedder(4, **params).fit(X[train], sample_weight=weight[train])
    ((gap, noise, Z),) = seen
    assert gap == pytest.approx(alone.critic_gap_, rel=1e-5)
    np.testing.assert_allclose(noise, alone.noise_variance_, rtol=1e-5)
    np.testing.assert_allclose(Z, alone.transform(X[test]), atol=1e-6)


def test_scorers_and_splitters_are_given_what_fit_is():
    frame = pd.DataFrame(X, columns=[f"pixel{i}" for i in range(64)])

    class Splitter(KFold):
        def split(self, X, y=None, groups=None):
            assert X is frame
            return super().split(X, y)

    def scorer(embedder, X, y=None):
        assert (embedder.feature_names_in_ == X.columns).all()
        return reconstruction_scorer(embedder, X)

    params = {**SMALL, "reg_weights": [1], "max_iter": 1}
    search = GaussianEmbedderCV(4, cv=Splitter(2), scoring=scorer, **params).fit(frame)
    plain = GaussianEmbedderCV(4, cv=2, scoring=reconstruction_scorer, **params).fit(X)
    assert search.best_score_ == plain.best_score_


def test_groups_and_labels_reach_the_splitter():
    class Splitter(StratifiedKFold):
        def split(self, X, y=None, groups=None):
            np.testing.assert_array_equal(y, LABELS)
            np.testing.assert_array_equal(groups, np.arange(len(X)))
            return super().split(X, y)

    GaussianEmbedderCV(4, reg_weights=[1], cv=Splitter(2), max_iter=0, **SMALL).fit(
        X, LABELS, groups=np.arange(len(X))
    )


def test_rows_of_weight_zero_do_not_exist():
    weight = np.random.default_rng(0).integers(0, 3, len(X)).astype(float)
    kept = np.flatnonzero(weight)
    params = {**SMALL, "reg_weights": [0.1, 1], "max_iter": 2}
    # The splits are of the rows as they are given, those of weight zero among them.
    halves = np.array_split(np.arange(len(X)), 2)
    some = GaussianEmbedderCV(4, cv=[halves, halves[::-1]], **params)
    some.fit(X, sample_weight=weight)
    halves = [np.searchsorted(kept, np.intersect1d(half, kept)) for half in halves]
    none = GaussianEmbedderCV(4, cv=[halves, halves[::-1]], **params)
    none.fit(X[kept], sample_weight=weight[kept])
    np.testing.assert_array_equal(
        some.cv_results_["mean_test_score"], none.cv_results_["mean_test_score"]
    )
    np.testing.assert_array_equal(some.transform(X), none.transform(X))


def test_scikit_learns_check_of_weights_fails_by_chance_alone():
    # Expected to fail (test_common.py), but by numbers: the rows drawn are others.
    search = GaussianEmbedderCV(reg_weights=(0.01, 1.0), max_iter=2, **SMALL)
    with pytest.raises(AssertionError, match="not equivalent"):
        check_sample_weight_equivalence_on_dense_data("GaussianEmbedderCV", search)


def test_scores_are_weighted_as_the_fit_is():
    weight = np.where(LABELS == 0, 5.0, 1.0)
    search = GaussianEmbedderCV(4, reg_weights=[1], cv=[(np.arange(300), np.arange(300, 450))],
                                max_iter=0, **SMALL).fit(X, sample_weight=weight)  # fmt: skip
    embedder = GaussianEmbedder(4, max_iter=0, **SMALL).fit(X[:300], sample_weight=weight[:300])
    expected = embedder.score(X[300:], sample_weight=weight[300:])
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], expected, rtol=1e-6)


def test_a_given_scoring_receives_no_weights():
    def weighted(embedder, X, y=None, sample_weight=None):
        return float(sample_weight is not None)

    search = GaussianEmbedderCV(4, reg_weights=[1], cv=2, scoring=weighted, max_iter=0, **SMALL)
    assert search.fit(X, sample_weight=np.where(LABELS == 0, 5.0, 1.0)).best_score_ == 0


def test_a_share_of_variance_is_resolved_once():
    search = GaussianEmbedderCV(
        0.6, reg_weights=[1], cv=3, max_iter=0, scoring=reconstruction_scorer, **SMALL
    ).fit(X)
    assert search.n_components_ == GaussianEmbedder(0.6, max_iter=0, **SMALL).fit(X).n_components_
    assert search.n_components == 0.6


def test_a_share_of_variance_is_one_of_weighted_samples():
    weight = np.where(LABELS == 0, 1.0, 1e-3)
    params = {**SMALL, "max_iter": 0}
    weighted, plain = (
        GaussianEmbedder(0.8, **params).fit(X, sample_weight=w).n_components_
        for w in (weight, None)
    )
    assert weighted < plain
    search = GaussianEmbedderCV(
        0.8, reg_weights=[1], cv=2, scoring=reconstruction_scorer, **params
    ).fit(X, sample_weight=weight)
    assert search.n_components_ == weighted


def test_folds_of_a_classification_are_stratified():
    order = np.argsort(LABELS)
    seen = []

    def classes(embedder, X, y):
        seen.append(len(np.unique(y)))
        return 0.0

    params = {**SMALL, "task": "classification", "reg_weights": [1], "max_iter": 0}
    GaussianEmbedderCV(4, cv=3, scoring=classes, refit=False, **params).fit(X[order], LABELS[order])
    assert seen == [10, 10, 10]


def test_a_class_that_a_fold_lacks():
    cv = [(np.flatnonzero(LABELS != 3), np.flatnonzero(LABELS == 3))]
    search = GaussianEmbedderCV(
        4, task="classification", reg_weights=[1], cv=cv, max_iter=1, **SMALL
    )
    assert search.fit(X, LABELS).cv_results_["mean_test_score"] == 0


class Square(Regularizer):
    """A user's own."""

    def __call__(self, embedding, n_rows=float("inf"), generator=None):
        return embedding.sample.square().mean(dim=(-2, -1))


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"regularizer": Square()}, "regularizer=Square"),
        ({"encoder": lambda p, k: torch.nn.Linear(p, k)}, "encoder="),
        ({"encoder": torch.nn.Linear(64, 4)}, "encoder=Linear"),
        ({"decoder": torch.nn.Linear(4, 64), "init": "random"}, "decoder=Linear"),
        ({"decoder": lambda p, k: torch.nn.Linear(p, k)}, "decoder="),
        ({"net_params": {"optimizer": torch.optim.AdamW}}, "net_params="),
        ({"task": lambda x, z, output, y: z.square().sum(-1)}, "task="),
        ({"regularizer": Adversarial(critic=torch.nn.Linear(4, 1))}, "regularizer=Adversarial"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_stacked_trains_one_at_a_time(params, reason):
    params = {**SMALL, "max_iter": 2, **params}
    search = GaussianEmbedderCV(4, reg_weights=[0.1, 1.0], cv=2, **params)
    with pytest.warns(UserWarning, match=f"{reason}.*one at a time"):
        search.fit(X)
    embedder = GaussianEmbedder(4, **{**params, "reg_weight": search.reg_weight_}).fit(X)
    np.testing.assert_array_equal(search.transform(X), embedder.transform(X))


def test_one_at_a_time_is_the_grid_search_itself():
    params = {**SMALL, "max_iter": 4, "learning_rate_init": 0.01}
    params |= {"early_stopping": False, "net_params": {"optimizer": torch.optim.Adam}}
    with pytest.warns(UserWarning, match="one at a time"):
        search = GaussianEmbedderCV(
            4, reg_weights=[0.1, 1], cv=3, scoring=reconstruction_scorer, refit=False, **params
        ).fit(X)
    reference = grid_search([0.1, 1], 3, **params)
    np.testing.assert_allclose(
        search.cv_results_["mean_test_score"], reference.cv_results_["mean_test_score"], atol=1e-6
    )


# Three splits: of all but a few digits, of three samples (too few for four components), and with
# test samples of one class only.
FULL = (np.arange(0, 200), np.arange(200, 300))
TOO_FEW = (np.arange(0, 3), np.arange(200, 300))
ONE_CLASS = (np.arange(0, 200), 200 + np.flatnonzero(LABELS[200:300] == 3))


def fails_for_small_weights(embedder, X, y=None):
    if embedder.reg_weight < 1:
        raise RuntimeError("no score today")
    return reconstruction_scorer(embedder, X)


@pytest.mark.parametrize(
    ("splits", "params"),
    [
        ([FULL, TOO_FEW], {"scoring": reconstruction_scorer}),
        ([FULL, TOO_FEW], {"scoring": SCORES, "refit": "r2"}),
        ([FULL, TOO_FEW], {"scoring": several_scores, "refit": "r2"}),
        ([FULL, ONE_CLASS], {"scoring": "neg_log_loss", "task": "classification"}),
        ([FULL, ONE_CLASS[::-1]], {"scoring": "accuracy", "task": "classification"}),
        ([FULL, FULL], {"scoring": fails_for_small_weights}),
    ],
    ids=[
        "fit",
        "fit, scores by name",
        "fit, a function of scores",
        "one class",
        "trained on one class",
        "scorer",
    ],
)
@pytest.mark.parametrize("net_params", [None, {"optimizer": torch.optim.Adam}])
@pytest.mark.parametrize("error_score", [np.nan, -7.0, "raise"])
def test_what_fails_has_the_error_score_of_a_grid_search(splits, params, net_params, error_score):
    # Also where candidates train one at a time.
    scoring, refit = params["scoring"], params.get("refit", False)
    params = {"max_iter": 2, "net_params": net_params, "task": params.get("task", "reconstruction")}
    options = {"cv": splits, "scoring": scoring, "error_score": error_score}
    reg_weights = [0.1, 1.0]
    grid = GridSearchCV(
        GaussianEmbedder(4, **params, **SMALL), {"reg_weight": reg_weights}, refit=refit, **options
    )
    path = GaussianEmbedderCV(4, reg_weights=reg_weights, refit=refit, **options, **params, **SMALL)
    if error_score == "raise":
        errors = []
        for search in (grid, path):
            with pytest.raises((ValueError, RuntimeError)) as raised, ignored_warnings():
                search.fit(X, LABELS)
            errors.append((raised.type, str(raised.value)))
        assert errors[0] == errors[1]
        return
    results, categories = [], []
    for search in (grid, path):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            search.fit(X, LABELS)
        results.append(search.cv_results_)
        ours = [each for each in caught if "failed" in str(each.message)]
        categories.append({each.category for each in ours})
    assert categories[0] == categories[1] != set()
    n_errors = 0
    for key in [key for key in results[0] if "_test_" in key and key.startswith("split")]:
        failed = [np.equal(each[key], error_score) | np.isnan(each[key]) for each in results]
        np.testing.assert_array_equal(*failed)
        n_errors += failed[0].sum()
    assert n_errors > 0
    assert search.best_index_ == grid.best_index_


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
@pytest.mark.parametrize("failing", [0, 1, 2])
def test_the_candidates_of_a_fold_that_fails_have_no_score(failing):
    cv = [FULL, FULL, FULL]
    cv[failing] = TOO_FEW
    search = GaussianEmbedderCV(
        4, reg_weights=[0.1, 1.0, 2.0], cv=cv, scoring=reconstruction_scorer, max_iter=0,
        refit=False, **SMALL,
    )  # fmt: skip
    with pytest.warns(FitFailedWarning, match="3 fits failed out of a total of 9"):
        results = search.fit(X).cv_results_
    for fold in range(3):
        assert (np.isnan(results[f"split{fold}_test_score"]) == (fold == failing)).all()


@pytest.mark.parametrize("net_params", [None, {"optimizer": torch.optim.Adam}])
def test_an_error_is_raised_where_all_fits_fail(net_params):
    search = GaussianEmbedderCV(
        4, cv=[TOO_FEW, TOO_FEW], max_iter=2, net_params=net_params, **SMALL
    )
    with pytest.raises(ValueError, match=r"All the 12 fits failed[\s\S]*n_components=4"):
        search.fit(X)


def epochs_and_weight(embedder, X, y=None):
    return embedder.n_iter_ + 1e-6 * embedder.reg_weight


@pytest.mark.filterwarnings("ignore:One or more of the test scores")
@pytest.mark.parametrize("error_score", [np.nan, -7.0])
def test_halving_goes_on_without_a_fold_that_fails(error_score):
    reg_weights = [0.1, 1.0, 1e3]
    search = GaussianEmbedderCV(
        4, reg_weights=reg_weights, cv=[FULL, TOO_FEW, FULL], scoring=epochs_and_weight, max_iter=18, halving=True,
        error_score=error_score, **SMALL,
    )  # fmt: skip
    with pytest.warns(FitFailedWarning):
        search.fit(X)
    survived = search.cv_results_["survived"]
    assert survived.sum() == 1
    np.testing.assert_array_equal(search.cv_results_["split1_test_score"], error_score)
    for split in (0, 2):
        epochs = search.cv_results_[f"split{split}_test_score"]
        np.testing.assert_allclose(epochs, np.where(survived, 18, 2), atol=1e-2)


@pytest.mark.parametrize("net_params", [None, {"optimizer": torch.optim.Adam}])
def test_a_candidate_that_diverges_scores_nan(net_params):
    search = GaussianEmbedderCV(
        4, regularizer="moment", reg_weights=[1.0, 1e39], cv=2, max_iter=30, learning_rate_init=0.1,
        early_stopping=False, scoring=reconstruction_scorer, refit=False, net_params=net_params,
        **SMALL,
    )  # fmt: skip
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        search.fit(X)
    assert any(issubclass(each.category, FitFailedWarning) for each in caught)
    assert np.isfinite(search.cv_results_["mean_test_score"]).tolist() == [True, False]
    assert search.reg_weight_ == 1.0


def test_in_a_pipeline_and_cloned():
    wine = load_wine().data
    search = GaussianEmbedderCV(2, reg_weights=(0.1, 1.0), cv=2, max_iter=2, **SMALL)
    assert clone(search).get_params() == search.get_params()
    Z = make_pipeline(StandardScaler(), search).fit_transform(wine)
    assert Z.shape == (178, 2)


@pytest.mark.parametrize("bad", [[], [-1.0], [[1.0]], "ab", [np.nan], 1.0])
def test_weights_that_are_none(bad):
    with pytest.raises(ValueError, match="reg_weights"):
        GaussianEmbedderCV(2, reg_weights=bad).fit(X)


def test_zero_is_a_weight():
    search = GaussianEmbedderCV(2, reg_weights=[0, 1], cv=2, max_iter=1, refit=False, **SMALL)
    assert np.isfinite(search.fit(X).cv_results_["mean_test_score"]).all()


def test_the_same_random_state_is_the_same_search():
    params = {**SMALL, "regularizer": "sliced", "reg_weights": [0.1, 1], "cv": 3, "max_iter": 3}
    state = torch.get_rng_state()
    one, two = (GaussianEmbedderCV(4, **copy.deepcopy(params)).fit(X) for _ in range(2))
    np.testing.assert_array_equal(
        one.cv_results_["mean_test_score"], two.cv_results_["mean_test_score"]
    )
    assert torch.equal(state, torch.get_rng_state())


def r2_and_epochs(embedder, X, y=None):
    return {"r2": reconstruction_scorer(embedder, X), "epochs": embedder.n_iter_}


@pytest.mark.parametrize("halving", [False, True])
def test_a_function_may_return_several_scores(halving):
    params = {**EVEN, "reg_weights": [0.1, 1, 10], "max_iter": 9, "halving": halving}
    one = GaussianEmbedderCV(4, scoring=r2_and_epochs, refit="r2", **params).fit(X)
    scoring = {"r2": reconstruction_scorer, "epochs": n_iter}
    two = GaussianEmbedderCV(4, scoring=scoring, refit="r2", **params).fit(X)
    for name in ("mean_test_r2", "mean_test_epochs", "rank_test_r2"):
        np.testing.assert_array_equal(one.cv_results_[name], two.cv_results_[name])
    assert one.reg_weight_ == two.reg_weight_
    assert one.best_score_ == two.best_score_


def test_several_scores_need_the_name_of_the_one_that_decides():
    search = GaussianEmbedderCV(4, scoring=r2_and_epochs, cv=2, max_iter=1, **SMALL)
    with pytest.raises(ValueError, match="refit must be set to a scorer key"):
        search.fit(X)


def test_halving_drops_the_worse_two_thirds_twice():
    params = {**EVEN, "reg_weights": np.logspace(-3, 2, 9), "max_iter": 18, "refit": "r2"}
    scoring = {"r2": reconstruction_scorer, "epochs": n_iter}
    halved = GaussianEmbedderCV(4, scoring=scoring, halving=True, **params).fit(X)
    results = halved.cv_results_
    assert sorted(results["mean_test_epochs"]) == [2] * 6 + [6] * 2 + [18]
    assert results["mean_test_epochs"][halved.best_index_] == 18
    assert results["survived"].tolist() == (results["mean_test_epochs"] == 18).tolist()
    # The one that went all the way is as if it had been alone.
    whole = GaussianEmbedderCV(4, scoring=scoring, **params).fit(X)
    best = halved.best_index_
    np.testing.assert_allclose(
        results["mean_test_r2"][best], whole.cv_results_["mean_test_r2"][best], rtol=1e-4
    )


def test_halving_goes_by_the_mean_over_folds_and_rounds_thirds_up():
    table = {1.0: (10, -10), 2.0: (0, 0), 3.0: (4, 4), 4.0: (5, 5)}
    parts = np.arange(200), np.arange(200, 400)
    epochs = {}

    def from_the_table(embedder, rows, y=None):
        epochs[embedder.reg_weight] = embedder.n_iter_
        return table[embedder.reg_weight][int((X[parts[0]] == rows[0]).all(axis=1).any())]

    search = GaussianEmbedderCV(
        4, reg_weights=list(table), cv=[parts, parts[::-1]], scoring=from_the_table, halving=True,
        refit=False, max_iter=9, **SMALL,
    ).fit(X)  # fmt: skip
    assert epochs == {1.0: 1, 2.0: 1, 3.0: 3, 4.0: 9}
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], [0, 0, 4, 5])


def test_times_of_candidates_add_up():
    began = time.perf_counter()
    results = GaussianEmbedderCV(4, cv=2, max_iter=1, refit=False, **SMALL).fit(X).cv_results_
    elapsed = time.perf_counter() - began
    assert 0 < 2 * (results["mean_fit_time"].sum() + results["mean_score_time"].sum()) < elapsed


def test_halving_needs_to_know_the_score_that_decides():
    search = GaussianEmbedderCV(
        4, scoring=SCORES, refit=most_gaussian_within("r2"), halving=True, **SMALL
    )
    with pytest.raises(ValueError, match="halving=True needs one score"):
        search.fit(X)
    search.set_params(scoring=r2_and_epochs, refit=False, cv=2, max_iter=9)
    with pytest.raises(ValueError, match="halving=True needs one score"):
        search.fit(X)


def test_halving_chooses_among_those_it_trained_to_the_end():
    # A score that falls with training: what was dropped early scores more, and is not chosen.
    search = GaussianEmbedderCV(
        4, reg_weights=np.logspace(-3, 2, 4), scoring=fewer_epochs, halving=True, refit=False,
        **{**EVEN, "max_iter": 18},
    ).fit(X)  # fmt: skip
    assert search.best_score_ == -18
    assert search.cv_results_["mean_test_score"].max() == -2


def test_halving_compares_weights_on_all_classes():
    # In every other row, one of two classes: a regular choice of rows could miss one.
    y = np.arange(len(X)) % 2
    params = {**SMALL, "task": "classification", "reg_weights": [0.1, 1, 10, 100], "max_iter": 9}
    search = GaussianEmbedderCV(4, cv=2, scoring="roc_auc", halving=True, refit=False, **params)
    assert np.isfinite(search.fit(X, y).cv_results_["mean_test_score"]).all()


def test_halving_keeps_the_shares_of_the_classes():
    seen = []

    def accuracy(embedder, X, y):
        seen.append((embedder.n_iter_, y))
        return embedder.score(X, y)

    params = {**SMALL, "task": "classification", "reg_weights": [0.1, 1, 10], "max_iter": 9}
    GaussianEmbedderCV(4, cv=2, scoring=accuracy, halving=True, refit=False, **params).fit(
        X, LABELS
    )
    rungs = [y for n_iter, y in seen if n_iter < 9]
    assert rungs
    for y in rungs:
        assert len(y) == 100
        shares = np.bincount(LABELS) * 100 / len(X)
        assert np.abs(np.bincount(y) - shares).max() < 2  # each rounded, of a fold within one


def test_halving_compares_weights_on_different_samples():
    compared = []

    def constant(embedder, X, y=None):
        compared.append(X)
        return 0.0

    GaussianEmbedderCV(
        4, reg_weights=[0.1, 1, 10], cv=2, max_iter=9, scoring=constant, halving=True, refit=False,
        **SMALL,
    ).fit(X)  # fmt: skip
    assert {len(rows) for rows in compared} == {100, len(X) // 2}
    assert all(len(np.unique(rows, axis=0)) == len(rows) for rows in compared)


def test_halving_compares_scores_that_are_weighted_as_the_fit_is():
    weight = np.where(LABELS == 0, 20.0, 1.0)
    train, test = np.arange(300), np.arange(300, 400)
    params = {**SMALL, "batch_size": 128}
    search = GaussianEmbedderCV(
        4, reg_weights=[1.0, 10.0, 100.0], cv=[(train, test)], halving=True, max_iter=9,
        refit=False, **params,
    ).fit(X, sample_weight=weight)  # fmt: skip
    for i in np.flatnonzero(~search.cv_results_["survived"]):
        # Dropped after one epoch, or after three.
        expected = [
            GaussianEmbedder(4, reg_weight=search.reg_weights_[i], max_iter=n, **params)
            .fit(X[train], sample_weight=weight[train])
            .score(X[test], sample_weight=weight[test])
            for n in (1, 3)
        ]
        score = search.cv_results_["mean_test_score"][i]
        assert np.abs(np.array(expected) - score).min() < 1e-3


def test_halving_drops_a_weight_without_a_score_though_others_are_negative():
    def negative(embedder, X, y=None):
        return np.nan if embedder.reg_weight == 1 else -embedder.reg_weight

    search = GaussianEmbedderCV(
        4, reg_weights=[1.0, 10.0, 100.0], cv=2, max_iter=9, halving=True, scoring=negative,
        refit=False, **SMALL,
    )  # fmt: skip
    with pytest.warns(UserWarning, match="non-finite"):
        search.fit(X)
    assert search.cv_results_["survived"].tolist() == [False, True, False]


def test_candidates_are_scored_under_their_own_weight():
    # Without a task the score is minus reg_weight times the regularizer.
    search = GaussianEmbedderCV(
        4, task=None, reg_weights=[1.0, 10.0], cv=2, max_iter=0, refit=False,
        scoring=lambda embedder, X, y=None: embedder.score(X), **SMALL,
    )  # fmt: skip
    with pytest.warns(UserWarning, match="regularizer alone"):
        one, ten = search.fit(X).cv_results_["mean_test_score"]
    assert one < 0
    assert ten == pytest.approx(10 * one, rel=1e-4)


def test_halving_drops_nobody_by_scores_that_are_not_numbers():
    def at_the_end(embedder, X, y=None):
        return embedder.reg_weight if embedder.n_iter_ == 9 else np.nan

    search = GaussianEmbedderCV(
        4, reg_weights=[0.1, 1, 10], cv=2, scoring=at_the_end, halving=True, refit=False,
        **SMALL, max_iter=9,
    ).fit(X)  # fmt: skip
    assert search.cv_results_["survived"].all()
    assert search.reg_weight_ == 10


def fewer_epochs(embedder, X, y=None):
    return -embedder.n_iter_


def test_no_task_has_no_score_to_choose_by():
    with pytest.raises(ValueError, match="gaussianity_scorer"):
        GaussianEmbedderCV(2, task=None).fit(X)


def test_rows_that_do_not_match():
    weight = np.ones(len(X))
    weight[0] = 0
    for wrong in ({"y": LABELS[:10]}, {"groups": LABELS[:10]}):
        with pytest.raises(ValueError, match="inconsistent numbers of samples"):
            GaussianEmbedderCV(2, **SMALL).fit(X, sample_weight=weight, **wrong)


@pytest.mark.parametrize("error", ["weighted", absolute])
def test_errors_of_a_reconstruction(error):
    params = SMALL | {"max_iter": 2, "task": Reconstruction(error)}
    search = GaussianEmbedderCV(0.8, reg_weights=[0.1, 1], cv=2, **params)
    if error == "weighted":  # trained as a stack
        search.fit(X)
    else:
        with pytest.warns(UserWarning, match="cannot be stacked"):
            search.fit(X)
        assert -1.1 < search.cv_results_["mean_test_score"].max() < 0
    alone = GaussianEmbedder(0.8, reg_weight=search.reg_weight_, **params).fit(X)
    np.testing.assert_array_equal(search.transform(X), alone.transform(X))
