"""Compares the losses of the adversarial regularizer.

Held-out R^2 and G of data with default settings, as in gaussianity.py, and of shapes in the plane;
for data also the 5-NN accuracy. See README.md beside this file.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from _common import explained, sliced_epps_pulley
from gaussianity import fit, split
from sklearn.datasets import make_moons
from sklearn.neighbors import KNeighborsClassifier

from sklatent import GaussianEmbedder
from sklatent.regularizers import Adversarial

#: What is compared. "PCA" is the start of training.
FORMS = {
    "PCA": {},
    "gan": {"loss": "gan"},
    "lsgan": {"loss": "lsgan"},
    "wgan": {"loss": "wgan"},
    "wgan-gp": {"loss": "wgan-gp"},
    "gan, joint": {"loss": "gan", "joint": True},
}
EPOCHS = {"ring": 250, "moons": 200, "clusters": 133}


def shape(name, random, n=2000):
    """Return draws from a distribution in the plane that is far from a Gaussian."""
    if name == "moons":
        return make_moons(n, noise=0.2, random_state=int(random.integers(1_000_000)))[0]
    if name == "ring":
        angle = random.uniform(0, 2 * np.pi, n)
        return np.c_[np.cos(angle), np.sin(angle)] + 0.1 * random.normal(size=(n, 2))
    centers = 3 * np.random.default_rng(5).normal(size=(10, 2))
    return centers[random.integers(0, 10, n)] + 0.7 * random.normal(size=(n, 2))


def compare_data(name, forms, folder, seed):
    """Print one line for each loss."""
    train, test, y_train, y_test, k = split(name, folder, seed)
    for form in forms:
        embedder, seconds = fit_form(train, form, n_components=k, random_state=seed)
        z_train, z_test = map(embedder.transform, (train, test))
        accuracy = KNeighborsClassifier(5).fit(z_train, y_train).score(z_test, y_test)
        print(
            f"| {name}, k={k} | {form} | {explained(embedder, test):.3f} "
            f"| {sliced_epps_pulley(z_test):.2f} | {accuracy:.3f} | {seconds:.1f} |",
            flush=True,
        )


def compare_shape(name, forms, seed):
    """Print one line for each loss."""
    random = np.random.default_rng(seed)
    X, held_out = shape(name, random), shape(name, random)
    for form in forms:
        embedder, _ = fit_form(
            X,
            form,
            reg_weight=10,
            batch_size=128,
            max_iter=330 if "joint" in form else EPOCHS[name],
            early_stopping=False,
            random_state=seed,
        )
        print(
            f"| {name} | {form} | {explained(embedder, held_out):.3f} "
            f"| {sliced_epps_pulley(embedder.transform(held_out)):.2f} |",
            flush=True,
        )


def fit_form(X, form, **params):
    """Return a fitted embedder and the seconds that took."""
    if form == "PCA":
        params["max_iter"] = 0
    return fit(GaussianEmbedder(regularizer=Adversarial(**FORMS[form]), **params), X)


def main():
    """Measure and print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of satellite.npz, with arrays X and y")
    parser.add_argument("--only", nargs="*", choices=["digits", "satellite"], default=["digits"])
    parser.add_argument("--shapes", nargs="*", choices=EPOCHS, default=list(EPOCHS))
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--seed", type=int, default=0, help="of split or shape, and of training")
    args = parser.parse_args()
    torch.set_num_threads(1)

    if args.only:
        print("| data | loss | R^2 | G | 5-NN | fit, s |")
        print("| --- | --- | ---: | ---: | ---: | ---: |", flush=True)
    for name in args.only:
        compare_data(name, args.forms, args.data, args.seed)
    if args.shapes:
        print("\n| shape | loss | R^2 | G |\n| --- | --- | ---: | ---: |", flush=True)
    for name in args.shapes:
        compare_shape(name, args.forms, args.seed)


if __name__ == "__main__":
    main()
