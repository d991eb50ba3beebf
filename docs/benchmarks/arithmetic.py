"""Times a training step beside its arithmetic, for several batch sizes and widths.

The lower limit is the number of floating-point operations of the matrix products, at the rate of a
large product. Between the limit and a step of `fit` are the same products in their own shapes, and
a step of plain torch without regularizer or data loading. See peers.md.
"""

import argparse
import time
import warnings
from itertools import pairwise

import numpy as np
import torch
from _common import header, table
from overhead import plain_mlp, repeated

from sklatent import GaussianEmbedder


def products(batch, widths):
    """Return the shapes (m, n, k) of the products of m x n and n x k matrices in one step."""
    shapes = []
    for network, layers in enumerate((widths, widths[::-1])):
        for i, (a, b) in enumerate(pairwise(layers)):
            shapes += [(batch, a, b), (a, batch, b)]  # forward, and gradient of the weights
            if network or i:  # the data need no gradient
                shapes.append((batch, b, a))
    p, k = widths[0], widths[-1]
    # The linear maps of principal components, which are not trained.
    return [*shapes, (batch, p, k), (batch, k, p), (batch, p, k)]


def seconds(function):
    """Return the processor time of a call."""
    start = time.process_time()
    function()
    return time.process_time() - start


def plain_step(X, widths):
    """Return a function that trains plain layers for one step."""
    model = torch.nn.Sequential(plain_mlp(*widths), plain_mlp(*widths[::-1]))
    optimizer = torch.optim.Adam(model.parameters(), fused=True)

    def step():
        optimizer.zero_grad()
        (model(X) - X).square().mean().backward()
        optimizer.step()

    return step


def fit(X, epochs, batch, width, k):
    """Fit ours for a number of epochs."""
    GaussianEmbedder(
        k,
        hidden_layer_sizes=(width, width),
        batch_size=batch,
        max_iter=epochs,
        early_stopping=False,
        tol=0.0,
        n_iter_no_change=10**9,
        random_state=0,
    ).fit(X)


def measure(batch, width, p, k, rounds, n_steps):
    """Return seconds per step of the products, plain torch and ours: medians over rounds."""
    X = np.random.default_rng(0).standard_normal((4 * batch, p)).astype(np.float32)
    widths = (p, width, width, k)
    matrices = [(torch.randn(m, n), torch.randn(n, o)) for m, n, o in products(batch, widths)]
    step = plain_step(torch.as_tensor(X[:batch]), widths)
    epochs = -(-n_steps // 4)

    def multiply():
        for a, b in matrices:
            a @ b

    times = []
    for _ in range(rounds + 1):
        start = seconds(lambda: fit(X, 0, batch, width, k))
        ours = seconds(lambda: fit(X, epochs, batch, width, k)) - start
        alone = seconds(repeated(multiply, n_steps)) / n_steps
        times.append((alone, seconds(repeated(step, n_steps)) / n_steps, ours / epochs / 4))
    return np.median(times[1:], axis=0)  # the first round warms up


def rate(n=1024, times=5):
    """Return the floating-point operations per second of the product of two large matrices."""
    a, b = torch.randn(n, n), torch.randn(n, n)
    return 2 * n**3 / min(seconds(lambda: a @ b) for _ in range(times))


def main():
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 512, 2048])
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--components", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")

    peak = rate()
    print(f"{header()}\n\nThe rate is {peak / 1e9:.0f} GFLOP/s.\n")
    columns = ["MFLOP", "limit, ms", "products, ms", "plain torch, ms", "ours, ms"]
    table(["batch", "width", *columns, "ours / limit", "ours / products", "ours / plain"], 0)
    for batch in args.batches:
        for width in args.widths:
            widths = (args.features, width, width, args.components)
            flops = sum(2 * m * n * k for m, n, k in products(batch, widths))
            alone, plain, ours = measure(
                batch, width, args.features, args.components, args.rounds, args.steps
            )
            limit = flops / peak
            times = " | ".join(f"{1e3 * value:.2f}" for value in (limit, alone, plain, ours))
            ratios = " | ".join(f"{ours / value:.2f}" for value in (limit, alone, plain))
            print(f"| {batch} | {width} | {flops / 1e6:.0f} | {times} | {ratios} |", flush=True)


if __name__ == "__main__":
    main()
