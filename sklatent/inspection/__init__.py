"""Plots of an embedding and of its fit, in the style of scikit-learn's displays."""

from ._embedding import EmbeddingDisplay
from ._gaussianity import GaussianityDisplay
from ._loss_curve import LossCurveDisplay
from ._regularization_path import RegularizationPathDisplay

__all__ = [
    "EmbeddingDisplay",
    "GaussianityDisplay",
    "LossCurveDisplay",
    "RegularizationPathDisplay",
]
