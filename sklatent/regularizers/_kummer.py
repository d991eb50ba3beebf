"""Kummer's confluent hypergeometric function of a negative argument, for torch."""

from functools import lru_cache
from typing import Any

import torch
from numpy.polynomial import chebyshev
from scipy.special import hyp1f1
from torch import Tensor
from torch.autograd.function import once_differentiable


def kummer(a: float, b: float, x: Tensor) -> Tensor:
    r"""1F1(a; b; -x) for x >= 0, a in {-1/2, 1/2, 3/2} and b >= 1/2.

    For large x the function decreases like :math:`x^{-a}`. Therefore the function is computed as
    :math:`w^a P(w)` with :math:`w = 1 / (1 + x/(b + 8))` in (0, 1] and P a polynomial. The error is
    below 1e-8 :math:`w^a` for every x. The shift by 8 keeps P short for small b. The derivative is
    :math:`-(a/b)` 1F1(a + 1; b + 1; -x) (DLMF 13.3.15).

    Parameters
    ----------
    a, b : float
    x : Tensor

    Returns
    -------
    Tensor of x's shape.
    """
    return _Kummer.apply(x, a, b)


class _Kummer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, a: float, b: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.parameters = a, b
        return _evaluate(a, b, x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]  # torch: *grads
        (x,), (a, b) = ctx.saved_tensors, ctx.parameters
        return gradient * _evaluate(a + 1, b + 1, x).mul_(-a / b), None, None


def _evaluate(a: float, b: float, x: Tensor) -> Tensor:
    w = torch.reciprocal(1 + x / (b + 8))
    y = 2 * w - 1
    first, *others = _coefficients(a, b)
    value = torch.full_like(x, first)
    for coefficient in others:
        value.mul_(y).add_(coefficient)
    return value.mul_(w.sqrt().pow(2 * a))


@lru_cache
def _coefficients(a: float, b: float) -> list[float]:
    """Return the coefficients of P as a polynomial in 2 w - 1, the highest power first."""
    y = chebyshev.chebpts1(64)
    w = (1 + y) / 2
    x = (b + 8) * (1 / w - 1)
    # For negative a, SciPy may overflow. DLMF 13.3.4 is a sum of positive terms instead.
    rising = hyp1f1(a + 1, b, -x) + x / b * hyp1f1(a + 1, b + 1, -x)
    value = rising if a < 0 else hyp1f1(a, b, -x)
    series = chebyshev.chebtrim(chebyshev.chebfit(y, value / w**a, len(y) - 1), 1e-9)
    return chebyshev.cheb2poly(series)[::-1].tolist()
