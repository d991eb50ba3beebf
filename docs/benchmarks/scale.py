"""Shows what one grid of reg_weight does for every regularizer.

Held-out R^2 and G (1 is perfect; see gaussianity.py beside this file) for reg_weight from 0.01 to
100, all other settings at their defaults, on one stratified 70/30 split. See README.md.
"""

import argparse

import torch
from gaussianity import explained, fit, sliced_epps_pulley, split

from sklatent import GaussianEmbedder
from sklatent.regularizers import REGULARIZERS

WEIGHTS = [0.01, 0.1, 1.0, 10.0, 100.0]


def main():
    """Fit every regularizer at every weight and print a Markdown table."""
    data = ["digits", "breast_cancer", "wine", "mnist"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", choices=data, default=data)
    parser.add_argument("--regularizers", nargs="+", choices=REGULARIZERS, default=REGULARIZERS)
    parser.add_argument("--weights", nargs="+", type=float, default=WEIGHTS)
    parser.add_argument("--max-iter", type=int, default=200)
    args = parser.parse_args()
    torch.set_num_threads(1)

    print(f"| data | regularizer | {' | '.join(f'{w:g}' for w in args.weights)} |")
    print(f"| --- | --- |{' ---: |' * len(args.weights)}", flush=True)
    for name in args.data:
        train, test, _, _, k = split(name)

        def cell(regularizer, weight, max_iter, k=k, train=train, test=test):
            embedder = GaussianEmbedder(
                k, regularizer=regularizer, reg_weight=weight, max_iter=max_iter, random_state=0
            )
            embedder, _ = fit(embedder, train)
            distance = sliced_epps_pulley(embedder.transform(test))
            return f"{explained(embedder, test):.3f} / {distance:.1f}"

        start, none = cell(None, 0.0, 0), cell(None, 0.0, args.max_iter)
        print(f"| {name}, k={k} | PCA {start}, no regularizer {none} |{' |' * len(args.weights)}")
        for regularizer in args.regularizers:
            print(f"| {name} | {regularizer} |", end="", flush=True)
            for weight in args.weights:
                print(f" {cell(regularizer, weight, args.max_iter)} |", end="", flush=True)
            print(flush=True)


if __name__ == "__main__":
    main()
