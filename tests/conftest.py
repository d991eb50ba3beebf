"""Settings that all tests share."""

import os
import sys

# Before numpy and torch are imported: parallel test processes must not fight over the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
import torch

os.environ["MPLBACKEND"] = "Agg"  # pictures are drawn on no screen


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Use one thread of torch, also if the variables above are set."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
