"""Compares the two calibrations of a stochastic encoder.

With calibration="affine", the prior of the model is N(0, I). With "gaussianize", the prior is
the distribution that the map fitted to draws of the encoder takes to N(0, I). See README.md.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
import torch
from _common import sliced_epps_pulley
from gaussianity import split
from sklearn.neighbors import KNeighborsClassifier

from sklatent import GaussianEmbedder
from sklatent.metrics import classifier_two_sample_test


def measure(calibration, train, test, y_train, y_test, k, seed):
    """Return log-likelihood, G, AUC of the classifier test and 5-NN accuracy on test samples."""
    embedder = GaussianEmbedder(k, regularizer="kl", calibration=calibration, random_state=seed)
    z_train, z_test = embedder.fit_transform(train), embedder.transform(test)
    return (
        embedder.score(test),
        sliced_epps_pulley(z_test),
        classifier_two_sample_test(z_test, random_state=0).statistic,
        KNeighborsClassifier(5).fit(z_train, y_train).score(z_test, y_test),
    )


def main():
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of satellite.npz, with arrays X and y")
    parser.add_argument("--splits", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "Stochastic Optimizer")
    print("| data | calibration | nats | G | C2ST | 5-NN |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    names = ["digits", "breast_cancer", "wine"] + ["satellite"] * (args.data is not None)
    for name in names:
        for calibration in ("affine", "gaussianize"):
            values = []
            for seed in range(args.splits):
                parts = split(name, args.data, seed)
                values.append(measure(calibration, *parts, seed))
            nats, g, auc, accuracy = np.mean(values, axis=0)
            print(
                f"| {name}, k={parts[-1]} | {calibration} "
                f"| {nats:.2f} | {g:.2f} | {auc:.3f} | {accuracy:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
