"""Embeddings that look Gaussian: a nonlinear PCA(whiten=True)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "GaussianEmbedder",
    "GaussianEmbedderCV",
    "Gaussianizer",
    "OutlierDetector",
    "__version__",
    "load",
]

if TYPE_CHECKING:
    from ._embedder import GaussianEmbedder
    from ._embedder_cv import GaussianEmbedderCV
    from ._gaussianizer import Gaussianizer
    from ._outliers import OutlierDetector
    from ._persistence import load

_MODULES = {
    "GaussianEmbedder": "_embedder",
    "GaussianEmbedderCV": "_embedder_cv",
    "Gaussianizer": "_gaussianizer",
    "OutlierDetector": "_outliers",
    "load": "_persistence",
}


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    # Torch takes seconds to import; reading the version should not.
    if name in _MODULES:
        return getattr(import_module(f".{_MODULES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
