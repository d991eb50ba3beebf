"""The training engine on skorch; it knows networks, tasks and regularizers, not estimators."""

from .batches import Samples
from .build import Architecture, build_critic
from .callbacks import NonFiniteLossError, Patience, StopTraining, Watch
from .log import PrintLosses
from .net import EmbedderNet
from .objective import Objective
from .stack import Drop, Stack

__all__ = [
    "Architecture",
    "Drop",
    "EmbedderNet",
    "NonFiniteLossError",
    "Objective",
    "Patience",
    "PrintLosses",
    "Samples",
    "Stack",
    "StopTraining",
    "Watch",
    "build_critic",
]
