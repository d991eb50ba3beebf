"""Data and functions of more than two test modules."""

import torch
from sklearn.datasets import load_wine
from sklearn.preprocessing import scale

WINE, LABELS = load_wine(return_X_y=True)
WINE = scale(WINE)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def absolute(x_hat, x):
    return (x_hat - x).abs()
