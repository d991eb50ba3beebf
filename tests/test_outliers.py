"""OutlierDetector: its threshold, its false alarms, and what it passes on."""

import numpy as np
import pytest
import sklearn
from scipy.stats import multivariate_normal
from sklearn.base import BaseEstimator, clone
from sklearn.covariance import EllipticEnvelope
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GroupKFold, RepeatedKFold, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from sklatent import GaussianEmbedder, Gaussianizer, OutlierDetector
from sklatent._outliers import just_below


class StandardGaussian(BaseEstimator):
    """A density that does not depend on the training samples."""

    def fit(self, X, y=None):
        self.n_features_in_ = np.shape(X)[1]
        return self

    def score_samples(self, X):
        return np.atleast_1d(multivariate_normal(np.zeros(np.shape(X)[1])).logpdf(X))


def draws(n, p=3, seed=0):
    return np.random.default_rng(seed).standard_normal((n, p))


@pytest.mark.parametrize(
    ("n", "contamination", "n_outliers"),
    # In floating point, 0.07 * 100 > 7 and 0.29 * 100 < 29.
    [(200, 0.15, 30), (101, 0.07, 7), (100, 0.07, 7), (100, 0.29, 29), (99, 0.01, 0), (1, 0.5, 0)],
)
def test_without_cv_a_share_of_the_training_samples_are_outliers(n, contamination, n_outliers):
    X = draws(n)
    detector = OutlierDetector(StandardGaussian(), contamination=contamination).fit(X)
    scores = StandardGaussian().score_samples(X)
    np.testing.assert_array_equal(detector.score_samples(X), scores)
    np.testing.assert_allclose(detector.decision_function(X), scores - detector.offset_)
    ranks = scores.argsort().argsort()
    np.testing.assert_array_equal(detector.predict(X), np.where(ranks < n_outliers, -1, 1))


@pytest.mark.parametrize(("contamination", "n_outliers"), [(0.1, 0), (0.2, 0), (0.3, 3), (0.5, 5)])
def test_equal_scores_have_equal_verdicts(contamination, n_outliers):
    X = np.array([3, 3, 3, 2, 2, 1, 1, 1, 1, 1])[:, np.newaxis]
    detector = OutlierDetector(StandardGaussian(), contamination=contamination).fit(X)
    np.testing.assert_array_equal(
        detector.predict(X), np.repeat([-1, 1], [n_outliers, 10 - n_outliers])
    )
    assert (detector.fit(np.ones((10, 1))).predict([[1], [1.01]]) == [1, -1]).all()


@pytest.mark.parametrize(
    ("n", "contamination", "rank"),
    [(10, 0.1, 1), (50, 0.05, 2), (50, 0.1, 5), (99, 0.01, 1), (99, 0.07, 7), (198, 0.01, 1)],
)
def test_held_out_scores_of_a_fixed_density_give_exact_false_alarms(n, contamination, rank):
    detector = OutlierDetector(StandardGaussian(), contamination=contamination, cv=2)
    # In two dimensions, the share of samples with a log-density below t is 2 pi exp(t).
    thresholds = [detector.fit(draws(n, 2, seed)).offset_ for seed in range(400)]
    shares = 2 * np.pi * np.exp(thresholds)
    # The share below the score of a rank has the distribution Beta(rank, n + 1 - rank).
    mean = rank / (n + 1)
    se = np.sqrt(mean * (1 - mean) / (n + 2) / len(shares))
    assert shares.mean() == pytest.approx(mean, abs=4 * se)


def test_a_small_share_of_false_alarms_needs_many_samples():
    detector = OutlierDetector(StandardGaussian(), contamination=0.01, cv=5)
    with pytest.raises(ValueError, match="needs at least 99 held-out samples, got 98"):
        detector.fit(draws(98))
    detector.fit(draws(99))
    # A sample that is held out ten times is one sample.
    detector.set_params(cv=RepeatedKFold(n_splits=5, n_repeats=10, random_state=0))
    with pytest.raises(ValueError, match="needs at least 99 held-out samples, got 98"):
        detector.fit(draws(98))


