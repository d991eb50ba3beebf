"""Measures the memory and the time of a fit to data that stay on disk, and to sparse data.

The script writes random data to a temporary file, opens the file as a NumPy memmap, and measures
how much the memory of the process grows. See README.md. Linux only: another process reads the
memory from /proc.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import random_array

from sklatent import GaussianEmbedder

WATCH = """
import sys, time
peaks = {"RssAnon": 0, "VmRSS": 0}
while True:
    try:
        lines = open(f"/proc/{sys.argv[1]}/status").read().splitlines()
    except OSError:
        break
    for name, value in (line.split(":") for line in lines):
        if name in peaks:
            peaks[name] = max(peaks[name], int(value.split()[0]) / 1024)
    print(peaks["RssAnon"], peaks["VmRSS"], flush=True)
    time.sleep(0.005)
"""
BLOCK = 100_000


def memory():
    """Return anonymous and total resident memory of this process in MiB."""
    values = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return np.array([int(values[name].split()[0]) / 1024 for name in ("RssAnon", "VmRSS")])


@contextmanager
def measured(name, size):
    """Print a row of the table: seconds, and the growth of both kinds of memory."""
    before = memory()
    with tempfile.TemporaryFile("w+") as log:
        command = [sys.executable, "-c", WATCH, str(os.getpid())]
        watch = subprocess.Popen(command, stdout=log)
        while not os.fstat(log.fileno()).st_size:  # until the watch has started
            time.sleep(0.01)
        began = time.perf_counter()
        yield
        seconds = time.perf_counter() - began
        watch.terminate()
        watch.wait()
        log.seek(0)
        peaks = np.array([line.split() for line in log if line.endswith("\n")][-1], dtype=float)
    anonymous, total = peaks - before
    print(f"| {name} | {size} | {seconds:.0f} | {anonymous:.0f} | {total:.0f} |", flush=True)


def write(path, n, p, dtype):
    """Write n samples of ten curved factors with noise, block by block."""
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(2, 10, p))
    with path.open("wb") as file:
        for start in range(0, n, BLOCK):
            factors = rng.normal(size=(min(BLOCK, n - start), 10))
            X = factors @ loadings[0] + (factors**2) @ loadings[1] + rng.normal(size=(1, p))
            file.write((X + rng.normal(size=X.shape)).astype(dtype).tobytes())


def on_disk(shape, dtype, params):
    """Print a row for each call on a memmap."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "X.dat"
        write(path, *shape, dtype)
        size = f"memmap, {path.stat().st_size / 2**20:.0f}"
        X = np.memmap(path, dtype, "r", shape=shape)
        embedder = GaussianEmbedder(**params)
        with measured("fit", size):
            embedder.fit(X)
        with measured("transform", size):
            embedder.transform(X)
        rng = np.random.default_rng(0)
        y, weight = rng.normal(size=len(X)), rng.uniform(1, 2, size=len(X))
        embedder = GaussianEmbedder(**params, task="regression")
        with measured("fit, regression with weights", size):
            embedder.fit(X, y, weight)
        with measured("score, regression", size):
            embedder.score(X, y)


def sparse(shape, density, params):
    """Print a row for each call on a sparse matrix."""
    rng = np.random.default_rng(0)
    X = random_array(shape, density=density, format="csr", dtype=np.float32, rng=rng)
    size = f"CSR, {(X.data.nbytes + X.indices.nbytes) / 2**20:.0f}"
    embedder = GaussianEmbedder(**params)
    with measured("fit", size):
        embedder.fit(X)
    with measured("transform", size):
        embedder.transform(X)


def main():
    """Fit to a memmap and to a sparse matrix, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=2_000_000)
    parser.add_argument("--features", type=int, default=50)
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--sparse", type=int, default=10_000, help="samples and features")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)

    params = {"n_components": 10, "max_iter": 1, "random_state": 0}
    # A first fit loads code and buffers that do not depend on the size of the data.
    warm = np.random.default_rng(0).normal(size=(2000, args.features)).astype(args.dtype)
    GaussianEmbedder(**params).fit(warm).transform(warm)
    print("| call | X, MiB | seconds | growth, MiB | with pages of the file, MiB |")
    print("| --- | --- | ---: | ---: | ---: |", flush=True)
    if args.samples:
        on_disk((args.samples, args.features), args.dtype, params)
    if args.sparse:
        sparse((args.sparse, args.sparse), 0.01, params)


if __name__ == "__main__":
    main()
