"""Compares Gaussianizer with other maps to N(0, I) and other densities, on held-out samples.

For each data set: whitening alone, PowerTransformer, QuantileTransformer, Gaussianizer, a Gaussian
mixture, and, if installed, sinflow and a neural spline flow of zuko. Features are principal
components of unit variance. Means over random 50/50 splits. Then what the map does to a linear
classifier, to clusters, and to the detection of anomalies, and the effect of the numbers of
features and of training samples. See ../gaussianizer.md.
"""

import argparse
import importlib.util
import time
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import torch
from _contenders import Sinflow, SplineFlow
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.cluster import KMeans
from sklearn.datasets import load_breast_cancer, load_digits, make_moons
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier, IsolationForest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score, roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.neighbors import KNeighborsClassifier, LocalOutlierFactor
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PowerTransformer, QuantileTransformer, StandardScaler

from sklatent import Gaussianizer
from sklatent.calibration import AffineCalibration
from sklatent.metrics import epps_pulley_test, henze_zirkler_test

DATA = {  # components; None: all features as they are
    "moons": None,
    "breast_cancer": 4,
    "digits": 8,
    "satellite": 6,
    "shuttle": 4,
    "mnist": 8,
}
FILES = ("satellite", "shuttle", "mnist")  # in the folder given by --data
LARGEST = 6000  # samples


def load(name, folder):
    """Return X and y."""
    if name == "moons":
        return make_moons(4000, noise=0.1, random_state=0)
    if name == "breast_cancer":
        X, y = load_breast_cancer(return_X_y=True)
        return StandardScaler().fit_transform(X), y
    if name == "digits":
        return load_digits(return_X_y=True)
    file = np.load(folder / f"{'mnist_10k' if name == 'mnist' else name}.npz")
    X, y = file["X"].astype(float), file["y"]
    labels, counts = np.unique(y, return_counts=True)
    common = np.isin(y, labels[counts >= 100])  # a split needs samples of each class
    X, y = X[common], y[common]
    some = np.random.default_rng(0).permutation(len(X))[:LARGEST]
    return (X if name == "mnist" else StandardScaler().fit_transform(X))[some], y[some]


class Whitening(TransformerMixin, BaseEstimator):
    """The affine map that Gaussianizer starts with."""

    def fit(self, X, y=None):
        """Learn the map."""
        self._affine = AffineCalibration().fit(X)
        return self

    def transform(self, X):
        """Whiten."""
        return self._affine.transform(X)

    def inverse_transform(self, Z):
        """Undo `transform`."""
        return self._affine.inverse_transform(Z)

    def score(self, X):
        """Return the mean log-density."""
        Z = self.transform(X)
        log_density = -0.5 * (np.square(Z).sum(axis=1) + Z.shape[1] * np.log(2 * np.pi))
        return log_density.mean() + self._affine.log_slope


class Mixture(BaseEstimator):
    """A Gaussian mixture with the number of components that the BIC selects."""

    def fit(self, X, y=None):
        """Fit 1 to 32 components with full covariances."""
        models = [GaussianMixture(k, n_init=2, random_state=0).fit(X) for k in (1, 2, 4, 8, 16, 32)]
        self._best = min(models, key=lambda model: model.bic(X))
        return self

    def score(self, X):
        """Return the mean log-density."""
        return self._best.score(X)


def two_sample_auc(Z, seed=0):
    """Return the AUC with which a classifier tells samples Z from draws from N(0, I).

    The larger cross-validated AUC of gradient boosting and a small network, both with |z| as an
    additional feature; 0.5 if the samples are draws from N(0, I).
    """
    draws = np.random.default_rng(seed).standard_normal(Z.shape)
    rows = np.concatenate([Z, draws])
    rows = np.column_stack([rows, np.linalg.norm(rows, axis=1)])
    y = np.repeat([1, 0], len(Z))
    classifiers = [
        HistGradientBoostingClassifier(max_iter=50, learning_rate=0.05, random_state=seed),
        make_pipeline(
            StandardScaler(),
            MLPClassifier((32,), max_iter=60, early_stopping=True, random_state=seed),
        ),
    ]
    order = np.random.default_rng(seed).permutation(len(y))
    return max(
        cross_val_score(classifier, rows[order], y[order], cv=3, scoring="roc_auc").mean()
        for classifier in classifiers
    )


