import pytest
import torch
from torch import nn

from sklatent.training.average import DECAY, Average


def test_buffers_are_averaged_as_weights_are():
    module = nn.BatchNorm1d(2)
    average = Average(module, warm_up=False)
    for value in (4.0, 8.0):
        module.running_mean.fill_(value)
        with torch.no_grad():
            module.bias.fill_(value)
        average.update(module)
    torch.testing.assert_close(average.model.module.running_mean, module.bias * 0 + 4.04)
    torch.testing.assert_close(average.model.module.bias, module.bias * 0 + 4.04)


@pytest.mark.parametrize("warm_up", [False, True])
def test_average_has_the_decay_of_its_step(warm_up):
    module = nn.Linear(1, 1)
    average = Average(module, warm_up)
    expected = None
    for n in range(1500):
        with torch.no_grad():
            module.weight.fill_(n % 7)
        average.update(module)
        decay = min(DECAY, (1 + n) / (10 + n)) if warm_up else DECAY
        expected = n % 7 if expected is None else decay * expected + (1 - decay) * (n % 7)
        if n in (1, 10, 1499):
            assert average.model.module.weight.item() == pytest.approx(expected, rel=1e-4)
    assert module.weight.item() == 1499 % 7
