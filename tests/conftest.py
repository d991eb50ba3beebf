"""Settings that all tests share."""

import os
import sys

import pytest
import torch

os.environ["MPLBACKEND"] = "Agg"  # pictures are drawn on no screen


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Keep parallel test processes from fighting over the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
