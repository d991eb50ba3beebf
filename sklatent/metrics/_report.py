"""A report of how Gaussian an embedding is."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from .._epps_pulley import random_directions
from .._target import ACTIVE_VARIANCE, Target
from . import _classifier
from . import _epps_pulley as ep
from ._classifier import classifier_two_sample_test
from ._epps_pulley import epps_pulley_test
from ._henze_zirkler import henze_zirkler_test
from ._mardia import mardia_test
from ._null import RandomState, as_seed
from ._result import TestResult
from ._samples import Null, check_samples
from ._worst_direction import WorstDirection, worst_direction

LEVEL = 0.05  # of the verdict's tests
#: Share of the null law above the test's threshold after a shift by the detectable effect.
#: Alternatives also increase the statistic's variance, so that the power is 0.6 to 0.8, and larger
#: with more components.
POWER = 0.9
TITLES: dict[Null, str] = {"simple": "the target", "composite": "any Gaussian"}
HYPOTHESES: dict[Null, str] = {"simple": "the target", "composite": "a Gaussian shape"}
WORST = "worst direction"


@dataclass(frozen=True)
class GaussianityReport:
    """Result of `gaussianity_report`: distances of an embedding from its target and any Gaussian.

    ``print(report)`` shows a table and a verdict. Means, covariances, directions and components are
    in standard coordinates, where the target is N(0, I).

    Attributes
    ----------
    n_samples, n_components : int
    mean_error, mean_sampling_error : float
        Root mean square of the mean's entries, and its expected size for draws from the target:
        n^(-1/2).
    cov_error, cov_sampling_error : float
        Root mean square of the entries of covariance - I (divisor n - 1), and its expected size for
        draws from the target: ((k + 1) / (k (n - 1)))^(1/2).
    n_active : int
        Number of components whose variance is above 0.01 of the target's.
    effective_rank : float
        Exponential of the entropy of the covariance's eigenvalues, scaled to the sum 1 (Roy &
        Vetterli 2007). The effective rank is n_components if all eigenvalues are equal, and 1 if
        only one eigenvalue is not zero.
    tests : dict of str to dict of str to TestResult
        The tests "Mardia skewness", "Mardia kurtosis", "Henze-Zirkler", "sliced Epps-Pulley" and
        "classifier", for the null "simple" (the target) and the null "composite" (any Gaussian). If
        the null "composite" cannot be tested, its key is missing and `untested` states the reason.
    untested : str or None
        The reason for the missing key "composite" in `tests`: too few samples or a singular
        covariance.
    raw_pvalues : dict of str to dict of str to float
        For each null, the uncorrected p-values of "Mardia" (of both moments), "Henze-Zirkler",
        "sliced Epps-Pulley", "classifier" and, for the null "simple", "worst direction".
    pvalues : dict of str to float
        For each null, the corrected p-value: the smallest of `raw_pvalues` times the number of
        tests (Bonferroni), at most 1.
    worst : WorstDirection
        The least Gaussian projection. One half of the samples determines the direction, and the
        other half measures the projection.
    detectable : float
        The effect size that the sliced Epps-Pulley test of a simple null, at the level 0.05,
        detects in about two of three data sets with this number of samples.
    verdict : str
        Which test rejects, and which effect this number of samples can detect.

    References
    ----------
    Roy & Vetterli (2007). The effective rank: a measure of effective dimensionality. EUSIPCO.

    Examples
    --------
    >>> import numpy as np
    >>> from sklatent.metrics import gaussianity_report
    >>> Z = np.random.default_rng(0).standard_normal((500, 2))
    >>> report = gaussianity_report(Z)
    >>> report.n_samples, report.n_active
    (500, 2)
    >>> sorted(report.tests)
    ['composite', 'simple']
    """

    n_samples: int
    n_components: int
    mean_error: float
    mean_sampling_error: float
    cov_error: float
    cov_sampling_error: float
    n_active: int
    effective_rank: float
    tests: dict[Null, dict[str, TestResult]]
    untested: str | None
    raw_pvalues: dict[Null, dict[str, float]]
    worst: WorstDirection
    detectable: float

    @property
    def pvalues(self) -> dict[Null, float]:
        """For each null, the smallest p-value times the number of tests, at most 1."""
        return {null: min(1.0, len(p) * min(p.values())) for null, p in self.raw_pvalues.items()}

    @property
    def verdict(self) -> str:
        """Which test rejects, and which effect this number of samples can detect."""
        n, k = self.n_samples, self.n_components
        rejected = {null: p <= LEVEL for null, p in self.pvalues.items()}
        sentences = [self._outcome(null, rejected[null]) for null in rejected]
        if self.untested:
            sentences.append(f"A Gaussian shape was not tested: {self.untested}.")
        elif rejected["composite"] and not rejected["simple"]:
            sentences.append("The target has a Gaussian shape, so it is rejected too.")
        elif rejected["simple"] and not rejected["composite"]:
            sentences.append("A wrong mean or covariance alone can explain this.")
        numbers = " and ".join(f"{len(p)} for {HYPOTHESES[h]}" for h, p in self.raw_pvalues.items())
        sentences.append(
            "A corrected p-value is the smallest p-value times the number of tests "
            f"(Bonferroni): {numbers}."
        )
        size = self.tests["simple"][ep.NAME].effect_size
        equivalent = _equivalent(size, k) if size >= self.detectable else ""
        sentences.append(
            f"The {ep.NAME} test of the target has the effect size {size:.2g}{equivalent}. "
            f"With {n} samples, the test detects the effect size {self.detectable:.2g}"
            f"{_equivalent(self.detectable, k)} in about two of three cases, and smaller effects "
            "less often."
        )
        auc = self.tests["simple"][_classifier.NAME].statistic
        sentences.append(
            f"Of a new sample and a draw from the target, the classifiers identify the sample in "
            f"{auc:.0%} of all pairs; 50% is chance."
        )
        return " ".join(sentences)

    def _outcome(self, null: Null, rejected: bool) -> str:
        raw, p = self.raw_pvalues[null], _p(self.pvalues[null])
        if not rejected:
            return f"No test rejects {HYPOTHESES[null]} (corrected {p})."
        name = min(raw, key=raw.__getitem__)
        test = "Epps-Pulley test of the worst direction" if name == WORST else f"{name} test"
        return f"The {test} rejects {HYPOTHESES[null]} (corrected {p})."

    def __str__(self) -> str:
        n, k, worst = self.n_samples, self.n_components, self.worst
        lines = [
            f"Gaussianity of {n} samples in {k} components",
            "",
            f"{'moments':24}{'rms error':>11}{'expected of the target':>25}",
            f"  {'mean':22}{self.mean_error:11.4f}{self.mean_sampling_error:25.4f}",
            f"  {'covariance':22}{self.cov_error:11.4f}{self.cov_sampling_error:25.4f}",
            f"  active components: {self.n_active} of {k}; "
            f"effective rank: {self.effective_rank:.2f}",
        ]
        for null, tests in self.tests.items():
            heading = f"against {TITLES[null]}"
            lines += [
                "",
                f"{heading:24}{'statistic':>11}{'expected':>11}{'effect size':>14}{'p-value':>10}",
            ]
            lines += [
                f"  {t.name:22}{t.statistic:11.4g}{t.expected:11.4g}{t.effect_size:14.4f}"
                f"{_number(t.pvalue):>10}"
                for t in tests.values()
            ]
        leading = np.argsort(-worst.shares)[:5]
        shares = ", ".join(f"{j} ({worst.shares[j]:.0%})" for j in leading)
        if self.untested:
            lines += ["", f"against {TITLES['composite']}", f"  not tested: {self.untested}"]
        lines += [
            "",
            f"worst direction, component (share): {shares}",
            f"  mean {worst.mean:.2f}, std {worst.std:.2f}, skewness {worst.skewness:.2f}, "
            f"excess kurtosis {worst.kurtosis:.2f}",
            f"  Epps-Pulley {worst.test.statistic:.3g} (expected {worst.test.expected:.3g}), "
            f"p-value {_number(worst.test.pvalue)}",
            "",
            self.verdict,
        ]
        return "\n".join(lines)

    __repr__ = __str__

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with one row per measure.

        The columns are value, expected, effect_size, pvalue, null, method and n_samples. The index
        holds "mean error", "covariance error", "active components", "effective rank", every test
        with its null hypothesis, such as "Henze-Zirkler (the target)" and "Henze-Zirkler (any
        Gaussian)", and "worst direction".

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("to_frame needs pandas: pip install pandas") from error
        n = self.n_samples
        rows: list[dict[str, Any]] = [
            {"measure": name, "value": value, "expected": expected, "n_samples": n}
            for name, value, expected in (
                ("mean error", self.mean_error, self.mean_sampling_error),
                ("covariance error", self.cov_error, self.cov_sampling_error),
                ("active components", self.n_active, self.n_components),
                ("effective rank", self.effective_rank, self.n_components),
            )
        ]
        named = {
            f"{name} ({TITLES[null]})": test
            for null, tests in self.tests.items()
            for name, test in tests.items()
        }
        rows += [
            {
                "measure": name,
                "value": t.statistic,
                "expected": t.expected,
                "effect_size": t.effect_size,
                "pvalue": t.pvalue,
                "null": t.null,
                "method": t.method,
                "n_samples": t.n_samples,
            }
            for name, t in {**named, WORST: self.worst.test}.items()
        ]
        columns = ["value", "expected", "effect_size", "pvalue", "null", "method", "n_samples"]
        return pd.DataFrame(rows).set_index("measure")[columns]


def _number(pvalue: float) -> str:
    return "<0.0001" if pvalue < 1e-4 else f"{pvalue:.3g}"


def _p(pvalue: float) -> str:
    return "p < 0.0001" if pvalue < 1e-4 else f"p = {pvalue:.2g}"


def _variance(effect_size: float, k: int) -> float | None:
    """Return the variance of one component, the others being N(0, 1), that has this effect size.

    Return None if no variance has such a large effect size.
    """
    share = random_directions(k, 2048, 0)[0] ** 2  # of that component, in each direction

    def excess(v: float) -> float:
        cf = np.exp(-(1 + (v - 1) * share) * ep.KNOTS[:, None] ** 2 / 2)
        distance = (ep.WEIGHTS @ (cf - ep.NORMAL[:, None]) ** 2).mean()
        return float(distance / ep.effect_unit(k) - effect_size)

    most = 1e4
    return brentq(excess, 1, most) if excess(most) > 0 else None


def _equivalent(effect_size: float, k: int) -> str:
    variance = _variance(effect_size, k)
    if variance is None:
        return ""
    number = f"{variance:.0f}" if variance >= 100 else f"{variance:.3g}"
    return f" (equal to one component of variance {number} instead of 1)"


def gaussianity_report(
    Z: ArrayLike,
    mean: ArrayLike | None = None,
    cov: ArrayLike | None = None,
    *,
    random_state: RandomState = 0,
) -> GaussianityReport:
    """Test an embedding against its target and against any Gaussian.

    Parameters
    ----------
    Z : array-like of shape (n_samples, n_components)
        At least four samples that the encoder was not trained on. Training samples appear more
        Gaussian than new samples.
    mean : array-like of shape (n_components,), default=None
        Mean of the target. If None, zeros.
    cov : array-like of shape (n_components, n_components) or (n_components,), default=None
        Covariance or variances of the target. If None, the identity.
    random_state : int, RandomState instance or None, default=0
        Determines directions, subsamples, halves, folds, draws and networks. If None, the seed is
        drawn once per process.

    Returns
    -------
    GaussianityReport
        Prints as a table. Its method `to_frame` returns a DataFrame.

    Raises
    ------
    ValueError
        If an array has the wrong shape or a value that is not finite, if cov is not positive
        definite, or if Z has fewer than four samples.

    See Also
    --------
    mardia_test, henze_zirkler_test, epps_pulley_test, classifier_two_sample_test : The tests, with
        the definitions of their effect sizes.

    Examples
    --------
    >>> import numpy as np
    >>> from sklatent.metrics import gaussianity_report
    >>> u = np.random.default_rng(0).standard_normal((2000, 2))
    >>> report = gaussianity_report(u * [1, 1.5])
    >>> report.pvalues["simple"] < 0.001, report.pvalues["composite"] > 0.05
    (True, True)
    >>> report.worst.shares.round(1)
    array([0., 1.])
    """
    seed = as_seed(random_state)
    Z = check_samples(Z, min_samples=4)
    n, k = Z.shape
    u = Target.from_params(mean, cov, k, prefix="").to_standard(Z)
    covariance = np.cov(u.T).reshape(k, k)
    variances = np.maximum(np.linalg.eigvalsh(covariance), 0)
    share = variances[variances > 0] / variances.sum() if variances.any() else np.ones(1)

    worst = worst_direction(u, seed)
    tests: dict[Null, dict[str, TestResult]] = {}
    raw_pvalues: dict[Null, dict[str, float]] = {}
    untested = None
    nulls: tuple[Null, ...] = ("simple", "composite")
    for null in nulls:
        try:
            mardia = mardia_test(u, null=null, random_state=seed)
        except ValueError:
            if null == "simple":
                raise
            few = f"{n} samples are fewer than the required {k + 2}"
            untested = few if n < k + 2 else "the covariance is singular"
            break
        others = (
            henze_zirkler_test(u, null=null, random_state=seed),
            epps_pulley_test(u, null=null, random_state=seed),
            classifier_two_sample_test(u, null=null, random_state=seed),
        )
        tests[null] = {t.name: t for t in (mardia.skewness, mardia.kurtosis, *others)}
        raw_pvalues[null] = {"Mardia": mardia.pvalue, **{t.name: t.pvalue for t in others}}
    raw_pvalues["simple"][WORST] = worst.test.pvalue

    law = ep.null_law(n, k, "simple", ep.N_SLICES)
    return GaussianityReport(
        n_samples=n,
        n_components=k,
        mean_error=float(np.sqrt(np.square(u.mean(axis=0)).mean())),
        mean_sampling_error=n**-0.5,
        cov_error=float(np.sqrt(np.square(covariance - np.eye(k)).mean())),
        cov_sampling_error=float(np.sqrt((k + 1) / k / (n - 1))),
        n_active=int((covariance.diagonal() > ACTIVE_VARIANCE).sum()),
        effective_rank=float(np.exp(-(share * np.log(share)).sum())),
        tests=tests,
        untested=untested,
        raw_pvalues=raw_pvalues,
        worst=worst,
        detectable=(law.isf(LEVEL) - law.isf(POWER)) / n / ep.effect_unit(k),
    )
