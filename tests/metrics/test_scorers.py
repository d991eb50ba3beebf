import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklatent import GaussianEmbedder, GaussianEmbedderCV
from sklatent.metrics import (
    classifier_scorer,
    classifier_two_sample_test,
    epps_pulley_test,
    gaussianity_scorer,
    log_likelihood_scorer,
    most_gaussian_within,
    reconstruction_scorer,
)

X, Y = load_iris(return_X_y=True)
SCORING = {"r2": reconstruction_scorer, "gaussianity": gaussianity_scorer}


def test_gaussianity_is_minus_the_effect_size():
    pca = PCA(2, whiten=True).fit(X)
    test = epps_pulley_test(pca.transform(X), n_slices=512, random_state=0)
    assert gaussianity_scorer(pca, X) == gaussianity_scorer(pca, X, Y) == -test.effect_size
    assert gaussianity_scorer(make_pipeline(StandardScaler(), pca).fit(X), X) < 0


def test_the_classifiers_score_is_minus_the_effect_size():
    pca = PCA(2, whiten=True).fit(X)
    test = classifier_two_sample_test(pca.transform(X), random_state=0)
    assert classifier_scorer(pca, X) == classifier_scorer(pca, X, Y) == -test.effect_size
    moved = GaussianEmbedder(target_mean=[50, 0], target_cov=[9, 0.1], n_components=2, max_iter=0)
    assert classifier_scorer(make_pipeline(StandardScaler(), moved).fit(X), X) > -0.9
    assert classifier_scorer(PCA(2).fit(X + 50), 99 * X) < -0.9


@pytest.mark.parametrize("path", [False, True])
def test_a_search_with_the_classifiers_score(path):
    scoring = {"r2": reconstruction_scorer, "classifier": classifier_scorer}
    params = {"n_components": 2, "max_iter": 2, "random_state": 0}
    kwargs = {
        "scoring": scoring,
        "refit": most_gaussian_within("r2", 1.0, gaussianity="classifier"),
        "cv": KFold(2, shuffle=True, random_state=0),
    }
    weights = [0.1, 10.0]
    if path:
        fitted = GaussianEmbedderCV(reg_weights=weights, **params, **kwargs)
    else:
        fitted = GridSearchCV(GaussianEmbedder(**params), {"reg_weight": weights}, **kwargs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted.fit(X)
    scores = fitted.cv_results_["mean_test_classifier"]
    assert np.isfinite(scores).all()
    assert fitted.best_index_ == scores.argmax()


def test_gaussianity_is_against_the_estimators_target():
    params = {"n_components": 2, "max_iter": 0}
    plain = GaussianEmbedder(**params).fit(X)
    moved = GaussianEmbedder(target_mean=[50, 0], target_cov=[9, 0.1], **params).fit(X)
    expected = gaussianity_scorer(plain, X)
    assert gaussianity_scorer(moved, X) == pytest.approx(expected, rel=1e-3)
    nested = make_pipeline(StandardScaler(), make_pipeline(moved)).fit(X)
    assert gaussianity_scorer(nested, X) > -1


def test_gaussianity_of_a_search_is_that_of_its_best_estimator():
    embedder = GaussianEmbedder(target_mean=[5, 5], n_components=2, max_iter=0)
    bare = GridSearchCV(embedder, {"reg_weight": [1.0]}, cv=2)
    pipeline = make_pipeline(StandardScaler(), embedder)
    grid = {"gaussianembedder__reg_weight": [1.0]}
    nested = GridSearchCV(clone(bare), {"cv": [2]}, scoring=gaussianity_scorer, cv=2)
    for outer in (bare, make_pipeline(bare), GridSearchCV(pipeline, grid, cv=2), nested):
        assert gaussianity_scorer(outer.fit(X), X) > -1
    best = bare.fit(X).best_estimator_
    assert gaussianity_scorer(bare, X) == gaussianity_scorer(best, X)


def test_reconstruction_is_the_explained_variance():
    pca = PCA(2, whiten=True).fit(X)
    expected = pca.explained_variance_ratio_.sum()
    assert reconstruction_scorer(pca, X) == pytest.approx(expected)
    embedder = GaussianEmbedder(2, max_iter=0).fit(X)
    assert reconstruction_scorer(embedder, X) == pytest.approx(expected, abs=1e-4)
    pipeline = make_pipeline(StandardScaler(with_std=False), PCA(2)).fit(X)
    assert reconstruction_scorer(pipeline, X) == pytest.approx(expected)


def test_log_likelihood_is_the_mean_of_score_samples():
    expected = PCA(2).fit(X).score(X)
    assert log_likelihood_scorer(PCA(2).fit(X), X) == pytest.approx(expected)
    pipeline = make_pipeline(StandardScaler(with_std=False), PCA(2)).fit(X)
    assert log_likelihood_scorer(pipeline, X) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("scorer", "method"),
    [
        (gaussianity_scorer, "transform"),
        (classifier_scorer, "transform"),
        (reconstruction_scorer, "transform"),
        (log_likelihood_scorer, "score_samples"),
    ],
)
def test_an_estimator_that_lacks_the_method(scorer, method):
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
    with pytest.raises(
        TypeError, match=f"^{scorer.__name__} needs an estimator with {method}, got"
    ):
        scorer(model, X)


