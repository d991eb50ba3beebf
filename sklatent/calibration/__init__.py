"""Invertible maps, fitted after training, from the training embedding to N(0, I)."""

from ._affine import AffineCalibration
from ._gaussianization import Gaussianization

__all__ = ["AffineCalibration", "Gaussianization"]
