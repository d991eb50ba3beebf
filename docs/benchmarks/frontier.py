"""Compares how Gaussian the regularizers make an embedding at equal R^2.

R^2, G (see gaussianity.py beside this file) and the accuracy of the classifier test on test
samples, at several weights, as means over stratified 70/30 splits. Seconds are CPU times of the
last weight. See README.md.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from _common import explained, sliced_epps_pulley
from gaussianity import fit, split
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from sklatent import GaussianEmbedder
from sklatent.metrics import classifier_two_sample_test

REGULARIZERS = ["sliced", "sliced_wasserstein", "mmd", "adversarial"]


def two_clusters(n=4000, k=4, p=20):
    """Return samples near a subspace in which one direction has two clusters."""
    rng = np.random.default_rng(0)
    u = rng.standard_normal((n, k))
    u[:, 0] = 0.3 * u[:, 0] + 0.95 * np.sign(rng.standard_normal(n))
    return u @ rng.standard_normal((k, p)) + 0.5 * rng.standard_normal((n, p))


def load(name, folder, seed):
    """Return training and test samples and the number of components."""
    if name not in ("clusters", "shuttle"):
        train, test, _, _, k = split(name, folder, seed)
        return train, test, k
    if name == "clusters":
        X = two_clusters()
    else:
        X = np.load(folder / "shuttle.npz")["X"].astype(float)
        X = np.random.default_rng(seed).permutation(X)[:5000]
    train, test = train_test_split(X, test_size=0.3, random_state=seed)
    scaler = StandardScaler().fit(train)
    return scaler.transform(train), scaler.transform(test), 4


def measure(train, test, k, seed, **params):
    """Return R^2, G, the classifier's accuracy, and CPU seconds."""
    embedder = GaussianEmbedder(k, random_state=seed, **params)
    start = time.process_time()
    fit(embedder, train)
    seconds = time.process_time() - start
    z = embedder.transform(test)
    accuracy = classifier_two_sample_test(z, random_state=seed).statistic
    return explained(embedder, test), sliced_epps_pulley(z), accuracy, seconds


def main():
    """Fit every regularizer at every weight on every split, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of satellite.npz and shuttle.npz")
    data = ["clusters", "digits", "breast_cancer", "wine", "mnist", "satellite", "shuttle"]
    parser.add_argument("--only", nargs="+", choices=data, default=data[:2])
    parser.add_argument("--regularizers", nargs="+", default=REGULARIZERS)
    parser.add_argument("--weights", nargs="+", type=float, default=[0.3, 1.0])
    parser.add_argument("--max-iter", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=2, help="number of splits")
    args = parser.parse_args()
    torch.set_num_threads(1)

    print(f"| data | regularizer | {' | '.join(f'{w:g}' for w in args.weights)} | fit, s |")
    print(f"| --- | --- |{' ---: |' * (len(args.weights) + 1)}", flush=True)
    for name in args.only:
        splits = [load(name, args.data, seed) for seed in range(args.seeds)]

        def cell(splits=splits, **params):
            runs = [measure(*arrays, seed, **params) for seed, arrays in enumerate(splits)]
            r2, distance, accuracy, seconds = np.mean(runs, axis=0)
            return f"{r2:.3f} / {distance:.2f} / {accuracy:.2f}", seconds

        for method, max_iter in ("PCA", 0), ("no regularizer", args.max_iter):
            scores, seconds = cell(regularizer=None, max_iter=max_iter)
            rest = " |" * len(args.weights)
            print(f"| {name} | {method} | {scores}{rest} {seconds:.0f} |", flush=True)
        for regularizer in args.regularizers:
            print(f"| {name} | {regularizer} |", end="", flush=True)
            for weight in args.weights:
                scores, seconds = cell(
                    regularizer=regularizer, reg_weight=weight, max_iter=args.max_iter
                )
                print(f" {scores} |", end="", flush=True)
            print(f" {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
