"""Times `transform` for one sample and for many, beside PCA and a bare forward pass.

In alternation, medians, one thread, processor time. The bare pass is the encoder's layers in plain
torch, without validation, scaling, principal components or calibration. See peers.md.
"""

import argparse
import time
import warnings

import numpy as np
import torch
from _common import add_data, data_sets, header, split, table
from overhead import HIDDEN, plain_mlp
from sklearn.decomposition import PCA

from sklatent import GaussianEmbedder


def bare(p, k, dtype):
    """Return a function that does the encoder's arithmetic."""
    layers = plain_mlp(p, HIDDEN, HIDDEN, k).to(torch.as_tensor(np.empty(0, dtype)).dtype)

    def forward(X):
        with torch.no_grad():
            return layers(torch.as_tensor(X)).numpy()

    return forward


def seconds(function, X, budget):
    """Return the processor time of one call, from as many calls as fit in the budget."""
    start = time.process_time()
    function(X)
    times = max(1, int(budget / max(time.process_time() - start, 1e-6)))
    start = time.process_time()
    for _ in range(times):
        function(X)
    return (time.process_time() - start) / times


def main():
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_data(parser)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 100, 10_000])
    parser.add_argument("--components", type=int, default=8, help="at most half the features")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--budget", type=float, default=0.05, help="seconds of one measurement")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")

    print(header() + "\n")
    columns = ["µs per call", "samples per second", "of PCA", "of the bare pass"]
    table(["data", "type", "samples", "method", *columns], 4)
    for name, X, y in data_sets(args.data, args.only, args.largest):
        train = split(X, y, 0)[0]
        k = min(args.components, X.shape[1] // 2)
        for dtype in (np.float32, np.float64):
            x = train.astype(dtype)
            ours = {
                kind: GaussianEmbedder(k, max_iter=2, calibration=kind, random_state=0).fit(x)
                for kind in ("affine", "gaussianize")
            }
            functions = {
                "PCA(whiten=True)": PCA(k, whiten=True, random_state=0).fit(x).transform,
                "bare pass": bare(x.shape[1], k, dtype),
                "ours": ours["affine"].transform,
                "ours, gaussianize": ours["gaussianize"].transform,
            }
            for size in args.sizes:
                rows = np.ascontiguousarray(np.resize(x, (size, x.shape[1])))
                times = np.array(
                    [
                        [seconds(function, rows, args.budget) for function in functions.values()]
                        for _ in range(args.rounds)
                    ]
                )
                for i, method in enumerate(functions):
                    own = np.median(times[:, i])
                    ratios = " | ".join(
                        f"{np.median(times[:, i] / times[:, j]):.2f}" for j in (0, 1)
                    )
                    print(
                        f"| {name} | {np.dtype(dtype)} | {size:,} | {method} | {1e6 * own:,.0f} "
                        f"| {size / own:,.0f} | {ratios} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
