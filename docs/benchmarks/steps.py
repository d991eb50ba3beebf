"""Compares the default number of steps with longer fits, and fits of more and more samples.

The first table has R^2, G (see gaussianity.py beside this file) and the accuracy of five nearest
neighbors on test samples for max_iter="auto" and for other limits. The second table has the steps
and the processor time of default fits of a curved manifold. See README.md.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from _common import explained, sliced_epps_pulley
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from sklatent import GaussianEmbedder


def data_sets(folder):
    """Yield the name of each data set, X, y or None, and the number of components."""
    for load, k in (load_breast_cancer, 4), (load_wine, 3), (load_digits, 8), (load_diabetes, 3):
        X, y = load(return_X_y=True)
        yield load.__name__[5:], X, None if load is load_diabetes else y, k
    if folder is not None:
        for name, k, n in ("satellite", 4, None), ("shuttle", 4, 57_143), ("mnist_10k", 16, 3000):
            file = np.load(folder / f"{name}.npz")
            yield name, file["X"][:n].astype(float), file["y"][:n], k


def manifold(n, seed=0, n_features=50, n_factors=6):
    """Return n samples of a curved manifold with noise."""
    rng = np.random.default_rng(seed)
    factors = rng.standard_normal((n, n_factors))
    waves = np.sin(factors @ rng.normal(0, 0.35, (n_factors, 40)) + rng.uniform(0, 6, 40))
    X = waves @ rng.normal(0, 1 / np.sqrt(40), (40, n_features))
    return (X + 0.1 * rng.standard_normal(X.shape)).astype(np.float32)


def fit(X_train, k, seed, **params):
    """Return a fitted embedder, its number of steps, and the fit's processor time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        start = time.process_time()
        embedder = GaussianEmbedder(k, random_state=seed, **params).fit(X_train)
        seconds = time.process_time() - start
    return embedder, sum(embedder.net_.history[:, "train_batch_count"]), seconds


def quality(X, y, k, seed, max_iter):
    """Return test R^2, G, 5-NN accuracy, epochs, steps and seconds of one fit."""
    index = np.arange(len(X))
    train, test = train_test_split(index, test_size=0.3, random_state=seed, stratify=y)
    X = StandardScaler().fit(X[train]).transform(X)
    embedder, n_steps, seconds = fit(X[train], k, seed, max_iter=max_iter)
    Z, Z_test = embedder.transform(X[train]), embedder.transform(X[test])
    accuracy = np.nan
    if y is not None:
        accuracy = KNeighborsClassifier(5).fit(Z, y[train]).score(Z_test, y[test])
    gaussian = sliced_epps_pulley(Z_test)
    return explained(embedder, X[test]), gaussian, accuracy, embedder.n_iter_, n_steps, seconds


def main():
    """Measure and print two Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of satellite, shuttle and mnist_10k.npz")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", nargs="*", help="names of data sets; all by default")
    parser.add_argument("--limits", nargs="+", type=int, default=[200, 1000])
    parser.add_argument("--sizes", nargs="*", type=int, default=[25_000, 100_000, 400_000])
    parser.add_argument("--longer", type=int, help="also fit this many times as many epochs")
    args = parser.parse_args()
    torch.set_num_threads(1)

    print("| data | max_iter | R^2 | G | 5-NN | epochs | steps | fit, s |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for name, X, y, k in data_sets(args.data):
        if args.only is not None and name not in args.only:
            continue
        for max_iter in ("auto", *args.limits):
            runs = [quality(X, y, k, seed, max_iter) for seed in range(args.seeds)]
            r2, g, accuracy, epochs, steps, seconds = np.mean(runs, axis=0)
            print(
                f"| {name} ({len(X)} x {X.shape[1]}, {k}) | {max_iter} | {r2:.4f} | {g:.2f} "
                f"| {accuracy:.3f} | {epochs:.0f} | {steps:.0f} | {seconds:.1f} |",
                flush=True,
            )

    print("\n| samples | max_iter | R^2 | epochs | steps | fit, s |")
    print("| ---: | --- | ---: | ---: | ---: | ---: |", flush=True)
    for n in args.sizes:
        X = manifold(n + 10_000)
        params = {"max_iter": "auto"}
        for _ in range(1 if args.longer is None else 2):
            embedder, n_steps, seconds = fit(X[:n], 6, 0, **params)
            r2, epochs = explained(embedder, X[n:]), embedder.n_iter_
            cells = f"{params['max_iter']} | {r2:.4f} | {epochs} | {n_steps} | {seconds:.1f}"
            print(f"| {n} | {cells} |", flush=True)
            # Without a limit of patience, training continues to the last epoch.
            params = {"max_iter": (args.longer or 1) * epochs, "n_iter_no_change": 10**6}


if __name__ == "__main__":
    main()
