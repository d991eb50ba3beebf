"""Classifier two-sample test: how well classifiers tell samples from Gaussian draws."""

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata
from sklearn.ensemble import HistGradientBoostingClassifier, VotingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ._null import RandomState, as_seed
from ._result import TestResult
from ._samples import Null, check_samples, standard_samples, thin

NAME = "classifier"
FOLDS = 3  # the classifiers learn from the first, and then from the first two
TRAINING_DRAWS = 3  # per sample
TEST_DRAWS = 10  # per sample; infinitely many would reduce the variance by another tenth


def draws_like(u: NDArray, null: Null, n_sets: int, rng: np.random.Generator) -> NDArray:
    """Return sets of n Gaussian draws, (n_sets n, k), for samples in standard coordinates (n, k).

    With a simple null, the draws are from N(0, I). With a composite null, each set has the mean and
    the covariance of the samples. If the samples are from any Gaussian, they and the sets have the
    same law, given this mean and covariance (Langsrud 2005).
    """
    n, k = u.shape
    if null == "simple":
        return rng.standard_normal((n_sets * n, k))
    mean = u.mean(axis=0)
    _, spreads, axes = np.linalg.svd(u - mean, full_matrices=False)
    rank = min(n - 1, k)
    g = rng.standard_normal((n_sets, n, rank))
    q, r = np.linalg.qr(g - g.mean(axis=1, keepdims=True))
    q = q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None]  # uniform with these signs only
    return (mean + q @ (spreads[:rank, None] * axes[:rank])).reshape(-1, k)


def fit_score(samples: NDArray, draws: NDArray, seed: int) -> Callable[[NDArray], NDArray]:
    """Return a function that is larger for points that look like samples than for draws."""
    network = MLPClassifier((64,), alpha=0.1, learning_rate_init=0.01, max_iter=30)
    trees = HistGradientBoostingClassifier(max_iter=50, learning_rate=0.05, early_stopping=False)
    both = VotingClassifier(
        [("trees", trees), ("network", make_pipeline(StandardScaler(), network))], voting="soft"
    )
    both.set_params(trees__random_state=seed, network__mlpclassifier__random_state=seed)
    labels = np.repeat([1, 0], [len(samples), len(draws)])
    with warnings.catch_warnings():
        # The number of epochs is fixed.
        warnings.simplefilter("ignore", ConvergenceWarning)
        both.fit(_features(np.concatenate([samples, draws])), labels)
    return lambda u: both.predict_proba(_features(u))[:, 1]


def _features(u: NDArray) -> NDArray:
    return np.column_stack([u, np.linalg.norm(u, axis=1)])


def auc(above: NDArray, below: NDArray) -> tuple[float, float]:
    """Return the AUC of scores that should be above others, and its variance if all are alike.

    Ties count one half, and reduce the variance (Mann & Whitney 1947).
    """
    n, m = len(above), len(below)
    ranks = rankdata(np.concatenate([above, below]))
    value = (ranks[:n].sum() - n * (n + 1) / 2) / (n * m)
    return float(value), float(ranks.var(ddof=1) / ((n + m) * n * m))


