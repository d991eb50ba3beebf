"""How far an embedding is from N(0, I): one class per distance."""

from ._base import Regularizer
from ._kl import KLDivergence
from ._moment import MomentMatching

REGULARIZERS: dict[str, type[Regularizer]] = {"moment": MomentMatching, "kl": KLDivergence}

__all__ = ["REGULARIZERS", "KLDivergence", "MomentMatching", "Regularizer"]