def search(refit):
    grid = {"n_components": [1, 2, 3, 4]}
    cv = KFold(3, shuffle=True, random_state=0)
    return GridSearchCV(PCA(whiten=True), grid, scoring=SCORING, refit=refit, cv=cv)


def test_it_chooses_the_most_gaussian_that_is_good_enough():
    fitted = search(most_gaussian_within("r2", tolerance=0.06)).fit(X)
    r2, g = (fitted.cv_results_[f"mean_test_{name}"] for name in ("r2", "gaussianity"))
    near = np.flatnonzero(r2 >= r2.max() - 0.06)
    assert 0 < len(near) < 4
    assert fitted.best_index_ == near[g[near].argmax()]
    assert fitted.best_estimator_.n_components_ == fitted.best_index_ + 1


def test_a_search_with_it_can_be_cloned_and_pickled():
    refit = most_gaussian_within("r2")
    assert pickle.loads(pickle.dumps(refit)) == refit
    fitted = pickle.loads(pickle.dumps(clone(search(refit)).fit(X)))
    assert fitted.best_index_ == search(refit).fit(X).best_index_
    assert "r2" in repr(refit)


def results(r2, gaussianity):
    r2 = np.array(r2, dtype=float)  # (splits, candidates)
    splits = {f"split{i}_test_r2": row for i, row in enumerate(r2)}
    return {**splits, "mean_test_r2": r2.mean(axis=0), "mean_test_gaussianity": gaussianity}


def test_one_standard_error():
    # The best mean is 0.9, and its standard error 0.1: half the difference of 0.8 and 1.0.
    cv = results([[0.8, 0.81, 0.79], [1.0, 0.81, 0.79]], [-3, -2, -1])
    assert most_gaussian_within("r2")(cv) == 1
    assert most_gaussian_within("r2", 0.0)(cv) == 0
    assert most_gaussian_within("r2", 0.2)(cv) == 2


def test_without_tolerance_the_best_score_is_chosen():
    assert most_gaussian_within("r2", 0)(results([[0.5, 0.9, 0.8]], [-1, -3, -2])) == 1


def test_candidates_that_failed_are_not_chosen():
    nan = np.nan
    assert most_gaussian_within("r2", 1.0)(results([[0.5, nan, 0.4]], [-2, 0, nan])) == 0
    # A candidate whose gaussianity failed does not say what score is good enough either.
    assert most_gaussian_within("r2", 0.1)(results([[0.5, 0.45, 0.9]], [-2, -1, nan])) == 1
    assert most_gaussian_within("r2", 0.1)(results([[0.5, 0.45, np.inf]], [-2, -1, 0])) == 1
    with pytest.raises(ValueError, match="not finite"):
        most_gaussian_within("r2", 1.0)(results([[nan, 0.5]], [0, nan]))


def test_missing_scores():
    cv = results([[0.5, 0.4]], [-2, 0])
    with pytest.raises(ValueError, match=r"no 'mean_test_r3'.*scores \['gaussianity', 'r2'\]"):
        most_gaussian_within("r3")(cv)
    with pytest.raises(ValueError, match="no 'mean_test_g'"):
        most_gaussian_within("r2", gaussianity="g")(cv)
    with pytest.raises(ValueError, match=r"at least two splits.*got 1"):
        most_gaussian_within("r2")(cv)


def test_wrong_parameters():
    for tolerance in (-0.1, "2se", None, np.nan):
        with pytest.raises(ValueError, match="tolerance must be a float that is not negative"):
            most_gaussian_within("r2", tolerance)
    with pytest.raises(ValueError, match="metric must be the name of a score"):
        most_gaussian_within(reconstruction_scorer)