def classifier_two_sample_test(
    Z: ArrayLike,
    mean: ArrayLike | None = None,
    cov: ArrayLike | None = None,
    *,
    null: Null = "simple",
    random_state: RandomState = None,
) -> TestResult:
    r"""Test Gaussianity by classifiers that try to tell the samples from Gaussian draws.

    The samples u, in standard coordinates, are split at random into three folds. For the second and
    the third fold, classifiers learn from the folds before it, and from draws of the Gaussian, a
    score s that is large for samples. With Y new draws, the statistic is the mean over both folds
    of the area under the ROC curve,

    .. math:: \mathrm{AUC} = P(s(u) > s(Y)) + \tfrac12 P(s(u) = s(Y)) .

    The score is the mean probability of gradient-boosted trees and a small neural network. Both
    have the components and the norm of u as features.

    Parameters
    ----------
    Z : array-like of shape (n_samples, n_components)
        At least three samples.
    mean : array-like of shape (n_components,), default=None
        Mean of the given Gaussian. If None, zeros.
    cov : array-like of shape (n_components, n_components) or (n_components,), default=None
        Covariance or variances of the given Gaussian. If None, the identity.
    null : {"simple", "composite"}, default="simple"
        "simple": the samples are from N(mean, cov). "composite": the samples are from any
        Gaussian. The composite test standardizes the samples by their own mean and covariance
        (divisor n), and the draws have the mean and the covariance of the samples that they are
        compared with.
    random_state : int, RandomState instance or None, default=None
        Determines the subsample, the folds, the draws and the network. If None, the seed is drawn
        once per process.

    Returns
    -------
    TestResult
        The statistic is the AUC: 0.5 if the classifiers cannot tell samples from draws, 1 if they
        always can. The effect size is 2 AUC - 1: 0 and 1 in these cases, and slightly negative by
        chance. Unlike other effect sizes, this one increases with the number of samples, because
        the classifiers learn from more of them.

    Raises
    ------
    ValueError
        If an array has the wrong shape or a value that is not finite, if cov is not positive
        definite, or if Z has fewer than three samples. With a composite null also if Z has fewer
        than n_components + 2 samples or a singular covariance.

    Notes
    -----
    If there are more than 5000 samples, the test uses a random subsample of 5000.

    The p-value is one-sided, from the normal law of the Mann-Whitney statistic. If the samples are
    from the given Gaussian, a fold and its draws are exchangeable, whatever the classifiers learned
    from the folds before it. So each AUC has the law of Mann & Whitney (1947), and the AUCs of the
    folds are uncorrelated. With ordinary cross-validation the AUCs are correlated, because each
    fold also trains the classifiers of the others, and the test would reject too often.

    With a composite null, the draws have the same mean and covariance as the fold, so samples and
    draws are more alike than independent samples. Therefore the variance of the AUC is smaller than
    assumed, and the test is conservative, above all with few samples per component.

    The statistic changes if the samples are rotated, because trees depend on the coordinates. It
    also changes with their order, which determines the folds.

    References
    ----------
    - Langsrud (2005). `Rotation tests <https://doi.org/10.1007/s11222-005-4789-5>`_. Statistics and
      Computing 15.
    - Lopez-Paz & Oquab (2017). `Revisiting classifier two-sample tests
      <https://arxiv.org/abs/1610.06545>`_. ICLR.
    - Mann & Whitney (1947). `On a test of whether one of two random variables is stochastically
      larger than the other <https://doi.org/10.1214/aoms/1177730491>`_. Annals of Mathematical
      Statistics 18.

    Examples
    --------
    >>> import numpy as np
    >>> from sklatent.metrics import classifier_two_sample_test
    >>> u = np.random.default_rng(0).standard_normal((500, 3))
    >>> classifier_two_sample_test(u, random_state=0).pvalue > 0.05
    True
    >>> u[:, 2] = np.abs(u[:, 2]) * np.sign(u[:, 0] * u[:, 1])  # any two are independent
    >>> result = classifier_two_sample_test(u, random_state=0)
    >>> result.pvalue < 0.001, result.effect_size > 0.3
    (True, True)
    """
    seed = as_seed(random_state)
    check_samples(Z, min_samples=FOLDS)
    u = thin(standard_samples(Z, mean, cov, null), seed)
    rng = np.random.default_rng([seed, 3])
    folds = np.array_split(u[rng.permutation(len(u))], FOLDS)
    values, variances = [], []
    for i in range(1, FOLDS):
        known, new = np.concatenate(folds[:i]), folds[i]
        score = fit_score(known, draws_like(known, null, TRAINING_DRAWS, rng), seed)
        value, variance = auc(score(new), score(draws_like(new, null, TEST_DRAWS, rng)))
        values.append(value)
        variances.append(variance)
    statistic = float(np.mean(values))
    deviation = (statistic - 0.5) * len(values)
    variance = sum(variances)
    return TestResult(
        name=NAME,
        statistic=statistic,
        expected=0.5,
        effect_size=2 * statistic - 1,
        pvalue=float(norm.sf(deviation / np.sqrt(variance))) if variance else 1.0,
        null=null,
        method="analytic",
        n_samples=len(u),
    )
