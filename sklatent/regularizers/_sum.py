"""Sums and multiples of regularizers."""

import math
from typing import Any

import torch
from torch import Tensor

from ..networks import Embedding
from ._base import Regularizer


class Weighted(Regularizer):
    """A regularizer times a weight; what ``3 * SlicedEppsPulley()`` makes.

    Parameters
    ----------
    regularizer : Regularizer
    weight : float, default=1.0

    Examples
    --------
    >>> from sklatent.regularizers import SlicedEppsPulley
    >>> 3 * SlicedEppsPulley()
    Weighted(regularizer=SlicedEppsPulley(), weight=3)
    """

    def __init__(self, regularizer: Regularizer, weight: float = 1.0) -> None:
        self.regularizer = regularizer
        self.weight = weight

    @property
    def stochastic(self) -> bool:  # type: ignore[override]
        """Whether the regularizer needs a stochastic encoder."""
        return self.regularizer.stochastic

    def __call__(
        self,
        embedding: Embedding,
        n_rows: float = math.inf,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the weighted penalty of a batch, per model: (...)."""
        return self.penalty(embedding, n_rows=n_rows, generator=generator)

    def penalty(self, embedding: Embedding, nats: float = 1.0, **kwargs: Any) -> Tensor:
        """Return the weighted penalty, terms in nats divided by ``nats``."""
        return self.weight * self.regularizer.penalty(embedding, nats, **kwargs)


class Sum(Regularizer):
    """Sum of two regularizers; what ``MomentMatching() + SlicedEppsPulley()`` makes.

    The terms' parameters can be set and searched, as ``regularizer__second__n_slices`` or, where
    the second term is weighted, ``regularizer__second__weight``. More terms nest. `Adversarial`
    cannot be a term: its critic trains against the encoder, not beside a distance.

    Parameters
    ----------
    first, second : Regularizer

    Examples
    --------
    >>> from sklatent.regularizers import MomentMatching, SlicedEppsPulley
    >>> MomentMatching() + 3 * SlicedEppsPulley()
    Sum(first=MomentMatching(),
        second=Weighted(regularizer=SlicedEppsPulley(), weight=3))
    """

    def __init__(self, first: Regularizer, second: Regularizer) -> None:
        self.first = first
        self.second = second

    @property
    def stochastic(self) -> bool:  # type: ignore[override]
        """Whether a term needs a stochastic encoder."""
        return self.first.stochastic or self.second.stochastic

    def __call__(
        self,
        embedding: Embedding,
        n_rows: float = math.inf,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the sum of the terms' penalties of a batch, per model: (...)."""
        return self.penalty(embedding, n_rows=n_rows, generator=generator)

    def penalty(self, embedding: Embedding, nats: float = 1.0, **kwargs: Any) -> Tensor:
        """Return the sum of the penalties, terms in nats divided by ``nats``."""
        first = self.first.penalty(embedding, nats, **kwargs)
        return first + self.second.penalty(embedding, nats, **kwargs)
