"""Detects losses in which torch broadcasts predictions and targets to all pairs of samples."""

from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode


class PairDetector(TorchFunctionMode):
    """Detects whether operations combine tensors of shapes (n, 1) and (n,) to shape (n, n).

    The difference of an output of shape (n, 1) and a y of shape (n,) compares each output with
    every y. A loss that compares pairs on purpose adds an axis, as in ``y[:, None]``. Therefore
    the detector ignores axes that the loss adds.

    Parameters
    ----------
    *arguments : Tensor or None
        What the loss receives: predictions, which have a gradient, and targets, which have none.

    Attributes
    ----------
    found : bool
    """

    def __init__(self, *arguments: Tensor | None) -> None:
        super().__init__()
        self.found = False
        #: Tensors of shape (n, q), n > 1, that the loss received, or computed from such tensors.
        self.received = [
            each for each in arguments if each is not None and each.ndim == 2 and len(each) > 1
        ]

    def __torch_function__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call a function of torch."""
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        tensors = [each for each in (*args, *kwargs.values()) if isinstance(each, Tensor)]
        received = [each for each in tensors if any(each is other for other in self.received)]
        if received and isinstance(result, Tensor) and result.ndim == 2:
            n = len(received[0])
            if len(result) == n:
                self.received.append(result)
            self.found |= result.shape == (n, n) and any(
                column.shape == (n, 1)
                and row.shape == (n,)
                and row.requires_grad != column.requires_grad
                for column in received
                for row in tensors
            )
        return result
