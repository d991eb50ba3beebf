"""Shows which weight of the KL divergence an embedding for labels bears.

Held-out accuracy or R^2, and the number of active components, for `regularizer="kl"` at several
textbook betas, beside no regularizer and "moment", all other settings at their defaults; means
over random 70/30 splits. Features are standardized. See README.md.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    load_wine,
    make_classification,
    make_friedman1,
)
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from sklatent import GaussianEmbedder
from sklatent.tasks import LABEL_BETA

BETAS = [1.0, 0.3, 0.1, 0.05, 0.02, 0.01, 0.003]


def weak_line(n=1500):
    """Return labels of which a line through X explains a tenth."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 8))
    return X, X[:, 0] + 3 * rng.standard_normal(n)


def square(n=1500):
    """Return labels that no line explains."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 8))
    return X, X[:, 0] ** 2 + 0.3 * rng.standard_normal(n)


def half_random(n=1500):
    """Return two classes, half of whose labels are drawn at random."""
    return make_classification(n, 10, n_informative=4, n_redundant=2, flip_y=0.5, random_state=0)


FILES = {"satellite": 6, "mnist_10k": 8}  # components
DATA = {  # task, components, X and y
    "digits": ("classification", 8, lambda: load_digits(return_X_y=True)),
    "wine": ("classification", 3, lambda: load_wine(return_X_y=True)),
    "breast_cancer": ("classification", 4, lambda: load_breast_cancer(return_X_y=True)),
    "iris": ("classification", 2, lambda: load_iris(return_X_y=True)),
    "half_random": ("classification", 4, half_random),
    "diabetes": ("regression", 4, lambda: load_diabetes(return_X_y=True)),
    "friedman1": ("regression", 4, lambda: make_friedman1(1500, noise=1.0, random_state=0)),
    "weak_line": ("regression", 4, weak_line),
    "square": ("regression", 4, square),
}


def measure(X, y, task, k, n_splits, **params):
    """Return mean score and mean number of active components."""
    results = []
    for seed in range(n_splits):
        stratify = y if task == "classification" else None
        parts = train_test_split(X, y, test_size=0.3, random_state=seed, stratify=stratify)
        scaler = StandardScaler().fit(parts[0])
        embedder = GaussianEmbedder(k, task=task, random_state=seed, **params)
        embedder.fit(scaler.transform(parts[0]), parts[2])
        score = embedder.score(scaler.transform(parts[1]), parts[3])
        results.append((score, getattr(embedder, "n_active_components_", np.nan)))
    return np.mean(results, axis=0)


def main():
    """Fit and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of satellite.npz and mnist_10k.npz")
    parser.add_argument("--only", nargs="*", choices=DATA, default=list(DATA))
    parser.add_argument("--betas", nargs="+", type=float, default=BETAS)
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--rows", type=int, default=3000, help="at most, of a file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")  # collapsed components are what is measured

    data = [(name, *DATA[name]) for name in args.only]
    for name, k in FILES.items() if args.data else ():
        arrays = np.load(args.data / f"{name}.npz")
        few = np.random.default_rng(0).permutation(len(arrays["X"]))[: args.rows]
        X, y = arrays["X"][few], arrays["y"][few]
        data.append((name, "classification", k, lambda X=X, y=y: (X, y)))
    columns = ["data, k", "none", "moment", *(f"beta {beta:g}" for beta in args.betas)]
    print(f"| {' | '.join(columns)} |")
    print(f"| --- |{' ---: |' * (len(columns) - 1)}", flush=True)
    for name, task, k, load in data:
        X, y = load()
        print(f"| {name}, {k} |", end="", flush=True)
        for regularizer in (None, "moment"):
            score, _ = measure(X, y, task, k, args.splits, regularizer=regularizer)
            print(f" {score:.3f} |", end="", flush=True)
        for beta in args.betas:
            params = {"regularizer": "kl", "reg_weight": beta / LABEL_BETA}
            score, active = measure(X, y, task, k, args.splits, **params)
            print(f" {score:.3f} ({active:.1f}) |", end="", flush=True)
        print(flush=True)


if __name__ == "__main__":
    main()
