"""What a test of Gaussianity returns."""

from dataclasses import dataclass
from typing import Literal

from ._rows import Null


@dataclass(frozen=True)
class TestResult:
    """Result of a test of Gaussianity.

    Attributes
    ----------
    name : str
    statistic : float
    expected : float
        What the statistic is in expectation if the null hypothesis holds.
    effect_size : float
        How far from Gaussian, in a unit that does not depend on the number of rows; about zero if
        the null hypothesis holds. The functions say which unit.
    pvalue : float
    null : {"simple", "composite"}
        Whether the null hypothesis is one given Gaussian, or the family of all.
    method : {"analytic", "Monte Carlo"}
        Where the p-value is from.
    n_samples : int
        Number of rows that the statistic is of.
    """

    __test__ = False  # no test class, though pytest may think so

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