def test_a_sample_that_is_held_out_several_times_has_its_mean_score():
    X, every = draws(60), np.arange(60)
    once = OutlierDetector(StandardGaussian(), cv=[(every, every)]).fit(X)
    often = OutlierDetector(StandardGaussian(), cv=[(every, every), (every, every[:30])]).fit(X)
    assert often.offset_ == once.offset_


def test_the_threshold_separates_neighbors_far_below_the_other_scores():
    X = np.array([[100.0001], [100], [1], [0]])
    detector = OutlierDetector(StandardGaussian(), contamination=0.25).fit(X)
    np.testing.assert_array_equal(detector.predict(X), [-1, 1, 1, 1])


@pytest.mark.parametrize("cv", [None, 5])
def test_the_verdict_on_a_sample_does_not_depend_on_the_batch(cv):
    X = draws(100, 20)
    for share in np.linspace(0.02, 0.5, 17):
        for model in (PCA(5), StandardGaussian()):
            detector = OutlierDetector(model, contamination=share, cv=cv).fit(X)
            alone = [detector.predict(x[np.newaxis])[0] for x in X]
            np.testing.assert_array_equal(alone, detector.predict(X))


class Bounded(BaseEstimator):
    """The uniform density on [-1, 1]; nan for inputs above 10."""

    def fit(self, X, y=None):
        return self

    def score_samples(self, X):
        x = np.asarray(X, dtype=float)[:, 0]
        return np.where(x > 10, np.nan, np.where(abs(x) > 1, -np.inf, -x))


@pytest.mark.parametrize("cv", [None, 4])
def test_samples_without_a_density_are_outliers(cv):
    X = np.append(np.linspace(-1, 1, 18), [5, 11])[:, np.newaxis]
    detector = OutlierDetector(Bounded(), contamination=0.15, cv=cv).fit(X)
    np.testing.assert_array_equal(detector.predict([[0], [5], [11]]), [1, -1, -1])
    # The two samples without a density, and without cv the least likely other sample.
    assert (detector.predict(X) == -1).sum() == (3 if cv is None else 2)
    with pytest.raises(
        ValueError, match="of 20 in ascending order is -inf, so no threshold exists"
    ):
        detector.set_params(contamination=0.05).fit(X)


def test_held_out_scores_give_the_wanted_share_of_false_alarms():
    X, new = draws(400), draws(20_000, seed=1)
    model = GaussianMixture(30, random_state=0)
    alarms = {
        cv: (OutlierDetector(model, cv=cv).fit(X).predict(new) == -1).mean() for cv in (None, 5)
    }
    # 30 components overfit 400 samples. A standard error of the quantile is 0.015.
    assert alarms[None] > 0.2
    assert alarms[5] == pytest.approx(0.1, abs=0.045)


def test_a_gaussian_density_detects_what_an_elliptic_envelope_does():
    X, y = load_breast_cancer(return_X_y=True)
    benign, malignant = X[y == 1], X[y == 0]
    model = make_pipeline(StandardScaler(), PCA(4))
    detector = OutlierDetector(model, contamination=0.05, cv=5).fit(benign)
    reference = EllipticEnvelope(contamination=0.05, random_state=0).fit(benign)
    detected = [(each.predict(malignant) == -1).mean() for each in (detector, reference)]
    assert detected[0] > detected[1] - 0.05


def test_any_splitter_and_data_frames():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(draws(60), columns=["a", "b", "c"])
    cv = ShuffleSplit(1, test_size=20, random_state=0)
    detector = OutlierDetector(PCA(2), cv=cv).fit(frame)
    assert detector.n_features_in_ == 3
    assert list(detector.feature_names_in_) == ["a", "b", "c"]
    train, test = next(cv.split(frame))
    held_out = PCA(2).fit(frame.iloc[train]).score_samples(frame.iloc[test])
    # The threshold lies below the score of rank floor(0.1 * 21) = 2.
    assert (held_out < detector.offset_).sum() == 1
    assert not hasattr(detector.fit(frame.to_numpy()), "feature_names_in_")


