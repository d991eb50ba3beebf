"""The training engine on skorch; it knows networks, tasks and regularizers, not estimators."""

from .batches import Samples
from .build import Architecture, build_critic
from .callbacks import NonFiniteLossError, Patience, StopTraining, Watch
from .log import PrintLosses
from .net import EmbedderNet
from .objective import Objective

__all__ = [
    "Architecture",
    "EmbedderNet",
    "NonFiniteLossError",
    "Objective",
    "Patience",
    "PrintLosses",
    "Samples",
    "StopTraining",
    "Watch",
    "build_critic",
]
