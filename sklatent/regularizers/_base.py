"""What every regularizer is, a distance of a batch of embeddings from N(0, I), and sums of them."""

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from ..networks import Embedding


class Regularizer(ABC, BaseEstimator):
    """Base class of the regularizers.

    A regularizer holds parameters only; ``GaussianEmbedder.fit`` clones it. To write your own,
    derive from this class, take parameters in ``__init__`` as scikit-learn estimators do, and
    define ``__call__``.

    Attributes
    ----------
    stochastic : bool
        Whether it needs an encoder that returns a variance (``Embedding.log_var``).
    in_nats : bool
        Whether its value is in nats per sample rather than free of units. Such a value is
        divided by the task's ``nats_``, so that ``reg_weight`` weighs nats against nats.

    Examples
    --------
    >>> import torch
    >>> from sklatent.networks import Embedding
    >>> from sklatent.regularizers import Regularizer
    >>> class SquaredMean(Regularizer):
    ...     def __call__(self, embedding, n_rows=float("inf"), generator=None):
    ...         return embedding.sample.mean(-2).square().sum(-1)
    >>> u = torch.ones(100, 3)
    >>> SquaredMean()(Embedding(u, None, u))
    tensor(3.)
    """

    stochastic = False
    in_nats = False

    @abstractmethod
    def __call__(
        self,
        embedding: Embedding,
        n_rows: float = math.inf,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the penalty of a batch.

        Parameters
        ----------
        embedding : Embedding
            Tensors of shape (..., n, k), in standard coordinates. Leading axes are models.
        n_rows : float or Tensor of shape (...), default=inf
            Number of rows that batches are drawn from without replacement; infinite for fresh
            draws.
        generator : torch.Generator, default=None
            Source of random directions or draws, on the CPU; the same state gives the same
            penalty. None takes torch's global one.

        Returns
        -------
        Tensor of shape (...)
            One penalty per model, at least zero in expectation. A value below zero counts as it
            is in the training loss, and as zero in the criterion of early stopping.
        """

    def penalty(self, embedding: Embedding, nats: float = 1.0, **kwargs: Any) -> Tensor:
        """Return the penalty in units of the task's loss.

        Parameters
        ----------
        embedding : Embedding
        nats : float, default=1.0
            Nats per unit of the task's loss; divides a penalty that is `in_nats`.
        **kwargs
            As for calling the regularizer.
        """
        value = self(embedding, **kwargs)
        return value / nats if self.in_nats else value

    def __add__(self, other: "Regularizer") -> "Regularizer":
        return Sum(self, other)

    def __rmul__(self, weight: float) -> "Regularizer":
        return Weighted(self, weight)


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
    def stochastic(self) -> bool:  # type: ignore[override]  # a class attribute above
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
    def stochastic(self) -> bool:  # type: ignore[override]  # a class attribute above
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
