"""OutlierDetector: its threshold, its false alarms, and what it passes on."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.base import BaseEstimator
from sklearn.covariance import EllipticEnvelope
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklatent import Gaussianizer, OutlierDetector


class StandardGaussian(BaseEstimator):
    """A density that does not depend on the training samples."""

    def fit(self, X, y=None):
        self.n_features_in_ = np.shape(X)[1]
        return self

    def score_samples(self, X):
        return multivariate_normal(np.zeros(np.shape(X)[1])).logpdf(X)


def draws(n, p=3, seed=0):
    return np.random.default_rng(seed).standard_normal((n, p))


@pytest.mark.parametrize("cv", [None, 5])
def test_the_threshold_is_the_quantile_of_the_scores(cv):
    X = draws(200)
    detector = OutlierDetector(StandardGaussian(), contamination=0.15, cv=cv).fit(X)
    scores = StandardGaussian().score_samples(X)
    # The density is fixed, so held-out scores are the scores of the training samples.
    assert detector.offset_ == pytest.approx(np.sort(scores)[30], abs=1e-12)
    np.testing.assert_array_equal(detector.score_samples(X), scores)
    np.testing.assert_allclose(detector.decision_function(X), scores - detector.offset_)
    np.testing.assert_array_equal(detector.predict(X), np.where(scores < detector.offset_, -1, 1))
    assert (detector.predict(X) == -1).sum() == 30


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
    assert detector.offset_ == pytest.approx(np.quantile(held_out, 0.1, method="higher"))
    assert not hasattr(detector.fit(frame.to_numpy()), "feature_names_in_")


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
    with pytest.raises(ValueError, match="have the score -inf, so no threshold exists"):
        OutlierDetector(Gaussianizer(), cv=5).fit(X)
