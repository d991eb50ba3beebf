"""Compares the losses of the adversarial regularizer.

Held-out R^2, G and 5-NN accuracy with default settings, as in gaussianity.py, or how many times
smaller the held-out energy distance of a shape in the plane gets. See README.md beside this file.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from _common import explained, sliced_epps_pulley
from gaussianity import fit, split
from sklearn.datasets import make_moons
from sklearn.neighbors import KNeighborsClassifier

from sklatent import GaussianEmbedder
from sklatent.metrics import energy_distance
from sklatent.regularizers import Adversarial

#: What is compared. The paper of "wgan-gp" trains encoder and critic at one learning rate.
FORMS = {
    "gan": {"loss": "gan"},
    "lsgan": {"loss": "lsgan"},
    "wgan": {"loss": "wgan"},
    "wgan-gp": {"loss": "wgan-gp"},
    "wgan-gp, critic at 1e-3": {"loss": "wgan-gp", "critic_learning_rate": 1e-3},
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


def compare_data(name, forms, folder):
    """Print one line for each loss."""
    train, test, y_train, y_test, k = split(name, folder)
    for form in forms:
        regularizer = Adversarial(**FORMS[form])
        embedder = GaussianEmbedder(k, regularizer=regularizer, random_state=0)
        embedder, seconds = fit(embedder, train)
        z_train, z_test = map(embedder.transform, (train, test))
        accuracy = KNeighborsClassifier(5).fit(z_train, y_train).score(z_test, y_test)
        print(
            f"| {name}, k={k} | {form} | {explained(embedder, test):.3f} "
            f"| {sliced_epps_pulley(z_test):.2f} | {accuracy:.3f} | {seconds:.1f} |",
            flush=True,
        )


def compare_shape(name, forms, seeds):
    """Print how many times smaller the held-out energy distance gets, for each loss and seed."""
    random = np.random.default_rng(0)
    X, held_out = shape(name, random), shape(name, random)
    start = GaussianEmbedder(2, max_iter=0).fit(X)
    for form in forms:
        falls, begin = [], time.perf_counter()
        for seed in range(seeds):
            embedder = GaussianEmbedder(
                2,
                regularizer=Adversarial(**FORMS[form]),
                reg_weight=10,
                batch_size=128,
                max_iter=330 if "joint" in form else EPOCHS[name],
                early_stopping=False,
                random_state=seed,
            )
            embedder, _ = fit(embedder, X)
            before, after = (energy_distance(e.transform(held_out)) for e in (start, embedder))
            # The estimate is unbiased, and can be below zero.
            falls.append(f"{before / after:.1f}" if after > 0 else "all")
        seconds = (time.perf_counter() - begin) / seeds
        print(f"| {name} | {form} | {', '.join(falls)} | {seconds:.0f} |", flush=True)


def main():
    """Measure and print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of satellite.npz, with arrays X and y")
    parser.add_argument("--only", nargs="*", choices=["digits", "satellite"], default=["digits"])
    parser.add_argument("--shapes", nargs="*", choices=EPOCHS, default=list(EPOCHS))
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--seeds", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)

    if args.only:
        print("| data | loss | R^2 | G | 5-NN | fit, s |")
        print("| --- | --- | ---: | ---: | ---: | ---: |", flush=True)
    for name in args.only:
        compare_data(name, args.forms, args.data)
    if args.shapes:
        print("\n| shape | loss | fall | fit, s |\n| --- | --- | ---: | ---: |", flush=True)
    for name in args.shapes:
        compare_shape(name, args.forms, args.seeds)


if __name__ == "__main__":
    main()
