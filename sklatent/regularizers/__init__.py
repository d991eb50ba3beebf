"""Distances of an embedding from N(0, I), one class for each."""

from ._adversarial import Adversarial
from ._base import Regularizer, Sum, Weighted
from ._epps_pulley import SlicedEppsPulley
from ._kl import KLDivergence
from ._mmd import MaximumMeanDiscrepancy
from ._moment import MomentMatching
from ._sliced_wasserstein import SlicedWasserstein

REGULARIZERS: dict[str, type[Regularizer]] = {
    "adversarial": Adversarial,
    "kl": KLDivergence,
    "mmd": MaximumMeanDiscrepancy,
    "moment": MomentMatching,
    "sliced": SlicedEppsPulley,
    "sliced_wasserstein": SlicedWasserstein,
}

__all__ = [
    "REGULARIZERS",
    "Adversarial",
    "KLDivergence",
    "MaximumMeanDiscrepancy",
    "MomentMatching",
    "Regularizer",
    "SlicedEppsPulley",
    "SlicedWasserstein",
    "Sum",
    "Weighted",
]
