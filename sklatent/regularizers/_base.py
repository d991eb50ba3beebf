"""The base class of the regularizers, and weighted sums of regularizers."""

import math
from abc import ABC, abstractmethod
from numbers import Integral, Real
from typing import Any, ClassVar

import torch
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval
from torch import Tensor

from ..networks import Embedding

#: Constraints of a weight and of a number, for the regularizers' parameters.
WEIGHT = [Interval(Real, 0, None, closed="left")]
COUNT = [Interval(Integral, 1, None, closed="left")]


class Regularizer(ABC, BaseEstimator):
    """Base class of the regularizers.

    A regularizer measures the distance of a batch of embeddings from N(0, I). A regularizer holds
    parameters only, and ``GaussianEmbedder.fit`` clones the regularizer. To write your own, derive
    from this class, take parameters in ``__init__`` as scikit-learn estimators do, and define
    ``__call__``.

    Attributes
    ----------
    stochastic : bool
        Whether the regularizer needs an encoder that returns a variance (``Embedding.log_var``).
    in_nats : bool
        Whether the penalty is in nats per sample. If True, the penalty is divided by the task's
        ``nats_``, so that ``reg_weight`` weighs nats against nats.

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
    _parameter_constraints: ClassVar[dict] = {}

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
            Tensors of shape (..., n, k), in standard coordinates. Leading axes are batches. n is at
            least 2, unless the penalty is `in_nats`.
        n_rows : float or Tensor of shape (...), default=inf
            Number of samples that batches are drawn from without replacement. Infinite if each
            batch consists of new draws.
        generator : torch.Generator, default=None
            CPU generator of random directions or draws. The same state gives the same penalty.
            If None, use torch's global generator.

        Returns
        -------
        Tensor of shape (...)
            One penalty per model, at least zero in expectation. The training loss includes
            negative values unchanged. The criterion of early stopping replaces them by zero.
        """

    def penalty(self, embedding: Embedding, nats: float = 1.0, **kwargs: Any) -> Tensor:
        """Return the penalty in units of the task's loss.

        The penalty of a batch of one sample is zero, unless it is `in_nats`: one sample has no
        distribution to compare with N(0, I).

        Parameters
        ----------
        embedding : Embedding
        nats : float, default=1.0
            Nats per unit of the task's loss. A penalty that is `in_nats` is divided by this number.
        **kwargs
            Arguments of ``__call__``.
        """
        if self.in_nats:
            return self(embedding, **kwargs) / nats
        if embedding.sample.shape[-2] == 1:
            # A loss without a task still needs a gradient.
            return 0 * embedding.sample.sum(dim=(-2, -1))
        return self(embedding, **kwargs)

    def __add__(self, other: "Regularizer") -> "Regularizer":
        return Sum(self, other)

    def __rmul__(self, weight: float) -> "Regularizer":
        return Weighted(self, weight)


class Weighted(Regularizer):
    """A regularizer multiplied by a weight, as ``3 * SlicedEppsPulley()`` creates it.

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

    _parameter_constraints: ClassVar[dict] = {"regularizer": [Regularizer], "weight": WEIGHT}

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
        """Return the weighted penalty. A penalty in nats is divided by ``nats``."""
        return self.weight * self.regularizer.penalty(embedding, nats, **kwargs)


class Sum(Regularizer):
    """Sum of two regularizers, as ``MomentMatching() + SlicedEppsPulley()`` creates it.

    The parameters of the terms can be set and searched: ``regularizer__second__n_slices``, or
    ``regularizer__second__weight`` if the second term is weighted. A sum of three terms is a sum
    of a sum and a term. `Adversarial` cannot be a term, because its critic needs a training step
    of its own.

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

    _parameter_constraints: ClassVar[dict] = {"first": [Regularizer], "second": [Regularizer]}

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
        """Return the sum of the penalties. Terms in nats are divided by ``nats``."""
        first = self.first.penalty(embedding, nats, **kwargs)
        return first + self.second.penalty(embedding, nats, **kwargs)
