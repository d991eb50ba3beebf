"""Measures how time and memory of a fit grow with samples, features and components.

Samples of a curved manifold with noise. Each fit has its process, with one thread; memory is the
growth of the peak during the fit, so it does not contain X. The exponent is the slope of the
logarithm of the cost in the logarithm of the size, from the three largest sizes. Linux only. See
peers.md.
"""

import argparse

import numpy as np
from _common import cells, header, in_process, measured, once, table
from _contenders import MLPAutoencoder, pca
from steps import manifold

from sklatent import GaussianEmbedder

METHODS = {
    "PCA": lambda k: pca(k, 0, False),
    "MLPRegressor, 1 epoch": lambda k: MLPAutoencoder(k, 0, epochs=1),
    "ours, 1 epoch": lambda k: GaussianEmbedder(k, max_iter=1, random_state=0),
    "ours": lambda k: GaussianEmbedder(k, random_state=0),
}
SIZES = {
    "samples": [1000, 10_000, 100_000, 1_000_000],
    "features": [10, 100, 1000, 5000],
    "components": [2, 4, 8, 16, 32, 64],
}


def cost(method, samples, features, components):
    """Return processor time and growth of memory of a fit."""
    X = manifold(samples, n_features=features)
    METHODS[method](components).fit(X[:256])  # loads code
    model = METHODS[method](components)
    with measured() as fit:
        model.fit(X)
    return fit


def exponent(sizes, values, n=3):
    """Return the slope of log(values) in log(sizes) at the n largest sizes."""
    known = [pair for pair in zip(sizes, values, strict=True) if pair[1] > 0][-n:]
    if len(known) < 2:
        return np.nan
    x, y = np.log(known).T
    return np.polyfit(x, y, 1)[0]


def main():
    """Measure and print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, sizes in SIZES.items():
        parser.add_argument(f"--{name}", type=int, nargs="*", default=sizes)
    parser.add_argument("--fixed", type=int, nargs=3, default=[5000, 100, 8], help="of the others")
    parser.add_argument("--longest", type=int, default=100_000, help="samples of a default fit")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--once", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.once:
        once(args.once, cost)
        return
    print(header())
    for axis in SIZES:
        sizes = getattr(args, axis)
        if not sizes:
            continue
        fixed = {name: value for name, value in zip(SIZES, args.fixed, strict=True) if name != axis}
        if axis == "features":
            fixed["components"] = min(fixed["components"], min(sizes) // 2)
        print(f"\n**{axis}**, with {', '.join(f'{v:,} {name}' for name, v in fixed.items())}\n")
        table([axis, *(f"{method}, {unit}" for method in args.methods for unit in ("s", "MiB"))])
        found = []
        for size in sizes:
            values = []
            for method in args.methods:
                run = None
                if method != "ours" or size <= args.longest:
                    run = in_process(__file__, method=method, **fixed, **{axis: size})
                values += [run["cpu"], run["memory"]] if run else [np.nan, np.nan]
            found.append(values)
            formats = ["{:.2f}", "{:.0f}"] * len(args.methods)
            print(f"| {size:,} | {cells(values, formats)} |", flush=True)
        slopes = [exponent(sizes, column) for column in np.array(found).T]
        print(f"| exponent | {cells(slopes, ['{:.2f}'] * len(slopes))} |", flush=True)


if __name__ == "__main__":
    main()