@pytest.mark.parametrize("model", [GaussianEmbedder(2), Gaussianizer()])
def test_it_accepts_the_samples_that_its_model_accepts(model):
    assert get_tags(OutlierDetector(model)).input_tags == get_tags(model).input_tags


def test_an_estimator_without_a_density_is_refused():
    with pytest.raises(ValueError, match="'estimator' parameter of OutlierDetector must be"):
        OutlierDetector(StandardScaler()).fit(draws(20))


def test_folds_of_sorted_samples_are_shuffled():
    # Sorted by class, a fold without shuffling would be a class that the model does not know.
    X = np.concatenate([draws(200, seed=i) + 10 * i for i in range(5)])
    model = GaussianMixture(5, random_state=0)
    new = np.concatenate([draws(1000, seed=5 + i) + 10 * i for i in range(5)])
    alarms = (OutlierDetector(model, cv=5).fit(X).predict(new) == -1).mean()
    assert alarms == pytest.approx(0.1, abs=0.035)


def test_a_fit_that_fails_keeps_the_previous_model_with_its_threshold():
    X = draws(60)
    detector = OutlierDetector(StandardGaussian()).fit(X)
    expected = detector.predict(X)
    with pytest.raises(ValueError, match="no threshold exists"):
        detector.set_params(estimator=Gaussianizer(), cv=5).fit(draws(30, 50))
    np.testing.assert_array_equal(detector.predict(X), expected)
    assert detector.n_features_in_ == 3


def test_without_a_finite_threshold_fit_fails():
    X = draws(30, 50)  # new samples are outside the subspace of the training samples
    with pytest.raises(ValueError, match="is -inf, so no threshold exists"):
        OutlierDetector(Gaussianizer(), cv=5).fit(X)


def test_groups_stay_together():
    X, groups = draws(60), np.repeat(np.arange(12), 5)
    splits = list(GroupKFold(4).split(X, groups=groups))
    expected = OutlierDetector(PCA(2), cv=splits).fit(X).offset_
    detector = OutlierDetector(PCA(2), cv=GroupKFold(4))
    assert detector.fit(X, groups=groups).offset_ == expected
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(
            StandardScaler(with_std=False), detector.set_fit_request(groups=True)
        )
        assert pipeline.fit(X, groups=groups)[-1].offset_ == pytest.approx(expected)
        verdicts = detector.fit_predict(X, groups=groups)
    np.testing.assert_array_equal(verdicts, detector.predict(X))


def test_an_iterator_of_splits_serves_several_fits():
    X = draws(60)
    splits = list(ShuffleSplit(3, random_state=0).split(X))
    first, second = (
        clone(OutlierDetector(PCA(2), contamination=0.3, cv=part)).fit(X).offset_
        for part in (splits, splits[:2])
    )
    detector = OutlierDetector(PCA(2), contamination=0.3, cv=iter(splits))
    assert [detector.fit(X).offset_ for _ in range(2)] == [first] * 2
    assert detector.set_params(cv=iter(splits[:2])).fit(X).offset_ == second != first


@pytest.mark.parametrize("others", [[], [0.5], [2.0], [0.5, 2.0]])
def test_threshold_is_below_scores_that_differ_by_rounding(others):
    # Copies of a sample can have scores that differ in the last digit.
    copies = [1.0, 1.0 + 1e-15]
    scores = np.sort([*copies, *others])
    for score in copies:
        assert (
            max(scores[scores < 1], default=-1)
            < just_below(scores, 1 + scores.tolist().index(score))
            < 1.0 - 1e-10
        )
