"""Sliced Epps-Pulley: the integral of its docstring."""

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid

from sklatent.networks import Embedding
from sklatent.regularizers import SlicedEppsPulley


def test_on_a_line_it_is_the_trapezoidal_rule():
    # With one component every direction is the line, of either sign, which the integrand ignores.
    u = torch.randn(20, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    value = SlicedEppsPulley(n_slices=3)(Embedding(u, None, u))
    n, t = len(u), np.linspace(-3, 3, 33)
    phi = np.exp(1j * t * u.numpy()).mean(axis=0)
    gaussian = np.exp(-(t**2) / 2)
    squares = (n * np.abs(phi) ** 2 - 1) / (n - 1) - 2 * phi.real * gaussian + gaussian**2
    s = np.sqrt(2 * np.pi / 3) / (4 * (1 + 2))
    assert value.item() == pytest.approx(trapezoid(squares * gaussian, t) / s, rel=1e-9)