def measure(model, train, test, y_train, y_test):
    """Return the figures of one method: nan where it has none."""
    start = time.process_time()
    model.fit(train)
    seconds = time.process_time() - start
    nats = model.score(test) if hasattr(model, "score") else np.nan
    if not hasattr(model, "transform"):
        return [np.nan] * 3 + [nats, np.nan, np.nan, seconds]
    z_train, z_test = model.transform(train), model.transform(test)
    g = epps_pulley_test(z_test, n_slices=512, random_state=0)
    hz = henze_zirkler_test(z_test, random_state=0)
    return [
        g.statistic / g.expected,
        hz.statistic / hz.expected,
        two_sample_auc(z_test),
        nats,
        KNeighborsClassifier(5).fit(z_train, y_train).score(z_test, y_test),
        np.abs(model.inverse_transform(z_test) - test).max(),
        seconds,
    ]


def maps(names, folder, n_splits):
    """Print a table of all methods for each data set."""
    methods = {
        "whitening": Whitening,
        "PowerTransformer": PowerTransformer,
        "QuantileTransformer": lambda: QuantileTransformer(
            output_distribution="normal", random_state=0
        ),
        "Gaussianizer": lambda: Gaussianizer(random_state=0),
        "Gaussian mixture": Mixture,
    }
    if importlib.util.find_spec("sinflow"):
        methods["sinflow"] = Sinflow
    if importlib.util.find_spec("zuko"):
        methods["zuko NSF"] = SplineFlow
    formats = ["{:.2f}", "{:.2f}", "{:.3f}", "{:.2f}", "{:.3f}", "{:.0e}", "{:.2f}"]
    for name in names:
        X, y = load(name, folder)
        rows = {method: [] for method in methods}
        for seed in range(n_splits):
            parts = train_test_split(X, y, test_size=0.5, stratify=y, random_state=seed)
            train, test = parts[:2]
            if k := DATA[name]:
                pca = PCA(k, whiten=True, random_state=0).fit(train)
                train, test = pca.transform(train), pca.transform(test)
            for method, make in methods.items():
                rows[method].append(measure(make(), train, test, *parts[2:]))
        print(f"\n**{name}**, {len(train)} x {train.shape[1]}, {len(test)} held out\n")
        print("| method | G | HZ | C2ST | log-density | 5-NN | inverse | fit, s |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
        for method, values in rows.items():
            # Errors of the inverse are maxima, and times medians.
            values = np.array(values)
            figures = values.mean(axis=0)
            figures[5], figures[6] = values[:, 5].max(), np.median(values[:, 6])
            cells = [
                "" if np.isnan(v) else f.format(v) for f, v in zip(formats, figures, strict=True)
            ]
            print(f"| {method} | {' | '.join(cells)} |", flush=True)


def classes(names, folder):
    """Print what the map does to a linear classifier and to clusters."""
    print("\n| data, components | logistic | + Gaussianizer | k-means | + Gaussianizer |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name in names:
        X, y = load(name, folder)
        scores = []
        for steps in ([], [Gaussianizer(random_state=0)]):
            embedding = [PCA(DATA[name], whiten=True, random_state=0), *steps]
            logistic = make_pipeline(*embedding, LogisticRegression(max_iter=1000))
            k_means = KMeans(len(np.unique(y)), n_init=5, random_state=0)
            labels = make_pipeline(*embedding, k_means).fit_predict(X)
            scores.append((cross_val_score(logistic, X, y).mean(), adjusted_rand_score(y, labels)))
        cells = " | ".join(f"{score:.3f}" for pair in zip(*scores, strict=True) for score in pair)
        print(f"| {name}, {DATA[name]} | {cells} |", flush=True)


def anomalies(names, folder):
    """Print the AUC of the detection of a class that is not in the training samples."""
    detectors = {
        "Gaussianizer": Gaussianizer(random_state=0),
        "one Gaussian": GaussianMixture(random_state=0),
        "mixture of 8": GaussianMixture(8, random_state=0),
        "IsolationForest": IsolationForest(random_state=0),
        "LocalOutlierFactor": LocalOutlierFactor(novelty=True),
    }
    print(f"\n| data, components | {' | '.join(detectors)} |")
    print(f"| --- |{' ---: |' * len(detectors)}")
    for name in names:
        X, y = load(name, folder)
        scores = []
        for label in np.unique(y):
            rest = np.flatnonzero(y != label)
            train, test = train_test_split(rest, test_size=0.5, random_state=0)
            test = np.concatenate([test, np.flatnonzero(y == label)])
            pca = PCA(DATA[name], whiten=True, random_state=0).fit(X[train])
            train, truth, test = pca.transform(X[train]), y[test] == label, pca.transform(X[test])
            scores.append(
                [
                    roc_auc_score(truth, -detector.fit(train).score_samples(test))
                    for detector in detectors.values()
                ]
            )
        cells = " | ".join(f"{score:.3f}" for score in np.mean(scores, axis=0))
        print(f"| {name}, {DATA[name]} | {cells} |", flush=True)


def dimensions(folder):
    """Print figures for more and more principal components of MNIST."""
    print("\n| components | G, whitened | G | log-density, whitened | log-density | maps |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    X, _ = load("mnist", folder)
    for k in (8, 30, 100):
        pca = PCA(k, whiten=True, random_state=0).fit(X[::2])
        train, test = pca.transform(X[::2]), pca.transform(X[1::2])
        models = [Whitening().fit(train), Gaussianizer(random_state=0).fit(train)]
        tests = [epps_pulley_test(model.transform(test), random_state=0) for model in models]
        g = " | ".join(f"{result.statistic / result.expected:.2f}" for result in tests)
        nats = " | ".join(f"{model.score(test):.2f}" for model in models)
        print(f"| {k} | {g} | {nats} | {models[1].n_rounds_} |", flush=True)


def sizes(names, folder, n_splits):
    """Print figures for fewer training samples and the same test samples."""
    print("\n| data, components | training samples | C2ST | log-density |")
    print("| --- | ---: | ---: | ---: |")
    for name in names:
        X, y = load(name, folder)
        figures = {}
        for seed in range(n_splits):
            train, test = train_test_split(X, test_size=0.5, stratify=y, random_state=seed)
            pca = PCA(DATA[name], whiten=True, random_state=0).fit(train)
            train, test = pca.transform(train), pca.transform(test)
            for n in (len(train) // 4, len(train) // 2, len(train)):
                model = Gaussianizer(random_state=0).fit(train[:n])
                auc = two_sample_auc(model.transform(test))
                figures.setdefault(n, []).append((auc, model.score(test)))
        for n, values in figures.items():
            auc, nats = np.mean(values, axis=0)
            print(f"| {name}, {DATA[name]} | {n} | {auc:.3f} | {nats:.2f} |", flush=True)


def cost():
    """Print times and memory for clusters with heavy tails and one skewed feature."""
    print("\n| samples x features | X, MB | maps | fit, s | memory, MB | transform, s | ", end="")
    print("inverse_transform, s | score_samples, s |\n| --- |" + " ---: |" * 7)
    for n, p in ((1_000_000, 8), (100_000, 64), (5000, 300)):
        rng = np.random.default_rng(0)
        X = 2 * rng.standard_normal((4, p))[rng.integers(0, 4, n)]
        X += rng.standard_normal((n, p)) * np.exp(0.3 * rng.standard_normal((n, 1)))
        X[:, 0] = np.exp(X[:, 0] / 2)
        gaussianizer = Gaussianizer(random_state=0).fit(X[:10])
        times = [time.process_time()]
        gaussianizer.fit(X)
        times.append(time.process_time())
        Z = gaussianizer.transform(X)
        times.append(time.process_time())
        gaussianizer.inverse_transform(Z)
        times.append(time.process_time())
        gaussianizer.score_samples(X)
        times.append(time.process_time())
        tracemalloc.start()
        gaussianizer.fit(X)
        memory = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        fit, *others = np.diff(times)
        print(
            f"| {n:,} x {p} | {X.nbytes / 1e6:.0f} | {gaussianizer.n_rounds_} | {fit:.1f} | "
            f"{memory / 1e6:.0f} | {' | '.join(f'{seconds:.1f}' for seconds in others)} |",
            flush=True,
        )


def main():
    """Measure and print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of .npz files with arrays X and y")
    parser.add_argument("--only", nargs="+", choices=DATA, help="data sets, instead of all")
    parser.add_argument("--splits", type=int, default=2)
    parser.add_argument("--cost", action="store_true", help="times and memory instead")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "Stochastic Optimizer")
    warnings.filterwarnings("ignore", "n_quantiles")
    if args.cost:
        cost()
        return
    there = [name for name in DATA if args.data or name not in FILES]
    names = args.only or there
    maps(names, args.data, args.splits)
    labeled = [name for name in names if DATA[name]]
    classes(labeled, args.data)
    anomalies([name for name in labeled if name != "breast_cancer"], args.data)
    if "mnist" in names:
        dimensions(args.data)
    sizes([name for name in ("satellite", "mnist") if name in names], args.data, args.splits)


if __name__ == "__main__":
    main()
