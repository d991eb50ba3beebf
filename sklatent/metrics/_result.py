"""The result of a test of Gaussianity."""

from dataclasses import dataclass
from typing import Literal

from ._samples import Null


@dataclass(frozen=True)
class TestResult:
    """Result of a test of Gaussianity.

    Attributes
    ----------
    name : str
    statistic : float
    expected : float
        Expectation of the statistic under the null hypothesis.
    effect_size : float
        Distance from the null hypothesis, in a unit that does not depend on the number of samples.
        About zero if the null hypothesis holds. Each test documents its unit.
    pvalue : float
    null : {"simple", "composite"}
        The null hypothesis: a given Gaussian ("simple") or any Gaussian ("composite").
    method : {"analytic", "Monte Carlo"}
        Method of the p-value.
    n_samples : int
        Number of samples in the statistic.

    Examples
    --------
    >>> import numpy as np
    >>> from sklatent.metrics import henze_zirkler_test
    >>> Z = np.random.default_rng(0).standard_normal((200, 2))
    >>> result = henze_zirkler_test(Z, random_state=0)
    >>> result.null, result.n_samples
    ('simple', 200)
    >>> bool(result.pvalue > 0.05)
    True
    """

    __test__ = False  # pytest must not collect the class, despite its name

    name: str
    statistic: float
    expected: float
    effect_size: float
    pvalue: float
    null: Null
    method: Literal["analytic", "Monte Carlo"]
    n_samples: int

    def __repr__(self) -> str:
        return (
            f"{self.name}: statistic {self.statistic:.4g} (expected {self.expected:.4g}), "
            f"p-value {self.pvalue:.3g}, effect size {self.effect_size:.3g}; "
            f"{self.null} null, {self.method}, n={self.n_samples}"
        )
