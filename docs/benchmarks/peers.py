"""Compares embeddings of the same dimension: quality, time, memory, and time to quality.

Contenders alternate, each fit in a process of its own with one thread; medians over random 70/30
splits. The second table is how long ours takes to reach what each contender ends with. Packages
that are not installed are left out. See peers.md. Linux only: the memory comes from /proc.
"""

import argparse

import numpy as np
from _common import (
    add_data,
    cells,
    data_sets,
    explained,
    header,
    in_process,
    measured,
    once,
    sliced_epps_pulley,
    split,
    table,
)
from _contenders import CONTENDERS, PEERS
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklatent import GaussianEmbedder
from sklatent.calibration import AffineCalibration, Gaussianization
from sklatent.metrics import classifier_two_sample_test

REFERENCE = "ours, moment"
SCORES = ("r2", "g", "c2st", "neighbors", "logistic")
TIMED = ("moment", "kl")  # regularizers of ours in the second table
EPOCHS = (0, 1, 2, 4, 8, 16, 32, 64, 128, "auto")


def c2st(u):
    """Return the AUC of a classifier that tells u from draws from N(0, I): 0.5 if it cannot."""
    return classifier_two_sample_test(u, random_state=0).statistic


def quality(contender, seed, quick, n_components, **data):
    """Fit a contender, and return scores of test samples and costs."""
    train, test, y_train, y_test, k = load(seed, n_components, **data)
    make = CONTENDERS[contender]
    make(k, seed, True).fit(train[:256]).transform(test[:256])  # loads and compiles code
    model = make(k, seed, quick)
    with measured() as fit:
        model.fit(train)
    with measured() as use:
        z_test = model.transform(test)
    z_train = model.transform(train)
    u = AffineCalibration().fit(z_train).transform(z_test)
    scores = {"g": sliced_epps_pulley(u), "c2st": c2st(u)}
    if hasattr(model, "inverse_transform"):
        scores["r2"] = explained(model, test)
    if y_train is not None:
        scores["neighbors"] = KNeighborsClassifier(5).fit(z_train, y_train).score(z_test, y_test)
        linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        scores["logistic"] = linear.fit(z_train, y_train).score(z_test, y_test)
    return scores | fit | {"transform": 1e6 * use["cpu"] / len(test)}


def progress(regularizer, seed, quick, n_components, **data):
    """Return what ours reaches in more and more epochs, and when: processor time of the fit."""
    train, test, _, _, k = load(seed, n_components, **data)
    GaussianEmbedder(k, max_iter=2, regularizer=regularizer).fit(train[:256])  # loads code
    reached = []
    for epochs in EPOCHS[:3] if quick else EPOCHS:
        embedder = GaussianEmbedder(k, regularizer=regularizer, max_iter=epochs, random_state=seed)
        with measured() as fit:
            embedder.fit(train)
        z_train, z_test = embedder.transform(train), embedder.transform(test)
        step = {"r2": [(fit["cpu"], explained(embedder, test))]}
        step["c2st"] = [(fit["cpu"], c2st(z_test))]
        if regularizer != "kl":
            # The same network with calibration="gaussianize", which does not change R^2.
            with measured() as more:
                bend = Gaussianization(seed).fit(z_train)
            step["c2st"].append((fit["cpu"] + more["cpu"], c2st(bend.transform(z_test))))
        reached.append(step)
    return reached


def load(seed, n_components, **data):
    """Return training and test samples, their labels or None, and the number of components."""
    ((_, X, y),) = data_sets(**data)
    return *split(X, y, seed), min(n_components, X.shape[1] // 2)


def time_to(goal, reached, score):
    """Return the time of the fastest fit that reaches a peer's R^2 or C2ST; inf if none does."""
    sign = 1 if score == "r2" else -1
    pairs = [pair for step in reached for pair in step[score]]
    # Fits that are PCA differ from it by rounding.
    times = [seconds for seconds, value in pairs if sign * (value - goal) > -1e-6]
    return min(times, default=np.inf)


def compare(runs):
    """Print quality and cost of each contender: medians over rounds."""
    columns = ("R^2", "G", "C2ST", "5-NN", "logistic", "fit, s", "of ours", "wall, s")
    table(["contender", *columns, "transform, µs", "memory, MiB"])
    formats = ["{:.3f}", "{:.2f}", *["{:.3f}"] * 3, *["{:.2f}"] * 3, "{:.1f}", "{:.0f}"]
    for contender, rounds in runs.items():
        ratios = [
            run["cpu"] / ours["cpu"]
            for run, ours in zip(rounds, runs.get(REFERENCE, []), strict=False)
        ]
        names = (*SCORES, "cpu", "of ours", "wall", "transform", "memory")
        values = [
            np.median(ratios or np.nan)
            if name == "of ours"
            else np.median([run.get(name, np.nan) for run in rounds])
            for name in names
        ]
        print(f"| {contender} | {cells(values, formats)} |", flush=True)


def race(runs, reached):
    """Print when ours reaches each peer's R^2 and C2ST: medians over rounds."""
    columns = [
        text
        for score in ("R^2", "C2ST")
        for text in (score, *(f"{name}, {unit}" for name in TIMED for unit in ("s", "share")))
    ]
    table(["peer", "its fit, s", *columns])
    for contender in (name for name in PEERS if name in runs):
        own = np.array([run["cpu"] for run in runs[contender]])
        texts = [f"{np.median(own):.2f}"]
        for score in ("r2", "c2st"):
            goals = [run.get(score, np.nan) for run in runs[contender]]
            if np.isnan(goals).any():
                texts += [""] * (1 + 2 * len(TIMED))
                continue
            texts.append(f"{np.median(goals):.3f}")
            for rounds in reached.values():
                pairs = zip(goals, rounds, strict=True)
                times = np.array([time_to(goal, steps, score) for goal, steps in pairs])
                if np.isinf(np.median(times)):
                    texts += ["not reached", ""]
                else:
                    texts += [f"{np.median(times):.2f}", f"{np.median(times / own):.2f}"]
        print(f"| {contender} | {' | '.join(texts)} |", flush=True)


def main():
    """Measure and print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_data(parser)
    parser.add_argument("--components", type=int, default=8, help="at most half the features")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="two epochs: tests the script")
    parser.add_argument("--once", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.once:
        once(
            args.once,
            lambda **task: quality(**task) if "contender" in task else progress(**task),
        )
        return
    print(header())
    for name, X, _ in data_sets(args.data, args.only, args.largest):
        runs = {contender: [] for contender in args.contenders}
        reached = {regularizer: [] for regularizer in TIMED}
        for seed in range(args.rounds):
            task = {
                "folder": args.data and str(args.data),
                "only": [name],
                "largest": args.largest,
                "seed": seed,
                "quick": args.quick,
                "n_components": args.components,
            }
            for contender in list(runs):
                run = in_process(__file__, contender=contender, **task)
                if run is None:
                    del runs[contender]
                else:
                    runs[contender].append(run)
            for regularizer, rounds in reached.items():
                rounds.append(in_process(__file__, regularizer=regularizer, **task))
        k = min(args.components, X.shape[1] // 2)
        print(f"\n**{name}**, {X.shape[0]} x {X.shape[1]}, {k} components, {args.rounds} splits\n")
        compare(runs)
        print()
        race(runs, reached)


if __name__ == "__main__":
    main()
