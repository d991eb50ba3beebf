"""A moving average of a module's weights during training."""

from typing import Any

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

#: Decay of the moving average per step.
DECAY = 0.99


class Average:
    """An exponential moving average of a module's weights [1]_.

    The steps of an epoch with many batches are noisy, and adversarial training oscillates. The
    average is less noisy than the last weights.

    Parameters
    ----------
    module : Module
    warm_up : bool
        Whether the decay of step n is at most (1 + n) / (10 + n), so that a short training soon
        forgets its start.

    Attributes
    ----------
    model : AveragedModel
        Its ``module`` has the averaged weights.

    References
    ----------
    .. [1] Polyak, B. T. and Juditsky, A. B. (1992). `Acceleration of stochastic approximation by
       averaging <https://doi.org/10.1137/0330046>`_. SIAM Journal on Control and Optimization,
       30(4).
    """

    def __init__(self, module: nn.Module, warm_up: bool) -> None:
        rule: Any = _warm_up if warm_up else get_ema_multi_avg_fn(DECAY)
        self.model = AveragedModel(module, multi_avg_fn=rule, use_buffers=True)

    def update(self, module: nn.Module) -> None:
        """Add the weights after a step."""
        self.model.update_parameters(module)


def _warm_up(averaged: Any, current: Any, n: Tensor | int) -> None:
    get_ema_multi_avg_fn(min(DECAY, float((1 + n) / (10 + n))))(averaged, current, n)
