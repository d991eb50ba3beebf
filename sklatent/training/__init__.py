"""The training engine on skorch; it knows networks, tasks and regularizers, not estimators."""

from .batches import Rows
from .build import Architecture, build_critic
from .callbacks import NonFiniteLossError, Patience
from .net import EmbedderNet, Objective
from .randomness import isolated

__all__ = [
    "Architecture",
    "EmbedderNet",
    "NonFiniteLossError",
    "Objective",
    "Patience",
    "Rows",
    "build_critic",
    "isolated",
]
