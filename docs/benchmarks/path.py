"""Times GaussianEmbedderCV against GridSearchCV over the same weights and folds, on digits.

In alternation: `GridSearchCV(n_jobs=2)`, two processes of one thread each; `GaussianEmbedderCV`
with two threads; and the same with halving=True. Each search has its process, whose peak memory
is measured with that of its children. See README.md.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
import warnings

import numpy as np
import torch
from joblib.externals.loky import get_reusable_executor
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, KFold

from sklatent import GaussianEmbedder, GaussianEmbedderCV

METHODS = ("grid", "stack", "halving")


def search(method, n_weights, jobs, **params):
    """Search once; return seconds, peak memory in MB, the choice and the mean scores."""
    torch.set_num_threads(jobs)
    warnings.simplefilter("ignore")
    X = load_digits().data / 16
    params["random_state"] = 0
    reg_weights, cv = np.logspace(-3, 2, n_weights), KFold(5, shuffle=True, random_state=0)
    if method == "grid":
        embedder, grid = GaussianEmbedder(8, **params), {"reg_weight": reg_weights}
        chosen = GridSearchCV(embedder, grid, cv=cv, refit=False, n_jobs=jobs)
    else:
        chosen = GaussianEmbedderCV(
            8, reg_weights=reg_weights, cv=cv, refit=False, halving=method == "halving", **params
        )
    began = time.perf_counter()
    results = chosen.fit(X).cv_results_
    seconds = time.perf_counter() - began
    get_reusable_executor().shutdown(wait=True)  # what the workers used is known when they end
    own, workers = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    # Of the workers' memory the greatest is known; they are alike.
    memory = own.ru_maxrss + (jobs * workers.ru_maxrss if method == "grid" else 0)
    return {
        "seconds": seconds,
        "cpu": own.ru_utime + workers.ru_utime,
        "memory": memory / 1024,
        "weight": float(reg_weights[chosen.best_index_]),
        "scores": results["mean_test_score"].tolist(),
    }


def main():
    """Search in alternation and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="*", type=int, default=[256, 256])
    parser.add_argument("--weights", type=int, default=10)
    parser.add_argument("--max-iter", type=int, default=200)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="the grid's processes, our threads")
    parser.add_argument("--once", choices=METHODS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.once:
        params = {"hidden_layer_sizes": tuple(args.sizes), "max_iter": args.max_iter}
        params["batch_size"] = args.batch_size or "auto"
        print(json.dumps(search(args.once, args.weights, args.jobs, **params)))
        return
    runs = {method: [] for method in METHODS}
    for _ in range(args.repeats):
        for method in METHODS:
            command = [sys.executable, __file__, *sys.argv[1:], "--once", method]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            runs[method].append(json.loads(output.splitlines()[-1]))
    print("| search | seconds | ratio | of the CPU | ratio | memory, MB | chosen | difference |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for method in METHODS:
        times = {name: [run[name] for run in runs[method]] for name in ("seconds", "cpu")}
        cells = [
            f"{np.median(times[name]):.1f} | "
            f"{np.median(np.divide([run[name] for run in runs['grid']], times[name])):.2f}"
            for name in times
        ]
        last, reference = runs[method][-1], runs["grid"][-1]
        difference = np.abs(np.subtract(last["scores"], reference["scores"])).max()
        print(
            f"| {method} | {' | '.join(cells)} | {last['memory']:.0f} | "
            f"{last['weight']:.3g} | {difference:.2f} |"
        )


if __name__ == "__main__":
    main()
