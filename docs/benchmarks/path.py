"""Times GaussianEmbedderCV against GridSearchCV over the same weights and folds, on digits.

In alternation: `GridSearchCV`, `GaussianEmbedderCV`, and the same with halving=True, all with the
same number of processes of one thread each. See README.md.
"""

import argparse
import time
import warnings

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, KFold

from sklatent import GaussianEmbedder, GaussianEmbedderCV


def searches(reg_weights, jobs, **params):
    """Return the searches by name."""
    options = {
        "cv": KFold(5, shuffle=True, random_state=0),
        "refit": False,
        "n_jobs": jobs,
    }
    embedder, ours = GaussianEmbedder(8, **params), {"reg_weights": reg_weights} | options | params
    return {
        "`GridSearchCV`": GridSearchCV(embedder, {"reg_weight": reg_weights}, **options),
        "`GaussianEmbedderCV`": GaussianEmbedderCV(8, **ours),
        "with halving": GaussianEmbedderCV(8, halving=True, **ours),
    }


def main():
    """Search in alternation and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="*", type=int, default=[256, 256])
    parser.add_argument("--weights", type=int, default=10)
    parser.add_argument("--max-iter", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    X = load_digits().data / 16
    params = {"hidden_layer_sizes": tuple(args.sizes), "random_state": 0}
    params |= {"max_iter": args.max_iter or "auto", "batch_size": args.batch_size or "auto"}
    reg_weights = np.logspace(-3, 2, args.weights)
    # The processes import torch before the first measurement.
    searches(reg_weights[:1], args.jobs, **params | {"max_iter": 0})["`GridSearchCV`"].fit(X)
    all_searches = searches(reg_weights, args.jobs, **params)
    seconds = {name: [] for name in all_searches}
    for _ in range(args.repeats):
        for name, search in all_searches.items():
            began = time.perf_counter()
            search.fit(X)
            seconds[name].append(time.perf_counter() - began)
    print("| search | seconds | ratio | best weight |\n| --- | ---: | ---: | ---: |")
    for name, search in all_searches.items():
        ratio = np.median(np.divide(seconds["`GridSearchCV`"], seconds[name]))
        best = search.cv_results_["param_reg_weight"][search.best_index_]
        print(f"| {name} | {np.median(seconds[name]):.1f} | {ratio:.2f} | {best:.3g} |")


if __name__ == "__main__":
    main()
