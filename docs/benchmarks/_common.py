"""What several benchmarks share: data sets, splits, scores, costs, processes and tables."""

import json
import os
import platform
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from sklatent.metrics import epps_pulley_test

PACKAGES = ("numpy", "scikit-learn", "torch", "skorch", "umap-learn", "pythae", "sinflow", "zuko")
ONE_THREAD = {
    f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA", "VECLIB_MAXIMUM")
}


def add_data(parser):
    """Add the arguments that select data sets."""
    parser.add_argument(
        "--data", type=Path, help="folder of .npz files with an array X and perhaps an array y"
    )
    parser.add_argument("--only", nargs="+", help="names of data sets, instead of all")
    parser.add_argument("--largest", type=int, default=6000, help="samples of a data set")


def data_sets(folder=None, only=None, largest=6000):
    """Yield name, X, and y or None: digits, and the .npz files of a folder.

    Digits and other small integers (uint8) are pixels. All features of such a data set have one
    unit, so that `split` does not scale them one by one.
    """
    files = [] if folder is None else sorted(Path(folder).glob("*.npz"))
    names = {"digits": None} | {file.stem: file for file in files}
    for missing in set(only or ()) - names.keys():
        print(f"{missing} is left out: {folder} has no file {missing}.npz\n", file=sys.stderr)
    for name, file in names.items():
        if only and name not in only:
            continue
        if file is None:
            X, y = load_digits(return_X_y=True)
            X = X.astype(np.uint8)
        else:
            with np.load(file) as arrays:
                X, y = (arrays[key] if key in arrays.files else None for key in "Xy")
            if X is None or X.dtype.kind not in "fiu":
                print(f"{name} is left out: it has no array X of numbers\n", file=sys.stderr)
                continue
        some = np.random.default_rng(0).permutation(len(X))[:largest]
        yield name, X[some], None if y is None else y[some]


def split(X, y, seed, test_size=0.3):
    """Return scaled training and test samples, and their labels or None.

    Pixels are divided by one number. Other features are standardized.
    """
    index = np.random.default_rng(seed).permutation(len(X))
    train, test = train_test_split(index, test_size=test_size, random_state=seed)
    scaled = StandardScaler().fit(X[train].astype(float))
    if X.dtype == np.uint8:
        scaled.scale_ = np.full(X.shape[1], np.sqrt(scaled.var_.mean()))
    arrays = [scaled.transform(X[part].astype(float)) for part in (train, test)]
    return *arrays, *((None, None) if y is None else (y[train], y[test]))


def sliced_epps_pulley(Z, n_slices=512):
    """Return G, how far samples Z are from N(0, I): 1 in expectation if they are draws from it."""
    test = epps_pulley_test(Z, n_slices=n_slices, random_state=0)
    return test.statistic / test.expected


def explained(model, X):
    """Return the share of the variance of X that a model's embedding gives back, R^2."""
    restored = model.inverse_transform(model.transform(X))
    return r2_score(X, restored, multioutput="variance_weighted")


def resident(kind="VmRSS"):
    """Return this process's resident memory in MiB, or its peak, "VmHWM"."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) / 1024


@contextmanager
def measured() -> Iterator[dict[str, float]]:
    """Measure processor time, time, and growth of the peak memory in MiB (Linux only)."""
    cost: dict[str, float] = {}
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts at the present value
    before, cpu, wall = resident(), time.process_time(), time.perf_counter()
    yield cost
    cost["cpu"], cost["wall"] = time.process_time() - cpu, time.perf_counter() - wall
    cost["memory"] = max(resident("VmHWM") - before, 0.0)


def in_process(script, **task):
    """Run a script with --once in a process of one thread; return what it prints last.

    Returns None, and prints the reason, if a package is missing or the process fails.
    """
    command = [sys.executable, script, "--once", json.dumps(task, default=str)]
    run = subprocess.run(command, capture_output=True, text=True, env=os.environ | ONE_THREAD)
    if run.returncode == 0:
        return json.loads(run.stdout.splitlines()[-1])
    reason = run.stderr.strip().splitlines()[-1:]
    print(f"Left out: {task}: {''.join(reason) or run.returncode}\n", flush=True)
    return None


def once(argument, function):
    """Call a function with a task of `in_process`, and print the result as JSON."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print("\n" + json.dumps(function(**json.loads(argument))))


def header():
    """Return a line with machine, versions and commit."""
    here = Path(__file__).parent
    git = ["git", "-C", str(here)]
    run = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    status = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True)
    commit = run.stdout.strip() or "unknown"
    if status.stdout.strip():
        commit += " with changes"
    versions = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return (
        f"Machine: {processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}. "
        f"{', '.join(versions)}. Commit {commit}."
    )


def processor():
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def cells(values, formats):
    """Return the cells of a table's line: empty for nan and None."""
    texts = [
        "" if value is None or value != value else form.format(value)
        for value, form in zip(values, formats, strict=True)
    ]
    return " | ".join(texts)


def table(columns, n_text=1):
    """Print the head of a Markdown table whose first columns are text."""
    print(f"| {' | '.join(columns)} |")
    rules = ["---"] * n_text + ["---:"] * (len(columns) - n_text)
    print(f"| {' | '.join(rules)} |", flush=True)
