"""Checks that GaussianEmbedder with its defaults does no worse than PCA on small or wide data.

Prints the held-out R^2 of PCA and of GaussianEmbedder with its default settings, over random
70/30 splits of data sets that come with scikit-learn. See README.md beside this file.
"""

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel, delayed
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from sklatent import GaussianEmbedder


def data_sets(folder=None):
    """Yield the name of each data set, X, the number of components, and whether to standardize."""
    if folder is not None:
        yield "coffee_spectra", np.load(folder / "coffee_spectra.npz")["X"].astype(float), 3, False
    for standardize in (False, True):
        yield "breast_cancer", load_breast_cancer().data, 4, standardize
        yield "wine", load_wine().data, 3, standardize
    yield "diabetes", load_diabetes().data, 3, False
    yield "digits", load_digits().data, 8, True


def compare(X, k, standardize, seed, params):
    """Return held-out R^2 of PCA and of GaussianEmbedder, and the latter's fit time and epochs."""
    torch.set_num_threads(1)
    train, test = train_test_split(X, test_size=0.3, random_state=seed)
    if standardize:
        scaler = StandardScaler().fit(train)
        train, test = scaler.transform(train), scaler.transform(test)
    pca = PCA(k, random_state=seed).fit(train)
    embedder = GaussianEmbedder(k, random_state=seed, **params)
    with warnings.catch_warnings():
        # Stopping at max_iter is one of the default settings.
        warnings.simplefilter("ignore", ConvergenceWarning)
        start = time.perf_counter()
        embedder.fit(train)
        seconds = time.perf_counter() - start
    baseline, ours = (
        r2_score(test, m.inverse_transform(m.transform(test)), multioutput="variance_weighted")
        for m in (pca, embedder)
    )
    return baseline, ours, seconds, embedder.n_iter_


def main():
    """Measure all data sets and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of coffee_spectra.npz")
    parser.add_argument("--seeds", type=int, default=10, help="number of splits")
    parser.add_argument("--jobs", type=int, default=2, help="fits that run side by side")
    parser.add_argument(
        "--params", type=json.loads, default={}, help="parameters other than the defaults, as JSON"
    )
    args = parser.parse_args()

    print("| data (n x p, k) | PCA | ours | median difference | worst | best | fit, s | epochs |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, X, k, standardize in data_sets(args.data):
        runs = Parallel(args.jobs)(
            delayed(compare)(X, k, standardize, seed, args.params) for seed in range(args.seeds)
        )
        baseline, ours, seconds, epochs = np.array(runs).T
        gain = ours - baseline
        shape = f"{len(X)} x {X.shape[1]}, {k}{', standardized' if standardize else ''}"
        print(
            f"| {name} ({shape}) | {np.median(baseline):.4f} | {np.median(ours):.4f} "
            f"| {np.median(gain):+.4f} | {gain.min():+.4f} | {gain.max():+.4f} "
            f"| {np.median(seconds):.2f} | {np.median(epochs):.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
