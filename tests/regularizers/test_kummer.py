import numpy as np
import pytest
import torch
from scipy.special import hyp1f1
from torch.testing import assert_close

from sklatent.regularizers._kummer import kummer

X = np.concatenate([[0.0], np.geomspace(1e-8, 1e6, 200)])


def reference(a, b):
    if a == -0.5:  # DLMF 13.3.4: scipy's own overflows for large b and x
        return hyp1f1(0.5, b, -X) + X / b * hyp1f1(0.5, b + 1, -X)
    return hyp1f1(a, b, -X)


@pytest.mark.parametrize("a", [-0.5, 0.5])
@pytest.mark.parametrize("b", [0.5, 1, 1.5, 2, 4, 32, 500])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 2e-9), (torch.float32, 1e-6)])
def test_values_are_those_of_scipy(a, b, dtype, tolerance):
    size = (1 + X / (b + 8)) ** -a
    value = kummer(a, b, torch.from_numpy(X).to(dtype)).double().numpy()
    assert np.max(np.abs(value - reference(a, b)) / size) < tolerance


@pytest.mark.parametrize("a", [-0.5, 0.5])
@pytest.mark.parametrize("b", [0.5, 1, 4, 32])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 2e-9), (torch.float32, 2e-6)])
def test_derivatives_are_those_of_scipy(a, b, dtype, tolerance):
    x = torch.from_numpy(X).to(dtype).requires_grad_()
    kummer(a, b, x).sum().backward()
    expected = -a / b * hyp1f1(a + 1, b + 1, -X)
    size = abs(a / b) * (1 + X / (b + 9)) ** -(a + 1)
    assert np.max(np.abs(x.grad.double().numpy() - expected) / size) < tolerance


@pytest.mark.parametrize("a", [-0.5, 0.5])
def test_gradient(a):
    x = torch.tensor([0.01, 0.5, 3.0, 40.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: kummer(a, 1.0, x), x)


def test_half_and_one_half_is_the_exponential():
    x = torch.linspace(0, 30, 301, dtype=torch.float64)
    assert_close(kummer(0.5, 0.5, x), torch.exp(-x), atol=1e-9, rtol=0)
