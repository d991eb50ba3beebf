import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import ks_2samp, kstest, mannwhitneyu, norm
from sklearn.metrics import roc_auc_score

from sklatent.metrics import _classifier, classifier_two_sample_test, epps_pulley_test
from sklatent.metrics._classifier import auc, draws_like
from sklatent.metrics._samples import whiten


@pytest.mark.parametrize("levels", [3, 10**6])
def test_the_auc_and_its_law_are_those_of_mann_and_whitney(levels):
    # With many levels hardly a score is tied, with three nearly all are.
    above, below = (np.random.default_rng(i).integers(levels, size=40 + i) for i in range(2))
    value, variance = auc(above, below)
    labels = np.repeat([1, 0], [40, 41])
    assert value == pytest.approx(roc_auc_score(labels, np.concatenate([above, below])))
    scipy = mannwhitneyu(above, below, False, "greater", method="asymptotic")
    assert norm.sf((value - 0.5) / variance**0.5) == pytest.approx(scipy.pvalue)
    if levels > 3:
        assert variance == pytest.approx((40 + 41 + 1) / (12 * 40 * 41))


def test_the_pvalue_is_that_of_the_sum_over_folds(monkeypatch):
    # Scores are the first component, whatever was learned: an AUC for each of two folds.
    seen = []

    def first(u):
        seen.append(u[:, 0])
        return u[:, 0]

    monkeypatch.setattr(_classifier, "fit_score", lambda samples, draws, seed: first)
    u = np.random.default_rng(0).standard_normal((90, 2)) + 0.2
    result = classifier_two_sample_test(u, random_state=0)
    assert [len(scores) for scores in seen] == [30, 300, 30, 300]
    tests = [
        mannwhitneyu(*pair, False, "greater", method="asymptotic") for pair in (seen[:2], seen[2:])
    ]
    z = norm.isf([test.pvalue for test in tests])
    assert result.statistic == pytest.approx(sum(test.statistic for test in tests) / 2 / 30 / 300)
    assert result.effect_size == pytest.approx(2 * result.statistic - 1)
    assert result.pvalue == pytest.approx(norm.sf(z.sum() / 2**0.5))


def density_ratio(samples, draws, seed):
    """A classifier that takes no time: the ratio of two kernel density estimates."""

    def density(u, centers):
        return np.exp(-2 * cdist(u, centers, "sqeuclidean")).mean(axis=1) + 1e-9

    return lambda u: density(u, samples) / density(u, draws)


@pytest.mark.parametrize(("n", "k"), [(30, 1), (60, 8)])
def test_the_level_is_right_whatever_the_classifier(n, k, monkeypatch):
    monkeypatch.setattr(_classifier, "fit_score", density_ratio)
    rng = np.random.default_rng(0)
    factor = np.tril(rng.normal(size=(k, k)), -1) + 2 * np.eye(k)
    repeats = 500
    p = {"simple": [], "composite": []}
    for seed in range(repeats):
        u = rng.standard_normal((n, k)) @ factor.T + 5
        given = {"mean": np.full(k, 5.0), "cov": factor @ factor.T}
        for null, kwargs in (("simple", given), ("composite", {})):
            p[null].append(
                classifier_two_sample_test(u, **kwargs, null=null, random_state=seed).pvalue
            )
    assert kstest(p["simple"], "uniform").pvalue > 0.001
    for level in (0.01, 0.05, 0.2):  # the composite test is conservative
        error = (level * (1 - level) / repeats) ** 0.5
        assert abs(np.mean(np.array(p["simple"]) <= level) - level) < 4 * error
        assert np.mean(np.array(p["composite"]) <= level) < level + 4 * error


@pytest.mark.slow
@pytest.mark.parametrize("null", ["simple", "composite"])
@pytest.mark.parametrize(("n", "k"), [(50, 2), (50, 20), (200, 8)])
def test_the_level_of_the_classifiers_in_use(n, k, null):
    rng = np.random.default_rng(0)
    p = [
        classifier_two_sample_test(rng.standard_normal((n, k)), null=null, random_state=seed).pvalue
        for seed in range(400)
    ]
    for level in (0.01, 0.05):
        assert np.mean(np.array(p) <= level) < level + 4 * (level * (1 - level) / 400) ** 0.5


def bent(seed=0, n=1000, k=8):
    """Any two components are independent and N(0, 1), but the signs of three have the product 1."""
    u = np.random.default_rng(seed).standard_normal((n, k))
    u[:, 2] = np.abs(u[:, 2]) * np.sign(u[:, 0] * u[:, 1])
    return u


def test_a_shape_that_a_mean_over_directions_misses_is_found():
    u = bent()
    assert epps_pulley_test(u, random_state=0).pvalue > 0.05
    for null in ("simple", "composite"):
        result = classifier_two_sample_test(u, null=null, random_state=0)
        assert result.pvalue < 1e-4
        assert 0.1 < result.effect_size < 1
        assert (result.name, result.expected, result.n_samples) == ("classifier", 0.5, 1000)


