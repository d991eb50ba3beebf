"""Embeddings that look Gaussian: PCA(whiten=True) that can bend."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["GaussianEmbedder", "GaussianEmbedderCV", "__version__"]

if TYPE_CHECKING:
    from ._embedder import GaussianEmbedder
    from ._embedder_cv import GaussianEmbedderCV


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    # Torch takes seconds to import; reading the version should not.
    if name == "GaussianEmbedder":
        from ._embedder import GaussianEmbedder

        return GaussianEmbedder
    if name == "GaussianEmbedderCV":
        from ._embedder_cv import GaussianEmbedderCV

        return GaussianEmbedderCV
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