def test_samples_that_are_always_told_apart():
    u = np.random.default_rng(0).standard_normal((60, 2)) + 100
    result = classifier_two_sample_test(u, random_state=0)
    assert (result.statistic, result.effect_size) == (1, 1)
    assert classifier_two_sample_test(u, null="composite", random_state=0).effect_size < 0.5
    assert classifier_two_sample_test(np.zeros((60, 2)), random_state=0).pvalue < 1e-4


def test_the_composite_test_ignores_mean_and_covariance():
    # Triangular, as Cholesky's factor: the standardized samples are the same.
    u = bent(n=90, k=3)
    factor = np.array([[2.0, 0, 0], [1, 3, 0], [-1, 1, 0.5]])
    before = classifier_two_sample_test(u, null="composite", random_state=0)
    after = classifier_two_sample_test(1e3 * u @ factor.T - 7, null="composite", random_state=0)
    assert after.statistic == pytest.approx(before.statistic, rel=1e-6)


@pytest.mark.parametrize(("n", "k"), [(40, 3), (5, 8), (2, 1), (1, 4)])
def test_draws_have_the_moments_of_the_samples(n, k):
    rng = np.random.default_rng(0)
    u = rng.exponential(size=(n, k)) @ rng.standard_normal((k, k))
    draws = draws_like(u, "composite", 6, rng)
    assert draws.shape == (6 * n, k)
    sets = draws.reshape(6, n, k)
    for some in sets:
        np.testing.assert_allclose(some.mean(axis=0), u.mean(axis=0), atol=1e-12)
        centered, expected = some - some.mean(axis=0), u - u.mean(axis=0)
        np.testing.assert_allclose(centered.T @ centered, expected.T @ expected, atol=1e-10)
    if n > 2:
        assert np.abs(sets[1:] - sets[0]).max(axis=(1, 2)).min() > 0.1


def test_draws_are_gaussian_given_their_moments():
    rng = np.random.default_rng(0)
    u = whiten(rng.standard_normal((4, 2)))
    draws = draws_like(u, "composite", 2000, rng).reshape(2000, 4, 2)
    others = whiten(rng.standard_normal((2000, 4, 2)))
    for i, j in ((0, 0), (3, 1)):
        assert ks_2samp(draws[:, i, j], others[:, i, j]).pvalue > 0.001
    assert kstest(draws_like(u, "simple", 500, rng)[:, 0], "norm").pvalue > 0.001


@pytest.mark.parametrize("null", ["simple", "composite"])
def test_draws_are_like_the_samples_that_they_are_compared_with(null, monkeypatch):
    # The classifiers cannot use moments that a composite null does not fix.
    compared = []

    def fit_score(samples, draws, seed):
        compared.append((samples, draws))
        return lambda u: compared.append(u) or np.arange(len(u))

    monkeypatch.setattr(_classifier, "fit_score", fit_score)
    u = np.random.default_rng(0).exponential(size=(60, 2))
    classifier_two_sample_test(u, null=null, random_state=0)
    for samples, draws in (compared[0], compared[1:3], compared[3], compared[4:6]):
        distance = np.abs(np.mean(samples, axis=0) - np.mean(draws, axis=0)).max()
        spread = np.abs(np.cov(samples.T, ddof=0) - np.cov(draws.T, ddof=0)).max()
        if null == "composite":
            assert max(distance, spread) < 1e-12
        else:  # from N(0, I)
            assert 0.5 < distance < 1.5
    (first, _), second, _, (both, _), third, _ = compared
    np.testing.assert_array_equal(both, np.concatenate([first, second]))
    everything = np.concatenate([both, third])
    if null == "simple":
        np.testing.assert_array_equal(np.sort(everything, axis=0), np.sort(u, axis=0))


def test_many_samples_are_thinned(monkeypatch):
    monkeypatch.setattr("sklatent.metrics._samples.MAX_SAMPLES", 60)
    u = np.random.default_rng(0).standard_normal((100, 2))
    result = classifier_two_sample_test(u, random_state=0)
    assert result.n_samples == 60
    assert result != classifier_two_sample_test(u, random_state=1)


def test_folds_of_sorted_samples_are_alike(monkeypatch):
    folds = []

    def fit_score(samples, draws, seed):
        folds.append(samples)
        return lambda u: u[:, 0]

    monkeypatch.setattr(_classifier, "fit_score", fit_score)
    u = np.sort(np.random.default_rng(0).standard_normal((300, 1)), axis=0)
    for seed in (0, 1):
        classifier_two_sample_test(u, random_state=seed)
    assert abs(folds[0].mean()) < 4 / 10  # the lowest third has the mean -1.1
    assert not np.array_equal(folds[0], folds[2])


def test_three_samples_are_the_fewest():
    u = np.arange(6.0).reshape(3, 2)
    assert 0 < classifier_two_sample_test(u, random_state=0).pvalue < 1
    with pytest.raises(ValueError, match="minimum of 3 is required"):
        classifier_two_sample_test(u[:2])


def test_a_classifier_that_learned_nothing(monkeypatch):
    monkeypatch.setattr(
        _classifier, "fit_score", lambda samples, draws, seed: lambda u: np.ones(len(u))
    )
    result = classifier_two_sample_test(bent(n=30))
    assert (result.statistic, result.effect_size, result.pvalue) == (0.5, 0, 1)
